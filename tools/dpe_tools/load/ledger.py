"""How every registration ended, and whether the server's store agrees."""

import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256

import cbor2

from dpe_coap.client_ids import client_id_of
from dpe_server.keys.at_rest import AtRest
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Store
from dpe_server.store.questions import Questions
from dpe_server.store.record import entries
from dpe_tools.load.devices import Meter
from dpe_tools.load.plan import FIRST_PROPERTY, imei

CHUNK = 500
"""How many devices are looked up at once."""


class Told(IntEnum):
    """What a device knows of its session."""

    UNKNOWN = 0
    REGISTERED = 1
    ENDED = 2
    PERHAPS_ENDED = 3
    """It wished to deregister, and has not heard that it has."""


_ENTRY = struct.Struct(">IB7s8sII?B")
"""The device's number, what it knows, its Client ID and a hash of its keys; the least value that the server may have of
its properties, the greatest, whether it must have one, and the number of its properties."""


class Ledger:
    """The ends of registrations and sessions, in their order. Each takes 30 bytes, because a load has millions."""

    def __init__(self, entries: bytes = b"") -> None:
        self._entries = bytearray(entries)

    def registered(self, number: int, client_id: bytes, keys: tuple[bytes, bytes]) -> None:
        """Note that a device is REGISTERED with this Client ID and these keys (OSCORE master secret and salt)."""
        self._entries += _ENTRY.pack(number, Told.REGISTERED, client_id, _hash(b"".join(keys)), 1, 0, False, 0)

    def told(self, number: int, told: Told, client_id: bytes, keys: tuple[bytes, bytes], meter: Meter) -> None:
        """Note what a device knows that has reported what ``meter`` says."""
        self._entries += _ENTRY.pack(
            number, told, client_id, _hash(b"".join(keys)), meter.least, meter.value, meter.known, len(meter.numbers)
        )

    def failed(self, number: int) -> None:
        """Note that a registration ended in another way, so that it is not known what the server holds."""
        self._entries += _ENTRY.pack(number, Told.UNKNOWN, bytes(7), bytes(8), 1, 0, False, 0)

    def merge(self, other: "Ledger") -> None:
        """Add the entries of other devices, or later ones."""
        self._entries += other._entries

    def __iter__(self) -> Iterator[tuple[int, int, bytes, bytes, int, int, bool, int]]:
        """Yield the entries: see ``_ENTRY``."""
        return _ENTRY.iter_unpack(self._entries)


@dataclass(slots=True)
class _Known:
    """What a device knows in the end."""

    told: int = Told.UNKNOWN
    client_id: int = 0
    keys: bytes = field(default=b"", repr=False)
    least: int = 1
    most: int = 0
    must: bool = False
    properties: int = 0
    earlier: set[int] = field(default_factory=set)

    def may_be(self, record: bytes) -> bool:
        """Say whether the server may have this record of the device."""
        found = {cbor2.loads(entry.property): cbor2.loads(entry.value) for entry in entries(record)}
        if not found:
            return not self.must
        value = next(iter(found.values()))
        whole = dict.fromkeys(range(FIRST_PROPERTY, FIRST_PROPERTY + self.properties), value)
        return found == whole and self.least <= value <= self.most


@dataclass(slots=True)
class Agreement:
    """The result of comparing the devices with the store. Everything but ``devices`` and ``ended`` must be 0."""

    devices: int = 0
    """Devices that are REGISTERED."""
    ended: int = 0
    """Devices whose session has ended, as they know."""
    missing: int = 0
    """Devices that are REGISTERED without a session in the store."""
    other_client_id: int = 0
    """Devices whose session has another Client ID."""
    other_keys: int = 0
    """Devices whose session has other keys."""
    other_record: int = 0
    """Devices of whose properties the store has something else than they have reported last."""
    two_sessions: int = 0
    """Devices that still have a session of an earlier registration."""
    not_ended: int = 0
    """Devices that still have the session that has ended."""

    @property
    def holds(self) -> bool:
        """Whether devices and store agree."""
        return not (
            self.missing
            or self.other_client_id
            or self.other_keys
            or self.other_record
            or self.two_sessions
            or self.not_ended
        )


def compare(ledger: Ledger, state: StateDir) -> Agreement:
    """Look up every device of the ledger in the store of its server. Raises StoreError."""
    known: dict[int, _Known] = {}
    for number, told, client_id, keys, least, most, must, properties in ledger:
        before = known.get(number, _Known())
        if before.told != Told.UNKNOWN:
            before.earlier.add(before.client_id)
        known[number] = _Known(told, client_id_of(client_id), keys, least, most, must, properties, before.earlier)
    found = Agreement()
    at_rest = state.at_rest
    numbers = list(known)
    with closing(state.open_store()) as store:
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
        others = device.earlier - {device.client_id} - ({session.client_id} if session else set())
        found.two_sessions += any(holders.get(client_id) == name for client_id in others)
        if device.told == Told.ENDED:
            found.ended += 1
            found.not_ended += session is not None and session.client_id == device.client_id
        if device.told != Told.REGISTERED:
            continue
        found.devices += 1
        if session is None:
            found.missing += 1
        elif session.client_id != device.client_id:
            found.other_client_id += 1
        elif _hash(at_rest.open_keys(session.sealed_keys, session.client_id)) != device.keys:
            found.other_keys += 1
        elif not device.may_be(session.record):
            found.other_record += 1


def _hash(keys: bytes) -> bytes:
    return sha256(keys).digest()[:8]
