"""The settings of servers that browsers log in to: waule's own, with a password hash that takes no time.

Two doors for each test would take half a second of a processor. The real hash is tested where `manage.py up` is.
"""

from waule.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
