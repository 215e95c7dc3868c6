"""Two forms, or two PATCHes, that were read at the same version and are saved at the same moment: one of them wins."""

from collections import Counter
from functools import partial
from typing import Any

import pytest
from django.db import models
from django.test import Client
from django.urls import reverse

from storage.models import OssConfig
from tenants.models import User
from tests.admin.conftest import make_history
from tests.admin.forms import changes_of_every_address, fields_of, patches, rows_of_every_page
from tests.at_once import together
from tests.callers import confirm_password
from tests.settings import INTERNAL_SECRET

ROUNDS = 2
CONFLICT = "Somebody else has changed this meanwhile"


def staff(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser(name, f"{name}@example.com", "correct horse battery"))
    confirm_password(client)
    return client


@pytest.fixture
def editors(cloned_db: Any) -> list[Client]:
    return [staff("ann"), staff("bob")]


@pytest.fixture
def rows(editors: list[Client]) -> dict[type[models.Model], models.Model]:
    history = make_history()
    OssConfig.objects.update(region="oss-cn-hangzhou", access_key_id="LTAI")  # complete: else no form of it is saved
    return rows_of_every_page(editors[0], history)


def column_to_change(form: Any) -> models.Field:
    """A column of the form into which any text or number may be written."""
    for kind in (models.CharField, models.IntegerField):
        for column in form._meta.model._meta.concrete_fields:
            if isinstance(column, kind) and column.name in form.versions and not (column.choices or column.unique):
                return column
    return next(each for each in form._meta.model._meta.concrete_fields if each.name in form.versions)  # a group's name


def value_of(column: models.Field, number: int, old: str) -> str:
    if isinstance(column, models.URLField):
        return f"https://93.184.216.34/{number}"
    return str(500 + number) if isinstance(column, models.IntegerField) else f"{old[:6]}{number}"


def test_of_two_forms_one_is_saved(editors: list[Client], rows: dict[type[models.Model], models.Model]) -> None:
    assert len(rows) >= 12, rows
    number = 0
    for cls, row in rows.items():
        address = reverse(f"admin:{cls._meta.app_label}_{cls._meta.model_name}_change", args=[row.pk])
        for _round in range(ROUNDS):
            page = editors[0].get(address)
            column, sent = column_to_change(page.context["adminform"].form), fields_of(page.text)
            posts: list[Any] = []
            for client in editors:
                number += 1
                value = value_of(column, number, (sent.get(column.name) or [""])[0])
                posts.append(partial(client.post, address, sent | {column.name: value}))
            answers = together(posts)
            said = [each.context["adminform"].form.errors for each in answers if each.status_code == 200]
            assert Counter(each.status_code for each in answers) == {302: 1, 200: 1}, (cls, column.name, said)
            (refused,) = [each for each in answers if each.status_code == 200]
            assert CONFLICT in refused.text, (cls, column.name)


def test_of_two_patches_one_is_done(rows: dict[type[models.Model], models.Model], editors: list[Client], settings: Any) -> None:
    settings.SORA_API_URL = "http://127.0.0.1:9"
    every = changes_of_every_address(rows)
    assert patches() <= set(every)
    for address, (row, theirs, ours) in every.items():
        path, is_internal = address.replace("*", str(row.pk)), address.startswith("/internal")
        headers = {"X-Internal-Secret": INTERNAL_SECRET} if is_internal else {}
        for _round in range(ROUNDS):
            # a change of nothing tells the version; two changes begin from it
            version = editors[0].patch(path, ours, "application/json", headers=headers).json()["version"]
            body = theirs | {"version": version}
            patched = [partial(client.patch, path, body, "application/json", headers=headers) for client in editors]
            answers = together(patched)
            assert Counter(each.status_code for each in answers) == {200: 1, 409: 1}, (
                address,
                [each.content for each in answers],
            )
            (refused,) = [each for each in answers if each.status_code == 409]
            assert refused.json()["code"] == "conflict", address
            back = {"weight": 1, "priority": 1} if "keys" in path else {"remark": f"{_round} again"} if "tokens" in path else ours
            editors[0].patch(path, back, "application/json", headers=headers)
