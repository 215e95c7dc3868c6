"""Charges that may be a second price for a generation: the gateway billed it by itself, without our key.

Such a charge is made as asked, since it may be another use; the operator is alerted, with both ids.
"""

from datetime import timedelta

from django.conf import settings
from django.db.models import Q

from aiservices.generations import providers
from aiservices.generations.models import Generation
from billing.ledger.models import Account, Charge
from billing.monitoring import alerts
from billing.monitoring.models import Alert
from billing.services.generation_links import generations_of

MAX_GENERATIONS = 500  # with the gateway, that one round looks at
MAX_CHARGES = 100  # of one generation
MARGIN_SECONDS = 10  # beyond the longest call of the gateway
State = Generation.State


def look_for_all() -> int:
    """Look at every generation that is with the gateway now. Return how many alerts were raised."""
    with_gateway = Generation.objects.filter(
        route=providers.GATEWAY, is_billed_by_gateway=False, state=State.RUNNING, called_at__isnull=False
    )
    return sum(look_for(generation) for generation in with_gateway.order_by("id")[:MAX_GENERATIONS])


def look_for(generation: Generation) -> int:
    """Raise an alert for each charge of this target and model since the gateway was asked, unless its key is a generation's."""
    if generation.route != providers.GATEWAY or generation.called_at is None or generation.is_billed_by_gateway:
        return 0
    owner = Q(tenant_id=generation.tenant_id, mode=generation.mode) if generation.tenant_id else Q(user_id=generation.user_id)
    latest = generation.called_at + timedelta(seconds=settings.UPSTREAM_TOTAL_SECONDS + MARGIN_SECONDS)
    charges = Charge.objects.filter(
        account__in=Account.objects.filter(owner),
        model_id=generation.model_id,
        hold=None,
        created_at__range=(generation.called_at, latest),
    )
    found = list(charges.order_by("created_at").values_list("id", "idempotency_key")[:MAX_CHARGES])
    ours = generations_of(key for _id, key in found)
    suspected = [charge_id for charge_id, key in found if key not in ours]
    return sum(
        alerts.raise_once(
            alerts.Crossing(
                f"double_charge:{charge_id}",
                Alert.Kind.DOUBLE_CHARGE,
                {"chargeId": str(charge_id), "generationId": str(generation.id)},
            )
        )
        for charge_id in suspected
    )
