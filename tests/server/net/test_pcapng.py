"""The capture file: what it says, who may read it, what it never replaces, and when it ends."""

import os
import stat
from pathlib import Path

import pytest

from dpe_server.net import pcapng
from dpe_server.net.pcapng import Capture, CaptureError, End, Packet
from dpe_server.operators.capture_file import read

CLIENT, SERVER = End(bytes([192, 0, 2, 1]), 40000), End(bytes([192, 0, 2, 2]), 5683)
HEADER = bytes.fromhex(
    "0a0d0d0a 28000000 4d3c2b1a 0100 0000 ffffffffffffffff 0400 0200 6d650000 00000000 28000000"
    "01000000 14000000 6500 0000 00000000 14000000"
)
PACKET = bytes.fromhex(
    "06000000 54000000 00000000 7e8d0300 0080c6a4 1f000000 1f000000"
    "4500001f 00004000 4011b6ca c0000201 c0000202"  # IP: 31 bytes, no fragment, 64 hops, UDP
    "9c401633 000b04fe 616263 00"
    "0100 0400 6c6f7374 0200 0400 01000000 00000000 54000000"
)


def test_has_the_bytes_of_pcapng(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "file", "me")
    capture.write([Packet(CLIENT, SERVER, b"abc", inbound=True, comment="lost")], 1_000_000_000_000_000)
    capture.close()
    data = (tmp_path / "file").read_bytes()
    assert data[: len(HEADER)].hex(" ", 4) == HEADER.hex(" ", 4)
    assert data[len(HEADER) :].hex(" ", 4) == PACKET.hex(" ", 4)


def test_is_read_as_it_was_written(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "file", "me")
    six, other = End(bytes(15) + b"\1", 61000), End(bytes(15) + b"\2", 5683)
    capture.write([Packet(CLIENT, SERVER, b"abc"), Packet(SERVER, CLIENT, b"", inbound=False)], 1_500_000)
    capture.write([Packet(six, other, bytes(1_280), comment="long")], 2_000_000)
    capture.close()
    found = [(one.frame, one.at, one.source, one.destination, one.datagram) for one in read(str(tmp_path / "file"))]
    assert found == [
        (1, 1.5, CLIENT, SERVER, b"abc"),
        (2, 1.5, SERVER, CLIENT, b""),
        (3, 2.0, six, other, bytes(1_280)),
    ]


def test_a_sum_of_zero_is_sent_as_all_ones() -> None:
    with_zero = next(data for number in range(1 << 16) if (data := _udp(number.to_bytes(2, "big")))[6:8] == b"\xff\xff")
    assert len(with_zero) == 10


def _udp(datagram: bytes) -> bytes:
    return pcapng.block(Packet(CLIENT, SERVER, datagram), 0)[28 + 20 : 28 + 20 + 8 + len(datagram)]


def test_is_for_its_owner_alone_and_replaces_a_capture(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", HEADER + PACKET):
        path.write_bytes(content)
        path.chmod(0o644)
        Capture(path, "me").close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes() == HEADER


def test_replaces_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CaptureError, match=r"keys\.json is there, and is no capture: it stays as it is"):
        Capture(tmp_path / "keys.json", "me")
    assert (tmp_path / "keys.json").read_text() == "{}"
    for place, why in (
        (tmp_path / "pipe", "is no capture"),
        (Path("/dev/null"), "is no capture"),
        (tmp_path, "Is a directory"),
        (tmp_path / "no" / "file", "No such file or directory"),
    ):
        with pytest.raises(CaptureError, match=why):
            Capture(place, "me")


def test_ends_whole_at_its_limit(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "file", "me", limit=len(HEADER) + 2 * len(PACKET) - 1)
    packet = Packet(CLIENT, SERVER, b"abc", inbound=True, comment="lost")
    capture.write([packet], 1_000_000_000_000_000)
    assert not capture.closed
    with pytest.raises(CaptureError, match="file ends: it would be longer than 227 bytes"):
        capture.write([packet], 0)
    assert capture.closed
    assert (tmp_path / "file").read_bytes() == HEADER + PACKET


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "file", "me")
    child = os.fork()
    for _ in range(200):
        capture.write([Packet(CLIENT, SERVER, b"child" if child == 0 else b"parent")] * 3, 0)
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    capture.close()
    found = [one.datagram for one in read(str(tmp_path / "file"))]
    assert (found.count(b"child"), found.count(b"parent")) == (600, 600)
