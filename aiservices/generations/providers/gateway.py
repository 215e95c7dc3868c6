"""Gateway mode: everything is made by `wauleapi`, whoever the model's provider is."""

from aiservices.generations.providers import parameters
from aiservices.generations.providers.base import Job, Output, Progress, ProviderResult
from aiservices.generations.providers.media import inlined
from billing.catalog.models import AIModel
from billing.catalog.pricing import SizeInterface, interface_of
from gateway_client.transport import Deadline
from gateway_client.upstreams import gateway
from gateway_client.upstreams.gateway import Made
from waule.core.errors import UnsupportedParameter

PIXEL_STEP = 16  # what every provider behind a gateway takes


class Gateway:
    """See `aiservices.generations.providers.base.Provider`. The gateway cannot be asked what became of a request."""

    def check(self, job: Job) -> None:
        parameters.check(job.parameters, {}, job.options)
        if job.mask:
            raise UnsupportedParameter("mask")

    def generate_image(self, job: Job, *, progress: Progress) -> ProviderResult:
        if job.gateway_endpoint == AIModel.Endpoint.SORA_CHAT:
            return _result(_by_chat(job))
        size, tier = image_size(job)
        return _result(
            gateway.generate_image(
                model=job.model_id,
                prompt=job.prompt,
                headers=_headers(job),
                size=size,
                image_size=tier,
                quantity=job.quantity,
                reference_images=job.reference_images,
            )
        )

    def generate_video(self, job: Job, *, progress: Progress) -> ProviderResult:
        if job.gateway_endpoint == AIModel.Endpoint.SORA_CHAT:
            return _result(_by_chat(job))
        ratio, tier = video_size(job)
        return _result(
            gateway.generate_video(
                model=job.model_id,
                prompt=job.prompt,
                headers=_headers(job),
                aspect_ratio=ratio,
                resolution=tier,
                duration=job.duration,
                generation_type=job.generation_type,
                reference_images=job.reference_images,
            )
        )

    def find(self, job: Job) -> ProviderResult | None:
        return None


def image_size(job: Job) -> tuple[str, str]:
    """`size` and `image_size` in the gateway's words: the shape and the tier; or pixels, where it wants them instead."""
    interface = _interface(job, is_video=False)
    if interface.tiers is None:
        pixels = job.size.image_pixels(step=PIXEL_STEP)
        return (f"{pixels[0]}x{pixels[1]}" if pixels else ""), ""
    return interface.ratio_of(job.size), interface.name_of(job.size.tier)


def video_size(job: Job) -> tuple[str, str]:
    """`aspect_ratio` and `resolution` in the gateway's words."""
    interface = _interface(job, is_video=True)
    return interface.ratio_of(job.size), interface.name_of(job.size.tier)


def _interface(job: Job, *, is_video: bool) -> SizeInterface:
    return interface_of("gateway", is_video=is_video, gateway_endpoint=job.gateway_endpoint, options=job.options)


def _by_chat(job: Job) -> Made:
    deadline = Deadline()
    return gateway.generate_by_chat(
        model=job.model_id,
        prompt=job.prompt,
        headers=_headers(job),
        quantity=job.quantity,
        reference_images=inlined(job.reference_images, deadline),
        deadline=deadline,
    )


def _headers(job: Job) -> dict[str, str]:
    return gateway.headers_for(
        user_id=job.user_id, tenant_id=job.tenant_id, idempotency_key=job.generation_id, request_id=job.request_id
    )


def _result(made: Made) -> ProviderResult:
    outputs = tuple(
        Output(
            url=medium.url,
            is_from_own_address=medium.is_from_own_address,
            data=medium.data,
            content_type=medium.content_type,
            duration=medium.duration,
            revised_prompt=medium.revised_prompt,
        )
        for medium in made.media
    )
    return ProviderResult(outputs, credits_charged=made.credits_charged, flags=made.flags)
