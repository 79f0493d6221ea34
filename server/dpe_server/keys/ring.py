"""The server's long-term keys by generation, and what is made with them: device keys and handles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Literal

from dpe_coap.imei import Imei
from dpe_coap.keys import HANDLE_RANDOM_SIZE, KEY_SIZE, MAX_ISSUED, HandleKey, MasterKey

FIRST_GENERATION = 1
LAST_GENERATION = 255

AHEAD = 10 * 365.25 * 86_400
"""Seconds that a handle may be issued in the future. Clocks can be wrong; but see ``freshness``."""


Claim = tuple[int, Imei, int, bytes, bool]
"""What the sender of a REQUEST claims: epoch, IMEI, when its handle was issued (0 without one) and K_dev (32 bytes);
and whether the ring knows such a device.

If not, the rest is made up.
"""

KeyKind = Literal["master", "handle"]

Nobodys = tuple[MasterKey, HandleKey]
"""Keys that nobody has."""


def nobodys(random: Callable[[int], bytes]) -> Nobodys:
    """Make keys that nobody has, for the same work where a ring has none. ``random`` gives strong bytes."""
    return MasterKey(0, random(KEY_SIZE)), HandleKey(0, random(KEY_SIZE))


def freshness(issued: int, wall: float) -> int:
    """Return what an ``issued`` is worth beside others of its device at Unix time ``wall``.

    It is worth nothing if no clock can have said so. Then random bytes are in its place: the handle was made before
    there was an ``issued``. If it were believed, it would stay fresher than all handles made from now on.
    """
    return issued if issued <= wall + AHEAD else 0


def next_issued(fresh: int, wall: float) -> int:
    """Return the ``issued`` of the handle that follows one of this freshness at Unix time ``wall``."""
    return min(max(int(wall), fresh + 1), MAX_ISSUED)


def fingerprint(value: bytes) -> str:
    """Return 64 bits of a hash, in hex. A key has 256 random bits, so its fingerprint tells nothing of it."""
    return sha256(b"DPE loaded: " + value).hexdigest()[:16]


@dataclass(frozen=True)
class KeyRing:
    """Keys of 32 bytes each. The number of a generation is 1 to 255; the highest is the current one.

    If other servers must know a key before it is used, ``epoch`` and ``hkid`` say which generations are current.
    """

    master: Mapping[int, bytes] = field(repr=False)
    """K_master by epoch: device keys derive from it."""
    handle: Mapping[int, bytes] = field(repr=False)
    """K_handle by hkid: handles are sealed with it."""
    at_rest: bytes = field(repr=False)
    """What the database keeps of a device is hashed and sealed under this."""
    epoch: int | None = None
    hkid: int | None = None

    def having(self, kind: KeyKind, generation: int, key: bytes) -> "KeyRing":
        """Return these keys with one more of 32 bytes, or with this one in the place of another."""
        if kind == "master":
            return replace(self, master={**self.master, generation: key})
        return replace(self, handle={**self.handle, generation: key})

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each key by its name, such as ``master key 2``."""
        rings = ("master", self.master), ("handle", self.handle)
        named = {f"{kind} key {generation}": key for kind, ring in rings for generation, key in sorted(ring.items())}
        return {name: fingerprint(key) for name, key in {**named, "at-rest key": self.at_rest}.items()}

    @property
    def current_epoch(self) -> int:
        """The epoch that new devices are provisioned with."""
        return self.epoch or max(self.master)

    @property
    def current_hkid(self) -> int:
        """The handle key that new handles are sealed with."""
        return self.hkid or max(self.handle)

    @cached_property
    def _masters(self) -> dict[int, MasterKey]:
        return {epoch: MasterKey(epoch, key) for epoch, key in self.master.items()}

    @cached_property
    def _handles(self) -> dict[int, HandleKey]:
        return {hkid: HandleKey(hkid, key) for hkid, key in self.handle.items()}

    @cached_property
    def _sealing(self) -> HandleKey:
        return self._handles[self.current_hkid]

    def device_key(self, epoch: int, imei: Imei) -> bytes | None:
        """Return K_dev (32 bytes), or None when the ring has no master key of that epoch."""
        master = self._masters.get(epoch)
        return None if master is None else master.device_key(imei)

    def seal_handle(self, epoch: int, imei: Imei, issued: int, random: Callable[[int], bytes]) -> bytes:
        """Return a new handle (17 bytes) under the current handle key; ``issued`` is from ``next_issued``."""
        return self._sealing.seal(epoch, imei, issued, random(HANDLE_RANDOM_SIZE))

    def claim(self, handle: bytes, nobodys: Nobodys) -> Claim:
        """Return what a handle (17 bytes) claims.

        ``nobodys`` stand in for missing keys, so the work is the same whatever is wrong.
        """
        no_master, no_handle = nobodys
        epoch, imei, issued, opens = self._handles.get(handle[0], no_handle).open(handle)
        key = self._masters.get(epoch, no_master).device_key(imei)
        return epoch, imei, issued, key, opens & (handle[0] in self.handle) & (epoch in self.master)

    def claims_of(self, imei: Imei) -> list[Claim]:
        """Return what an IMEI in clear may claim. It does not name its epoch: one claim for each, the newest first."""
        masters = sorted(self._masters.items(), reverse=True)
        return [(epoch, imei, 0, master.device_key(imei), True) for epoch, master in masters]
