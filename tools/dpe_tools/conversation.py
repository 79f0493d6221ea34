"""What `dpe session` does: a registered device asks one thing of its server, and a person is told what became of it."""

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from dpe_coap.binding import Code
from dpe_coap.errors import DpeError, LocalError
from dpe_device.registration import IDLE, REFUSED
from dpe_device.session import ENDING, READY, Session
from dpe_device.store import FileStore
from dpe_server.files.shown import shown_key
from dpe_tools import credentials, device_state, reach, refusals, terminal, voice
from dpe_tools.client import Client
from dpe_tools.datagram import Datagram, said_of
from dpe_tools.exits import NoAnswer, Refused
from dpe_tools.recording import Recording
from dpe_tools.voice import Method, Reply, Voice
from dpe_tools.watcher import Watcher

QUICK = 500
"""Milliseconds of the first back-off while a session is ended. A device takes its time; a person waits."""
TRIES = 2
"""Which 4.01 in a row is told. The first may come from a server that was restarted before it had answered."""


class Again(Exception):
    """The request goes out once more, under a new number."""


class SessionWatcher(Watcher):
    """Ends what cannot succeed, unless it ``persists`` for the device to decide."""

    def __init__(self, credential: str, *, every: bool, again: bool, persists: bool) -> None:
        super().__init__(every=every, again=again)
        self._credential = credential
        self._persists = persists
        self._refusals = 0

    def refused(self, seen: Datagram, place: str) -> None:
        """Take an error that is not protected. Raises Again after the first 4.01, and Refused after the second.

        A device must not believe it, but a person wants to know. One may come from a server that was restarted before
        it had answered, and has the report.
        """
        self._refusals += seen.code == Code.UNAUTHORIZED
        if self._refusals == TRIES and not self._persists:
            raise unknown(seen, self._credential)
        super().refused(seen, place)
        if seen.code == Code.UNAUTHORIZED and not self._persists:
            raise Again


@dataclass(frozen=True)
class Speaker:
    """A device on this machine, and how it is to speak."""

    credential: str
    """The path of its credential."""
    state: str | None
    """The path of its state; None: beside its credential."""
    timeout: float
    """Seconds until it gives up."""
    trace: bool
    """Whether every datagram is shown on standard error."""
    pcap: str | None = None
    """The file that every datagram is recorded in; None: nowhere."""

    def ask(self, method: Method, said: Voice) -> "Talk":
        """Have the device ask for this, and return what came of it: done, or an error that says why not."""
        known = credentials.for_device(credentials.load(self.credential))
        state = device_state.writable(self.state or f"{self.credential}.state")
        said.make(0, 0)  # what cannot be reported is told before anything is sent
        watcher = SessionWatcher(
            self.credential,
            every=self.trace,
            again=terminal.is_terminal(stderr=True),
            persists=method is Method.END,
        )
        end = time.monotonic() + self.timeout
        with device_state.held(state), nullcontext() if self.pcap is None else Recording(self.pcap) as recorded:
            while True:
                try:
                    left = max(0.0, end - time.monotonic())
                    return self._ask(known, state, method, said, watcher, left, recorded)
                except Again:
                    continue

    def _ask(
        self,
        known: Any,
        state: str,
        method: Method,
        said: Voice,
        watcher: SessionWatcher,
        seconds: float,
        recorded: Recording | None,
    ) -> "Talk":
        options = {"backoff": QUICK} if method is Method.END else {}
        device = voice.session(known, FileStore(state), os.urandom, said, **options)
        if device.state != READY:
            raise LocalError(
                f"{self.credential} is not registered", hint=f"register it first: dpe register {self.credential}"
            )
        client_id = device.client_id or b""
        if recorded is not None:
            recorded.session(device.client_id, device.oscore)
        over = lambda: said.reply is not None and device.state != ENDING  # noqa: E731
        way = Client(device, watcher, seconds, over=over, recording=recorded)
        device.want(method)
        way.run()
        talk = Talk(client_id, device, said, watcher)
        if said.reply is None:
            raise self._silence(method, device, way, watcher)
        if not said.reply.done:
            raise declined(said.reply)
        if said.reply.code == Code.DELETED and method is not Method.END:
            raise LocalError(
                "the session has ended: an earlier `dpe session end` was not over",
                hint=f"register it again: dpe register {self.credential}",
            )
        return talk

    def _silence(self, method: Method, device: Session, way: Client, watcher: SessionWatcher) -> DpeError:
        """Return the error for a request that no protected response came to."""
        when = f" in {self.timeout:g} s"
        if device.state == REFUSED:
            return LocalError(
                "the device has used up its numbers, and sends nothing any more",
                hint="give it another key: a credential of a newer key epoch",
            )
        if not watcher.datagrams["sent"] and way.nowhere is None and not way.failures:
            return LocalError(
                "nothing was sent: the device could not save that a number is used",
                hint="can its state be written, and is there room for it?",
            )
        ended = "the session has ended on the device, but the server did not confirm it: "
        if watcher.refusal is not None and device.state == IDLE:
            return Refused(
                ended + watcher.refusal.said, hint="it says no more to anybody; it may have ended the session before"
            )
        if watcher.refusal is not None and watcher.refusal.code == Code.UNAUTHORIZED:
            return unknown(watcher.refusal, self.credential)
        if watcher.refusal is not None:
            return Refused(
                f"{device.server} did not take it{when}: {watcher.refusal.said}",
                hint=refusals.hint_of(watcher.refusal.code),
            )
        if way.nowhere is not None:
            return NoAnswer(f"{way.nowhere} (tried for {self.timeout:g} s)", hint=way.nowhere.hint)
        if watcher.datagrams["received"]:
            return LocalError(
                f"{device.server} did not take it{when}: nothing that came back is protected by this session's keys",
                hint="see it with --trace; is this the server that has registered the device?",
            )
        if method is Method.END and device.state == IDLE:
            return NoAnswer(ended + "it did not answer", hint="it ends there by itself after its lifetime")
        return reach.silence(f"no answer from {device.server}{when}", way.failures)


@dataclass(frozen=True)
class Talk:
    """An exchange that went well."""

    client_id: bytes
    device: Session
    said: Voice
    watcher: Watcher

    @property
    def reply(self) -> Reply:
        """What the server answered."""
        assert self.said.reply is not None
        return self.said.reply


def unknown(seen: Datagram, credential: str) -> Refused:
    """Return the error for a server that does not take the session's messages."""
    return Refused(
        f"the server does not know this session: {seen.said}",
        hint=f"it has ended, or the device was revoked; register it again: dpe register {credential}",
    )


def declined(reply: Reply) -> Refused:
    """Return the error for a request that the server has refused under protection."""
    problem = f": {shown_key(reply.problem)}" if reply.problem else ""
    return Refused(
        f"the server refuses this: {said_of(reply.code)}{problem}",
        hint="nothing of it was stored; the session goes on, so report something else",
    )
