"""Images and videos by the Sora token service: a chat completion, streamed, with the media URL at its end."""

import re
from typing import Any

from django.conf import settings

from aiservices.generations.providers import parameters
from aiservices.generations.providers.base import Job, Output, Progress, ProviderResult
from aiservices.generations.providers.media import inlined, one_by_one
from gateway_client import answers, http
from gateway_client.errors import ContentRefused, NothingMade, OutcomeUnknown, UpstreamError
from gateway_client.results import Found, absolute, in_text
from gateway_client.transport import Deadline
from gateway_client.upstreams.gateway import chat_messages, read_chat_text
from waule.core.errors import NotConfigured, UnsupportedParameter

_PERCENT = re.compile(r"([0-9]{1,3})(?:\.[0-9]{1,6})?\s?%")


class Sora:
    """See `aiservices.generations.providers.base.Provider`. The service cannot be asked what became of a request."""

    def check(self, job: Job) -> None:
        parameters.check(job.parameters, {}, job.options)
        if job.mask:
            raise UnsupportedParameter("mask")

    def generate_image(self, job: Job, *, progress: Progress) -> ProviderResult:
        deadline = Deadline()
        messages = chat_messages(job.prompt, inlined(job.reference_images, deadline))
        return one_by_one(job.quantity, lambda: _ask(job, messages, deadline, progress), progress)

    def generate_video(self, job: Job, *, progress: Progress) -> ProviderResult:
        deadline = Deadline(total_seconds=settings.VIDEO_JOB_SECONDS)
        messages = chat_messages(job.prompt, inlined(job.reference_images, deadline))
        return ProviderResult(_ask(job, messages, deadline, progress)[:1])

    def find(self, job: Job) -> ProviderResult | None:
        return None


def _ask(job: Job, messages: list[dict[str, Any]], deadline: Deadline, progress: Progress) -> tuple[Output, ...]:
    if not settings.SORA_API_KEY:
        raise NotConfigured(reason="SORA_API_KEY")
    headers = {"Idempotency-Key": job.generation_id, "X-Request-Id": job.request_id}
    lines = http.events(
        http.join(settings.SORA_API_URL, "v1", "chat", "completions"),
        headers={name: value for name, value in headers.items() if value},
        bearer=settings.SORA_API_KEY,
        payload={
            "model": job.model_id,
            "messages": messages,
            "stream": True,
        },
        deadline=deadline,
    )
    listener = _Listener(progress)
    for line in lines:
        listener.hear(line)
        if listener.is_done:
            break
    lines.close()
    found = in_text(listener.text())
    if not found:
        raise NothingMade(reason="no_media_url")
    return tuple(_output(absolute(each, settings.SORA_API_URL)) for each in found)


def _output(found: Found) -> Output:
    return Output(url=found.url, is_from_own_address=found.is_from_own_address, data=found.data, content_type=found.content_type)


class _Listener:
    """Puts a stream's events together, and tells the progress as it goes."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.percent = 0
        self.content: list[str] = []
        self.bare: list[str] = []  # lines that are no events: the service answered with plain JSON after all
        self.is_done = False

    def hear(self, line: str) -> None:
        """Raise the error that an event tells."""
        if not line.startswith("data:"):
            if line and not line.startswith(("event:", "id:", "retry:", ":")):
                self.bare.append(line)
            return
        data = line[5:].strip()
        if data == "[DONE]":
            self.is_done = True
            return
        try:
            event = answers.parse(data.encode())
        except answers.NotAnAnswer:
            raise OutcomeUnknown(reason="not_json") from None
        if not isinstance(event, dict):
            raise OutcomeUnknown(reason="not_an_object")
        if event.get("error"):
            raise _told_error(event)
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict):
                self._hear_choice(choice)

    def _hear_choice(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        for name in ("content", "reasoning_content"):
            text = delta.get(name)
            if isinstance(text, str) and text:
                self._tell_progress(text)
                if name == "content":
                    self.content.append(text)
        finish = choice.get("finish_reason")
        if finish == "content_filter":
            raise ContentRefused(reason="content_filter")
        if isinstance(finish, str) and finish:
            self.is_done = True

    def _tell_progress(self, text: str) -> None:
        found = [int(percent) for percent in _PERCENT.findall(text[-2000:])]
        percent = min(found[-1], 99) if found else 0
        if percent > self.percent:
            self.percent = percent
            self.progress(percent)

    def text(self) -> str:
        """Return all that was said. Raises OutcomeUnknown where the stream ended before its end."""
        if self.is_done:
            return "".join(self.content)
        if self.bare and not self.content:
            try:
                return read_chat_text(answers.parse("\n".join(self.bare).encode()))
            except answers.NotAnAnswer:
                raise OutcomeUnknown(reason="not_json") from None
        raise OutcomeUnknown(reason="cut_off")


def _told_error(event: dict[str, Any]) -> UpstreamError:
    """Return an error inside a stream that began well: the closed table where it has a status, else nothing was made."""
    error = event["error"]
    status = error.get("code") if isinstance(error, dict) else None
    if type(status) is int and 400 <= status <= 599:
        return answers.problem(status, {}, event)
    return answers.told_error(event)
