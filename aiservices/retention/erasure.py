"""Takes a tenant or a user out of everything but the numbers of the ledger.

Each step is a transaction of its own, or one for each batch, and changes nothing when it is done again: an erasing that
was interrupted is finished by repeating the command. The owner is switched off first, so that nothing new comes.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal
from uuid import UUID

import structlog
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils.translation import gettext as _

from aiservices.retention import files
from aiservices.retention.plan import ACTOR_COLUMNS, Table, owned_by, still_open
from billing.catalog.models import CatalogVersion
from billing.ledger import erasure as ledger_erasure
from billing.ledger.models import Account, Kind, LedgerEntry, Refund
from billing.monitoring.models import Alert
from tenants import audit, erasure
from tenants.erasure import Names, batches
from tenants.models import Tenant, User
from tenants.webhooks.models import OutboxMessage
from waule.core.db.transactions import durable, retried
from waule.core.errors import InvalidRequest, InvalidState

MAX_REASON_LENGTH = 500
FREE_TEXT_KINDS = frozenset(Kind) - {Kind.CONSUME}  # the others' descriptions were typed by somebody
logger = structlog.get_logger(__name__)


@dataclass
class Erased:
    """What was erased, or would be: rows of each kind."""

    files: int = 0
    generations: int = 0
    apiKeys: int = 0
    ledgerTexts: int = 0
    auditEntries: int = 0
    adminLog: int = 0
    rows: int = 0  # of all other tables


def erase_tenant(tenant: Tenant, *, reason: str, actor: str, dry_run: bool = False, leave_files: bool = False) -> dict[str, Any]:
    """Erase a tenant. Return what was erased.

    `leave_files`: files that their bucket does not delete stay there; else they stop the erasing.

    Raises:
        InvalidRequest: no reason. InvalidState: generations are still under way, or their outcome is unknown; or the ledger
            does not match its hashes. BucketProblem, SecretUnreadable: a file cannot be deleted.
    """
    names = {tenant.name, *erasure.past_names("tenants.tenant", str(tenant.id))}
    subject = _Subject("tenant", tenant.id, names, label="tenants.tenant")
    return _erase(subject, reason=reason, actor=actor, dry_run=dry_run, leave_files=leave_files)


def erase_user(user: User, *, reason: str, actor: str, dry_run: bool = False, leave_files: bool = False) -> dict[str, Any]:
    """Erase a user.

    Raises:
        as `erase_tenant`. InvalidState also where it is the only administrator.
    """
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(id=user.id)
    if user.is_superuser and user.is_active and not others.exists():
        raise InvalidState(_("This is the only administrator: make another one first."), state="last_administrator")
    first, last = user.first_name, user.last_name
    full = {f"{first} {last}", f"{last} {first}", f"{last}{first}"} if first and last else {first, last}
    names = {user.username, user.email, *full, *erasure.past_names("tenants.user", str(user.id))}
    subject = _Subject("user", user.id, names, label="tenants.user", username=user.username)
    return _erase(subject, reason=reason, actor=actor, dry_run=dry_run, leave_files=leave_files)


class _Subject:
    """Who is erased."""

    def __init__(self, kind: Literal["tenant", "user"], id: UUID, names: set[str], *, label: str, username: str = "") -> None:
        self.kind, self.id, self.label = kind, id, label
        self.anonymous = f"erased-{id.hex[-12:]}"
        self.names = Names(names - {self.anonymous, str(id)}, replacement=str(id))
        self.username = username
        self.actors = {f"admin:{username}"} if username else set()

    @property
    def accounts(self) -> "QuerySet[Account]":
        return Account.objects.filter(**{self.kind: self.id})


def _erase(subject: _Subject, *, reason: str, actor: str, dry_run: bool, leave_files: bool) -> dict[str, Any]:
    if not 1 <= len(reason.strip()) <= MAX_REASON_LENGTH:
        raise InvalidRequest.of_field("reason", _("Say why, in 1 to %(limit)s characters.") % {"limit": MAX_REASON_LENGTH})
    if not dry_run:
        _switch_off(subject)
    if count := still_open(subject.kind, subject.id).count():
        raise InvalidState(
            _("%(count)s generations have not ended, or nobody knows how. Wait for them or settle them, then repeat this.")
            % {"count": count},
            state="generations_open",
        )
    erased = Erased()
    erased.files = files.remove_all(subject.kind, subject.id, dry_run=dry_run, leave=leave_files)
    erased.auditEntries = _erase_audit(subject, dry_run=dry_run)
    erased.adminLog = _erase_admin_log(subject, dry_run=dry_run)
    erased.ledgerTexts = _erase_ledger_texts(subject, dry_run=dry_run)
    for table, rows in owned_by(subject.kind, subject.id):
        count = rows.count() if dry_run else _erase_rows(table, rows)
        if table.label == "aiservices.Generation":
            erased.generations = count
        elif table.label == "tenants.ApiKey":
            erased.apiKeys = count
        elif table.is_deleted:
            erased.rows += count
    if not dry_run:
        _erase_traces(subject)
        _finish(subject, reason=reason, actor=actor, erased=erased)
    return {"id": str(subject.id), "name": subject.anonymous, "dryRun": dry_run, **asdict(erased)}


# --- before and after ----------------------------------------------------------------------------------------------


def _switch_off(subject: _Subject) -> None:
    if subject.kind == "tenant":
        Tenant.objects.filter(id=subject.id).update(is_active=False)
    else:
        User.objects.filter(id=subject.id).update(is_active=False)


@durable
def _finish(subject: _Subject, *, reason: str, actor: str, erased: Erased) -> None:
    """The name goes last: until then a repeated erasing finds by it what is left."""
    if subject.kind == "tenant":
        Tenant.objects.filter(id=subject.id).update(name=subject.anonymous)
    else:
        user = User.objects.get(id=subject.id)
        user.username = subject.anonymous
        user.set_unusable_password()
        user.save(update_fields=["username", "password"])
    audit.record(
        actor=actor,
        action=f"{subject.kind}{erasure.ERASED}",
        target_type=subject.label,
        target_id=str(subject.id),
        target_name=subject.anonymous,
        reason=subject.names.replaced(reason.strip()),
        after=asdict(erased),
    )


# --- rows ----------------------------------------------------------------------------------------------------------


def _erase_rows(table: Table, rows: "QuerySet[Any]") -> int:
    if table.is_deleted:
        return sum(_delete(table, [row.pk for row in batch]) for batch in batches(rows.only("pk")))
    if not table.values:
        return 0
    return sum(_empty(table, [row.pk for row in batch]) for batch in batches(rows.only("pk")))


@retried
def _delete(table: Table, keys: list[Any]) -> int:
    QuerySet(table.model).filter(pk__in=keys)._raw_delete(using="default")
    return len(keys)


@retried
def _empty(table: Table, keys: list[Any]) -> int:
    return QuerySet(table.model).filter(pk__in=keys).update(**table.values)  # past managers that refuse to change rows


def _erase_traces(subject: _Subject) -> None:
    """What refers to the erased one without a foreign key."""
    Alert.objects.filter(key__in=[f"balance:{pk}" for pk in subject.accounts.values_list("id", flat=True)]).delete()
    _erase_messages(subject)
    if subject.kind == "user":
        _erase_logins(subject)
        for label, column in ACTOR_COLUMNS:
            rows: QuerySet[Any] = QuerySet(Table(label).model).filter(**{f"{column}__in": subject.actors})
            rows.update(**{column: f"admin:{subject.id}"})
        _rewrite_catalog_versions(subject)


def _erase_messages(subject: _Subject) -> None:
    """Alerts to the operator that tell of it."""
    rows = OutboxMessage.objects.annotate(text=Cast("payload", TextField()))
    rows.filter(Q(text__contains=str(subject.id)) | subject.names.within("text")).delete()


def _erase_logins(subject: _Subject) -> None:
    for model in (AccessAttempt, AccessFailureLog, AccessLog):
        model.objects.filter(username=subject.username).delete()
    for batch in batches(Session.objects.all()):
        mine = [session.pk for session in batch if session.get_decoded().get("_auth_user_id") == str(subject.id)]
        Session.objects.filter(pk__in=mine).delete()


@durable
def _rewrite_catalog_versions(subject: _Subject) -> None:
    with erasure.window():
        for version in CatalogVersion.objects.filter(Q(author__in=subject.actors) | subject.names.within("note")).defer(
            "document"
        ):
            author = f"admin:{subject.id}" if version.author in subject.actors else version.author
            QuerySet(CatalogVersion).filter(pk=version.pk).update(author=author, note=subject.names.replaced(version.note)[:500])


# --- the ledger's texts --------------------------------------------------------------------------------------------


def _erase_ledger_texts(subject: _Subject, *, dry_run: bool) -> int:
    own = set(subject.accounts.values_list("id", flat=True))
    if dry_run:
        mine = LedgerEntry.objects.filter(account_id__in=own)
        elsewhere = LedgerEntry.objects.filter(actor__in=subject.actors).exclude(account_id__in=own)
        return mine.exclude(kind=Kind.CONSUME).count() + elsewhere.count()
    count = sum(ledger_erasure.rewrite_entries(account_id, _own_entry(subject)) for account_id in sorted(own))
    if subject.actors:
        for account_id in ledger_erasure.accounts_with(subject.actors):
            count += ledger_erasure.rewrite_entries(account_id, _actor_of(subject))
        ledger_erasure.rewrite_refunds(Refund.objects.filter(actor__in=subject.actors), actor=f"admin:{subject.id}")
    ledger_erasure.rewrite_refunds(
        Refund.objects.filter(account_id__in=own), reason=str(subject.id), idempotency_key=None, fingerprint=""
    )
    return count


def _own_entry(subject: _Subject) -> ledger_erasure.Rewrite:
    rewrite_actor = _actor_of(subject)

    def rewrite(entry: LedgerEntry) -> None:
        if entry.kind in FREE_TEXT_KINDS and entry.description:
            entry.description = str(subject.id)
        entry.description = subject.names.replaced(entry.description)[:500]
        entry.idempotency_key, entry.fingerprint = None, ""
        rewrite_actor(entry)

    return rewrite


def _actor_of(subject: _Subject) -> ledger_erasure.Rewrite:
    def rewrite(entry: LedgerEntry) -> None:
        if entry.actor in subject.actors:
            entry.actor = f"admin:{subject.id}"

    return rewrite


# --- logs ----------------------------------------------------------------------------------------------------------


def _owned(table: Table, subject: _Subject) -> Callable[[list[str]], set[str]]:
    """Return which of these ids are keys of rows that the erased one owns."""

    def owned(ids: list[str]) -> set[str]:
        usable = [pk for pk in (_key(table, id) for id in ids) if pk is not None]
        rows = table.rows(subject.kind, subject.id).filter(pk__in=usable)
        return {str(pk) for pk in rows.values_list("pk", flat=True)}

    return owned


def _key(table: Table, text: str) -> Any:
    try:
        return table.model._meta.pk.to_python(text)
    except Exception:  # an id of another form than the table's
        return None


def _entries_about(subject: _Subject) -> Iterator[int]:
    for table, _rows in owned_by(subject.kind, subject.id):
        for ids in erasure.entries_about(table.label.lower(), _owned(table, subject)):
            yield from ids


def _erase_audit(subject: _Subject, *, dry_run: bool) -> int:
    about = list(_entries_about(subject))
    return erasure.rewrite_audit(about=about, names=subject.names, actors=subject.actors, dry_run=dry_run)


def _erase_admin_log(subject: _Subject, *, dry_run: bool) -> int:
    """Django's own log: what it says of the objects, and names in what it says of others."""
    changed, empty = 0, (str(subject.id), "")
    mentions = LogEntry.objects.filter(subject.names.within("object_repr", "change_message"))
    for batch in batches(mentions):
        for entry in batch:
            entry.object_repr = subject.names.replaced(entry.object_repr)[:200]
            entry.change_message = subject.names.replaced(entry.change_message)
        changed += len(batch) if dry_run else LogEntry.objects.bulk_update(batch, ["object_repr", "change_message"])
    for table, _rows in owned_by(subject.kind, subject.id):
        about = LogEntry.objects.filter(
            content_type__app_label=table.model._meta.app_label, content_type__model=table.model._meta.model_name
        )
        for batch in batches(about):
            mine = _owned(table, subject)([entry.object_id or "" for entry in batch])
            keys = [entry.pk for entry in batch if entry.object_id in mine and (entry.object_repr, entry.change_message) != empty]
            rows = LogEntry.objects.filter(pk__in=keys)
            changed += len(keys) if dry_run else rows.update(object_repr=empty[0], change_message=empty[1])
    return changed
