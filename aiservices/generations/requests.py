"""What a caller asks for, made complete: who asks, which model, and every default that has a price."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils.translation import gettext as _

from aiservices.generations.models import Generation
from billing.catalog import pricing
from billing.catalog.current import Catalog
from billing.catalog.models import AIModel
from billing.catalog.usage import UsageRequest, fingerprint
from billing.errors import ModelNotEnabled, PriceNotConfigured
from gateway_client import addresses
from gateway_client.addresses import Forbidden
from gateway_client.errors import ReferenceImageUnusable
from gateway_client.fetch import is_data_uri, parse_data_uri
from tenants.principal import Principal
from waule.core.db import connection_pool
from waule.core.errors import InvalidRequest, UnsupportedParameter

MODEL_TYPES = {
    Generation.Type.IMAGE: (AIModel.Type.IMAGE_GENERATION,),
    Generation.Type.VIDEO: (AIModel.Type.VIDEO_GENERATION, AIModel.Type.VIDEO_EDITING),
}
MAX_REFERENCE_IMAGES = 10
FALLBACKS = {Generation.Type.IMAGE: pricing.read_size("1:1"), Generation.Type.VIDEO: pricing.read_size("16:9")}
NAMES_SECONDS = 5.0  # to look up the hosts of all reference images of a request


def generations_of(caller: Principal) -> Q:
    """Return which generations are this caller's."""
    return Q(**caller.columns, mode=caller.mode) if caller.kind == "tenant" else Q(**caller.columns)


def check_key_allows(caller: Principal, model: AIModel) -> None:
    """Raise ModelNotEnabled where the list of the caller's key leaves the model out."""
    if caller.allowed_models and not {str(model.id), model.model_id} & set(caller.allowed_models):
        raise ModelNotEnabled(_("This API key may not use the model."))


@dataclass(frozen=True)
class GenerationRequest:
    """One request. `duration` in seconds; `mode` is what DURATION_MODE and OPERATION_MODE rules price."""

    type: Generation.Type
    model: str  # our id or the provider's name
    prompt: str
    ratio: pricing.Size = pricing.NO_SIZE
    resolution: pricing.Size = pricing.NO_SIZE
    quantity: int = 1
    duration: Decimal | None = None
    generation_type: str = ""
    mode: str = ""
    reference_images: tuple[str, ...] = ()
    mask: str = ""  # an image as the reference images are; what is transparent in it is to be painted
    parameters: Mapping[str, Any] = field(default_factory=dict)  # by the names of `providers.parameters`
    fallback_duration: Decimal | None = None  # where neither the caller nor the model's options say
    fallback_resolution: pricing.Size = pricing.NO_SIZE
    size: pricing.SoldSize = pricing.SoldSize()  # noqa: RUF009  (frozen)
    variant: str = ""  # the provider's name of the model that makes this very use, where it is not the model's own
    field_names: dict[str, str] = field(default_factory=dict)  # what the caller's endpoint calls ours, where it differs
    webhook_url: str = ""  # notified of the job's end, instead of the key's webhook
    webhook_secret: str = field(default="", repr=False)  # signs that, instead of the key's

    def with_defaults(self, options: Mapping[str, Any]) -> "GenerationRequest":
        """With what the caller left out as the model's options say: what is priced is what is sent.

        `defaultDuration`, `defaultMode`, `defaultGenerationType`; a video takes the first of `durations` where there is no
        such default. For the size see `in_sold_size`.
        """
        duration = None
        if self.type == Generation.Type.VIDEO:
            duration = pricing.seconds_of(options.get("defaultDuration")) or pricing.seconds_of(_first(options.get("durations")))
        return replace(
            self,
            duration=self.duration or duration or self.fallback_duration,
            mode=self.mode or pricing.text_of(options.get("defaultMode")),
            generation_type=self.generation_type or pricing.text_of(options.get("defaultGenerationType")),
        )

    def in_sold_size(self, model: AIModel, catalog: Catalog, interface: pricing.SizeInterface) -> "GenerationRequest":
        """With the size that the model sells it in, and the variant of the model that makes it.

        Raises:
            UnknownDimension: not sold in that size. InvalidRequest: not made in that shape, or no variant makes it.
        """
        is_video = self.type == Generation.Type.VIDEO
        fallback = self.fallback_resolution if self.fallback_resolution.names_tier else FALLBACKS[self.type]
        size = pricing.sell(
            self.resolution.in_shape_of(self.ratio),
            rule=rule_of(model, catalog),
            options=model.options,
            interface=interface,
            is_video=is_video,
            fallback=fallback,
        )
        return replace(self, size=size, variant=pricing.variant_of(model.options, size, self.duration))

    def use(self, model: AIModel, generation_id: UUID) -> UsageRequest:
        """Return what it is priced by."""
        return UsageRequest(
            model=str(model.id),
            operation=f"{self.type}_generation",
            quantity=self.quantity,
            duration=self.duration,
            resolution=self.size.tier,
            mode=self.mode,
            operation_type=self.generation_type,
            metadata={"generationId": str(generation_id)},
        )

    def fingerprint(self, model: AIModel) -> str:
        """Equal for equal requests, whichever of the model's names was used."""
        no_secret = {"webhook_secret": ""}  # of a few characters it could be guessed from the rest
        given = self.__dict__ | {"model": str(model.id), "type": str(self.type)} | no_secret
        given["resolution"] = self._named_resolution(model.options)
        del given["size"], given["variant"], given["field_names"]  # the catalog's, not the caller's
        for name in ("mask", "parameters"):  # younger than many rows: left out they change no fingerprint
            if not given[name]:
                del given[name]
        return fingerprint(given)

    def _named_resolution(self, options: Mapping[str, Any]) -> str:
        """Return the resolution as earlier versions filled it in, so that their fingerprints stay."""
        default = pricing.text_of(options.get("defaultResolution"))
        if self.type == Generation.Type.VIDEO:
            default = default or pricing.text_of(_first(options.get("resolutions")))
        return self.resolution.text or default or self.fallback_resolution.text

    def kept(self) -> dict[str, Any]:
        """Return how it is kept in the row; reference images that came as data are only mentioned."""
        given = {
            **self.size.kept(),
            "variant": self.variant,
            "quantity": self.quantity,
            "duration": str(self.duration) if self.duration is not None else None,
            "generationType": self.generation_type,
            "mode": self.mode,
            "referenceImages": [f"{image[:30]}…" if is_data_uri(image) else image for image in self.reference_images],
            "mask": f"{self.mask[:30]}…" if is_data_uri(self.mask) else self.mask,
            "parameters": dict(self.parameters),
        }
        return {name: value for name, value in given.items() if value not in ("", None, [], {})}


