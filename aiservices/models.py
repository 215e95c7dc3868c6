"""Registers the models of every room of this app with Django. Import them from their rooms."""

import aiservices.credentials.models
import aiservices.generations.models
import aiservices.monitoring.models  # noqa: F401
