"""What an upstream's answer, or its silence, means. A closed family: whatever fits no other is `OutcomeUnknown` or a refusal.

The table it follows is in docs/adr/0005-what-an-upstream-failure-means.md. The question each class answers is: may work
have been done for us? Only `OutcomeUnknown` says "perhaps", and only then are held credits kept.
"""

from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _

from waule.errors import WauleError


class UpstreamError(WauleError):
    """502: the upstream failed or refused, and certainly made nothing. `details.reason` is a word, or its sentence.

    `upstream_status` and `upstream_body` are what it answered, for the code that asked; they are told to no caller.
    """

    code = "upstream_error"
    http_status = 502
    message = _("The AI service failed.")
    is_unknown: ClassVar[bool] = False  # work may exist: keep the hold
    may_try_again: ClassVar[bool] = False  # certainly not accepted: the same key may be sent again
    blames_credential: ClassVar[bool] = False  # the credential's own fault: try the next one
    upstream_status: int | None = None
    upstream_body: Any = None


class NotAccepted(UpstreamError):
    """The request never arrived: name not found, connection refused, TLS failure."""

    code = "upstream_error"
    may_try_again = True
    message = _("The AI service cannot be reached.")


class UpstreamRefused(UpstreamError):
    """400, 404, 413, 415, 422: the request itself was refused."""

    code = "upstream_refused"
    message = _("The AI service refused the request.")


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
    """429: not accepted, come back later (`retry_after_seconds`, where the upstream said)."""

    code = "rate_limited"
    http_status = 429
    may_try_again = True
    message = _("The AI service is at its limit. Try again later.")


class QuotaExhausted(UpstreamRateLimited):
    """429 for the day, the plan or the balance of this credential."""

    blames_credential = True


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

    message = _("The result was made, but could not be fetched. The outcome is being clarified.")


class OutcomeTimedOut(OutcomeUnknown):
    """The same after a timeout: 504."""

    code = "upstream_timeout"
    http_status = 504
    message = _("The AI service did not answer in time. The outcome is being clarified.")
