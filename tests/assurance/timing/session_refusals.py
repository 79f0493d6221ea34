"""Every way in which a request of a session is refused with 4.01, as protected requests to one server."""

import os
import time
from collections.abc import Iterable
from functools import partial
from itertools import cycle

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_bytes
from dpe_server.keys.at_rest import AtRest
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import End, Revoke, Store
from dpe_server.store.opening import open_store
from tests.assurance.timing.refusals import MANY, Ask, Make
from tests.coap import CON, POST, Message
from tests.server.session.double import Device, Server

OSCORE = 9
MARK = 200
"""Up to which number the sessions have been used that the server has heard of."""
LAST = 0x1FFFFFFFFFFFFF
"""The highest Client ID that a session has. So an unknown one below it is followed by that of a session."""


def split(payload: bytes) -> tuple[bytes, bytes]:
    """Return the value of the OSCORE option and the ciphertext, which have a payload marker between them."""
    size = 1 + (payload[0] & 7) + oscore.MAX_ID
    return payload[:size], payload[size + 1 :]


def protected(message_id: int, coap_token: bytes, payload: bytes) -> bytes:
    """Return a protected request as nearly every device sends it."""
    option, ciphertext = split(payload)
    return bytes(Message(CON, POST, message_id, coap_token, [(OSCORE, option)], ciphertext))


class _Stored(Server):
    """The store of a state directory, for devices in their sessions."""

    def __init__(self, state: StateDir, store: Store) -> None:
        self.at_rest = AtRest(state.keys.at_rest, os.urandom)
        self.store = store  # type: ignore[assignment]
        self.wall = time.time()


class SessionRefusals:
    """Puts sessions into the store of a state directory, before its server begins, and makes requests of them."""

    def __init__(self, state: StateDir) -> None:
        store = open_store(state.store_url)
        try:
            stored = _Stored(state, store)
            self._heard, self._unheard, self._ended, self._revoked = (
                [self._device(stored) for _ in range(MANY)] for _ in range(4)
            )
            self._unheard.append(Device(stored, LAST, rule="all", lifetime=None))
            store.commit([End(device.device, int(stored.wall)) for device in self._ended])
            store.commit([Revoke(device.device, int(stored.wall)) for device in self._revoked])
            stored.wall -= 120
            self._over = [self._device(stored, lifetime=60) for _ in range(MANY)]
        finally:
            store.close()

    @staticmethod
    def _device(stored: Server, lifetime: int | None = None) -> Device:
        return Device(stored, _client_id(0x1F), rule="all", lifetime=lifetime)

    def speak(self, ask: Ask) -> None:
        """Let those report whom the server must have heard. Each answer but the last is remembered no more."""
        for device in self._heard:
            for number in (MARK - 1, MARK):
                assert ask(_report(device, number)), "not accepted"

    def requests(self) -> dict[str, Make]:
        """Return makers of the refused requests, by class. The others are compared with the first.

        A server that has run for a minute ends the sessions that are over by itself.
        """
        heard, unheard = cycle(self._heard), cycle(self._unheard)
        return {
            "unknown Client ID": lambda: _renamed(_report(next(heard)), _client_id(0x1F)),
            "Client ID above that of any session": lambda: _renamed(_report(next(heard)), _client_id(0x20)),
            "wrong keys, session in use": lambda: _forged(_report(next(heard), MARK + 1)),
            "wrong keys, session never heard of": lambda: _forged(_report(next(unheard))),
            "number not above the mark": lambda: _report(next(heard)),
            "session over": _reports(self._over),
            "ended session": _reports(self._ended),
            "revoked device": _reports(self._revoked),
        }


def _client_id(first: int) -> int:
    return int.from_bytes(bytes([first]) + os.urandom(6), "big")


def _reports(devices: Iterable[Device]) -> Make:
    return partial(lambda turns: _report(next(turns)), cycle(devices))


def _report(device: Device, number: int = 0) -> bytes:
    """Return a report that is new to everybody: a repeat of the last one would be answered as that was."""
    return device.report({0: os.urandom(8)}, number=number or 1 + os.urandom(1)[0] % (MARK - 2))


def _renamed(payload: bytes, client_id: int) -> bytes:
    option, ciphertext = split(payload)
    return option[: -oscore.MAX_ID] + client_id_bytes(client_id) + b"\xff" + ciphertext


def _forged(payload: bytes) -> bytes:
    return payload[:-1] + bytes([payload[-1] ^ 1])
