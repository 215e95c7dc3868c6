"""`manage.py check_services`: asks every service how it is, for free."""

from typing import Any

from django.utils import timezone

from aiservices.api.credentials import service_answer
from aiservices.monitoring import probes as health
from billing.catalog.models import AIModel
from billing.catalog.provider_lists import warnings
from waule.core.commands import WauleCommand


class Command(WauleCommand):
    help = "Probes every service now, keeps the results and shows them; then what is wrong with the models for sale."

    def run(self, **options: Any) -> dict[str, Any]:
        services = [service_answer(service) for service in health.check()]
        return {"services": services, "catalog": warnings(AIModel.objects.order_by("model_id", "provider"), timezone.now())}

    def print_result(self, result: dict[str, Any]) -> None:
        for service in result["services"]:
            latency = "" if service["latencyMs"] is None else f"{service['latencyMs']} ms"
            self.stdout.write(f"{service['name']:10} {service['status']:9} {latency:>9}  {service['message']}".rstrip())
        for line in result["catalog"]:
            self.stdout.write(line)
