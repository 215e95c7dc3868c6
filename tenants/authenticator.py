"""Second factors: time-based one-time passwords (RFC 6238), with their keys sealed."""

import time
from base64 import b32encode
from binascii import unhexlify
from urllib.parse import quote, urlencode

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _
from django_otp.models import Device, ThrottlingMixin
from django_otp.oath import TOTP
from django_otp.util import random_hex

from waule.core.crypto.encryption import EncryptedTextField, reveal

KEY_BYTES = 20
STEP_SECONDS = 30
DIGITS = 6
TOLERANCE_STEPS = 1  # the code of 30 seconds ago, or of in 30 seconds, is taken too


def new_key() -> str:
    """Return a random key in hexadecimal."""
    return str(random_hex(KEY_BYTES))


class AuthenticatorDevice(ThrottlingMixin, Device):
    """A user's authenticator app. django-otp finds it like any other device; its own would keep the key in clear."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="authenticator", verbose_name=_("user")
    )
    key = EncryptedTextField(_("key"), default=new_key, editable=False, bound_to="user")  # hexadecimal
    drift = models.SmallIntegerField(default=0, editable=False)  # steps by which the app's clock differs
    last_t = models.BigIntegerField(default=-1, editable=False)  # the step of the last code: each counts once

    class Meta:
        verbose_name = _("second factor")
        verbose_name_plural = _("second factors")

    @property
    def bin_key(self) -> bytes:
        return unhexlify(reveal(self.key))

    def totp(self) -> TOTP:
        """Return the generator of this device's codes, set to now."""
        totp = TOTP(self.bin_key, STEP_SECONDS, 0, DIGITS, self.drift)
        totp.time = time.time()
        return totp

    def verify_token(self, token: str) -> bool:
        """Return whether `token` is right now and was not used before. After a wrong one the next try has to wait, longer each
        time.
        """
        allowed, _why = self.verify_is_allowed()
        if not allowed:
            return False
        totp = self.totp()
        is_right = token.isascii() and token.isdigit() and totp.verify(int(token), TOLERANCE_STEPS, self.last_t + 1)
        if not is_right:
            self.throttle_increment(commit=True)
            return False
        self.last_t, self.drift = totp.t(), totp.drift
        self.throttle_reset(commit=False)
        self.save()
        return True

    def get_throttle_factor(self) -> float:
        return 1

    @property
    def config_url(self) -> str:
        """The `otpauth:` address that authenticator apps read."""
        issuer = settings.OTP_TOTP_ISSUER
        label = quote(f"{issuer}:{self.user.get_username()}")
        about = {
            "secret": b32encode(self.bin_key),
            "algorithm": "SHA1",
            "digits": DIGITS,
            "period": STEP_SECONDS,
            "issuer": issuer,
        }
        return f"otpauth://totp/{label}?{urlencode(about)}"
