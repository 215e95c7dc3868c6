"""Where settings come from: the process environment, then the `.env` file beside manage.py.

Texts are read as they are. (django-environ would take a value that begins with `$` for the name of another variable,
and a random secret may well begin so.)
"""

import os
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
environ.Env.read_env(os.environ.get("WAULE_ENV_FILE", BASE_DIR / ".env"))


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def texts(name: str) -> list[str]:
    """A comma-separated list without empty entries and without the spaces around them."""
    return [part.strip() for part in text(name).split(",") if part.strip()]


def flag(name: str, default: bool = False) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in {"true", "1", "yes", "on"}:
        return True
    if value in {"false", "0", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false.")


def number(name: str, default: float, *, low: float, high: float) -> float:
    """A number between `low` and `high`, both included."""
    value = text(name)
    try:
        result = float(value) if value else default
    except ValueError:
        result = float("nan")
    if not low <= result <= high:
        raise ImproperlyConfigured(f"{name} must be a number from {low:g} to {high:g}.")
    return result


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = text(name, default)
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be one of: {', '.join(allowed)}.")
    return value


def secret(name: str, *, debug: bool) -> str:
    """A secret of at least 32 characters. With DEBUG off a missing or weak one stops the start; its value is not told."""
    value = text(name)
    if debug:
        return value or f"insecure-{name.lower()}-of-a-development-machine-only"
    if len(value) < 32 or len(set(value)) < 8:
        raise ImproperlyConfigured(
            f"{name} is {'too weak' if value else 'missing'}: set it to a random text of at least 32 characters."
        )
    return value
