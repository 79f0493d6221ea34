"""Tells the service manager how far the server is (sd_notify(3), the unit's ``Type=notify``), and that it goes on.

A server may be several processes. They say so in memory that they share, and the first one tells the service manager.
"""

import mmap
import os
import socket
import time
from collections.abc import Mapping
from struct import Struct

import structlog

LOOKS = 4
"""How often it is looked, within the time in which the service manager wants to hear something."""
SOON = 0.05
"""Seconds between two looks whether all processes have reloaded."""

_log = structlog.get_logger(__name__)


def notify(state: str) -> None:
    """Send ``READY=1`` or the like to the socket in NOTIFY_SOCKET, if there is one. It does not wait."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
    except OSError as error:
        _log.warning("service manager not notified", state=state, reason=error.strerror or str(error))


def watchdog(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return within how many seconds the service manager wants to hear of this process (sd_watchdog_enabled(3)).

    None: it does not.
    """
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return None if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) else int(microseconds) / 1e6


class Pulse:
    """What each process of a server says to the first one. To be made before they are forked.

    Times are monotonic seconds, which all processes of a machine share.
    """

    _PLACE = Struct("dd")
    """When its event loop last went round, and when the last reload began that it has finished."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._memory = mmap.mmap(-1, processes * self._PLACE.size)

    def begin(self, number: int) -> None:
        """Note that a process starts: it has its time to come up, and reads everything as it is now."""
        now = time.monotonic()
        self._PLACE.pack_into(self._memory, number * self._PLACE.size, now, now)

    def beat(self, number: int) -> None:
        """Note that the event loop of a process goes round."""
        self._PLACE.pack_into(self._memory, number * self._PLACE.size, time.monotonic(), self._of(number)[1])

    def reloaded(self, number: int, began: float) -> None:
        """Note that a process has finished a reload that it has begun then."""
        self._PLACE.pack_into(self._memory, number * self._PLACE.size, self._of(number)[0], began)

    def silent(self, seconds: float) -> list[int]:
        """Return the processes whose event loop has not gone round for so long."""
        before = time.monotonic() - seconds
        return [number for number in range(self._processes) if self._of(number)[0] < before]

    def have_reloaded(self, since: float) -> bool:
        """Say whether all have finished a reload that they have begun since then."""
        return all(self._of(number)[1] >= since for number in range(self._processes))

    def _of(self, number: int) -> tuple[float, float]:
        beat, reloaded = self._PLACE.unpack_from(self._memory, number * self._PLACE.size)
        return beat, reloaded


class Manager:
    """Tells the service manager of all processes of a server, in the first one. ``limit`` is as of ``watchdog``."""

    def __init__(self, pulse: Pulse, limit: float | None) -> None:
        self._pulse = pulse
        self._limit = limit
        self._reloading: float | None = None
        self._silent: list[int] = []

    @property
    def wait(self) -> float | None:
        """Seconds until the next look; None: there is nothing to look for."""
        if self._reloading is not None:
            return SOON
        return None if self._limit is None else self._limit / LOOKS

    def reload(self) -> None:
        """Tell that a reload begins."""
        self._reloading = time.monotonic()
        notify(f"RELOADING=1\nMONOTONIC_USEC={int(self._reloading * 1e6)}")

    def look(self) -> None:
        """Tell that all processes go on, if they do, and that all have reloaded, once they have."""
        if self._reloading is not None and self._pulse.have_reloaded(self._reloading):
            self._reloading = None
            notify("READY=1")
        if self._limit is None:
            return
        silent = self._pulse.silent(self._limit / 2)
        for number in silent:
            if number not in self._silent:
                _log.error("worker does not answer", worker=number)
        self._silent = silent
        if not silent:
            notify("WATCHDOG=1")


class Teller:
    """What one process of a server tells: to the first one, or if it is alone, to the service manager."""

    def __init__(self, pulse: Pulse, number: int, limit: float | None, manager: Manager | None = None) -> None:
        self._pulse = pulse
        self._number = number
        self._manager = manager
        self.every = None if limit is None else limit / LOOKS
        """Seconds between two beats; None: nobody wants to hear any."""

    @classmethod
    def alone(cls) -> "Teller":
        """Return that of a server of one process."""
        pulse, limit = Pulse(1), watchdog()
        return cls(pulse, 0, limit, Manager(pulse, limit))

    def beat(self) -> None:
        """Tell that the event loop goes round."""
        self._pulse.beat(self._number)
        self._look()

    def reload(self) -> float:
        """Tell that a reload begins; return when it does."""
        if self._manager is not None:
            self._manager.reload()
        return time.monotonic()

    def reloaded(self, began: float) -> None:
        """Tell that the reload which began then is finished."""
        self._pulse.reloaded(self._number, began)
        self._look()

    def _look(self) -> None:
        if self._manager is not None:
            self._manager.look()
