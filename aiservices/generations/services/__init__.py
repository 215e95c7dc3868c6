"""The verbs around a generation, by what one asks for: an order, its admission, joining an earlier call, decisions, reading."""

from aiservices.generations.services.admission import V1_NAMES, Answer, as_sold
from aiservices.generations.services.decisions import cancel, delete, settle_unknown
from aiservices.generations.services.joining import join, wait_for
from aiservices.generations.services.orders import await_video, begin_image, finish_image, make_image, queue_video
from aiservices.generations.services.reading import MAX_PAGE, Page, find, page, tenant_page

__all__ = [
    "MAX_PAGE",
    "V1_NAMES",
    "Answer",
    "Page",
    "as_sold",
    "await_video",
    "begin_image",
    "cancel",
    "delete",
    "find",
    "finish_image",
    "join",
    "make_image",
    "page",
    "queue_video",
    "settle_unknown",
    "tenant_page",
    "wait_for",
]
