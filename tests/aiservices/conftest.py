"""The demonstration catalog, keys of Gemini's, a provider that says nothing, a picture to send, and the usage of an answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiservices.credentials import services as credentials
from aiservices.credentials.models import GeminiKey
from billing.catalog import file as catalog_file
from billing.catalog.models import AIModel
from tests.aiservices.credential_rows import KEYS
from tests.upstreams.silent_service import SilentService

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def usage(credits: int) -> dict[str, Any]:
    """The usage that an answer about pictures has: no token was seen."""
    tokens = {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}
    return tokens | {"input_tokens_details": {"image_tokens": 0, "text_tokens": 0}, "credits_charged": credits}


@pytest.fixture
def silent_service() -> Iterator[SilentService]:
    """A provider that says nothing until it is let."""
    service = SilentService()
    yield service
    service.stop()


@pytest.fixture
def keys() -> list[GeminiKey]:
    """Two keys, the first of which is lent first."""
    first, second = (credentials.add(provider="gemini", secret=secret, actor="test") for secret in KEYS)
    GeminiKey.objects.filter(pk=first.pk).update(priority=first.priority + 1)
    return [first, second]


@pytest.fixture
def demo(any_database: None) -> list[AIModel]:
    """The models of the demonstration catalog that make pictures or videos."""
    path = Path(catalog_file.__file__).parents[1] / "demo_catalog.yaml"
    result = catalog_file.apply(catalog_file.parse(path.read_bytes()), actor="test")
    assert result.problems == ()
    return [model for model in AIModel.objects.all() if model.type in ("IMAGE_GENERATION", "VIDEO_GENERATION")]
