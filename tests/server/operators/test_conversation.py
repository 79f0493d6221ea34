"""A device's last registration, from the audit log and from a capture; and a capture that is read from its end."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.errors import LocalError
from dpe_server.net.pcapng import Capture, Packet
from dpe_server.operators import capture_file
from dpe_server.operators.capture_file import backwards
from dpe_server.operators.conversation import registration_of
from dpe_server.store.contract import Session
from dpe_tools.datagram import Datagram
from tests.server.operators.test_searching import NOW, session
from tests.tools.captures import CBOR, CLIENT, REGISTER, SERVER

OTHER = dataclasses.replace(CLIENT, port=40001)
LINES: list[dict[str, Any]] = [
    {"time": "2027-01-15T08:00:03.500+00:00", "event": "first-contact", "registration": 8},
    {"time": "2027-01-15T08:00:01.250+00:00", "event": "established", "registration": 8, "rule": "everyone"},
    {
        "time": "2027-01-15T08:00:00.750+00:00",
        "event": "response",
        "registration": 8,
        "status": "ok",
        "rule": "everyone",
        "version": "1.0",
    },
    {"time": "2027-01-15T07:00:00.000+00:00", "event": "established", "registration": 7},
]
BEGAN = 1_800_000_000.75  # the time of RESPONSE above


@pytest.fixture
def vector(vectors: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in vectors["valid"] if one.get("confirm"))
    return found


@pytest.fixture
def established(vector: dict[str, Any]) -> Session:
    return dataclasses.replace(session(7), confirm=bytes.fromhex(vector["confirm"]))


def datagrams(vector: dict[str, Any], number: int = 0) -> list[bytes]:
    """Return the datagrams of a registration, in their order."""
    found = []
    for place, (asked, answered) in enumerate((("request", "response"), ("success", "confirm"))):
        token = bytes([number, place])
        found.append(bytes(Datagram("CON", 0x02, number + place, token, REGISTER, bytes.fromhex(vector[asked]))))
        found.append(bytes(Datagram("ACK", 0x44, number + place, token, CBOR, bytes.fromhex(vector[answered]))))
    return found


def written(path: Path, packets: Sequence[tuple[bool, bytes, float]], client: Any = CLIENT) -> Path:
    """Write a capture: each packet goes up or not, and comes so many seconds after the beginning."""
    capture = Capture(path, "test")
    for up, data, after in packets:
        source, destination = (client, SERVER) if up else (SERVER, client)
        capture.write([Packet(source, destination, data, up)], int((BEGAN + after) * 1e6))
    capture.close()
    return path


def test_without_a_capture_the_audit_log_says_when_and_what_is_missing_is_said(established: Session) -> None:
    found = registration_of(established, LINES, None)
    assert [(one.name, one.up, one.at) for one in found.arrows] == [
        ("REQUEST", True, BEGAN),
        ("RESPONSE", False, BEGAN),
        ("SUCCESS", True, BEGAN + 0.5),
        ("CONFIRM", False, BEGAN + 0.5),
        ("first contact", True, BEGAN + 2.75),
    ]
    assert found.arrows[1].note == "ok, by “everyone”, DPE 1.0"
    assert [one.size for one in found.arrows] == [None] * 5
    assert found.arrows[3].payload == len(established.confirm)
    assert not found.captured
    assert ["--pcap" in one for one in found.missing] == [True]


def test_a_log_that_does_not_go_back_so_far_says_so(established: Session) -> None:
    found = registration_of(established, LINES[3:], None)
    assert [one.at for one in found.arrows] == [None] * 4
    assert "does not go back" in found.missing[0]


def test_a_capture_has_each_datagram_with_its_time_and_size(
    established: Session, vector: dict[str, Any], tmp_path: Path
) -> None:
    request, response, success, confirm = datagrams(vector)
    path = written(
        tmp_path / "capture",
        [
            (True, request, 0.0),
            (True, request, 2.0),
            (False, response, 2.1),
            (True, success, 2.2),
            (False, confirm, 2.3),
            (True, b"\x48\x02\x00\x09later", 9.0),
        ],
    )
    found = registration_of(established, LINES, path)
    assert [(one.name, one.up, one.again) for one in found.arrows] == [
        ("REQUEST", True, False),
        ("REQUEST", True, True),
        ("RESPONSE", False, False),
        ("SUCCESS", True, False),
        ("CONFIRM", False, False),
        ("first contact", True, False),
    ]
    assert [round(one.at - BEGAN, 3) for one in found.arrows[:5] if one.at] == [0.0, 2.0, 2.1, 2.2, 2.3]
    assert [one.size for one in found.arrows[:5]] == list(map(len, (request, request, response, success, confirm)))
    sizes = [len(vector[name]) // 2 for name in ("request", "request", "response", "success", "confirm")]
    assert [one.payload for one in found.arrows[:5]] == sizes
    assert found.arrows[1].note == "sent again"
    assert found.captured
    assert found.missing == []


def test_other_devices_and_earlier_registrations_are_not_in_it(
    established: Session, vectors: dict[str, Any], vector: dict[str, Any], tmp_path: Path
) -> None:
    earlier = next(one for one in vectors["valid"] if one.get("confirm") and one["request"] != vector["request"])
    ups = (True, False, True, False)
    capture = Capture(tmp_path / "capture", "test")
    for start, device, one in ((0, CLIENT, earlier), (5, OTHER, earlier), (10, CLIENT, vector), (20, OTHER, earlier)):
        for place, (up, data) in enumerate(zip(ups, datagrams(one, start), strict=True)):
            source, destination = (device, SERVER) if up else (SERVER, device)
            capture.write([Packet(source, destination, data, up)], int((BEGAN + start + place) * 1e6))
    capture.close()
    found = registration_of(established, LINES, tmp_path / "capture")
    assert [one.name for one in found.arrows] == ["REQUEST", "RESPONSE", "SUCCESS", "CONFIRM", "first contact"]
    assert [round(one.at - BEGAN) for one in found.arrows[:4] if one.at] == [10, 11, 12, 13]


def test_a_capture_without_it_or_that_is_none_is_told(
    established: Session, vector: dict[str, Any], tmp_path: Path
) -> None:
    request, response, *_ = datagrams(vector)
    path = written(tmp_path / "capture", [(True, request, 0.0), (False, response, 0.1)])
    found = registration_of(established, LINES, path)
    assert not found.captured
    assert "The capture has nothing of this registration" in found.missing[0]
    assert len(found.arrows) == 5
    for data, told in ((b"", "empty"), (b"no capture at all", "not a capture"), (None, "cannot read")):
        other = tmp_path / "other"
        other.unlink(missing_ok=True)
        if data is not None:
            other.write_bytes(data)
        found = registration_of(established, LINES, other)
        assert told in found.missing[0]
        assert "Traceback" not in found.missing[0]


def test_a_capture_is_read_backwards_as_far_as_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "capture", [(True, bytes([number]) * (1 + number), number) for number in range(20)])
    forwards = list(capture_file.read(str(path)))
    assert [dataclasses.replace(one, frame=0) for one in reversed(forwards)] == list(backwards(path))
    monkeypatch.setattr(capture_file, "BACKWARDS", 500)
    assert 0 < len(list(backwards(path))) < 20
    path.write_bytes(path.read_bytes()[:-3])  # as while a block is being written
    with pytest.raises(LocalError, match="ends within a block"):
        list(backwards(path))


def test_nothing_of_a_registration_is_drawn_twice_and_times_are_those_of_now(established: Session) -> None:
    assert established.established_at == NOW - 100
    names = [one.name for one in registration_of(established, [*LINES, *LINES], None).arrows]
    assert len(names) == len(set(names))
