"""The settings file of a fresh clone. Standard library only: it is written before Django can be loaded."""

import base64
import contextlib
import os
import secrets
import tempfile
from pathlib import Path

REQUIRED = ("SECRET_KEY", "JWT_SECRET", "ALLOWED_HOSTS", "ENCRYPTION_KEYS")


def env_file() -> Path:
    return Path(os.environ.get("WAULE_ENV_FILE") or Path(__file__).resolve().parent.parent / ".env")


def write_env_file_once() -> bool:
    """Write `.env` with random secrets, readable by its owner alone, where a required setting has no value yet.

    Whether it was written. A file that is there already is never touched, nor is a setting of the environment repeated.
    """
    path = env_file()
    if path.exists() or all(os.environ.get(name, "").strip() for name in REQUIRED):
        return False
    values = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "LOOKUP_KEY": secrets.token_urlsafe(32),
        "JWT_SECRET": secrets.token_urlsafe(48),
        "INTERNAL_SECRET": secrets.token_urlsafe(32),
        "ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "ALLOWED_HOSTS": "127.0.0.1,localhost,[::1]",
        "DEBUG": "false",
    }
    if os.environ.get("SECRET_KEY"):
        del values["LOOKUP_KEY"]  # it follows SECRET_KEY where that is set; a new one would not find the keys of before
    lines = ["# Made by `manage.py up`. Keep it secret and back it up: without it stored credentials cannot be read."]
    lines += [f"{name}={value}" for name, value in values.items() if not os.environ.get(name, "").strip()]
    return _create(path, "\n".join(lines) + "\n")


def _create(path: Path, content: str) -> bool:
    """Make `path` with mode 600 and all of `content` at once; False if it was there (or came into being meanwhile)."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".env-")  # 600 from the start
    try:
        with os.fdopen(handle, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # fails where something stands already; a rename would replace it
        except FileExistsError:
            return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
    return True
