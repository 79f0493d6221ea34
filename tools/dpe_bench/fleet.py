"""The devices of `dpe bench registrations`: provisioned in memory, and looked up in the store afterwards."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from secrets import token_bytes

from dpe_coap.client_ids import client_id_of
from dpe_coap.imei import Imei
from dpe_coap.numbers import SIZE_CLIENT_ID
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import KeyRing
from dpe_server.operation.credential import credential
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.opening import open_store
from dpe_server.store.questions import Questions

POLICY = """\
[[rule]]
name = "all"
version = "1.*"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
"""
"""Sessions without end, as before servers were made with a lifetime: so runs of old and new can be compared."""

_TAC = "35000000"
_RECORD = struct.Struct(f"=I{SIZE_CLIENT_ID}s")
_CHUNK = 500


def imei(number: int) -> Imei:
    """Return the IMEI of a device, numbered 0 to 999,999."""
    return Imei.parse(f"{_TAC}{number:06d}")


def open_state(path: Path, realm: str) -> StateDir:
    """Make the state directory of a server for such devices."""
    state = StateDir.create(path, realm, "coap://127.0.0.1")
    state.policy_path.write_text(POLICY, encoding="utf-8")
    return state


def provision(state: StateDir, count: int, path: Path) -> None:
    """Write handle and device key of ``count`` devices (at most 1,000,000) for native/registration_job.c."""
    made = (credential(state.keys, state.config, imei(number)) for number in range(count))
    path.write_bytes(b"".join(part for each in made for part in (each.handle, each.device_key)))


def check(store_url: str, keys: KeyRing, results: Path) -> tuple[int, int]:
    """Return how many devices say that they are registered, and for how many of them the store says otherwise.

    ``results`` is what native/registration_job.c wrote; a device's last registration is the one that counts.
    """
    said = dict(_RECORD.iter_unpack(results.read_bytes()))
    at_rest = AtRest(keys.at_rest, token_bytes)
    wrong = 0
    with closing(open_store(store_url)) as store:
        for chunk in _chunks(said.items()):
            devices = {at_rest.device_id(imei(number)): client_id for number, client_id in chunk}
            stored = store.look(Questions(client_ids_of=set(devices))).client_ids_of
            wrong += sum(stored.get(device) != client_id_of(client_id) for device, client_id in devices.items())
    return len(said), wrong


def _chunks(items: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk
