"""A real server with throw-away secrets, and the real device client, which registers through a UDP relay with a tap."""

import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_device.registration import Registration
from dpe_device.udp import register
from dpe_server.net.pcapng import End
from dpe_server.operation.credential import Credential, credential
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Session
from dpe_tools import credentials
from dpe_tools.datagram import Datagram, parse
from dpe_tools.faults import Faults
from dpe_tools.recording import Recording
from dpe_tools.relay import Address, Relay
from dpe_tools.server_process import START_SECONDS, ServerProcess, free_port


@dataclass(frozen=True, slots=True)
class Seen:
    """A datagram as the tap saw it."""

    at: float
    """Seconds since the client started."""
    from_client: bool
    datagram: bytes
    lost: bool
    repeated: bool
    """Whether the same bytes went the same way before."""

    @property
    def coap(self) -> Datagram:
        """The datagram, parsed."""
        return parse(self.datagram)


class Memory:
    """The device's storage, for as long as the demo runs."""

    def __init__(self) -> None:
        self._record: bytes | None = None

    def load(self) -> bytes | None:
        """Return the last record that was saved."""
        return self._record

    def save(self, record: bytes) -> None:
        """Keep a record."""
        self._record = record


class Stage:
    """A server with its state in ``directory``, while the ``with`` block runs."""

    def __init__(self, directory: Path, policy: str | None = None, recording: Recording | None = None) -> None:
        """The server is in ``directory``, with a new server's ``policy`` unless another one is given.

        What passes through relays to it is recorded if there is a ``recording``.
        """
        self.recording = recording
        self.state = directory / "state"
        self._policy = policy
        self.log = directory / "server.log"
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        """Make the secrets and start the server."""
        port = free_port()
        self.uri = f"coap://127.0.0.1:{port}"
        self._opened = StateDir.create(self.state, "demo", self.uri)
        if self._policy is not None:
            self._opened.policy_path.write_text(self._policy, encoding="utf-8")
        self.server = self._cleanup.enter_context(ServerProcess(self.state, self.log, port=port))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self._cleanup.close()

    def provision(self, imei: str) -> Credential:
        """Make a device's credential."""
        return credential(self._opened.keys, self._opened.config, Imei.parse(imei))

    def restart(self) -> None:
        """Stop the server and start it again at the same address."""
        self.server.restart()

    def change_policy(self, policy: str) -> None:
        """Give the server another policy while it runs, as an operator does. LocalError if it does not take it."""
        before = self._reloads()
        self._opened.policy_path.write_text(policy, encoding="utf-8")
        self.server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + START_SECONDS
        while self._reloads() == before:
            if time.monotonic() > deadline:
                raise LocalError("the server did not read its policy again", hint=f"see {self.log}")
            time.sleep(0.01)

    def _reloads(self) -> int:
        return self.log.read_text(encoding="utf-8").count("policy and keys reloaded")

    def keys_of(self, session: Session) -> bytes:
        """Return the OSCORE master secret and salt of a session, from the server's store."""
        return self._opened.at_rest.open_keys(session.sealed_keys, session.client_id)

    def sessions(self) -> list[Session]:
        """Return the live sessions that the server's store has on disk."""
        with closing(self._opened.open_store()) as store:
            return list(store.live(int(time.time())))

    def passed(self, client: Address, datagram: bytes, answer: bool, lost: bool) -> None:
        """Record what passes through a relay, if that is wanted."""
        if self.recording is not None:
            note = "lost by the relay" if lost else ""
            here = End.of(self.server.address)
            self.recording.passed(End.of(client), here, datagram, answer=answer, comment=note)

    def register(
        self,
        device: Credential,
        each: Callable[[Seen], bool | None],
        *,
        loss: float = 0.0,
        seed: int = 0,
        deadline: float = 30.0,
        **options: Any,
    ) -> Registration | None:
        """Register ``device`` through a relay. ``each`` gets every datagram as it passes, and ends it all with True.

        Returns the registration as it ended, or None if ``each`` ended it first. ``deadline`` is in seconds;
        ``options`` are options of the device client.
        """
        events: queue.SimpleQueue[Seen | Registration | BaseException] = queue.SimpleQueue()
        start = time.monotonic()
        known: set[tuple[str, bytes]] = set()

        def tap(sender: str, datagram: bytes, lost: bool) -> None:
            repeated = (sender, datagram) in known
            known.add((sender, datagram))
            events.put(Seen(time.monotonic() - start, sender == "client", datagram, lost, repeated))

        def run(address: tuple[str, int]) -> None:
            towards_relay = replace(device, server=f"coap://{address[0]}:{address[1]}")
            try:
                given = credentials.for_device(towards_relay)
                events.put(register(given, Memory(), deadline_ms=int(deadline * 1000), **options))
            except BaseException as error:  # it is raised again in the thread that waits
                events.put(error)

        with Relay(self.server.address, Faults(loss=loss), seed=seed, tap=tap, passed=self.passed) as relay:
            threading.Thread(target=run, args=[relay.address], name="device", daemon=True).start()
            while True:
                event = events.get()
                if isinstance(event, BaseException):
                    raise event
                if isinstance(event, Registration):
                    if self.recording is not None:
                        self.recording.session(event.client_id, event.oscore)
                    return event
                if each(event):
                    return None
