"""What OpenAI's API has and waule does not: rejected as such, with what to use instead."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api.openai.authentication import GENERATING, READING, OpenAIViewSet
from waule.core.errors import NotFound


class NotSupported(NotFound):
    """404: OpenAI's API has this address, waule makes nothing of the kind."""

    code = "not_supported"


_IMAGES: str | Promise = _("Images are made by POST /v1/images/generations and POST /v1/images/edits.")
_VIDEOS: str | Promise = _("Videos are made by POST /v1/videos, from a reference image with input_reference.")
_NO_TEXT: str | Promise = _("waule makes images and videos, no text: POST /v1/images/generations, POST /v1/videos.")
HINTS: dict[str, str | Promise] = {
    "images/variations": _("There are no variations. Send the image to POST /v1/images/edits with a prompt instead."),
    "videos/<str:video_id>/remix": _("There is no remix. Make a new video by POST /v1/videos, with input_reference."),
    "videos/edits": _VIDEOS,
    "videos/extensions": _VIDEOS,
    "videos/characters": _VIDEOS,
    "chat/completions": _NO_TEXT,
    "completions": _NO_TEXT,
    "responses": _NO_TEXT,
    "embeddings": _NO_TEXT,
    "moderations": _NO_TEXT,
    "audio/speech": _NO_TEXT,
    "audio/transcriptions": _NO_TEXT,
    "audio/translations": _NO_TEXT,
    "files": _IMAGES,
    "uploads": _IMAGES,
    "batches": _IMAGES,
}


class NotSupportedViewSet(OpenAIViewSet):
    """Any method; the body is not read."""

    scopes = dict.fromkeys(("answer_any",), (*READING, *GENERATING))
    hint: str | Promise = ""

    @extend_schema(exclude=True)
    def answer_any(self, request: Request, **kwargs: str) -> Response:
        raise NotSupported(self.hint)
