"""Closing a server-side cursor is the one call of the driver that Django does not wrap: it fails with the driver's own errors."""

import pytest
from django.db import connection

from tenants.models import Tenant
from tests.live import Database
from waule.core.errors import Unavailable
from waule.core.http.error_handler import as_waule_error

pytestmark = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no server-side cursors")


def test_a_connection_that_is_cut_before_a_cursor_is_closed_is_unavailable(cloned_db: Database, any_database: None) -> None:
    Tenant.objects.create(name="Acme")
    Tenant.objects.create(name="Birch")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (process,) = cursor.fetchone()
    rows = connection.chunked_cursor()
    rows.execute("SELECT name FROM tenants_tenant ORDER BY name")
    assert len(rows.fetchmany(100)) == 2
    cloned_db.sql("SELECT pg_terminate_backend(%s, 5000)", process)
    with pytest.raises(Exception, match=r"terminat|closed") as caught:
        rows.close()
    connection.close()
    assert isinstance(as_waule_error(caught.value), Unavailable), type(caught.value)
