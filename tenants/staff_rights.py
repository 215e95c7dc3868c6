"""Who may change whom: nobody raises themselves, and nobody takes over an equal.

A user who can enter the admin, or who carries rights of any other kind, is changed by superusers alone: their name,
level, flags and groups, their password, their second factor.
"""

from typing import Any

from tenants.models import UNLIMITED_LEVELS, Level, User


def has_rights(user: User) -> bool:
    """Return whether this user has more rights than a customer: whoever took the account over would have them."""
    if user.is_staff or user.is_superuser or user.level in UNLIMITED_LEVELS:
        return True
    return user.groups.exists() or user.user_permissions.exists()


def may_change(actor: Any, user: User) -> bool:
    """Return whether `actor` outranks `user`. It takes a permission besides."""
    return bool(actor.is_superuser) or not has_rights(user)


def may_reset_second_factor(actor: Any, user: User) -> bool:
    """Return whether `actor` outranks `user` enough to take the second factor away. A superuser's goes by command alone.

    Nobody's own either: who has it replaces it, and whoever sits before somebody else's session does not take it away.
    """
    return actor.pk != user.pk and not user.is_superuser and may_change(actor, user) and actor.has_perm("tenants.change_user")


def levels_given_by(actor: Any) -> list[Level]:
    """Return the levels that `actor` may give. Those without limits are given by superusers."""
    return [level for level in Level if actor.is_superuser or level not in UNLIMITED_LEVELS]
