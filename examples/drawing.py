"""Pictures and videos out of nothing but the standard library, for the example gateway.

A picture is a gradient whose colours come from the prompt; a video is such pictures in H.264, each macroblock written
without compression (`I_PCM`), in an MP4 file that every player opens.
"""

import hashlib
import struct
import zlib

Colour = tuple[int, int, int]


def colours(prompt: str) -> tuple[Colour, Colour]:
    """Return two colours that are always the same for the same prompt."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return (digest[0], digest[1], digest[2]), (digest[3], digest[4], digest[5])


def mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


# --- PNG -----------------------------------------------------------------------------------------------------------


def png(prompt: str, width: int, height: int) -> bytes:
    """Return a gradient from top to bottom."""
    first, second = colours(prompt)
    rows = b"".join(b"\0" + bytes(mix(first, second, row / height)) * width for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


# --- H.264 (ITU-T H.264, chapters 7.3 and 9.1) -----------------------------------------------------------------------


class Bits:
    """Writes numbers of some bits, and the Exp-Golomb codes of H.264."""

    def __init__(self) -> None:
        self.text = ""
        self.done = bytearray()

    def put(self, value: int, bits: int) -> "Bits":
        self.text += f"{value:0{bits}b}"
        return self

    def golomb(self, *values: int) -> "Bits":
        for value in values:
            digits = f"{value + 1:b}"
            self.text += "0" * (len(digits) - 1) + digits
        return self

    def align(self) -> "Bits":
        self.text += "0" * (-len(self.text) % 8)
        self.done += int(self.text, 2).to_bytes(len(self.text) // 8, "big") if self.text else b""
        self.text = ""
        return self

    def end(self) -> bytes:
        return bytes(self.put(1, 1).align().done)


def _nal(kind: int, payload: bytes) -> bytes:
    """Return a unit, with a 3 after every two zeros that would otherwise look like a start code."""
    escaped, zeros = bytearray([kind]), 0
    for byte in payload:
        if zeros == 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(escaped)


def _frame(number: int, top: Colour, bottom: Colour, columns: int, rows: int) -> bytes:
    """Return one key frame of `columns` × `rows` macroblocks of 16 × 16 pixels, each row of them in one colour."""
    bits = Bits().golomb(0, 7, 0).put(0, 4).golomb(number % 2).put(0, 2).golomb(0, 1)
    for row in range(rows):
        red, green, blue = mix(top, bottom, row / rows)
        luma = round(16 + 0.257 * red + 0.504 * green + 0.098 * blue)
        blue_part = round(128 - 0.148 * red - 0.291 * green + 0.439 * blue)
        red_part = round(128 + 0.439 * red - 0.368 * green - 0.071 * blue)
        pixels = bytes([luma]) * 256 + bytes([blue_part]) * 64 + bytes([red_part]) * 64
        for _column in range(columns):
            bits.golomb(25).align().done += pixels
    return _nal(0x65, bits.end())


# --- MP4 (ISO/IEC 14496-12) --------------------------------------------------------------------------------------------


def _box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def _full(name: bytes, flags: int, *parts: bytes) -> bytes:
    return _box(name, struct.pack(">I", flags), *parts)


def _numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def mp4(prompt: str, width: int, height: int, seconds: float) -> bytes:
    """Return a video of that length in which the prompt's two colours change places, one frame every half second."""
    columns, rows = (width + 15) // 16, (height + 15) // 16
    right, bottom = (columns * 16 - width) // 2, (rows * 16 - height) // 2  # cut off again, in units of two pixels
    first, second = colours(prompt)
    count = max(1, min(40, round(seconds * 2)))
    shares = [number / max(1, count - 1) for number in range(count)]
    frames = [
        _frame(number, mix(first, second, share), mix(second, first, share), columns, rows) for number, share in enumerate(shares)
    ]
    samples = [struct.pack(">I", len(frame)) + frame for frame in frames]

    sps_bits = Bits().put(0x42C028, 24).golomb(0, 0, 2, 0).put(0, 1).golomb(columns - 1, rows - 1).put(0b11, 2)
    sps = _nal(0x67, sps_bits.put(1, 1).golomb(0, right, 0, bottom).put(0, 1).end())
    pps = _nal(0x68, Bits().golomb(0, 0).put(0, 2).golomb(0, 0, 0).put(0, 3).golomb(0, 0, 0).put(0b100, 3).end())

    scale = 1000
    total = round(seconds * scale)
    each = total // count
    matrix = _numbers(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    head = _box(b"ftyp", b"isom", _numbers(512), b"isomiso2avc1mp41")

    def moov(offset: int) -> bytes:
        settings = _box(
            b"avcC",
            bytes([1, 0x42, 0xC0, 0x28, 0xFF, 0xE1]),
            struct.pack(">H", len(sps)),
            sps,
            b"\1",
            struct.pack(">H", len(pps)),
            pps,
        )
        avc1 = _box(
            b"avc1",
            bytes(6) + struct.pack(">H", 1) + bytes(16) + struct.pack(">HH", width, height),
            _numbers(0x480000, 0x480000, 0) + struct.pack(">H", 1) + bytes(32) + struct.pack(">Hh", 24, -1),
            settings,
        )
        table = _box(
            b"stbl",
            _full(b"stsd", 0, _numbers(1), avc1),
            _full(b"stts", 0, _numbers(2, count - 1, each, 1, total - each * (count - 1))),
            _full(b"stsc", 0, _numbers(1, 1, count, 1)),
            _full(b"stsz", 0, _numbers(0, count, *map(len, samples))),
            _full(b"stco", 0, _numbers(1, offset)),
        )
        place = _box(b"dinf", _full(b"dref", 0, _numbers(1), _full(b"url ", 1)))
        media = _box(
            b"mdia",
            _full(b"mdhd", 0, _numbers(0, 0, scale, total), struct.pack(">HH", 0x55C4, 0)),
            _full(b"hdlr", 0, _numbers(0), b"vide", bytes(12), b"video\0"),
            _box(b"minf", _full(b"vmhd", 1, bytes(8)), place, table),
        )
        track = _full(b"tkhd", 3, _numbers(0, 0, 1, 0, total), bytes(16), matrix, _numbers(width << 16, height << 16))
        movie = _full(
            b"mvhd", 0, _numbers(0, 0, scale, total, 0x10000), struct.pack(">H", 0x100), bytes(10), matrix, bytes(24), _numbers(2)
        )
        return _box(b"moov", movie, _box(b"trak", track, media))

    offset = len(head) + len(moov(0)) + 8
    return head + moov(offset) + _box(b"mdat", *samples)
