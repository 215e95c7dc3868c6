"""What a body costs is bounded by its size: CPU and memory of the worst ones, each parsed in a process of its own."""

import json
import subprocess
import sys

import pytest

from tests.live import process_environment
from tests.settings import PROJECT
from waule.core.errors import InvalidJSON, InvalidRequest
from waule.core.http import strict_json

pytestmark = pytest.mark.once  # no database is asked

MIB = 1 << 20
MAX_CPU_SECONDS, MAX_MIB = 2.0, 300
WORST = {
    "numbers": 'b"[" + b"1," * (15 * MIB) + b"1]"',
    "short texts": """b"[" + b'"a",' * (7 * MIB) + b"1]" """,
    "objects": 'b"[" + b"{}," * (10 * MIB) + b"1]"',
    "keys": """b"{" + b",".join(b'"%07d":1' % number for number in range(2_700_000)) + b"}" """,
    "nesting": 'b"[" * (31 * MIB)',
    "quotes": """b'"' * (31 * MIB)""",
    "backslashes": r"""b'"' + b"\\" * (31 * MIB)""",
    "digits": 'b"1" * (31 * MIB)',
    "blanks": 'b" " * (31 * MIB) + b"1"',
    "one text": """b'"' + b"x" * (31 * MIB) + b'"' """,
    "one text with an emoji": r"""b'"\xf0\x9f\x98\x80\\n' + b"x" * (31 * MIB) + b'"' """,
    "one text in Chinese": """b'"' + "中".encode() * (10 * MIB) + b'"' """,
    "one text in escapes": r"""b'"' + b"\\u4e2d" * (5 * MIB) + b'"' """,
    "commas inside of a text": """b'["' + b"," * (31 * MIB) + b'"]' """,
    "brackets inside of a text": """b'["' + b"[,{" * (10 * MIB) + b'"]' """,
    "a mebibyte of numbers": 'b"[" + b"1," * (MIB // 2 - 1) + b"1]"',
    "as many values as there may be": 'b"[" + b"1," * 99_998 + b"1]"',
}
MEASURE = """
import os, re, sys, time, django
django.setup()
from waule.core.errors import WauleError
from waule.core.http import strict_json
MIB = 1 << 20
def memory(name): return int(re.search(rf"{name}:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024
before = memory("VmRSS")
raw = eval(sys.argv[1])
open("/proc/self/clear_refs", "w").write("5")
began_at = time.process_time()
try:
    strict_json.parse(raw)
    answer = 200
except WauleError as refusal:
    answer = refusal.http_status
print(answer, time.process_time() - began_at, memory("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
@pytest.mark.parametrize("body", WORST.values(), ids=WORST.keys())
def test_the_worst_bodies(body: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, body], cwd=PROJECT, env=process_environment(), capture_output=True, text=True, timeout=120
    )
    answer, cpu_seconds, mib = (float(part) for part in done.stdout.split())
    assert answer in (200, 400), done.stderr
    assert cpu_seconds < MAX_CPU_SECONDS
    assert mib < MAX_MIB


@pytest.mark.parametrize(
    "raw", [b"[" + b"1," * 100_000 + b"1]", b'["",' + b'"a",' * 100_000 + b"1]", b"[" + b"{}," * 60_000 + b"1]"]
)
def test_too_many_values_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="100000 values"):
        strict_json.parse(raw)


def test_what_people_send_is_read_as_before() -> None:
    for value in (
        {"prompt": "猫 😀 é", "referenceImages": ["data:image/png;base64," + "A" * (2 * MIB)], "n": 1.5},
        {"charges": [{"targetType": "tenant", "targetId": "x", "metadata": {"a": [1, 2, {"b": None}]}} for _ in range(1000)]},
        {"text": '\\u0041 \\ " , [ { \n', "more": ",[{" * 50_000},
    ):
        for ensure_ascii in (True, False):
            raw = json.dumps(value, ensure_ascii=ensure_ascii).encode()
            assert strict_json.parse(raw) == value


@pytest.mark.parametrize("bad", [b"\xff", b"\x80", b"\xed\xa0\x80", b"\xf0\x9f\x98"])
def test_bytes_that_are_not_utf_8_are_found_in_large_bodies_too(bad: bytes) -> None:
    with pytest.raises(InvalidJSON):
        strict_json.parse(b'["' + bad + b'", "' + b"x" * (2 * MIB) + b'"]')
