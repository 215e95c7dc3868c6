"""What a caller asks for, made complete: who asks, which model, and every default that has a price."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal
from uuid import UUID

from django.db.models import Q
from django.utils.translation import gettext as _

from aiservices.models import AIModel, Generation
from billing.catalog import current_catalog
from billing.uses import Target, UseRequest, fingerprint
from gateway_client import addresses
from gateway_client.addresses import Forbidden
from gateway_client.errors import ReferenceImageUnusable
from gateway_client.fetch import is_data_uri, parse_data_uri
from storage.places import Owner
from tenants.models import Mode
from waule import connection_pool
from waule.errors import InvalidRequest

MODEL_TYPES = {
    Generation.Type.IMAGE: (AIModel.Type.IMAGE_GENERATION,),
    Generation.Type.VIDEO: (AIModel.Type.VIDEO_GENERATION, AIModel.Type.VIDEO_EDITING),
}
MAX_DURATION_SECONDS = 86_400
MAX_REFERENCE_IMAGES = 10
NAMES_SECONDS = 5.0  # to look up the hosts of all reference images of a request


@dataclass(frozen=True)
class Caller:
    """Who asks: a user of the platform, or a tenant by one of its keys."""

    kind: Literal["user", "tenant"]
    id: UUID
    mode: str = Mode.LIVE
    api_key_id: UUID | None = None
    request_id: str = ""

    @property
    def target(self) -> Target:
        return Target(self.kind, str(self.id), self.mode, self.api_key_id)

    @property
    def owner(self) -> Owner:
        return Owner(tenant_id=str(self.id)) if self.kind == "tenant" else Owner(user_id=str(self.id))

    @property
    def actor(self) -> str:
        """As the ledger will tell it."""
        return f"key:{self.api_key_id}" if self.api_key_id else f"user:{self.id}"

    @property
    def own(self) -> Q:
        """Which generations are this caller's."""
        return Q(tenant_id=self.id, mode=self.mode) if self.kind == "tenant" else Q(user_id=self.id)

    def columns(self) -> dict[str, Any]:
        """The owner's columns of a new generation."""
        owner = {"tenant_id": self.id} if self.kind == "tenant" else {"user_id": self.id}
        return owner | {"mode": self.mode, "api_key_id": self.api_key_id, "request_id": self.request_id}


def target_of(generation: Generation) -> Target:
    """Whose account a generation is paid from."""
    if generation.tenant_id:
        return Target("tenant", str(generation.tenant_id), generation.mode)
    return Target("user", str(generation.user_id))


def owner_of(generation: Generation) -> Owner:
    return Owner(tenant_id=str(generation.tenant_id)) if generation.tenant_id else Owner(user_id=str(generation.user_id))


