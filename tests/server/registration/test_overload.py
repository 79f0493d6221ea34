"""What those without a key can send as often as they like: it costs little and takes nothing from anybody."""

from collections.abc import Callable
from os import urandom

import pytest

from dpe_coap.binding import Code
from dpe_coap.messages import Success, encode
from dpe_coap.numbers import Status
from dpe_server.handling.reply import UNAUTHORIZED
from dpe_server.registration.transaction_table import PER_DEVICE
from dpe_server.registration.transactions import LIFE
from dpe_server.store.questions import Facts, Questions
from tests.server.registration.double import Device, Server, confirmation

Flood = Callable[[Device], bytes]


def looks(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which every look at the store is added."""
    made: list[str] = []
    look = server.store.look

    def counted(questions: Questions) -> Facts:
        made.append(str(questions))
        return look(questions)

    monkeypatch.setattr(server.store, "look", counted)
    return made


def foreign_handle(device: Device) -> bytes:
    device.handle = bytes([7]) + urandom(16)
    return device.request()


def wrong_token(device: Device) -> bytes:
    request = device.request()
    return request[:-1] + bytes([request[-1] ^ 1])


@pytest.mark.parametrize("flood", [foreign_handle, wrong_token])
def test_invalid_tokens_leave_no_trace(
    server: Server, device: Device, flood: Flood, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.total = 10
    server.restart()
    success, last, _ = device.offered()
    made = looks(server, monkeypatch)
    for _ in range(20):
        replies = server.handle([flood(Device(server)) for _ in range(20)])
        assert replies == [UNAUTHORIZED] * 20
    assert len(made) == 20, "one look at the store for a batch, as for those whose token is valid"
    assert confirmation(server.send(success), last).status == Status.OK


def test_forged_successes_are_one_look_at_the_store(
    server: Server, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    success, last, response = device.offered()
    assert response.client_id is not None
    made = looks(server, monkeypatch)
    forged = [encode(Success(urandom(7), 0, urandom(16))) for _ in range(100)]
    forged += [encode(Success(response.client_id, 0, urandom(16))) for _ in range(100)]
    replies = server.handle([*forged, success])
    assert replies[:-1] == [UNAUTHORIZED] * 200
    assert confirmation(replies[-1], last).status == Status.OK
    assert len(made) == 1


def test_replays_take_no_more_than_their_devices_could(server: Server) -> None:
    """Recorded REQUESTs of three devices, again and again after their life: the others stay."""
    server.total = 20
    server.restart()
    recorded = [Device(server, f"3520990020000{n}").request() for n in range(3) for _ in range(2 * PER_DEVICE)]
    for request in recorded:
        assert server.send(request).code == Code.CHANGED
    server.now += LIFE + 1
    honest = [Device(server, f"3520990030000{n}").offered() for n in range(8)]
    for _ in range(5):
        server.handle(recorded)
    for success, last, _ in honest:
        assert confirmation(server.send(success), last).status == Status.OK
    assert len(server.rows()) == 8


def test_a_replay_while_its_transaction_lives_changes_nothing(server: Server, device: Device) -> None:
    request = device.request()
    reply = server.send(request)
    others = [device.offered() for _ in range(PER_DEVICE - 1)]
    assert server.handle([request] * 50) == [reply] * 50
    success, last, _ = others[0]
    assert confirmation(server.send(success), last).status == Status.OK
