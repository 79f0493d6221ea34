"""Devices that register with a registrar in this process, batch by batch. Only what the server does is timed."""

import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

from dpe_coap.client_ids import client_id_of
from dpe_coap.errors import LocalError
from dpe_device.registration import REGISTERED, Registration
from dpe_server import policy
from dpe_server.handling.handler import handle
from dpe_server.operation.credential import credential
from dpe_server.operation.server import ordinals_of
from dpe_server.operation.state_dir import StateDir
from dpe_server.registration.registrar import Registrar
from dpe_server.store.contract import Session, Store
from dpe_tools.load.devices import Device
from dpe_tools.load.plan import imei

_HEADER = 24
"""Bytes of a device's CoAP request before its payload."""
_ACK = 0x64  # the first byte of a piggybacked response to such a request
_PAYLOAD = b"\xff"


class Took(NamedTuple):
    """Seconds by the clock, the waiting for the disk among them, and of CPU time."""

    wall: float
    cpu: float


class Devices:
    """The devices of ``state``, by number, and the registrar on ``store``, which is theirs."""

    def __init__(self, state: StateDir, store: Store) -> None:
        self._state = state
        self._store = store
        self._at_rest = state.at_rest
        self._registrar = Registrar(
            realm=state.config.realm,
            keys=state.keys,
            policy=policy.load(state.policy_path),
            random=secrets.token_bytes,
            ordinals=ordinals_of(store),
        )

    def register(self, numbers: Sequence[int]) -> Took:
        """Register these devices in one batch, durably; return what the server took for both messages.

        LocalError when one does not end REGISTERED with its row in the store.
        """
        clients = [self._client(number) for number in numbers]
        requests = [client.step(0)[0] for client in clients]
        responses, first = self._serve(requests)
        successes = [client.step(1, datagram)[0] for client, datagram in zip(clients, responses, strict=True)]
        confirms, second = self._serve(successes)
        for number, client, datagram in zip(numbers, clients, confirms, strict=True):
            client.step(2, datagram)
            if client.state != REGISTERED or client_id_of(client.client_id or b"") != self.session(number).client_id:
                raise _defect()
        return Took(first.wall + second.wall, first.cpu + second.cpu)

    def name(self, number: int) -> bytes:
        """Return what names the device in the store."""
        return self._at_rest.device_id(imei(number))

    def session(self, number: int) -> Session:
        """Return the device's session; KeyError if it has none."""
        session = self._store.session_of(self.name(number))
        if session is None:
            raise KeyError(number)
        return session

    def _client(self, number: int) -> Registration:
        made = asdict(credential(self._state.keys, self._state.config, imei(number)))
        return Registration(made, Device(number, made), os.urandom)

    def _serve(self, datagrams: Sequence[bytes | None]) -> tuple[list[bytes], Took]:
        """Return the answers, and how long they took."""
        sent = [datagram for datagram in datagrams if datagram is not None]
        if len(sent) < len(datagrams):
            raise _defect()  # a device was refused
        payloads = [datagram[_HEADER:] for datagram in sent]
        start, used = time.perf_counter(), time.process_time()
        replies = handle(self._registrar, self._store, payloads, time.monotonic(), time.time()).replies
        took = Took(time.perf_counter() - start, time.process_time() - used)
        answers = []
        for datagram, reply in zip(sent, replies, strict=True):
            option = b"" if reply.content_format is None else bytes([0xC1, reply.content_format])
            answers.append(bytes([_ACK, reply.code]) + datagram[2:8] + option + _PAYLOAD + reply.payload)
        return answers, took


def _defect() -> LocalError:
    return LocalError("a device did not register", hint="this is a defect of dpe-coap: report it")
