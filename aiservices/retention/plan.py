"""What becomes of each table's rows when their tenant or user is erased. A test finds tables and columns that are not named.

Rows are deleted where nothing but the erased one needs them. Rows that the ledger stands on stay, with their texts emptied.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Case, CharField, F, Model, Q, QuerySet, Value, When
from django.db.models.functions import Cast, Coalesce, Concat, Now

ALL = frozenset({"*"})


@dataclass(frozen=True)
class Table:
    """One table: by which columns (any of those between `|`) a row is a tenant's or a user's.

    `values` are written into it; without any it is deleted.

    `kept` names the texts that stay, because they name a kind of thing and nobody; ALL: the rows stay as they are.
    """

    label: str
    tenant: str = ""
    user: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    is_written_once: bool = False  # behind triggers: `erasure` rewrites it

    @property
    def is_deleted(self) -> bool:
        return not (self.values or self.is_written_once or self.kept == ALL)

    @property
    def model(self) -> type[Model]:
        return get_user_model() if self.label == "tenants.User" else apps.get_model(self.label)

    def rows(self, kind: str, owner_id: Any) -> "QuerySet[Any]":
        lookup = self.tenant if kind == "tenant" else self.user
        owned = Q(pk__in=[])
        for path in filter(None, lookup.split("|")):
            owned |= Q(**{path: owner_id})
        return self.model._default_manager.filter(owned)


_USE = {"metadata": None, "idempotency_key": None, "fingerprint": ""}
# What was used and how it was priced.
_USE_KEPT = frozenset({"operation", "use", "snapshot", "counted_scope", "actor"})

TABLES = (
    Table("aiservices.GenerationInput", "generation__tenant", "generation__user"),
    Table("aiservices.PendingResult", "generation__tenant", "generation__user"),
    Table(
        "aiservices.Generation",
        "tenant",
        "user",
        {
            "prompt": "",
            "parameters": {},
            "outputs": [],
            "error_message": "",
            "error_details": {},
            "upstream_id": "",
            "request_id": "",
            "idempotency_key": None,
            "fingerprint": "",
            "deleted_at": Coalesce("deleted_at", Now()),
        },
        frozenset({"type", "mode", "state", "outcome", "error_code", "flags", "route", "lease_owner"}),
    ),
    Table("storage.StoredObject", "tenant", "user", kept=ALL),  # goes with its file
    Table("storage.Reservation", "tenant"),
    Table("storage.OssConfig", "tenant"),
    Table("storage.StorageUsage", "tenant", kept=ALL),
    Table("tenants.OutboxAttempt", "message__tenant|message__api_key__tenant", "message__member__user"),
    Table("tenants.OutboxMessage", "tenant|api_key__tenant", "member__user"),
    Table("tenants.Webhook", "tenant"),
    Table("tenants.TenantMember", "tenant", "user"),
    Table("billing.BudgetCheckpoint", "budget__tenant"),
    Table("billing.Budget", "tenant"),
    Table("billing.ProvenEntry", "account__tenant", "account__user"),
    Table("billing.AlertThreshold", "account__tenant", "account__user"),
    Table("billing.Alert", "tenant"),
    Table(
        "billing.ApprovalRequest",
        "account__tenant",
        "account__user|asked_by|decided_by",
        {
            "reason": "",
            "decision_reason": "",
            "problem": "",
            # What nobody has approved yet is not done for somebody who is gone, or without its reason.
            "state": Case(When(state="pending", then=Value("expired")), default=F("state")),
        },
        frozenset({"kind", "params", "result", "idempotency_key"}),
    ),
    Table("billing.DailyUsage", "account__tenant", "account__user", kept=ALL),
    Table("billing.Hold", "account__tenant", "account__user", {**_USE, "end_reason": ""}, _USE_KEPT | {"state"}),
    Table("billing.Charge", "account__tenant", "account__user", _USE, _USE_KEPT),
    Table("billing.WrongCode", "account__tenant", "account__user"),
    Table("billing.UsageDay", "account__tenant", "account__user", kept=ALL),
    Table("billing.UsageProgress", "account__tenant", "account__user", kept=ALL),
    Table("billing.Redemption", "account__tenant", "account__user", {"idempotency_key": None}, frozenset({"actor"})),
    Table("billing.Refund", "account__tenant", "account__user", is_written_once=True),
    Table("billing.LedgerClosing", "account__tenant", "account__user", kept=ALL),
    Table("billing.LedgerEntry", "account__tenant", "account__user", is_written_once=True),
    Table("billing.Account", "tenant", "user", kept=ALL),
    Table(
        "tenants.ApiKey",
        "tenant",
        values={
            "name": "",
            "masked": "",
            "key_hash": Concat(Value("erased:"), Cast("id", CharField())),
            "revoked_at": Coalesce("revoked_at", Now()),
            "last_used_at": None,
            "webhook_url": "",
            "webhook_secret": None,
        },
        kept=frozenset({"mode", "scopes", "allowed_models"}),
    ),
    Table("tenants.AuthenticatorDevice", user="user"),
    Table("tenants.User_groups", user="user"),
    Table("tenants.User_user_permissions", user="user"),
    Table("admin.LogEntry", user="user", kept=ALL),  # its texts are replaced
    Table(
        "tenants.Tenant",
        "id",
        values={"note": "", "is_active": False, "enabled_models": []},
        kept=frozenset({"name", "time_zone"}),  # its name is replaced
    ),
    Table(
        "tenants.User",
        user="id",
        values={
            "first_name": "",
            "last_name": "",
            "email": "",
            "is_active": False,
            "is_staff": False,
            "is_superuser": False,
            "last_login": None,
            "membership_expires_at": None,
            "list_preferences": {},
        },
        kept=frozenset({"username", "password", "level"}),  # its name is replaced, its password made unusable
    ),
)

# Columns anywhere else that name whoever acted, as `admin:<username>`.
ACTOR_COLUMNS = (
    ("billing.Charge", "actor"),
    ("billing.Hold", "actor"),
    ("billing.Redemption", "actor"),
    ("billing.RedemptionBatch", "created_by"),
    ("billing.AIModel", "disabled_by"),
    ("billing.Alert", "acknowledged_by"),
)


def owned_by(kind: str, owner_id: Any) -> Iterator[tuple[Table, "QuerySet[Any]"]]:
    """Yield each table that can have rows of this owner, and those rows."""
    for table in TABLES:
        if table.tenant if kind == "tenant" else table.user:
            yield table, table.rows(kind, owner_id)


def still_open(kind: str, owner_id: Any) -> "QuerySet[Any]":
    """Generations whose end is still to come: their results would be stored after the erasing."""
    rows = apps.get_model("aiservices.Generation")._default_manager.filter(**{kind: owner_id})
    return rows.filter(Q(state__in=["new", "queued", "running", "unknown"]))
