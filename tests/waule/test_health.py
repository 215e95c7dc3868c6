"""What load balancers and operators ask first."""

from tests.live import Database, LiveWaule


def test_a_living_server_is_healthy_and_ready(standing_waule: LiveWaule) -> None:
    alive, ready = standing_waule.get("/healthz"), standing_waule.get("/readyz")
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "workers": 0, "storage": "ok"})


def test_every_answer_has_a_request_id_and_a_sane_one_of_the_caller_is_kept(standing_waule: LiveWaule) -> None:
    assert len(standing_waule.get("/healthz").headers["X-Request-Id"]) == 32
    for path in ("/healthz", "/internal/nothing", "/v1/nothing", "/api/nothing", "/nothing", "/admin/login/"):
        answer = standing_waule.get(path, headers={"X-Request-Id": "call-1.a:b_c"})
        assert answer.headers["X-Request-Id"] == "call-1.a:b_c", path
    for insane in ("a b", "x" * 129, "<b>", ""):
        assert len(standing_waule.get("/healthz", headers={"X-Request-Id": insane}).headers["X-Request-Id"]) == 32


def test_without_its_tables_a_server_lives_but_is_not_ready(live_waule: LiveWaule, cloned_db: Database) -> None:
    cloned_db.sql("DELETE FROM django_migrations WHERE app = 'billing'")
    assert live_waule.get("/healthz").status_code == 200
    answer = live_waule.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reason"].endswith("migrations are missing. Run: python manage.py migrate")
