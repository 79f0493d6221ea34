"""The server's long-term keys by generation, and what is made with them: device keys and handles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from dpe_coap.imei import Imei
from dpe_coap.keys import HANDLE_RANDOM_SIZE, KEY_SIZE, HandleKey, MasterKey

FIRST_GENERATION = 1
LAST_GENERATION = 255


Claim = tuple[int, Imei, bytes, bool]
"""What the sender of a REQUEST claims: epoch, IMEI and K_dev (32 bytes); and whether the ring knows such a device.

If not, the rest is made up.
"""

Nobodys = tuple[MasterKey, HandleKey]
"""Keys that nobody has."""


def nobodys(random: Callable[[int], bytes]) -> Nobodys:
    """Make keys that nobody has, for the same work where a ring has none. ``random`` gives strong bytes."""
    return MasterKey(0, random(KEY_SIZE)), HandleKey(0, random(KEY_SIZE))


@dataclass(frozen=True)
class KeyRing:
    """Keys of 32 bytes each. The highest generation is the current one; its number is 1 to 255."""

    master: Mapping[int, bytes] = field(repr=False)
    """K_master by epoch: device keys derive from it."""
    handle: Mapping[int, bytes] = field(repr=False)
    """K_handle by hkid: handles are sealed with it."""
    at_rest: bytes = field(repr=False)
    """What the database keeps of a device is hashed and sealed under this."""

    @property
    def current_epoch(self) -> int:
        """The epoch that new devices are provisioned with."""
        return max(self.master)

    @property
    def current_hkid(self) -> int:
        """The handle key that new handles are sealed with."""
        return max(self.handle)

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

    def seal_handle(self, epoch: int, imei: Imei, random: Callable[[int], bytes]) -> bytes:
        """Return a new handle (17 bytes) under the current handle key."""
        return self._sealing.seal(epoch, imei, random(HANDLE_RANDOM_SIZE))

    def claim(self, handle: bytes, nobodys: Nobodys) -> Claim:
        """Return what a handle (17 bytes) claims.

        ``nobodys`` stand in for missing keys, so the work is the same whatever is wrong.
        """
        no_master, no_handle = nobodys
        epoch, imei, opens = self._handles.get(handle[0], no_handle).open(handle)
        key = self._masters.get(epoch, no_master).device_key(imei)
        return epoch, imei, key, opens & (handle[0] in self.handle) & (epoch in self.master)

    def claims_of(self, imei: Imei) -> list[Claim]:
        """Return what an IMEI in clear may claim. It does not name its epoch: one claim for each, the newest first."""
        masters = sorted(self._masters.items(), reverse=True)
        return [(epoch, imei, master.device_key(imei), True) for epoch, master in masters]
