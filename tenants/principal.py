"""Who asks, and whose something is: one type from the authenticator of a request to the ledger."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from uuid import UUID

from tenants.models import Mode

OF_KEY = ""  # the mode where only the key that is named knows it


@dataclass(frozen=True)
class Principal:
    """A tenant or a user: who asks, whose account pays, whose generations and files they are.

    `id` is text as it was sent: looking it up says whether anybody has it. A tenant has a live and a test account, of which
    `mode` says the one. What belongs to one request (its id, the models that its key may use) makes no other principal.
    """

    kind: Literal["user", "tenant"]
    id: str
    mode: str = Mode.LIVE
    api_key_id: UUID | None = None
    request_id: str = field(default="", compare=False)
    allowed_models: tuple[str, ...] = field(default=(), compare=False)  # of its key, by ids or names; empty: all the tenant's

    is_authenticated: ClassVar = True  # for REST framework's permissions, whose user a tenant is

    @classmethod
    def of(cls, row: Any) -> "Principal":
        """Return whose row it is: a generation, an account or a stored file, with `tenant_id` or `user_id` set."""
        if row.tenant_id:
            return cls("tenant", str(row.tenant_id), getattr(row, "mode", Mode.LIVE))
        return cls("user", str(row.user_id))

    @property
    def pk(self) -> str:
        return self.id

    @property
    def tenant_id(self) -> str:
        """Empty for a user."""
        return self.id if self.kind == "tenant" else ""

    @property
    def user_id(self) -> str:
        """Empty for a tenant."""
        return self.id if self.kind == "user" else ""

    @property
    def columns(self) -> dict[str, str]:
        """The column of a row that says whose it is."""
        return {f"{self.kind}_id": self.id}

    @property
    def actor(self) -> str:
        """As ledger and audit log name who acts."""
        return f"key:{self.api_key_id}" if self.api_key_id else f"{self.kind}:{self.id}"

    @property
    def fingerprint_fields(self) -> dict[str, Any]:
        """What a request's fingerprint says of who asks: the key, where one is named. Idempotency keys are per account."""
        return {"api_key": str(self.api_key_id)} if self.api_key_id else {}
