"""What an upstream's answer, or its silence, means. A closed family: whatever fits no other is `OutcomeUnknown` or a rejection.

The table it follows is in docs/adr/0005-what-an-upstream-failure-means.md. The question each class answers is: may work
have been done for us? Only `OutcomeUnknown` says "perhaps", and only then are held credits kept.
"""

from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _

from waule.core.errors import WauleError


class UpstreamError(WauleError):
    """502: the upstream failed or refused, and certainly made nothing. `details.reason` is a word, or its sentence.

    `upstream_status` and `upstream_body` are what it answered, for the code that asked; no caller sees them.
    """

    code = "upstream_error"
    http_status = 502
    message = _("The AI service failed.")
    is_unknown: ClassVar[bool] = False  # work may exist: keep the hold
    may_try_again: ClassVar[bool] = False  # certainly not accepted: the same key may be sent again
    blames_credential: ClassVar[bool] = False  # the credential's own fault: try the next one
    flags: ClassVar[tuple[str, ...]] = ()  # what the generation's row says of it, for the operator
    upstream_status: int | None = None
    upstream_body: Any = None
    redirected_to: str = ""  # where a 3xx leads; nobody follows it by itself


class NotAccepted(UpstreamError):
    """The request never arrived: name not found, connection refused, TLS failure."""

    code = "upstream_error"
    may_try_again = True
    message = _("The AI service cannot be reached.")


class UpstreamRefused(UpstreamError):
    """400, 404, 413, 415, 422: the request itself was refused."""

    code = "upstream_refused"
    message = _("The AI service refused the request.")


class ModelGone(UpstreamRefused):
    """The upstream does not know the model, or knows it no longer. The credential is not to blame."""

    message = _("The AI service does not know this model.")


class ReferenceImageUnusable(UpstreamRefused):
    """400: a reference image that the caller named cannot be had, or is no image. Nothing was sent upstream."""

    code = "invalid_request"
    http_status = 400
    message = _("A reference image cannot be used.")


class CredentialRefused(UpstreamError):
    """401, 403: our credential was refused."""

    code = "upstream_error"
    blames_credential = True
    message = _("The AI service refused our credential.")


class UpstreamRateLimited(UpstreamError):
    """429: not accepted, come back later (`retry_after_seconds`, where the upstream said).

    `is_of_model`: the limit is one model's alone; the same credential may serve others.
    """

    is_of_model = False

    code = "rate_limited"
    http_status = 429
    may_try_again = True
    message = _("The AI service is at its limit. Try again later.")


class QuotaExhausted(UpstreamRateLimited):
    """The day, the plan or the balance of this credential is used up: 402, or a word that says so with any status."""

    blames_credential = True


class UpstreamFailed(UpstreamError):
    """5xx in the upstream's own error shape: it has finished and made nothing. The credential is not to blame."""

    flags = ("upstream_5xx",)


class ServiceBusy(UpstreamFailed):
    """The same where the upstream was merely overloaded (503, 529): another credential may be served."""

    message = _("The AI service is overloaded. Try again later.")


class ModelGoneThere(UpstreamFailed, ModelGone):
    """A model that is not known, answered with a 5xx: as the Sora service does, and the gateways before it."""

    code = UpstreamError.code
    message = ModelGone.message


class ContentRefused(UpstreamError):
    """The content filter refused the prompt or its result. Nobody's credential is to blame."""

    code = "content_refused"
    message = _("The AI service refused the content. Change the prompt.")


class NothingMade(UpstreamError):
    """200 without any result, or a redirect: a protocol error, and nothing was made."""

    code = "upstream_error"
    message = _("The AI service answered without a result.")


class Unusable(NothingMade):
    """A result that we must not fetch: its URL is not http(s), leads to a forbidden address, or redirects."""

    message = _("The AI service answered with a result that cannot be used.")


class OutcomeUnknown(UpstreamError):
    """Sent, and then no usable answer: work may have been done. Never guessed at."""

    code = "upstream_error"
    is_unknown = True
    message = _("The AI service was asked, but its answer never arrived. The outcome is being clarified.")


class NotFetched(OutcomeUnknown):
    """A result exists, but we could not get it: 404, a timeout, over the cap, or no picture or video at all."""

    flags = ("not_fetched",)
    message = _("The result was made, but could not be fetched. The outcome is being clarified.")


class OutcomeTimedOut(OutcomeUnknown):
    """The same after a timeout: 504."""

    code = "upstream_timeout"
    http_status = 504
    message = _("The AI service did not answer in time. The outcome is being clarified.")
