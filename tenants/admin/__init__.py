"""Tenants, users, webhooks and the audit log in the admin; each module registers its own."""

from tenants.admin import audit_log, tabs, tenants, webhooks  # noqa: F401
