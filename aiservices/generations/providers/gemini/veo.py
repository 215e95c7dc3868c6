"""Videos by Veo, through the Gemini API: a job that is created, asked for by its operation's name, and downloaded.

https://ai.google.dev/gemini-api/docs/veo describes the wire format. A job belongs to the project of the key that created
it: our id of it is the key's id and the operation's name, so that whoever goes on with it asks with the same key.
"""

import base64
import contextlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from aiservices.credentials.models import GeminiKey
from aiservices.generations.providers import combinations, parameters
from aiservices.generations.providers.base import Job
from billing.catalog.pricing.interfaces import GEMINI_VIDEOS
from gateway_client import http
from gateway_client.errors import CredentialRefused, OutcomeUnknown, UpstreamError
from gateway_client.fetch import load_reference_image
from gateway_client.transport import Deadline
from waule.core.crypto.encryption import SecretUnreadable, reveal
from waule.core.db import connection_pool
from waule.core.errors import InvalidRequest, UnsupportedParameter
from waule.core.ids import parse_uuid

HONOURS: parameters.Honours = {"negative_prompt": None}
PERSON_GENERATION = ("allow_all", "allow_adult", "dont_allow")
POLL_CALL_SECONDS = 60.0  # one question how a video is coming along
MAX_NAME_LENGTH = 200
MAX_KEYS_ASKED = 5
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){1,7}")

TEXT, IMAGE, FRAMES, REFERENCE = "text", "image", "frames", "reference"
# How callers write what the images are for; compared in small letters, without anything between the words.
KINDS = {
    TEXT: ("text", "texttovideo", "text2video", "t2v"),
    IMAGE: ("image", "imagetovideo", "image2video", "i2v", "firstframe", "firstframetovideo", "firstframe2video"),
    FRAMES: (
        *("frames", "firstlast", "firstandlast", "firstlastframe", "firstlastframes", "firstandlastframe"),
        *("firstandlastframes", "firstandlastframes2video", "firstandlastframestovideo", "startend", "startendtovideo"),
    ),
    REFERENCE: ("reference", "references", "referencetovideo", "reference2video", "referenceimages", "r2v", "ingredients"),
}
IMAGES_OF = {TEXT: (0, 0), IMAGE: (1, 1), FRAMES: (2, 2), REFERENCE: (1, 3)}  # at least, at most
# What goes together, where the model's option `combinations` does not say otherwise.
COMBINATIONS = (
    {"when": {"resolution": ["1080p", "4k"]}, "only": {"duration": [8]}},
    {"when": {"generationType": [REFERENCE]}, "only": {"duration": [8], "ratio": ["16:9"]}},
)
DURATIONS = (4, 6, 8)


class Operation(NamedTuple):
    """A job of ours at Google: the key that created it, and the name by which it is asked for."""

    key_id: UUID
    name: str

    def __str__(self) -> str:
        return f"{self.key_id}:{self.name}"


def operation_of(upstream_id: str) -> Operation | None:
    """Return the operation that `str(operation)` wrote down; None for what is none."""
    key_id, colon, name = upstream_id.partition(":")
    found = parse_uuid(key_id)
    return Operation(found, name) if found and colon and _NAME.fullmatch(name) else None


def kind_of(job: Job) -> str:
    """Return what the images of a request are: none, the first frame, the first and the last, or references.

    Raises InvalidRequest for a `generationType` that is not known.
    """
    word = re.sub(r"[^a-z0-9]", "", job.generation_type.lower())
    for kind, words in KINDS.items():
        if word in words:
            # "Image to video" with two images is from one to the other; from frames of which there is one, from that.
            one_or_two = kind in (IMAGE, FRAMES) and len(job.reference_images) in (1, 2)
            return (IMAGE, FRAMES)[len(job.reference_images) - 1] if one_or_two else kind
    if word:
        known = ", ".join(KINDS)
        raise InvalidRequest.of_field("generationType", _("This model knows these: %(known)s.") % {"known": known})
    return (TEXT, IMAGE, FRAMES)[len(job.reference_images)] if len(job.reference_images) < 3 else REFERENCE


