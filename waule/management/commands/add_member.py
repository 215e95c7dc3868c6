"""`manage.py add_member`: makes a user a person of a tenant."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from tenants.models import TenantMember
from tenants.selectors import find_tenant_by_id_or_name, find_user_by_id_or_name
from tenants.services import add_member
from waule.core.commands import ACTOR, WauleCommand


class Command(WauleCommand):
    help = "Makes a user a member of a tenant, who may use /console/; or gives a member another role."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("tenant", metavar="TENANT", help="the tenant's id or exact name")
        parser.add_argument("username", metavar="USERNAME", help="the user's name or id")
        parser.add_argument("--role", choices=TenantMember.Role.values, default=TenantMember.Role.OWNER.value)

    def run(self, *, tenant: str, username: str, role: str, **options: Any) -> dict[str, Any]:
        member = add_member(
            tenant=find_tenant_by_id_or_name(tenant), user=find_user_by_id_or_name(username), role=role, actor=ACTOR
        )
        return {"id": str(member.id), "tenant": str(member.tenant_id), "user": str(member.user_id), "role": member.role}

    def print_result(self, result: dict[str, Any]) -> None:
        super().print_result(result)
        self.stdout.write(f"The console is {settings.PUBLIC_URL}/console/")
