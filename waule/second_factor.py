"""Time-based one-time passwords (TOTP) for staff: whether one is missing, how one is set up, and how one is checked."""

import time
from binascii import unhexlify
from io import BytesIO
from typing import Any
from urllib.parse import quote

import django_otp
import qrcode
import qrcode.image.svg
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp.util import random_hex

CANDIDATE = "second_factor_candidate"  # in the session: the key that is offered, until a code proves that it was taken over
KEY_BYTES = 20
TOLERANCE_STEPS = 1  # the code of 30 seconds ago, or of in 30 seconds, is taken too


def devices_of(request: HttpRequest) -> list[TOTPDevice]:
    return list(TOTPDevice.objects.filter(user_id=request.user.pk, confirmed=True))


def is_passed(request: HttpRequest) -> bool:
    """Whether this session has proved a second factor."""
    user: Any = request.user  # with what django-otp's middleware has added
    return bool(user.is_verified())


def missing_page(request: HttpRequest) -> str:
    """The URL name of the page on which this reader still has to prove or set up a second factor; "" if none."""
    if is_passed(request):
        return ""
    if devices_of(request):
        return "admin:second_factor"
    return "admin:second_factor_setup" if settings.ADMIN_REQUIRE_SECOND_FACTOR else ""


def is_missing_for_api(user: Any, token: Any) -> bool:
    """Whether this caller of a staff API has still to prove a second factor. `token`: of a JSON Web Token, None of a session."""
    if user.is_verified() if token is None else token.has_second_factor:
        return False
    return settings.ADMIN_REQUIRE_SECOND_FACTOR or TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).exists()


def is_code(user: Any, code: str) -> bool:
    """Whether `code` is right for this user now; each counts once, and wrong ones make the next try wait longer."""
    return django_otp.match_token(user, code) is not None


def candidate(request: HttpRequest) -> str:
    """The key offered to this reader, in hexadecimal: the same until it is used."""
    return str(request.session.setdefault(CANDIDATE, random_hex(KEY_BYTES)))


def address_of(device: TOTPDevice) -> str:
    """The `otpauth:` address that authenticator apps read."""
    return str(device.config_url)


def qr_code(text: str) -> str:
    """`text` as a QR code: an SVG in a data URI, so that nothing is fetched."""
    picture = BytesIO()
    qrcode.make(text, image_factory=qrcode.image.svg.SvgPathFillImage, border=2).save(picture)
    return "data:image/svg+xml," + quote(picture.getvalue())


def set_up(request: HttpRequest, code: str) -> bool:
    """Makes the offered key this user's only one, if `code` proves that their app has it."""
    key = request.session.get(CANDIDATE, "")
    totp = TOTP(unhexlify(key))
    totp.time = time.time()
    if not (key and code.isascii() and code.isdigit() and totp.verify(int(code), tolerance=TOLERANCE_STEPS)):
        return False
    with transaction.atomic():
        TOTPDevice.objects.filter(user=request.user).delete()
        device = TOTPDevice.objects.create(user=request.user, name="authenticator", key=key, last_t=totp.t() + totp.drift)
    del request.session[CANDIDATE]
    _pass(request, device)
    return True


def check(request: HttpRequest, code: str) -> bool:
    """Whether `code` is right now; each counts once, and wrong ones make the next try wait longer."""
    device = django_otp.match_token(request.user, code)
    if device is None:
        return False
    _pass(request, device)
    return True


def _pass(request: HttpRequest, device: TOTPDevice) -> None:
    request.session.cycle_key()
    django_otp.login(request, device)
