"""What the tests of every provider share."""

from typing import Any

from aiservices.providers.base import Job


def job(**fields: Any) -> Job:
    """A job with the least that every job has."""
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
