"""What the direct providers share: pictures inside JSON, inlined reference images, and one request per picture."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

from aiservices.generations.providers.base import Output, Progress, ProviderResult
from gateway_client.errors import UpstreamError
from gateway_client.fetch import IMAGE_TYPES, load_reference_image
from gateway_client.results import decode
from gateway_client.transport import Deadline


def decode_picture(data: Any) -> Output:
    """Return a picture in base64. Raises OutcomeUnknown for what is none: a picture may exist that we did not get."""
    picture, content_type = decode(data, IMAGE_TYPES)
    return Output(data=picture, content_type=content_type)


def one_by_one(quantity: int, make: Callable[[], tuple[Output, ...]], progress: Progress) -> ProviderResult:
    """`quantity` pictures from an upstream that makes one per request.

    When a later request fails, what is there is delivered, with the flag `fewer_than_asked`, and `part_unknown` where
    the failed request may have made something after all.
    """
    outputs: list[Output] = []
    flags: tuple[str, ...] = ()
    while len(outputs) < quantity:
        try:
            outputs.extend(make())
        except UpstreamError as error:
            if not outputs:
                raise
            flags = ("fewer_than_asked", "part_unknown") if error.is_unknown else ("fewer_than_asked",)
            break
        progress(min(99, 100 * len(outputs) // quantity))
    return ProviderResult(tuple(outputs[:quantity]), flags=flags)


def inlined(references: Sequence[str], deadline: Deadline) -> list[str]:
    """Return the reference images as data URIs, fetched where they are URLs: for services that read nothing else.

    Raises ReferenceImageUnusable.
    """
    images = [load_reference_image(reference, deadline=deadline) for reference in references]
    return [f"data:{image.content_type};base64,{base64.b64encode(image.data).decode()}" for image in images]
