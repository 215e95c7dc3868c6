"""The pages of the admin."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.urls import reverse

LISTED = list(admin.site._registry)


def address(model: type[models.Model], page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)
