"""What the tests of every provider share."""

import base64
from typing import Any

from aiservices.generations.providers.base import Job
from billing.catalog.pricing import SoldSize, read_size


def job(**fields: Any) -> Job:
    """A job with the least that every job has; `resolution` and `ratio` are what is sold."""
    if "resolution" in fields or "ratio" in fields:
        tier = read_size(fields.pop("resolution", ""))
        fields["size"] = SoldSize(tier, fields.pop("ratio", ""), tier.pixels)
    return Job(
        **(
            {
                "generation_id": "0198c0de-0000-7000-8000-000000000001",
                "request_id": "request-1",
                "model_id": "model-1",
                "prompt": "a cat",
            }
            | fields
        )
    )


class Heard(list[int]):
    """A progress callback that remembers what it was told."""

    def __call__(self, percent: int) -> None:
        self.append(percent)


def pictures(*pictures: bytes, **candidate: Any) -> dict[str, Any]:
    """Gemini's answer with these pictures."""
    parts = [{"text": "Here:"}]
    parts += [{"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}} for data in pictures]
    return {"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"} | candidate]}
