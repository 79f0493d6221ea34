"""The kept inputs of the device on MicroPython: what they make of each is what CPython makes of it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.assurance.fuzz import corpus
from tests.assurance.fuzz.targets import load
from tests.device import replay

PROGRAM = """
import sys
sys.path[:0] = [{root!r}, {device!r}]
from binascii import unhexlify
from tests.device import replay
with open({kept!r}) as lines:
    for line in lines:
        print(replay.{name}(unhexlify(line.strip())))
"""


@pytest.mark.parametrize(
    ("target", "head", "read"),
    [
        ("device_cbor", 0, replay.of_message),
        ("device_coap", 2, replay.of_datagram),
        ("device_session", 2, replay.of_inside),  # as if each were the inside of a protected answer
    ],
)
def test_kept_inputs_on_micropython(
    micropython: str, root: Path, tmp_path: Path, target: str, head: int, read: Callable[[bytes], str]
) -> None:
    inputs = [data[head:] for data in [*load(target).seeds(), *corpus.read(target)] if len(data) > head]
    expected = [read(data) for data in inputs]
    assert len(inputs) > 100
    assert len(set(expected)) > 30
    kept = tmp_path / "kept"
    kept.write_text("".join(f"{data.hex()}\n" for data in inputs))
    program = PROGRAM.format(root=str(root), device=str(root / "device"), kept=str(kept), name=read.__name__)
    done = subprocess.run([micropython, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
    for data, line, other in zip(inputs, expected, done.stdout.splitlines(), strict=True):
        assert other == line, data.hex()
