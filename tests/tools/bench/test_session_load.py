"""The load generator's reports under OSCORE: made as RFC 8613 says, and no wrong answer is taken."""

import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from dpe_bench.generator import Generator, Load
from dpe_coap import oscore
from dpe_coap.errors import LocalError
from dpe_coap.oscore import Keys
from tests.tools.bench.peer import Peer, ReceivedRequest

RUNS = 40
SESSIONS = 16
PLAINTEXT = bytes.fromhex("02b3647065113cffa101a10000")
"""POST /dpe with Content-Format 60: battery 0 %."""
CHANGED = b"\x44"
PROTECTED = b"\x90"
"""The empty OSCORE option."""

Answer = Callable[["Device", ReceivedRequest], bytes]


class Device:
    """A report as the server sees it."""

    def __init__(self, known: dict[bytes, Keys], request: ReceivedRequest) -> None:
        size = request.rest[0] & 15
        at = 2 if size == 13 else 1
        assert request.rest[0] >> 4 == 9
        assert at == 1 or request.rest[1] == 0
        assert request.rest[at + size] == 0xFF
        self.client_id, self.number = oscore.read_option(request.rest[at : at + size])
        self.keys = known[self.client_id]
        self.nonce = oscore.nonce(self.keys.common_iv, self.client_id, self.number)
        self.data = oscore.additional_data(self.client_id, self.number)
        self.plaintext = oscore.decrypt(self.keys.client, self.nonce, self.data, request.rest[at + size + 1 :])

    def protect(self, plaintext: bytes) -> bytes:
        return oscore.encrypt(self.keys.server, self.nonce, self.data, plaintext)


def good(device: Device, request: ReceivedRequest) -> bytes:
    return request.reply(device.protect(CHANGED), options=PROTECTED)


@pytest.fixture
def sessions(tmp_path: Path) -> dict[bytes, Keys]:
    """Sessions by Client ID; the generator has them in a file."""
    made = {}
    for _ in range(SESSIONS):
        client_id = secrets.token_bytes(7)
        made[client_id] = oscore.derive(secrets.token_bytes(16), secrets.token_bytes(8), client_id)
    (tmp_path / "sessions").write_bytes(b"".join(client_id + b"".join(keys) for client_id, keys in made.items()))
    return made


@pytest.fixture
def reports(load: Path, sessions: dict[bytes, Keys], tmp_path: Path) -> Callable[..., tuple[Load, list[Device]]]:
    """Load a server that answers so; return what the generator found, and the reports that came."""

    def run(answer: Answer = good, *, first: int = 0) -> tuple[Load, list[Device]]:
        seen: list[Device] = []

        def reply(request: ReceivedRequest) -> Iterable[bytes]:
            seen.append(Device(sessions, request))
            return [answer(seen[-1], request)]

        with Peer(reply) as peer:
            argument = f"{tmp_path / 'sessions'}:{PLAINTEXT.hex()}"
            generator = Generator(load, None, job="session", argument=argument, port=peer.port, endpoints=SESSIONS)
            generator.next = first
            return generator.run(seconds=20, window=4, runs=RUNS), seen

    return run


@pytest.mark.parametrize("round_", [0, 254, 65_500])
def test_each_report_is_protected_under_a_number_of_its_own(
    reports: Callable[..., tuple[Load, list[Device]]], sessions: dict[bytes, Keys], round_: int
) -> None:
    found, seen = reports(first=round_ * SESSIONS)
    assert (found.runs, found.verified, found.faults, found.resent) == (RUNS, RUNS, 0, 0)
    assert [report.client_id for report in seen[:SESSIONS]] == list(sessions)
    assert [report.number for report in seen] == [round_ + 1 + run // SESSIONS for run in range(RUNS)]
    for report in seen:
        assert report.plaintext == PLAINTEXT[:-1] + bytes([report.number % 24])


def changed(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda device, request: changed(good(device, request)),
        lambda device, request: good(device, request)[:-1],
        lambda device, request: good(device, request) + b"\0",
        lambda device, request: request.reply(device.protect(b"\x80"), options=PROTECTED),
        lambda device, request: request.reply(device.protect(b"\x44\xc1\x3c\xff\xa0"), options=PROTECTED),
        lambda device, request: request.reply(device.protect(CHANGED), options=b""),
        lambda device, request: request.reply(device.protect(CHANGED), options=b"\x91\0"),
        lambda device, request: request.reply(
            oscore.encrypt(device.keys.client, device.nonce, device.data, CHANGED), options=PROTECTED
        ),
        lambda device, request: request.reply(CHANGED, options=PROTECTED),
        lambda device, request: request.reply(b"", options=b"")[:-1],
    ],
    ids=[
        "tag", "short", "long", "inner code", "an answer with policies", "no OSCORE option", "an option that says more",
        "the client's key", "not protected", "empty",
    ],
)  # fmt: skip
def test_a_wrong_answer_ends_the_exchange(reports: Callable[..., tuple[Load, list[Device]]], wrong: Answer) -> None:
    found, _ = reports(wrong)
    assert (found.runs, found.verified, found.wrong) == (0, 0, RUNS)


def test_an_answer_to_another_report_is_wrong(reports: Callable[..., tuple[Load, list[Device]]]) -> None:
    before: list[bytes] = []

    def answer(device: Device, request: ReceivedRequest) -> bytes:
        before.append(device.protect(CHANGED))
        return request.reply(before[(len(before) - 1) // 2], options=PROTECTED)

    found, _ = reports(answer)
    assert (found.verified, found.wrong) == (1, RUNS - 1)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("sessions", "the argument is not FILE:PLAINTEXT"),
        ("no-such-file:44", "the sessions cannot be read"),
        ("/dev/null:44", "there are no sessions"),
        ("/dev/null:", "there is no plaintext"),
        ("/dev/null:xy", "the plaintext is too long, or not in hex"),
        ("/dev/null:" + 300 * "00", "the plaintext is too long, or not in hex"),
    ],
)
def test_what_it_cannot_read_is_said(load: Path, argument: str, said: str) -> None:
    with pytest.raises(LocalError, match=said):
        Generator(load, None, job="session", argument=argument, port=9, endpoints=1).run(seconds=1, window=1)
