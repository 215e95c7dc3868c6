"""The second factor of staff."""

from django_otp.oath import totp

from tenants.models import AuthenticatorDevice


def code_of(device: AuthenticatorDevice) -> str:
    """What the device shows now."""
    return f"{totp(device.bin_key):06d}"