def rule_of(model: AIModel, catalog: Catalog) -> pricing.Rule | None:
    """Return the model's own price; None where it has none, or one that is switched off: callers get that as an error."""
    try:
        return catalog.rule_for(model=catalog.models.get(model.id), node_type="", module_type="")
    except PriceNotConfigured:
        return None


def find_model(request: GenerationRequest, catalog: Catalog, *, field: str) -> AIModel:
    """Return the model of `catalog` that the request names, of the type it needs; `field` is what the caller calls it.

    Raises:
        ModelNotFound. InvalidRequest: two models share the name, or this one makes something else.
    """
    wanted = MODEL_TYPES[request.type]
    fitting = [model for model in catalog.named(request.model) if model.type in wanted]
    if not fitting:
        what = _("images") if request.type == Generation.Type.IMAGE else _("videos")
        raise InvalidRequest.of_field(field, _("This model makes no %(what)s.") % {"what": what})
    model = fitting[0] if len(fitting) == 1 else catalog.model(request.model)
    return catalog.row_of(model)


def check_reference_images(images: tuple[str, ...], *, field: str) -> None:
    """Form and address of each; nothing is fetched. A name that is not known is refused as one that is not public.

    Raises:
        InvalidRequest.
    """
    connection_pool.release_connection()  # asking for names may take a while
    deadline = time.monotonic() + NAMES_SECONDS
    for number, image in enumerate(images):
        try:
            if is_data_uri(image):
                parse_data_uri(image)
            else:
                addresses.rules().check(image, seconds=max(0.1, deadline - time.monotonic()))
        except (ReferenceImageUnusable, Forbidden) as error:
            why = error.details["reason"] if isinstance(error, ReferenceImageUnusable) else error
            text = _("This reference image cannot be used: %(why)s") % {"why": _(str(why))}
            raise InvalidRequest.of_field(f"{field}.{number}", text) from None


def check_number_of_images(request: GenerationRequest, model: AIModel, *, field: str) -> None:
    """Raise InvalidRequest where the model takes fewer reference images than there are, UnsupportedParameter for none."""
    limit = model.options.get("maxReferenceImages")
    if type(limit) is int and len(request.reference_images) > limit:
        if limit == 0:
            raise UnsupportedParameter(field, message=_("This model takes no reference images."))
        raise InvalidRequest.of_field(field, _("This model takes at most %(limit)s reference images.") % {"limit": limit})


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else None