@dataclass(frozen=True)
class Wish:
    """One request. `duration` in seconds; `mode` is what DURATION_MODE and OPERATION_MODE rules price."""

    type: Generation.Type
    model: str  # our id or the provider's name
    prompt: str
    ratio: str = ""
    resolution: str = ""
    quantity: int = 1
    duration: Decimal | None = None
    generation_type: str = ""
    mode: str = ""
    reference_images: tuple[str, ...] = ()
    fallback_duration: Decimal | None = None  # where neither the caller nor the model's options say
    fallback_resolution: str = ""
    webhook_url: str = ""  # told of the job's end, instead of the key's webhook
    webhook_secret: str = field(default="", repr=False)  # signs that, instead of the key's

    def with_defaults(self, options: Mapping[str, Any]) -> "Wish":
        """With what the caller left out as the model's options say: what is priced is what is sent.

        `defaultResolution`, `defaultDuration`, `defaultMode`, `defaultGenerationType`; a video takes the first of
        `resolutions` and `durations` where there is no such default. (An image without a resolution has a price of its
        own.) A ratio is never taken for a resolution.
        """
        resolution, duration = _text(options.get("defaultResolution")), None
        if self.type == Generation.Type.VIDEO:
            resolution = resolution or _text(_first(options.get("resolutions")))
            duration = _seconds(options.get("defaultDuration")) or _seconds(_first(options.get("durations")))
        return replace(
            self,
            resolution=self.resolution or resolution or self.fallback_resolution,
            duration=self.duration or duration or self.fallback_duration,
            mode=self.mode or _text(options.get("defaultMode")),
            generation_type=self.generation_type or _text(options.get("defaultGenerationType")),
        )

    def use(self, model: AIModel, generation_id: UUID) -> UseRequest:
        """What it is priced by."""
        return UseRequest(
            model=str(model.id),
            operation=f"{self.type}_generation",
            quantity=self.quantity,
            duration=self.duration,
            resolution=self.resolution,
            mode=self.mode,
            operation_type=self.generation_type,
            metadata={"generationId": str(generation_id)},
        )

    def fingerprint(self, model: AIModel) -> str:
        """Equal for equal requests, whichever of the model's names was used."""
        no_secret = {"webhook_secret": ""}  # of a few characters it could be guessed from the rest
        return fingerprint(self.__dict__ | {"model": str(model.id), "type": str(self.type)} | no_secret)

    def parameters(self) -> dict[str, Any]:
        """How it is kept in the row; reference images that came as data are only mentioned."""
        given = {
            "ratio": self.ratio,
            "resolution": self.resolution,
            "quantity": self.quantity,
            "duration": str(self.duration) if self.duration is not None else None,
            "generationType": self.generation_type,
            "mode": self.mode,
            "referenceImages": [f"{image[:30]}…" if is_data_uri(image) else image for image in self.reference_images],
        }
        return {name: value for name, value in given.items() if value not in ("", None, [])}


def find_model(wish: Wish, *, field: str) -> AIModel:
    """The model that the wish names, of the type it needs; `field` is what the caller calls it.

    Raises:
        ModelNotFound. InvalidRequest: two models share the name, or this one makes something else.
    """
    catalog = current_catalog()
    wanted = MODEL_TYPES[wish.type]
    fitting = [model for model in catalog.named(wish.model) if model.type in wanted]
    if not fitting:
        what = _("images") if wish.type == Generation.Type.IMAGE else _("videos")
        raise InvalidRequest.of_field(field, _("This model makes no %(what)s.") % {"what": what})
    model = fitting[0] if len(fitting) == 1 else catalog.model(wish.model)
    return AIModel.objects.get(id=model.id)


def check_reference_images(images: tuple[str, ...], *, field: str) -> None:
    """Form and address of each; nothing is fetched. A name that is not known here may be known where it is fetched.

    Raises:
        InvalidRequest.
    """
    connection_pool.give_back()  # asking for names may take a while
    deadline = time.monotonic() + NAMES_SECONDS
    for number, image in enumerate(images):
        try:
            if is_data_uri(image):
                parse_data_uri(image)
            else:
                addresses.rules().check(image, seconds=max(0.1, deadline - time.monotonic()))
        except (ReferenceImageUnusable, Forbidden) as error:
            why = error.details["reason"] if isinstance(error, ReferenceImageUnusable) else error
            text = _("This reference image cannot be used: %(why)s") % {"why": why}
            raise InvalidRequest.of_field(f"{field}.{number}", text) from None
        except OSError:
            continue


def check_number_of_images(wish: Wish, model: AIModel, *, field: str) -> None:
    """Raises InvalidRequest where the model takes fewer reference images than there are."""
    limit = model.options.get("maxReferenceImages")
    if type(limit) is int and len(wish.reference_images) > limit:
        raise InvalidRequest.of_field(field, _("This model takes at most %(limit)s reference images.") % {"limit": limit})


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else None


def _text(value: Any) -> str:
    return value[:64] if isinstance(value, str) else ""


def _seconds(value: Any) -> Decimal | None:
    """A number of seconds in a model's options, as a number or as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return seconds if seconds.is_finite() and 0 < seconds <= MAX_DURATION_SECONDS else None
