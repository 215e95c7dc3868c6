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

from aiservices.providers import drawing
from aiservices.providers.base import Job, Outcome, Output, Progress
from gateway_client.errors import UpstreamError
from storage.media import incoming
from waule.errors import NotConfigured

FRAMES_PER_SECOND = 8
MAX_FRAMES = 96  # longer videos have fewer frames a second
MAX_SECONDS = 120  # of the file that is made, whatever was asked for
DEFAULT_SECONDS = 4
ENCODE_SECONDS = 60  # after the last frame, then ffmpeg is stopped
NAP_SECONDS = 0.2
WAIT_PERCENT, FRAMES_PERCENT = 40, 95


class RehearsedFailure(UpstreamError):
    """502: SANDBOX_FAILURE_RATE wants this one to fail. Nothing was made."""

    message = _("The sandbox failed, as SANDBOX_FAILURE_RATE asks it to.")


class Sandbox:
    """See `aiservices.providers.base.Provider`. What it made can always be made again."""

    def generate_image(self, job: Job, *, progress: Progress) -> Outcome:
        rehearse(job, progress)
        size = drawing.picture_size(job.resolution, job.ratio)
        outputs = []
        for index in range(job.quantity):
            data = drawing.draw_png(prompt=job.prompt, model=job.model_id, size=size, index=index)
            outputs.append(Output(data=data, content_type="image/png"))
            progress(WAIT_PERCENT + (100 - WAIT_PERCENT) * (index + 1) // job.quantity)
        return Outcome(tuple(outputs))

    def generate_video(self, job: Job, *, progress: Progress) -> Outcome:
        rehearse(job, progress)
        duration = job.duration or Decimal(DEFAULT_SECONDS)
        path = film(job, seconds=min(float(duration), MAX_SECONDS), progress=progress)
        return Outcome((Output(path=path, content_type="video/mp4", duration=duration),))

    def find(self, job: Job) -> Outcome | None:
        return None


def rehearse(job: Job, progress: Progress) -> None:
    """Takes SANDBOX_DELAY_SECONDS, then fails as often as SANDBOX_FAILURE_RATE says; the same job fails every time.

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
    """A video in a file of ours: the camera moves over the picture that the prompt draws.

    Raises:
        NotConfigured: this machine has no ffmpeg that runs.
    """
    size = drawing.frame_size(job.resolution, job.ratio)
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
    """Writes an MP4 (H.264) that plays from its first bytes; the same frames make the same file."""
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
