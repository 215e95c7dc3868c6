"""What every provider looks like from inside: one small interface, whoever makes the picture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from billing.catalog.pricing import SoldSize


def forget(_upstream_id: str) -> None:
    """For a job whose upstream id nobody keeps."""


@dataclass(frozen=True)
class Job:
    """One request to a provider, with every default already filled in (what is priced is what is sent)."""

    generation_id: str  # also the idempotency key upstream
    request_id: str
    model_id: str  # the provider's name of the model
    prompt: str
    is_video: bool = False
    size: SoldSize = SoldSize()  # noqa: RUF009  (frozen)
    quantity: int = 1
    duration: Decimal | None = None  # seconds, videos only
    generation_type: str = ""
    reference_images: tuple[str, ...] = ()  # checked http(s) URLs or data URIs
    user_id: str = ""
    tenant_id: str = ""
    gateway_endpoint: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)  # by the names of `providers.parameters`
    mask: str = ""  # of an edit: as a reference image; what is transparent in it is to be painted
    partial_images: int = 0  # how many drafts of an image are wanted while it is made
    partial: Callable[["Output", int], None] | None = None  # called with each draft and its number, from 0
    upstream_id: str = ""  # the provider's own id, once it is known
    accepted: Callable[[str], None] = forget  # called with that id as soon as the provider tells it: store it for `find`


@dataclass(frozen=True)
class Output:
    """One result: a URL still to be fetched, or bytes that are here already (in memory, or in a file we may take)."""

    url: str = ""
    is_from_own_address: bool = False  # the provider's own, which an operator configured
    data: bytes = b""
    path: Path | None = None
    content_type: str = ""
    duration: Decimal | None = None
    revised_prompt: str = ""


@dataclass(frozen=True)
class ProviderResult:
    """What a provider made. `flags` names what an operator should look at (`odd_credits`, `unusable_url`, …)."""

    outputs: tuple[Output, ...]
    upstream_id: str = ""
    credits_charged: int | None = None  # what the gateway says it took, where it says something sane
    flags: tuple[str, ...] = ()


Progress = Callable[[int], None]  # percent, 0 to 100; may raise to stop the work


class Provider(Protocol):
    """Makes images and videos.

    Raises (both verbs): a `gateway_client.errors.UpstreamError`; `waule.core.errors.NotConfigured` where a setting or every
    credential is missing; `aiservices.errors.CredentialsExhausted` where all of them are busy or cooling.
    """

    def check(self, job: Job) -> None:
        """Reject what this provider cannot be asked for, before anything is held. Asks nobody, and reads no database.

        Raises:
            UnsupportedParameter: a parameter, or the mask. InvalidRequest: a combination that this model does not make.
        """
        ...

    def generate_image(self, job: Job, *, progress: Progress) -> ProviderResult: ...

    def generate_video(self, job: Job, *, progress: Progress) -> ProviderResult: ...

    def find(self, job: Job) -> ProviderResult | None:
        """Return what became of this job, asked by its key; None where this provider cannot be asked or has not finished."""
        ...
