"""One search: by parts of ids, masks, names and words of prompts; for who may see them; by an index on PostgreSQL."""

import contextlib
import uuid

import psycopg2
import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiservices.generations.models import Generation
from billing import services
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge
from tenants.models import Tenant, User
from tenants.principal import Principal
from tenants.services import create_api_key
from tests.admin.pages import address
from waule.core.db import part_search
from waule.core.ids import uuid7


def found(client, term: str) -> list[tuple[str, str]]:
    answer = client.get(reverse("admin:search"), {"s": term, "extended": 1})
    assert answer.status_code == 200
    return [(result.title, str(result.link)) for result in answer.context["results"]]


def make(owner, model, prompt="a whale", **more) -> Generation:
    return Generation.objects.create(type="image", tenant=owner, model=model, prompt=prompt, state="succeeded", **more)


def change_page(row) -> str:
    return address(type(row), "change", row.pk)


def address_of_charge(pk) -> str:
    return reverse("admin:billing_charge_change", args=[pk])


def parts_of(text: str) -> list[str]:
    """Every part of eight characters, and some longer ones."""
    return [text[start : start + 8] for start in range(len(text) - 7)] + [text[3:20], text[-12:], text]


def test_a_charge_is_found_by_any_part_of_its_id(admin_client, flash_at_15, acme):
    account = Account.objects.get(tenant=acme, mode="live")
    for _number in range(20):
        Charge.objects.create(account=account, credits=1, created_at=timezone.now())
    charge = services.charge(target=Principal("tenant", str(acme.pk)), use=UsageRequest(model="flash"), actor="test").charge
    for part in parts_of(str(charge.id)):
        if len(part_search.normalized(part)) >= part_search.SHORTEST:
            assert ("15", address_of_charge(charge.id)) in found(admin_client, part), part
            assert ("15", address_of_charge(charge.id)) in found(admin_client, part.upper()), part
    assert found(admin_client, str(charge.id)[-7:]) == []  # too short to mean one
    assert found(admin_client, "0123456789abcdef" * 2) == []


def test_a_generation_is_found_by_parts_of_all_its_ids(admin_client, flash_at_15, acme):
    for _number in range(20):
        make(acme, flash_at_15, request_id=f"req_{uuid.uuid4()}", upstream_id=f"task-{uuid.uuid4()}")
    row = make(acme, flash_at_15, request_id="req_7f3A-91bc.0042", upstream_id="models/veo/operations/Zx81_q%p-77.abc")
    for text in (str(row.pk), row.request_id, row.upstream_id):
        for part in parts_of(text):
            if len(part_search.normalized(part)) >= part_search.SHORTEST:
                assert ("a whale", change_page(row)) in found(admin_client, part), part
    assert found(admin_client, "req\\_7f3A") == found(admin_client, "req%7f3A9") == []  # no wildcards


def test_prompts_are_found_by_words(admin_client, flash_at_15, acme):
    english = make(acme, flash_at_15, "A lighthouse on a basalt cliff, long exposure")
    chinese = make(acme, flash_at_15, "水墨画：江南小桥流水人家，细雨")
    mixed = make(acme, flash_at_15, "赛博朋克 neon Cat，霓虹灯")
    for term, row in (
        ("lighthouse", english),
        ("EXPOSURE cliff", english),
        ("水墨", chinese),
        ("小桥流水", chinese),
        ("neon 霓虹", mixed),
        ("cat", mixed),
    ):
        assert [link for _title, link in found(admin_client, term)] == [change_page(row)], term
    assert found(admin_client, "lighthouse neon") == []
    assert found(admin_client, "100%_") == []


def test_prompts_are_found_beyond_the_newest(admin_client, flash_at_15, acme, monkeypatch):
    old = make(acme, flash_at_15, "an albatross")
    for _number in range(5):
        make(acme, flash_at_15, "a whale")
    monkeypatch.setattr("waule.site.search.NEWEST_PROMPTS", 2)
    assert [link for _title, link in found(admin_client, "albatross")] == [change_page(old)]
    assert len(found(admin_client, "whale")) == 5


def test_who_is_found_by_name_mask_or_id(admin_client, acme, alice):
    key, _plaintext = create_api_key(tenant=acme, name="shop backend", actor="test")
    overview = reverse("admin:tenant_overview", args=[acme.pk])
    for term in ("acm", "ACME", str(acme.pk), str(acme.pk)[24:]):
        assert overview in [link for _title, link in found(admin_client, term)], term
    assert (alice.username, reverse("admin:user_overview", args=[alice.pk])) in found(admin_client, "lic")
    for term in (key.masked, key.masked.replace("…", "..."), key.masked[-6:], "backend"):
        assert change_page(key) in [link for _title, link in found(admin_client, term)], term


def test_a_request_of_the_audit_log_is_found(admin_client, acme):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO tenants_auditentry "
            "(at, actor, action, target_type, target_id, target_name, reason, address, request_id) "
            "VALUES (CURRENT_TIMESTAMP, 'admin:root', 'key.revoke', '', '', '', '', '', 'req-12345678')"
        )
    assert f"{reverse('admin:tenants_auditentry_changelist')}?q=req-12345678" in [
        link for _title, link in found(admin_client, "req-12345678")
    ]


