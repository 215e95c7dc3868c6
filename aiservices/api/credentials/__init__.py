"""Credentials, switches and health: the same resources for the gateway (`/internal`) and for staff (`/api/admin/ai-services`).

A resource is written once; `Internal…` and `Staff…` differ in who may call it and in how the actor is named.
"""

from aiservices.api.credentials.answers import sync_answer
from aiservices.api.credentials.leases import Leases
from aiservices.api.credentials.serializers import import_item
from aiservices.api.credentials.services import InternalHealth, InternalModels, StaffHealth, StaffModels, service_answer
from aiservices.api.credentials.views import InternalGeminiKeys, InternalSoraTokens, StaffGeminiKeys, StaffSoraTokens

__all__ = [
    "InternalGeminiKeys",
    "InternalHealth",
    "InternalModels",
    "InternalSoraTokens",
    "Leases",
    "StaffGeminiKeys",
    "StaffHealth",
    "StaffModels",
    "StaffSoraTokens",
    "import_item",
    "service_answer",
    "sync_answer",
]
