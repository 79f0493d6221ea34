"""How every registration ended, and whether the server's store agrees."""

import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256

from dpe_coap.client_ids import client_id_of
from dpe_server.keys.at_rest import AtRest
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Store
from dpe_server.store.opening import open_store
from dpe_server.store.questions import Questions
from dpe_tools.load.plan import imei

CHUNK = 500
"""How many devices are looked up at once."""

_ENTRY = struct.Struct(">I?7s8s")  # the device's number, whether it is REGISTERED, its Client ID, a hash of its keys
_FAILED = bytes(7), bytes(8)


class Ledger:
    """The ends of registrations, in their order. Each takes 20 bytes, because a load has millions."""

    def __init__(self, entries: bytes = b"") -> None:
        self._entries = bytearray(entries)

    def registered(self, number: int, client_id: bytes, keys: tuple[bytes, bytes]) -> None:
        """Note that a device is REGISTERED with this Client ID and these keys (OSCORE master secret and salt)."""
        self._entries += _ENTRY.pack(number, True, client_id, _hash(b"".join(keys)))

    def failed(self, number: int) -> None:
        """Note that a registration ended in another way, so that it is not known what the server holds."""
        self._entries += _ENTRY.pack(number, False, *_FAILED)

    def merge(self, other: "Ledger") -> None:
        """Add the entries of other devices, or later ones."""
        self._entries += other._entries

    def __iter__(self) -> Iterator[tuple[int, bool, bytes, bytes]]:
        """Yield a device's number, whether it is REGISTERED, its Client ID and the hash of its keys."""
        return _ENTRY.iter_unpack(self._entries)


@dataclass(slots=True)
class _Known:
    """What a device knows in the end."""

    registered: bool = False
    client_id: int = 0
    keys: bytes = field(default=b"", repr=False)
    earlier: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Agreement:
    """The result of comparing the devices with the store. Everything but ``devices`` must be 0."""

    devices: int = 0
    """Devices that are REGISTERED."""
    missing: int = 0
    """Devices that are REGISTERED without a session in the store."""
    other_client_id: int = 0
    """Devices whose session has another Client ID."""
    other_keys: int = 0
    """Devices whose session has other keys."""
    two_sessions: int = 0
    """Devices that still have a session of an earlier registration."""

    @property
    def holds(self) -> bool:
        """Whether devices and store agree."""
        return not (self.missing or self.other_client_id or self.other_keys or self.two_sessions)


def compare(ledger: Ledger, state: StateDir) -> Agreement:
    """Look up every device of the ledger in the store of its server. Raises StoreError."""
    known: dict[int, _Known] = {}
    for number, registered, client_id, keys in ledger:
        device = known.setdefault(number, _Known())
        if device.registered:
            device.earlier.add(device.client_id)
        device.registered, device.client_id, device.keys = registered, client_id_of(client_id), keys
    found = Agreement()
    at_rest = state.at_rest
    numbers = list(known)
    with closing(open_store(state.store_url)) as store:
        for start in range(0, len(numbers), CHUNK):
            part = {at_rest.device_id(imei(number)): known[number] for number in numbers[start : start + CHUNK]}
            _compare(part, store, at_rest, found)
    return found


def _compare(part: dict[bytes, _Known], store: Store, at_rest: AtRest, found: Agreement) -> None:
    # The sessions first: a registration that was given up may be committed now, and ends the one before it.
    sessions = {name: store.session_of(name) for name in part}
    earlier = {client_id for device in part.values() for client_id in device.earlier}
    holders = store.look(Questions(holders=earlier)).holders
    for name, device in part.items():
        session = sessions[name]
        others = device.earlier - ({session.client_id} if session else set())
        found.two_sessions += any(holders.get(client_id) == name for client_id in others)
        if not device.registered:
            continue
        found.devices += 1
        if session is None:
            found.missing += 1
        elif session.client_id != device.client_id:
            found.other_client_id += 1
        elif _hash(at_rest.open_keys(session.sealed_keys, session.client_id)) != device.keys:
            found.other_keys += 1


def _hash(keys: bytes) -> bytes:
    return sha256(keys).digest()[:8]
