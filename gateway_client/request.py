"""One request to an upstream: what is sent, and what its headers may hold."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from gateway_client.errors import CredentialRefused, UpstreamError

OUR_HEADERS = {"User-Agent": "waule", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
HEADER_VALUE = re.compile(r"[\x21-\x7e]{1,128}")
SECRET_VALUE = re.compile(r"[\x21-\x7e]{1,4096}")
File = tuple[str, bytes, str]  # name, content, content type
Files = list[tuple[str, File]]  # the field of each


@dataclass(frozen=True)
class Request:
    """What is sent. `bearer` and `secrets` are headers that appear in no text of ours; the others hold one plain word.

    `payload` goes as JSON; `form` and `files` go as multipart; `content` as it is.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str]
    bearer: str = field(default="", repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    payload: Any = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    files: Files | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)

    def secret_values(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.bearer, *self.secrets.values())))

    def prepared(self) -> requests.PreparedRequest:
        """Raise UpstreamError for a header value that is not one plain word, CredentialRefused for such a secret."""
        for name, value in self.headers.items():
            if not HEADER_VALUE.fullmatch(value):
                raise UpstreamError(reason=f"header_{name.lower()}")
        if not all(SECRET_VALUE.fullmatch(value) for value in self.secret_values()):
            raise CredentialRefused(reason="credential_malformed")
        headers = {**OUR_HEADERS, **self.headers, **self.secrets}
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.bearer}"
        return requests.Request(
            self.method, self.url, headers=headers, json=self.payload, data=self.content or self.form, files=self.files
        ).prepare()
