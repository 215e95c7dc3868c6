"""Keeps our Sora tokens and the Sora token service in step.

A change is committed here first, with a note of what has to be pushed (`SoraToken.to_push`), and pushed after the
commit: at once where the service is up, else by the next `sync` or by the worker. Nothing is lost while it is down.

* `push` sends changes to the service. A secret is sent only when it changed (the service tests it then, and may switch the token
  on), and is followed by the status that is wanted.
* `sync` pulls: what is in step here takes over what the service says; what is still to be pushed wins, and is shown as a
  conflict where both sides changed; a token that only the service has is adopted; one that only we have is kept and
  marked as missing there.

The service knows no transactions and no versions: every step can be repeated, and a token is recognised by the
fingerprint of its secret, then by its id there together with its e-mail address.
"""

from aiservices.credentials.sora.pull import sync
from aiservices.credentials.sora.push import add, push, push_pending, push_quietly
from aiservices.credentials.sora.queries import SyncResult

__all__ = [
    "SyncResult",
    "add",
    "push",
    "push_pending",
    "push_quietly",
    "sync",
]
