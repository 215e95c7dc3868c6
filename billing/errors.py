"""Why a use is refused or cannot be priced."""

from django.utils.translation import gettext_lazy as _

from waule.core.errors import InvalidState, NotFound, RateLimited, WauleError


class InsufficientCredits(WauleError):
    """402: `details.required` is more than `details.available`."""

    code = "insufficient_credits"
    http_status = 402
    message = _("Not enough credits.")

    def __init__(self, *, required: int, available: int) -> None:
        super().__init__(
            _("Not enough credits: %(required)s needed, %(available)s available.")
            % {"required": required, "available": available},
            required=required,
            available=available,
        )


class TargetNotFound(NotFound):
    code = "target_not_found"
    message = _("There is no such user or tenant.")


class ModelNotFound(NotFound):
    code = "model_not_found"
    message = _("There is no such model.")


class _Refused(WauleError):
    http_status = 403


class TenantInactive(_Refused):
    code = "tenant_inactive"
    message = _("This tenant is switched off.")


class UserInactive(_Refused):
    code = "user_inactive"
    message = _("This user is switched off.")


class ModelDisabled(_Refused):
    code = "model_disabled"
    message = _("This model is switched off.")


class ModelNotEnabled(_Refused):
    code = "model_not_enabled"
    message = _("This model is not enabled for the tenant.")


class PermissionRefused(_Refused):
    code = "permission_denied"
    message = _("This level may not use the model.")


class DailyLimit(RateLimited):
    code = "daily_limit"
    message = _("The daily limit is reached.")


class ConcurrencyLimit(RateLimited):
    code = "concurrency_limit"
    message = _("Too many generations at once. Wait for one to finish.")


class PricingError(WauleError):
    """422: the use cannot be priced; never 0 credits."""

    http_status = 422


class PriceNotConfigured(PricingError):
    code = "price_not_configured"
    message = _("This use has no price.")


class MissingDimension(PricingError):
    """The rule needs a value (`details.dimension`) that the caller left out."""

    code = "missing_dimension"
    message = _("The price depends on a value that is missing.")


class UnknownDimension(PricingError):
    """No price covers the value (`details.dimension`, `details.value`)."""

    code = "unknown_dimension"
    message = _("No price covers this value.")


class DurationOutOfRange(PricingError):
    code = "duration_out_of_range"
    message = _("This duration is longer than the longest one for sale.")


class RefundExceedsCharge(WauleError):
    code = "refund_exceeds_charge"
    http_status = 409
    message = _("More than is left of the charge cannot be refunded.")


class HoldEnded(InvalidState):
    """409: the hold has ended in another way (`details.state`)."""

    message = _("The hold has already ended in another way.")


class ChargeMismatch(WauleError):
    """422: a charge with a generation's key names another model or target than the generation."""

    code = "idempotency_key_reused"
    http_status = 422
    message = _("This key belongs to a generation of another model or target.")
