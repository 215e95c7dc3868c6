"""Gateway mode: everything is made by `wauleapi`, whoever the model's provider is."""

from aiservices.models import AIModel
from aiservices.providers.base import Job, Outcome, Output, Progress
from gateway_client import gateway
from gateway_client.gateway import Caller, Made


class Gateway:
    """See `aiservices.providers.base.Provider`. The gateway cannot be asked what became of a request."""

    def generate_image(self, job: Job, *, progress: Progress) -> Outcome:
        if job.gateway_endpoint == AIModel.Endpoint.SORA_CHAT:
            return _outcome(_by_chat(job))
        return _outcome(
            gateway.generate_image(
                model=job.model_id,
                prompt=job.prompt,
                caller=_caller(job),
                ratio=job.ratio,
                resolution=job.resolution,
                quantity=job.quantity,
                reference_images=job.reference_images,
            )
        )

    def generate_video(self, job: Job, *, progress: Progress) -> Outcome:
        if job.gateway_endpoint == AIModel.Endpoint.SORA_CHAT:
            return _outcome(_by_chat(job))
        return _outcome(
            gateway.generate_video(
                model=job.model_id,
                prompt=job.prompt,
                caller=_caller(job),
                ratio=job.ratio,
                resolution=job.resolution,
                duration=job.duration,
                generation_type=job.generation_type,
                reference_images=job.reference_images,
            )
        )

    def find(self, job: Job) -> Outcome | None:
        return None


def _by_chat(job: Job) -> Made:
    return gateway.generate_by_chat(
        model=job.model_id,
        prompt=job.prompt,
        caller=_caller(job),
        quantity=job.quantity,
        reference_images=job.reference_images,
    )


def _caller(job: Job) -> Caller:
    return Caller(job.user_id, job.tenant_id, job.generation_id, job.request_id)


def _outcome(made: Made) -> Outcome:
    outputs = tuple(
        Output(url=medium.url, duration=medium.duration, revised_prompt=medium.revised_prompt) for medium in made.media
    )
    return Outcome(outputs, credits_charged=made.credits_charged, flags=made.flags)
