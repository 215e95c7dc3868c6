"""Time-based one-time passwords (TOTP) for staff: whether one is missing, how one is set up, and how one is checked."""

from io import BytesIO
from typing import Any
from urllib.parse import quote

import django_otp
import qrcode
import qrcode.image.svg
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from tenants import audit
from tenants.authenticator import TOLERANCE_STEPS, AuthenticatorDevice, new_key
from tenants.models import User
from waule.core.db.transactions import durable

CANDIDATE = "second_factor_candidate"  # in the session: the key that is offered, until a code proves that it was taken over


def devices_of(request: HttpRequest) -> list[AuthenticatorDevice]:
    return list(AuthenticatorDevice.objects.filter(user_id=request.user.pk, confirmed=True))


def is_set_up(user: User) -> bool:
    return AuthenticatorDevice.objects.filter(user_id=user.pk, confirmed=True).exists()


def is_passed(request: HttpRequest) -> bool:
    """Return whether this session has proved a second factor."""
    user: Any = request.user  # with what django-otp's middleware has added
    return bool(user.is_verified())


def missing_page(request: HttpRequest) -> str:
    """Return the URL name of the page on which this reader still has to prove or set up a second factor; "" if none."""
    if is_passed(request):
        return ""
    if devices_of(request):
        return "admin:second_factor"
    return "admin:second_factor_setup" if settings.ADMIN_REQUIRE_SECOND_FACTOR else ""


def is_missing_for_api(user: Any, token: Any) -> bool:
    """Return whether this caller of a staff API has still to prove a second factor. `token`: of a JSON Web Token, None of a
    session.
    """
    if user.is_verified() if token is None else token.has_second_factor:
        return False
    return settings.ADMIN_REQUIRE_SECOND_FACTOR or AuthenticatorDevice.objects.filter(user_id=user.pk, confirmed=True).exists()


def is_code(user: Any, code: str) -> bool:
    """Return whether `code` is right for this user now; each counts once, and wrong ones make the next try wait longer."""
    return django_otp.match_token(user, code) is not None


@durable
def reset(*, user: User, actor: str, reason: str = "") -> int:
    """Remove a user's second factor: the password alone opens the admin until a new one is set up. Return how many went."""
    removed, _by_model = AuthenticatorDevice.objects.filter(user=user).delete()
    audit.record(actor=actor, action="second_factor.reset", target=user, reason=reason, before={"devices": removed})
    return removed


def candidate(request: HttpRequest) -> str:
    """Return the key offered to this reader, in hexadecimal: the same until it is used."""
    return str(request.session.setdefault(CANDIDATE, new_key()))


def address_of(device: AuthenticatorDevice) -> str:
    """Return the `otpauth:` address that authenticator apps read."""
    return str(device.config_url)


def qr_code(text: str) -> str:
    """`text` as a QR code: an SVG in a data URI, so that nothing is fetched."""
    picture = BytesIO()
    qrcode.make(text, image_factory=qrcode.image.svg.SvgPathFillImage, border=2).save(picture)
    return "data:image/svg+xml," + quote(picture.getvalue())


def set_up(request: HttpRequest, code: str) -> bool:
    """Make the offered key this user's only one, if `code` proves that their app has it."""
    key = request.session.get(CANDIDATE, "")
    if not (key and code.isascii() and code.isdigit()):
        return False
    user: Any = request.user
    device = AuthenticatorDevice(user_id=user.pk, name="authenticator", key=key)
    totp = device.totp()
    if not totp.verify(int(code), tolerance=TOLERANCE_STEPS):
        return False
    device.last_t = totp.t() + totp.drift
    with transaction.atomic():
        AuthenticatorDevice.objects.filter(user_id=user.pk).delete()
        device.save()
    del request.session[CANDIDATE]
    _pass(request, device)
    return True


def check(request: HttpRequest, code: str) -> bool:
    """Return whether `code` is right now; each counts once, and wrong ones make the next try wait longer."""
    device = django_otp.match_token(request.user, code)
    if device is None:
        return False
    _pass(request, device)
    return True


def _pass(request: HttpRequest, device: AuthenticatorDevice) -> None:
    request.session.cycle_key()
    django_otp.login(request, device)
