"""Why a code is not redeemed."""

from django.utils.translation import gettext_lazy as _

from waule.core.errors import NotFound, RateLimited, WauleError


class CodeUnknown(NotFound):
    code = "code_unknown"
    message = _("There is no such code.")


class CodeUsed(WauleError):
    code = "code_used"
    http_status = 409
    message = _("This code has been used.")


class CodeExpired(WauleError):
    code = "code_expired"
    http_status = 410
    message = _("This code has expired.")


class TooManyWrongCodes(RateLimited):
    message = _("Too many wrong codes. Try again later.")
