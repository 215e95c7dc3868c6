"""Upstream credentials and generations in the admin; each module registers its own."""

from aiservices.admin import credential_lists, generations  # noqa: F401
