"""What people paste where a secret belongs: a table, read alike by the bulk calls, by files and on the admin's page."""

import json
from pathlib import Path
from typing import Any

import pytest

from aiservices.credentials.models import GeminiKey, SoraToken
from aiservices.credentials.pasted import read, read_lines
from tests.aiservices.credential_rows import access_token
from tests.aiservices.pasted_lines import LINES, OTHER, G, H
from tests.callers import manage_json

T = access_token("ann@example.com")

TAKEN: list[tuple[str, str, str, str]] = [
    # the provider · the line · the secret in it · the name beside it
    ("gemini", G, G, ""),
    ("gemini", f"  {G} ,", G, ""),
    ("gemini", f"'{G}';", G, ""),
    ("gemini", f"\ufeff{G}", G, ""),
    ("gemini", OTHER, OTHER, ""),
    ("gemini", "abc+/def0123456789==", "abc+/def0123456789==", ""),
    ("gemini", f"GEMINI_API_KEY={G}", G, ""),
    ("gemini", f'export GEMINI_API_KEY="{G}"', G, ""),
    ("gemini", f"GEMINI_API_KEY: {G}", G, ""),
    ("gemini", f'"apiKey": "{G}",', G, ""),
    ("gemini", f"x-goog-api-key: {G}", G, ""),
    ("gemini", f"RELAY_KEY={OTHER}", OTHER, ""),
    ("gemini", f"frankfurt = {OTHER}", OTHER, "frankfurt"),
    ("gemini", f"Authorization: Bearer {OTHER}", OTHER, ""),
    ("gemini", f"https://generativelanguage.googleapis.com/v1beta/models?key={G}", G, ""),
    ("gemini", f"https://relay.example.com/v1?x=1&api_key={OTHER}#top", OTHER, ""),
    ("gemini", f"production,{G}", G, "production"),
    ("gemini", f"{G};backup 2", G, ""),
    ("gemini", f"{G}\tbackup", G, "backup"),
    ("gemini", f"1. {G}", G, ""),
    ("gemini", f"backup | {OTHER}", OTHER, "backup"),
    ("sora", T, T, ""),
    ("sora", f"Bearer {T}", T, ""),
    ("sora", f"ann@example.com----pass-Word-123----{T}", T, "ann@example.com"),
    ("sora", f"ACCESS_TOKEN={T}", T, ""),
    ("sora", f"ann@example.com,{T},plus", T, "ann@example.com"),
]
TOLD: list[tuple[str, str, str]] = [
    # the provider · the line · what is said of it
    ("gemini", "1.23457E+19", "a number"),
    ("gemini", "12345678901234567890", "a number"),
    ("gemini", "1,23E+15", "a number"),
    ("gemini", f"{G[:20]}…", "cut or hidden"),
    ("gemini", "AIza...MBWY", "cut or hidden"),
    ("gemini", "AIza****************MBWY", "cut or hidden"),
    ("gemini", f"{G},{H}", "more than one"),
    ("gemini", "https://aistudio.google.com/apikey", "an address"),
    ("gemini", f"https://a.example/?key={G}&token={H}", "an address"),
    ("gemini", "not a key", "which part"),
    ("gemini", f"{OTHER} {OTHER[::-1]}", "which part"),
    ("sora", T.rpartition(".")[0], "is cut"),
    ("sora", T.rpartition(".")[0] + ".", "is cut"),
    ("sora", T[:30], "is cut"),
    ("sora", f"TOKEN={T[:30]}", "is cut"),
]
NOTED: list[tuple[str, str, str]] = [
    # what is taken, and said to be worth a look
    ("gemini", G[:-4], "may have been cut"),
    ("gemini", f"{G}x", "may have been cut"),
    ("sora", "eyJhbGciOiJSUzI1NiJ9.eyJlbWFp.c2ln", "a whole token"),
    ("gemini", f"https://a.example/?key={G}", "address"),
]


@pytest.mark.parametrize(("provider", "line", "secret", "name"), TAKEN)
def test_the_secret_in_a_line_is_taken(provider: str, line: str, secret: str, name: str) -> None:
    found = read(provider, line)
    assert (found.secret, found.name, str(found.error)) == (secret, name, "")
    assert secret not in repr(found)


@pytest.mark.parametrize(("provider", "line", "said"), TOLD)
def test_what_can_be_none_is_said(provider: str, line: str, said: str) -> None:
    found = read(provider, line)
    assert found.secret == ""
    assert said in str(found.error)
    assert not any(part in str(found.error) for part in (G[:12], T[:12], OTHER))


@pytest.mark.parametrize(("provider", "line", "said"), NOTED)
def test_what_is_worth_a_look_is_said_and_taken(provider: str, line: str, said: str) -> None:
    found = read(provider, line)
    assert found.secret and not found.error
    assert said in str(found.note)


def test_lines_keep_their_numbers() -> None:
    found = read_lines("gemini", f"# ours\n{G}\n\n   \n1.5E+10\n")
    assert [(line.number, bool(line.error)) for line in found] == [(2, False), (5, True)]


EXPECTED = ["added", "added", "failed", "failed", "added", "skipped"]


@pytest.mark.django_db
def test_in_bulk_calls(internal: Any) -> None:
    status, answer = internal.post("/internal/gemini/keys/batch", {"keys": [*LINES, {"apiKey": f"KEY={OTHER}2", "name": "n"}]})
    assert (status, answer["added"], answer["failed"], answer["skipped"]) == (200, 4, 2, 1)
    assert [line["status"] for line in answer["results"]] == [*EXPECTED, "added"]
    assert "a number" in answer["results"][2]["error"] and "cut" in answer["results"][3]["error"]
    assert not any(secret in json.dumps(answer) for secret in (G, H, OTHER))
    names = {key.secret.reveal(): key.name for key in GeminiKey.objects.all()}
    assert names == {G: "frankfurt", H: "", OTHER: "", f"{OTHER}2": "n"}


@pytest.mark.django_db
def test_in_imports_of_tokens(internal: Any) -> None:
    items = [{"token": f"ACCESS_TOKEN={T}"}, {"token": T.rpartition(".")[0]}]
    status, answer = internal.post("/internal/sora/tokens/import", {"tokens": items})
    assert (status, answer["added"], answer["failed"]) == (200, 1, 1)
    assert SoraToken.objects.get().secret.reveal() == T
    assert SoraToken.objects.get().email == "ann@example.com"


@pytest.mark.django_db
def test_in_files(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("\n".join(["# ours", *LINES]))
    answer = manage_json("import_credentials", "gemini", str(file))
    assert [line["status"] for line in answer["results"]] == EXPECTED
    assert not any(secret in json.dumps(answer) for secret in (G, H, OTHER))
