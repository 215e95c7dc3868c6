"""OpenAI's image models: which parameters each of them knows, and the stream of drafts that they can send.

https://platform.openai.com/docs/api-reference/images describes the wire format.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from aiservices.generations.providers import parameters
from aiservices.generations.providers.base import Job, Output, ProviderResult
from aiservices.generations.providers.media import decode_picture
from gateway_client import answers
from gateway_client.errors import OutcomeUnknown, ReferenceImageUnusable, UpstreamError
from gateway_client.fetch import is_data_uri, parse_data_uri
from gateway_client.results import read_results
from waule.core.errors import InvalidRequest

MAX_PARTIAL_IMAGES = 3
COMPRESSED = ("jpeg", "webp")  # the formats that `output_compression` is for
TRANSPARENT = ("png", "webp")  # and those that can be transparent
# What every `gpt-image` model knows. OpenAI rejects `standard` and `hd`, which are words of older models.
GPT_IMAGE: parameters.Honours = {
    "background": ("auto", "opaque", "transparent"),
    "moderation": ("auto", "low"),
    "output_compression": range(101),
    "output_format": ("png", "jpeg", "webp"),
    "quality": ("auto", "low", "medium", "high"),
    "user": None,
}
FINER = {"quality": ("auto", "low", "medium", "high", "xhigh", "max")}  # and what some know beside it
BY_MODEL: Mapping[str, parameters.Honours] = {
    "gpt-image-2.5": {**GPT_IMAGE, **FINER},
    "gpt-image-2.6": {**GPT_IMAGE, **FINER},
    "gpt-image": GPT_IMAGE,
}
# Of others who speak this API only the names are known; what they cannot do they say themselves.
COMPATIBLE: parameters.Honours = dict.fromkeys(
    ("background", "moderation", "output_compression", "output_format", "quality", "style", "user")
)


def honours(job: Job) -> parameters.Honours:
    """Return what this model can be asked for."""
    if job.is_video:
        return {}
    return next((known for prefix, known in BY_MODEL.items() if job.model_id.startswith(prefix)), COMPATIBLE)


def check(job: Job) -> None:
    """Raise InvalidRequest for parameters that contradict one another, and for a mask that cannot be one."""
    output_format = str(job.parameters.get("output_format") or "png").lower()
    compression = job.parameters.get("output_compression")
    if compression not in (None, 100) and output_format not in COMPRESSED:
        raise InvalidRequest.of_field("output_compression", _("Only jpeg and webp are compressed: name an output_format."))
    if job.parameters.get("background") == "transparent" and output_format not in TRANSPARENT:
        raise InvalidRequest.of_field("background", _("Only png and webp can be transparent."))
    if job.mask:
        _check_mask(job)


def _check_mask(job: Job) -> None:
    if not job.reference_images:
        raise InvalidRequest.of_field("mask", _("A mask needs the image that it belongs to."))
    if is_data_uri(job.mask):
        try:
            is_png = parse_data_uri(job.mask).content_type == "image/png"
        except ReferenceImageUnusable:
            is_png = False
        if not is_png:
            raise InvalidRequest.of_field("mask", _("A mask is a PNG whose transparent parts are painted anew."))


def sent(job: Job, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as they are sent: the model's own `options` where the caller said nothing."""
    known = parameters.of_model(honours(job), job.options)
    wanted = parameters.honoured({**options, **job.parameters}, known)
    if str(wanted.get("output_format", "png")).lower() not in COMPRESSED:
        wanted.pop("output_compression", None)
    return wanted


def read_images(body: Any, *, at_most: int) -> ProviderResult:
    """Return the pictures in an answer. Raises as `results.read_results` does."""
    results = read_results(body)
    outputs = [
        Output(url=each.url, data=each.data, content_type=each.content_type, revised_prompt=each.revised_prompt)
        for each in results.found[:at_most]
    ]
    flags = ("more_than_asked",) if len(results.found) > at_most else ()
    return ProviderResult(tuple(outputs), flags=flags + (("odd_result",) if results.has_odd else ()))


# --- streams -------------------------------------------------------------------------------------------------------


def read_stream(lines: Generator[str, None, None], *, at_most: int, partial: Callable[[Output, int], None]) -> ProviderResult:
    """Return the images that a stream ends with; `partial` is called with each draft. It is read no further than it is needed.

    Raises: the error that an event tells; OutcomeUnknown for a stream that ends before its end.
    """
    outputs: list[Output] = []
    bare: list[str] = []  # lines that are no events: the upstream answered with plain JSON after all
    try:
        for line in lines:
            if line and not line.startswith(("data:", "event:", "id:", "retry:", ":")):
                bare.append(line)
                continue
            outputs += _heard(_event(line), partial)
            if len(outputs) >= at_most:
                return ProviderResult(tuple(outputs))
    except UpstreamError as error:
        if not outputs:
            raise
        return ProviderResult(
            tuple(outputs), flags=("fewer_than_asked", "part_unknown") if error.is_unknown else ("fewer_than_asked",)
        )
    finally:
        lines.close()
    if bare and not outputs:
        return read_images(_parsed("\n".join(bare)), at_most=at_most)
    if not outputs:
        raise OutcomeUnknown(reason="cut_off")
    return ProviderResult(tuple(outputs), flags=("fewer_than_asked",))


def _heard(event: dict[str, Any], partial: Callable[[Output, int], None]) -> list[Output]:
    """Return the image that an event ends with, if it does. Raises the error that it tells."""
    kind = str(event.get("type", ""))
    if kind == "error" or event.get("error"):
        raise answers.told_error(event if event.get("error") else {"error": event})
    if kind.endswith(".partial_image"):
        index = event.get("partial_image_index")
        partial(decode_picture(event.get("b64_json")), index if isinstance(index, int) else 0)
    return [decode_picture(event.get("b64_json"))] if kind.endswith(".completed") else []


def _event(line: str) -> dict[str, Any]:
    """Return the event of a line; empty for lines that have none."""
    data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
    if not data or data == "[DONE]":
        return {}
    event = _parsed(data)
    return event if isinstance(event, dict) else {}


def _parsed(text: str) -> Any:
    try:
        return answers.parse(text.encode())
    except answers.NotAnAnswer:
        raise OutcomeUnknown(reason="not_json") from None
