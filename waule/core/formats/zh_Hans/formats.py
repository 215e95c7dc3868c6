"""The formats of this language."""

from waule.core.formats import *  # noqa: F403