def check(job: Job) -> None:
    """Raise UnsupportedParameter, or InvalidRequest for a combination that Veo does not make."""
    parameters.check(job.parameters, HONOURS, job.options)
    if job.mask:
        raise UnsupportedParameter("mask")
    kind = kind_of(job)
    _check_images(job, kind)
    resolution = GEMINI_VIDEOS.name_of(job.size.tier)
    if job.size.tier.names_tier and not resolution:
        combinations.check_among("resolution", job.size.tier.text, GEMINI_VIDEOS.tiers or ())
    combinations.check_among("ratio", job.size.ratio, GEMINI_VIDEOS.ratios)
    if job.duration is not None:
        combinations.check_among("duration", job.duration, job.options.get("durations", DURATIONS))
    given = {"resolution": resolution or None, "ratio": job.size.ratio, "duration": job.duration, "generationType": kind}
    combinations.check(job.options.get("combinations", COMBINATIONS), given)


def _check_images(job: Job, kind: str) -> None:
    offered = job.options.get("generationTypes")
    if isinstance(offered, list):
        combinations.check_among("generationType", kind, offered)
    least, most = IMAGES_OF[kind]
    if not least <= len(job.reference_images) <= most:
        how_many = str(least) if least == most else f"{least}–{most}"
        text = _("“%(kind)s” takes %(count)s reference images.") % {"kind": kind, "count": how_many}
        raise InvalidRequest.of_field("referenceImages", text)


# --- creating ------------------------------------------------------------------------------------------------------


def payload(job: Job, deadline: Deadline) -> dict[str, Any]:
    """Return the body that creates the job; reference images are fetched for it. Raises ReferenceImageUnusable."""
    images = [load_reference_image(reference, deadline=deadline) for reference in job.reference_images]
    encoded = [{"bytesBase64Encoded": base64.b64encode(image.data).decode(), "mimeType": image.content_type} for image in images]
    instance: dict[str, Any] = {"prompt": job.prompt}
    kind = kind_of(job)
    if kind == REFERENCE:
        instance["referenceImages"] = [{"image": image, "referenceType": "asset"} for image in encoded]
    if kind in (IMAGE, FRAMES):
        instance["image"] = encoded[0]
    if kind == FRAMES:
        instance["lastFrame"] = encoded[1]
    wanted: dict[str, Any] = {"aspectRatio": GEMINI_VIDEOS.ratio_of(job.size), "sampleCount": job.quantity}
    if resolution := GEMINI_VIDEOS.name_of(job.size.tier):
        wanted["resolution"] = resolution
    if job.duration is not None:
        wanted["durationSeconds"] = int(job.duration)
    if negative := parameters.honoured(job.parameters, HONOURS).get("negative_prompt"):
        wanted["negativePrompt"] = negative
    if job.options.get("personGeneration") in PERSON_GENERATION:
        wanted["personGeneration"] = job.options["personGeneration"]
    return {"instances": [instance], "parameters": wanted}


def name_in(body: Any) -> str:
    """Return the operation's name in the answer to its creation. Raises OutcomeUnknown where there is none: a job may run."""
    name = body.get("name") if isinstance(body, dict) else None
    if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise OutcomeUnknown(reason="no_operation")
    return name


# --- asking --------------------------------------------------------------------------------------------------------


def secrets_for(operation: Operation) -> Iterator[str]:
    """Yield the secret of the key that created the job; after it those of other keys, which may be of the same project."""
    rows = GeminiKey.objects.filter(pk=operation.key_id), GeminiKey.objects.exclude(pk=operation.key_id).filter(is_active=True)
    for found in rows:
        secrets = []
        for row in found.order_by("-last_used_at")[:MAX_KEYS_ASKED]:
            with contextlib.suppress(SecretUnreadable):
                secrets.append(reveal(row.secret))
        connection_pool.release_connection()
        yield from secrets


def ask(operation: Operation, translate: http.Translate) -> tuple[Any, str] | None:
    """Return the operation as it is when it is over, and the secret that it answered to; None while it runs, or where nobody can
    say.

    It was accepted: whatever a question about it meets from here on, the video may exist.
    """
    url = http.join(settings.GEMINI_API_URL, *operation.name.split("/"))
    for secret in secrets_for(operation):
        deadline = Deadline(read_seconds=min(POLL_CALL_SECONDS, settings.UPSTREAM_READ_SECONDS), total_seconds=POLL_CALL_SECONDS)
        try:
            body = http.call(
                "GET",
                url,
                secrets={"x-goog-api-key": secret},
                deadline=deadline,
                max_bytes=http.MAX_JSON_WITH_MEDIA_BYTES,
                waits_for_limit=False,
                translate=translate,
            ).body
        except CredentialRefused:
            continue
        except UpstreamError as error:
            if error.upstream_status in (400, 404):
                continue  # of another project, as this key sees it
            return None
        return (body, secret) if isinstance(body, dict) and body.get("done") is True else None
    return None
