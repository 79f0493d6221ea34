"""The device client on this machine, for a person who watches: what is known of the way to the server is told at once.

Registration and session are the device's own; this is their way to the network. A board waits in silence, and tries
the next address of a name with its next attempt. Here every address is tried within an attempt: at once where nobody
listens, and else with each retransmission, until one answers.
"""

import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

from dpe_device.registration import Registration
from dpe_server.net.pcapng import End
from dpe_tools import reach
from dpe_tools.exits import NoAnswer
from dpe_tools.reach import UNHEARD, Place
from dpe_tools.recording import Recording

LARGEST = 2048
PATIENCE = 2.0
"""Seconds of silence after which it is told what is being tried."""


class Audience(Protocol):
    """Is told what happens. May raise, which ends the registration."""

    def sent(self, datagram: bytes, place: str) -> None: ...  # noqa: D102
    def received(self, datagram: bytes, place: str) -> None: ...  # noqa: D102
    def told(self, news: str) -> None: ...  # noqa: D102


class Client:
    """Carries one registration, or what a session is to do, out over UDP.

    ``deadline`` and ``patience`` are in seconds from the beginning. ``over`` says that nothing more is to be done: a
    session never ends by itself.
    """

    def __init__(
        self,
        registration: Registration,
        audience: Audience,
        deadline: float,
        *,
        patience: float = PATIENCE,
        over: Callable[[], bool] = lambda: False,
        recording: Recording | None = None,
    ) -> None:
        self._registration = registration
        self._audience = audience
        self._start = time.monotonic()
        self._deadline = deadline
        self._patience = patience
        self._over = over
        self._recording = recording
        self._server = ""
        self._places: list[Place] = []
        self._sockets: dict[socket.socket, Place] = {}
        self._turn = 0
        """Which place is written to."""
        self._last = b""
        self._heard = False
        """Whether the place that is written to has answered."""
        self.failures: dict[Place, str] = {}
        """The places from which nothing came, and why."""
        self.nowhere: NoAnswer | None = None
        """Why no place is known."""

    def run(self) -> Registration:
        """Return the registration, in its last state, when it is over or the deadline has come."""
        registration = self._registration
        datagram = None
        try:
            while True:
                out, due, _ = registration.step(int(self._now() * 1000), datagram, registration.peer)
                if out is not None:
                    self._send(out)
                if due is None or self._over() or self._now() >= self._deadline:
                    return registration
                datagram = self._receive(min(due / 1000, self._deadline))
        finally:
            self._close()

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _close(self) -> None:
        for one in self._sockets:
            one.close()
        self._sockets.clear()

    def _send(self, out: bytes) -> None:
        if self._registration.peer is None or self._server != self._registration.server:
            self._close()
            self._places = []
        if not self._places:
            self._find()
        elif out == self._last and not self._heard:
            self._turn += 1
        self._last = out
        self._transmit()

    def _transmit(self) -> None:
        """Send to the place whose turn it is, or else to the next to which the network takes it."""
        for _ in self._places:
            place = self._places[self._turn % len(self._places)]
            try:
                one = self._socket_to(place)
                one.send(self._last)
            except OSError as error:
                self._fail(place, error)
                self._turn += 1
                continue
            self._record(one, self._last)
            self._audience.sent(self._last, str(place))
            return

    def _record(self, one: socket.socket, datagram: bytes, *, answer: bool = False) -> None:
        if self._recording is not None:
            ends = End.of(one.getsockname()), End.of(one.getpeername())
            self._recording.passed(*ends, datagram, answer=answer)

    def _find(self) -> None:
        """Look the server's name up. Nothing is sent while it has no address."""
        uri = self._server = self._registration.server
        patience = self._patience or self._deadline
        try:
            self._places = reach.look_up(uri, self._deadline - self._now(), patience, self._audience.told)
        except NoAnswer as error:
            self.nowhere = error
            self._audience.told(str(error))
            return
        self.nowhere = None
        self._turn = 0
        self._heard = False
        self.failures = dict.fromkeys(self._places, UNHEARD)
        self._registration.peer = uri  # any of the sockets, which are connected

    def _socket_to(self, place: Place) -> socket.socket:
        for one, end in self._sockets.items():
            if end == place:
                return one
        made = place.connect()
        self._sockets[made] = place
        return made

    def _fail(self, place: Place, error: OSError) -> None:
        """Note why nothing comes from a place; tell it when there is none left from which something may come."""
        self.failures[place] = place.why(error)
        if UNHEARD not in self.failures.values():
            self._audience.told(reach.reasons(self.failures))

    def _receive(self, until: float) -> bytes | None:
        """Return what comes next, or None at ``until``."""
        while (left := until - self._now()) > 0:
            quiet = self._patience - self._now()
            for ready in select.select(list(self._sockets), [], [], left if quiet <= 0 else min(left, quiet))[0]:
                place = self._sockets[ready]
                try:
                    datagram = ready.recv(LARGEST)
                except OSError as error:
                    self._fail(place, error)
                    self._turn_from(place)
                    break
                self._record(ready, datagram, answer=True)
                self._heard = True
                self._turn = self._places.index(place)
                self._patience = 0
                self._audience.received(datagram, str(place))
                return datagram
            if 0 < self._patience <= self._now():
                self._patience = 0
                self._audience.told(f"no answer from {self._registration.server} yet; trying for {self._deadline:g} s")
        return None

    def _turn_from(self, place: Place) -> None:
        """Write at once to the next place if nobody listens at the one that was written to."""
        if not self._heard and place == self._places[self._turn % len(self._places)]:
            self._turn += 1
            if self.failures[self._places[self._turn % len(self._places)]] == UNHEARD:
                self._transmit()