def test_a_reader_sees_what_they_may_view(client, flash_at_15, acme):
    make(acme, flash_at_15, "an Acme whale")
    staff = User.objects.create_user("staff", is_staff=True)
    client.force_login(staff)
    assert found(client, "acme") == []
    group = Group.objects.create(name="tenants only")
    group.permissions.add(*Group.objects.get(name="auditor").permissions.filter(codename="view_tenant"))
    staff.groups.add(group)
    assert [title for title, _link in found(client, "acme")] == ["Acme"]
    staff.groups.set([Group.objects.get(name="auditor")])
    assert len(found(client, "acme")) == 2
    staff.groups.clear()
    assert found(client, "acme") == []  # nothing was kept


def test_strange_terms_are_answered(admin_client, flash_at_15, acme):
    make(acme, flash_at_15)
    for term in ("", " ", "a", "\x00" * 9, "%" * 300, "\\" * 20, "'; DROP TABLE x; --", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝔴𝔬𝔯𝔡𝔰", "……………………", "。，！"):
        assert found(admin_client, term) == []
    assert admin_client.get(reverse("admin:search"), {"s": "acme", "page": "x"}).status_code == 200


def test_texts_from_outside_are_escaped(admin_client, flash_at_15, acme):
    make(acme, flash_at_15, "<script>alert('planted')</script>")
    assert "<script>alert" not in admin_client.get(reverse("admin:search"), {"s": "planted"}).text


def test_it_asks_no_more_for_more_rows(admin_client, flash_at_15, acme):
    def queries(term: str) -> int:
        with CaptureQueriesContext(connection) as asked:
            found(admin_client, term)
        return len([query for query in asked if "SAVEPOINT" not in query["sql"] and "statement_timeout" not in query["sql"]])

    row = make(acme, flash_at_15)
    Tenant.objects.create(name="whale")
    few = queries(str(row.pk)), queries("whale")
    for number in range(30):
        make(acme, flash_at_15)
        Tenant.objects.create(name=f"whale {number}")
    many = queries(str(row.pk)), queries("whale")
    assert many[0] <= few[0] <= 24
    assert many[1] <= few[1] <= 24


@pytest.mark.skipif(connection.vendor != "postgresql", reason="an index of PostgreSQL")
def test_the_indexes_are_used(flash_at_15, acme):
    account, now = Account.objects.get(tenant=acme, mode="live"), timezone.now()
    Charge.objects.bulk_create(Charge(account=account, credits=1, created_at=now) for _number in range(2000))
    about = {"type": "image", "tenant": acme, "model": flash_at_15, "prompt": "a whale", "state": "succeeded"}
    Generation.objects.bulk_create(Generation(**about, request_id=str(uuid.uuid4())) for _number in range(2000))
    charge, generation = "billing_charge", "aiservices_generation"
    asked = [
        lambda: part_search.rows_with_part(charge, "id", str(uuid7())[19:32], is_uuid=True, limit=6),
        lambda: part_search.rows_with_part(generation, "id", str(uuid7())[19:32], is_uuid=True, limit=6),
        lambda: part_search.rows_with_part(generation, "request_id", "req_12345678", is_uuid=False, limit=6),
        lambda: part_search.rows_with_part(generation, "upstream_id", "req_12345678", is_uuid=False, limit=6),
        lambda: part_search.rows_with_words(generation, "prompt", "albatross", newest=1, limit=6),
    ]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE billing_charge, aiservices_generation")
        for scan in ("seqscan", "indexscan", "indexonlyscan"):
            cursor.execute(f"SET LOCAL enable_{scan} = off")
        for look in asked:
            with CaptureQueriesContext(connection) as found_queries:
                look()
            cursor.execute(f"EXPLAIN {found_queries[-1]['sql']}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "billing_charge_pieces" in plan or "aiservices_gen_search" in plan, plan


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no limit of time for a statement")
def test_what_takes_too_long_is_said(admin_client, acme, monkeypatch):
    """The refunds are locked by somebody else: their part of the search waits, and gives up."""
    monkeypatch.setattr(part_search, "TIMEOUT_MS", 200)
    about = {name: connection.settings_dict[name] for name in ("HOST", "PORT", "USER", "PASSWORD")}
    other = psycopg2.connect(dbname=connection.settings_dict["NAME"], **{name.lower(): value for name, value in about.items()})
    with contextlib.closing(other), other.cursor() as cursor:
        cursor.execute("LOCK TABLE billing_refund IN ACCESS EXCLUSIVE MODE")
        assert ("Refunds", reverse("admin:billing_refund_changelist")) in found(admin_client, str(acme.pk))
        other.rollback()


def test_pending_pieces_are_merged(db, flash_at_15, acme):
    make(acme, flash_at_15)
    part_search.merge_pending("billing_charge_pieces", "aiservices_gen_search")
