"""The provider for trying things out: it draws what it is asked for itself. Nothing leaves the machine."""

import hashlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import imageio_ffmpeg
from django.conf import settings
from django.utils.translation import gettext_lazy as _
from PIL import Image

from aiservices.generations.providers import drawing, parameters
from aiservices.generations.providers.base import Job, Output, Progress, ProviderResult
from gateway_client.errors import UpstreamError
from storage.media import incoming
from waule.core.errors import NotConfigured

FRAMES_PER_SECOND = 8
MAX_FRAMES = 96  # longer videos have fewer frames a second
MAX_SECONDS = 120  # of the file that is made, whatever was asked for
DEFAULT_SECONDS = 4
ENCODE_SECONDS = 60  # after the last frame, then ffmpeg is stopped
NAP_SECONDS = 0.2
FORMATS = ("png", "jpeg", "webp")
DRAFT_SCALE = 4  # a draft's sides are so many times shorter
# A rehearsal knows every word that some provider knows, and does what it can with it.
HONOURS: parameters.Honours = {
    **parameters.ALL,
    "background": ("auto", "opaque", "transparent"),
    "moderation": ("auto", "low"),
    "output_compression": range(101),
    "output_format": FORMATS,
    "style": ("vivid", "natural"),
}
WAIT_PERCENT, FRAMES_PERCENT = 40, 95


class RehearsedFailure(UpstreamError):
    """502: SANDBOX_FAILURE_RATE wants this one to fail. Nothing was made."""

    message = _("The sandbox failed, as SANDBOX_FAILURE_RATE asks it to.")


class Sandbox:
    """See `aiservices.generations.providers.base.Provider`. What it made can always be made again."""

    def check(self, job: Job) -> None:
        parameters.check(job.parameters, HONOURS, job.options)

    def generate_image(self, job: Job, *, progress: Progress) -> ProviderResult:
        rehearse(job, progress)
        size = drawing.image_size(job.size)
        if job.partial is not None:
            for number in range(job.partial_images):
                draft = (max(drawing.MIN_SIDE, size[0] // DRAFT_SCALE), max(drawing.MIN_SIDE, size[1] // DRAFT_SCALE))
                job.partial(_image(job, draft, 0), number)
        outputs = []
        for index in range(job.quantity):
            outputs.append(_image(job, size, index))
            progress(WAIT_PERCENT + (100 - WAIT_PERCENT) * (index + 1) // job.quantity)
        return ProviderResult(tuple(outputs))

    def generate_video(self, job: Job, *, progress: Progress) -> ProviderResult:
        rehearse(job, progress)
        duration = job.duration or Decimal(DEFAULT_SECONDS)
        path = film(job, seconds=min(float(duration), MAX_SECONDS), progress=progress)
        return ProviderResult((Output(path=path, content_type="video/mp4", duration=duration),))

    def find(self, job: Job) -> ProviderResult | None:
        return None


def _image(job: Job, size: drawing.Size, index: int) -> Output:
    """Return one picture, in the format that was asked for; another `seed` is another picture."""
    asked = job.parameters
    file_format = str(asked.get("output_format") or "png").lower()
    file_format = file_format if file_format in FORMATS else "png"
    quality = asked.get("output_compression")
    data = drawing.draw_file(
        prompt=job.prompt,
        model=job.model_id,
        size=size,
        index=index,
        salt=str(asked.get("seed", "")),
        file_format=file_format,
        quality=quality if isinstance(quality, int) else 100,
    )
    return Output(data=data, content_type=f"image/{file_format}")


def rehearse(job: Job, progress: Progress) -> None:
    """Take SANDBOX_DELAY_SECONDS, then fail as often as SANDBOX_FAILURE_RATE says; the same job fails every time.

    Raises:
        RehearsedFailure.
    """
    delay_seconds = float(settings.SANDBOX_DELAY_SECONDS)
    started = time.monotonic()
    while (waited := time.monotonic() - started) < delay_seconds:
        progress(int(WAIT_PERCENT * waited / delay_seconds))
        time.sleep(min(NAP_SECONDS, delay_seconds - waited))
    chance = int.from_bytes(hashlib.sha256(job.generation_id.encode()).digest()[:8]) / 2**64
    if chance < settings.SANDBOX_FAILURE_RATE:
        raise RehearsedFailure(reason="rehearsal")


def film(job: Job, *, seconds: float, progress: Progress) -> Path:
    """Return a video in a file of ours: the camera moves over the picture that the prompt draws.

    Raises:
        NotConfigured: this machine has no ffmpeg that runs.
    """
    size = drawing.frame_size(job.size)
    count = max(2, min(MAX_FRAMES, round(seconds * FRAMES_PER_SECOND)))
    with tempfile.NamedTemporaryFile(dir=incoming(), suffix=".mp4", delete=False) as file:
        path = Path(file.name)
    try:
        encode(frames(job, size, count, progress), size, count / seconds, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def frames(job: Job, size: drawing.Size, count: int, progress: Progress) -> Iterator[bytes]:
    """Raw RGB frames: a slow zoom, with a bar below that shows the time."""
    width, height = size
    picture = drawing.draw(prompt=job.prompt, model=job.model_id, size=size, caption=f"{job.model_id}  ·  {width}×{height}")
    bar_height = max(2, height // 90)
    for number in range(count):
        part = number / (count - 1)
        inset = 0.06 * part
        box = (width * inset, height * inset, width * (1 - inset), height * (1 - inset))
        frame = picture.resize(size, Image.Resampling.BILINEAR, box=box)
        frame.paste((255, 255, 255), (0, height - bar_height, max(1, round(width * part)), height))
        progress(WAIT_PERCENT + int((FRAMES_PERCENT - WAIT_PERCENT) * part))
        yield frame.tobytes()


def encode(pictures: Iterator[bytes], size: drawing.Size, frames_per_second: float, path: Path) -> None:
    """Write an MP4 (H.264) that plays from its first bytes; the same frames make the same file."""
    try:
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise NotConfigured(reason="ffmpeg") from None
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", f"{frames_per_second:.4f}", "-i", "-"]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", "1", "-movflags", "+faststart"]
    plain = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1", "-an"]
    command = [ffmpeg, "-y", "-v", "error", *source, *codec, *plain, str(path)]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints)  # noqa: S603
        assert process.stdin is not None
        try:
            for picture in pictures:
                process.stdin.write(picture)
            process.stdin.close()
            status = process.wait(ENCODE_SECONDS)
        except BrokenPipeError:
            status = process.wait(ENCODE_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if status != 0:
            complaints.seek(0)
            raise NotConfigured(reason="ffmpeg", message_of_ffmpeg=complaints.read(300).decode(errors="replace"))
