"""A flood from somebody without a key: honest devices register all the same, and the server's memory stays flat."""

import gc
import itertools
import os
import random
import threading

from dpe_coap.numbers import Status
from dpe_server.handling.batching import WAITING
from dpe_server.operation.state_dir import StateDir
from tests.coap import ACK, CON, DISCOVERY, GET, NON, POST, REGISTER, Client, Message, Options
from tests.end_to_end.devices import Device, Offered
from tests.end_to_end.running import Running

FLOOD = 30_000
HONEST = 20
TRIES = 200
LOOKS = 5


class Flood(threading.Thread):
    """Sends replays, forgeries and rubbish, and does not care for the answers."""

    def __init__(self, uri: str, replayed: list[bytes]) -> None:
        super().__init__()
        self._uri = uri
        self._replayed = replayed

    def run(self) -> None:
        source = random.Random(1)
        valid = self._replayed[0]
        with Client(self._uri) as client:
            for number in range(FLOOD):
                forged = valid[:20] + source.randbytes(len(valid) - 20)
                kind, code, options, payload = source.choice(
                    [
                        (CON, POST, REGISTER, source.choice(self._replayed)),
                        (CON, POST, REGISTER, valid[:-16] + source.randbytes(16)),
                        (CON, POST, REGISTER, forged),
                        (CON, POST, REGISTER, source.randbytes(60)),
                        (NON, POST, REGISTER, valid),
                        (CON, GET, DISCOVERY, b""),
                        (CON, POST, [], source.randbytes(900)),
                    ]
                )
                client.send(bytes(Message(kind, code, number & 0xFFFF, os.urandom(4), options, payload)))


_message_ids = itertools.count(1)


def ask(client: Client, payload: bytes, *, code: int = POST, options: Options = REGISTER) -> Message:
    """Do as a client does: send the same bytes again while nothing comes, and come back after a 5.03."""
    message_ids: set[int] = set()
    for attempt in range(TRIES):
        if attempt % 5 == 0:
            message_ids.add(next(_message_ids))
        client.send(bytes(Message(CON, code, max(message_ids), b"tt", options, payload)))
        while (answer := client.receive(timeout=0.1)) is not None:
            if answer.type == ACK and answer.message_id in message_ids and answer.code and answer.dotted != "5.03":
                return answer
    raise AssertionError("an honest device was pushed out")


def register(client: Client, device: Device) -> tuple[Offered, bytes]:
    request = device.request()
    offer = device.read(request, ask(client, request).payload)
    success = offer.success()
    confirm, _ = offer.confirm(success, ask(client, success).payload)
    assert confirm.status == Status.OK
    return offer, request


def test_honest_devices_register_through_a_flood(state: StateDir, running: Running) -> None:
    with Client(running.uri) as client:
        recorded = [register(client, Device(state))[1] for _ in range(3)]
    floods = [Flood(running.uri, recorded) for _ in range(2)]
    batcher = running.server._batcher
    for flood in floods:
        flood.start()
    waiting = []
    for _ in range(HONEST):
        with Client(running.uri) as client:
            register(client, Device(state))
        waiting.append(len(batcher))
    for flood in floods:
        flood.join()
    assert max(waiting) < WAITING + 256


def test_a_flood_leaves_nothing_in_memory(state: StateDir, running: Running) -> None:
    with Client(running.uri) as client:
        _, request = register(client, Device(state))

    def objects() -> int:
        with Client(running.uri) as client:
            assert ask(client, b"", code=GET, options=DISCOVERY).dotted == "2.05"
        gc.collect()
        return len(gc.get_objects())

    def after_a_flood() -> int:
        flood = Flood(running.uri, [request])
        flood.start()
        flood.join()
        return min(objects() for _ in range(LOOKS))  # at the first ones its last messages may be under way

    first = after_a_flood()
    assert after_a_flood() - first < FLOOD // 100
