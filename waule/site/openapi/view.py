"""`/api/schema`: the OpenAPI document."""

import threading
from typing import Any

from django.http import HttpResponse
from django.utils.translation import get_language
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.request import Request


class SchemaView(SpectacularJSONAPIView):
    """Answers the document, which is built once for each language: it takes a second."""

    def _get_schema_response(self, request: Request) -> HttpResponse:
        return HttpResponse(_document(self, request, get_language() or "en"), content_type="application/vnd.oai.openapi+json")


_documents: dict[str, bytes] = {}
_building = threading.Lock()


def _document(view: SchemaView, request: Request, language: str) -> bytes:
    with _building:
        if language not in _documents:
            generator: Any = view.generator_class(urlconf=view.urlconf, api_version=view.api_version, patterns=view.patterns)
            _documents[language] = render(generator, request)
        return _documents[language]


def render(generator: Any, request: Request | None) -> bytes:
    """Return the document as JSON, in the language that is active."""
    return bytes(OpenApiJsonRenderer().render(generator.get_schema(request=request, public=True)))
