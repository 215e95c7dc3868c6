"""`manage.py check_services`: asks every service how it is, for free."""

from typing import Any

from aiservices import health
from aiservices.api_credentials import service_answer
from waule.commands import WauleCommand


class Command(WauleCommand):
    help = "Probes every service now, keeps the results and shows them."

    def run(self, **options: Any) -> dict[str, Any]:
        return {"services": [service_answer(service) for service in health.check()]}

    def tell(self, result: dict[str, Any]) -> None:
        for service in result["services"]:
            latency = "" if service["latencyMs"] is None else f"{service['latencyMs']} ms"
            self.stdout.write(f"{service['name']:10} {service['status']:9} {latency:>9}  {service['message']}".rstrip())
