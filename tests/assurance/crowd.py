"""Devices that register with a real server again and again, and what they must find there whatever has happened to it.

They are the fleet of `dpe load`: each runs the device client's own core, with its own storage and address. A witness
notes what each of them knows.
"""

import random
import re
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from dpe_coap.client_ids import client_id_bytes, client_id_of
from dpe_coap.messages import Confirm, decode
from dpe_coap.numbers import Status
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.opening import examine, open_store
from dpe_tools import credentials
from dpe_tools.faults import Faults
from dpe_tools.load.bad_link import BadLink
from dpe_tools.load.fleet import Fleet
from dpe_tools.load.network import Server
from dpe_tools.load.plan import Plan, imei
from dpe_tools.load.tally import Tally
from dpe_tools.load.worker import FromKeys
from tests import coap
from tests.assurance.witness import Known, Overheard, Witness

ACK_TIMEOUT, BACKOFF = 100, 200
"""The devices' ACK_TIMEOUT in ms: a twentieth of CoAP's, so that they are back soon after the server."""
ASKED_AGAIN = 64
"""For how many devices SUCCESS is sent again in one check, at most."""
FIRST_EPHEMERAL = 32_768
PATIENCE = 20
"""How often a SUCCESS that gets 5.03 is sent again."""


class Crowd:
    """``devices`` that take turns to register with the server of ``state`` at 127.0.0.1:``port``.

    ``at_once`` register at the same time, or they come at random times, ``rate`` per second. ``ack_timeout`` and
    ``backoff`` are the devices', in ms. With ``faults``, the link is bad. The server's sessions live for ``lifetime``
    (seconds; None means without end) by its clock, which shows ``wall``.
    """

    def __init__(
        self,
        state: StateDir,
        port: int,
        *,
        devices: int,
        at_once: int | None = None,
        rate: float | None = None,
        seed: int,
        faults: Faults | None = None,
        lifetime: int | None = None,
        wall: Callable[[], float] = time.time,
        ack_timeout: int = ACK_TIMEOUT,
        backoff: int = BACKOFF,
    ) -> None:
        self.state = state
        self.uri = f"coap://127.0.0.1:{port}"
        self.tally = Tally()
        self.ended = 0
        """How often the session of a repeated SUCCESS had ended."""
        self._seed = seed
        self._lifetime = lifetime
        self._wall = wall
        self._plan = Plan(
            devices=range(devices),
            registrations=None,
            at_once=at_once,
            rate=rate,
            timeout=7200.0,  # after many failures, a device waits long
            seed=str(seed),
            faults=faults or Faults(),
            ack_timeout=ack_timeout,
            backoff=backoff,
        )
        self._random = random.Random(seed)
        self._witness = Witness(wall)
        make = FromKeys(state.keys, state.config)
        self._fleet = Fleet(lambda number: credentials.for_device(make(number)), time.monotonic_ns, self._witness)
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        """Open the sockets, and begin to register."""
        network = self._cleanup.enter_context(Server.at(self.uri).network())
        self._sockets = network.sockets
        self._selector = self._cleanup.enter_context(selectors.SelectSelector())
        for one in self._sockets:
            self._selector.register(one, selectors.EVENT_READ)
        bad = self._plan.faults != Faults()
        self._wire = Overheard(BadLink(network, self._plan.faults, str(self._seed)) if bad else network, self._witness)
        self._begin(self._plan)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the sockets."""
        self._cleanup.close()

    @property
    def registered(self) -> int:
        """How many registrations have ended REGISTERED."""
        return self.tally.registered + self._fleet.tally.registered

    @property
    def unavailable(self) -> int:
        """How many RESPONSEs with a valid security token have said that the server is unavailable."""
        return self.tally.refusals[Status.UNAVAILABLE] + self._fleet.tally.refusals[Status.UNAVAILABLE]

    @property
    def superseded(self) -> int:
        """How many CONFIRMs have said that a newer registration won."""
        return self.whole().refusals[Status.SUPERSEDED]

    @property
    def errors(self) -> Counter[str]:
        """How many error responses have come, by CoAP code."""
        return Counter({f"{code >> 5}.{code & 31:02d}": count for code, count in self.whole().errors.items()})

    def count_anew(self) -> Tally:
        """Return a tally of what happens from now on."""
        self.tally.merge(self._fleet.tally)
        self._fleet.tally = Tally()
        return self._fleet.tally

    def whole(self) -> Tally:
        """Return the counts since the start."""
        whole = Tally()
        for part in (self.tally, self._fleet.tally):
            whole.merge(part)
        return whole

    def _begin(self, plan: Plan) -> None:
        self._fleet.begin(plan, self._wire)
        self._due = self._fleet.step()

    def work(self, seconds: float) -> None:
        """Let the devices register for so many seconds."""
        self._step_until(time.monotonic() + seconds)

    def work_until_registered(self, count: int) -> None:
        """Let the devices register until so many more registrations have succeeded."""
        wanted = self.registered + count
        while self.registered < wanted:
            self._step()

    def work_until_refused(self, count: int, seconds: float) -> list[str]:
        """Let the devices register until so many more are told that the server is unavailable. Report a long wait."""
        end = time.monotonic() + seconds
        before = self.unavailable
        while self.unavailable < before + count:
            if time.monotonic() >= end:
                return [f"{self.unavailable - before} devices of {count} were told to come back later"]
            self._step(end)
        return []

    def all_register(self) -> list[str]:
        """Let everything under way succeed, and every device register once more. Return what went wrong."""
        self._fleet.begin_no_more()
        self._finish()
        devices = len(self._plan.devices)
        self._begin(replace(self._plan, registrations=devices))
        self._finish()
        failed, self.tally.failed = self.tally.failed, Counter()
        self._begin(self._plan)
        return [f"{count} registrations ended {state}" for state, count in failed.items()]

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let nothing be under way meanwhile."""
        self._fleet.begin_no_more()
        self._finish()
        yield
        self._begin(self._plan)

    def _finish(self) -> None:
        while self._due is not None:
            self._step()
        self.tally.merge(self._fleet.tally)

    def _step_until(self, end: float) -> None:
        while time.monotonic() < end:
            self._step(end)

    def _step(self, end: float = float("inf")) -> None:
        dues = [due for due in (self._due, self._wire.due) if due is not None]
        wait = min(min(dues, default=0) / 1e9, end) - time.monotonic()
        ready = {key.fileobj for key, _ in self._selector.select(max(0.0, wait))}
        self._due = self._fleet.step(self._wire.receive(one for one in self._sockets if one in ready))

    # -- what must hold --

    def compare(self, *, whole: bool = True) -> tuple[int, list[str]]:
        """Look up each device that was ever REGISTERED. Return how many, and where the store contradicts a device.

        With ``whole``, every row and page of the database is checked, too.
        """
        at_rest = self.state.at_rest
        names = {number: at_rest.device_id(imei(number)) for number in self._witness.known}
        wrong = []
        with closing(open_store(self.state.store_url)) as store:
            for number, known in self._witness.known.items():
                session = store.session_of(names[number])
                if session is None:
                    if any(self._ended(known)):
                        continue
                    wrong.append(f"device {number} is REGISTERED, and the server has no row for it")
                elif client_id_bytes(session.client_id) not in {known.client_id, *known.since}:
                    wrong.append(f"device {number} is REGISTERED, and its row has another Client ID")
                elif session.client_id == client_id_of(known.client_id) and (
                    at_rest.open_keys(session.sealed_keys, session.client_id) != b"".join(known.keys)
                    or session.confirm != known.confirm
                ):
                    wrong.append(f"device {number} is REGISTERED, and its row has other keys or another CONFIRM")
            if whole:
                rows = Counter(session.device for session in store.live(0))
                wrong += [f"a device has {count} rows" for count in rows.values() if count > 1]
                faults = examine(self.state.store_url, thorough=True).faults
                wrong += [f"the database is damaged: {line}" for line in faults]
        return len(names), wrong

    def ask_again(self, most: int = ASKED_AGAIN) -> tuple[int, list[str]]:
        """Repeat the SUCCESS of devices at rest. Return for how many, and which did not get the very same CONFIRM."""
        resting = [number for number, known in self._witness.known.items() if not known.since]
        asked = self._random.sample(resting, min(most, len(resting)))
        wrong = []
        with coap.Client(self.uri) as client:
            for number in asked:
                known = self._witness.known[number]
                for _ in range(PATIENCE):
                    answer = client.post(known.success)
                    if answer.dotted != "5.03":
                        break
                expected = {(b"", "4.01") if ended else (known.confirm, "2.04") for ended in self._ended(known)}
                self.ended += answer.dotted == "4.01"
                if (answer.payload, answer.dotted) not in expected:
                    wrong.append(f"the SUCCESS of device {number}, sent again, got {answer.dotted} and other bytes")
        return len(asked), wrong

    def _ended(self, known: Known) -> tuple[bool, bool]:
        """Return whether the device's session has ended, by the earliest and by the latest time of its beginning."""
        if self._lifetime is None:
            return False, False
        first, last = known.between
        now = self._wall()
        return first + self._lifetime <= now, last + self._lifetime <= now

    def recorded(self) -> Iterator[bytes]:
        """Yield the last REQUEST and SUCCESS of each device, as an eavesdropper has them."""
        for sent in self._witness.sent.values():
            for datagram in sent.values():
                payload = coap.Message.parse(datagram).payload
                if payload:
                    yield payload

    def confirms(self) -> Iterator[Confirm]:
        """Yield the last CONFIRM of each device."""
        for known in self._witness.known.values():
            confirm = decode(known.confirm)
            assert isinstance(confirm, Confirm)
            yield confirm

    def rows(self) -> int:
        """Return how many sessions the store has."""
        with closing(open_store(self.state.store_url)) as store:
            return store.stats(0).live


def steady_port() -> int:
    """Return a free UDP port that the kernel gives to nobody unasked, so that a server can return to it."""
    while True:
        port = random.randrange(20_000, FIRST_EPHEMERAL)  # not from the seed, because two runs may be side by side
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def open_state(folder: Path, *, policy: str | None = None, retry_after: int | None = None) -> StateDir:
    """Make a state directory in ``folder``, with this policy and this ``retry_after`` (seconds), if given."""
    state = StateDir.create(folder / "state", "assurance", "coap://127.0.0.1")
    if policy is not None:
        state.policy_path.write_text(policy, encoding="utf-8")
    if retry_after is not None:
        config = state.path / "config.toml"
        text = re.sub(r"(?m)^retry_after = \d+$", f"retry_after = {retry_after}", config.read_text(encoding="utf-8"))
        config.write_text(text, encoding="utf-8")
    return state
