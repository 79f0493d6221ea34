"""A server with throw-away secrets, and an emulated board that reaches it through a tapped UDP relay."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import cbor2

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_text
from dpe_coap.errors import LocalError
from dpe_coap.session_messages import Property, Value
from dpe_server.operation.credential import Credential
from dpe_server.store.record import entries
from dpe_tools.annotate import name_of
from dpe_tools.datagram import OSCORE, Datagram, parse
from dpe_tools.emulator import HOST, SAYS_SECONDS, Board
from dpe_tools.faults import Faults
from dpe_tools.relay import Relay
from dpe_tools.stage import Stage

REGISTERED = "REGISTERED, Client ID "
"""What the board prints when it is registered, before the Client ID."""
PROTECTED = "protected request"
"""The name of a datagram under OSCORE from the board."""
PROTECTED_ANSWER = "protected response"
"""The name of a datagram under OSCORE from the server."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A datagram that the relay has seen."""

    from_board: bool
    datagram: bytes

    @property
    def coap(self) -> Datagram:
        """The datagram, parsed."""
        return parse(self.datagram)

    @property
    def name(self) -> str:
        """The name of the message in it, such as REQUEST, or CoAP's name for the datagram; under OSCORE, only that."""
        coap = self.coap
        if coap.option(OSCORE) is not None:
            return PROTECTED if self.from_board else PROTECTED_ANSWER
        return name_of(coap.payload) or coap.title

    @property
    def number(self) -> int:
        """The number of a protected request, its Partial IV."""
        return oscore.read_option(self.coap.option(OSCORE) or b"")[1]


class BoardStage:
    """A board, its relay and its server, in ``directory``, while the ``with`` block runs.

    ``passed`` has the datagrams so far; clear it to see only the next ones. ``says`` is called with every line of the
    board's console. ``faults`` are the faults of the relay, drawn from ``seed``. ``policy`` is the server's, or None
    for that of a new server.
    """

    def __init__(
        self,
        directory: Path,
        firmware: Path,
        says: Callable[[str], object] = lambda line: None,
        *,
        count_instructions: bool = False,
        faults: Faults | None = None,
        policy: str | None = None,
        seed: int = 0,
    ) -> None:
        self.passed: list[Passed] = []
        self._stage = Stage(directory, policy)
        self.board = Board(firmware, says, count_instructions=count_instructions)
        self._faults = faults
        self._seed = seed
        self._cleanup = ExitStack()
        self._cut_at: str | None = None
        self._is_cut = threading.Event()

    def __enter__(self) -> Self:
        """Start the server and the relay. The board stays off."""
        with self._cleanup as cleanup:
            cleanup.enter_context(self._stage)
            self._relay = cleanup.enter_context(
                Relay(self._stage.server.address, self._faults, seed=self._seed, tap=self._tap)
            )
            cleanup.enter_context(self.board)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._cleanup.close()

    def provision(self, imei: str) -> Credential:
        """Switch the new board on, give it a credential over its console, and return the credential."""
        self.board.power_on()
        self.board.wait_for("no credential")
        made = replace(self._stage.provision(imei), server=f"coap://{HOST}:{self._relay.address[1]}")
        self.board.type(f"provision {made.to_cbor().hex()}")
        return made

    def registered(self) -> str:
        """Wait until the board is registered, and return its Client ID in hex."""
        return self.board.wait_for(REGISTERED)

    def restart_server(self) -> None:
        """Start the server anew, at the same address. It forgets how often the board has registered in this minute."""
        self._stage.server.restart()

    def sessions(self) -> list[str]:
        """Return the Client IDs of the sessions that the server has on disk, in hex."""
        return [client_id_text(session.client_id) for session in self._stage.sessions()]

    def properties(self) -> dict[Property, Value]:
        """Return what the server has on disk of the board, whose session is the only one."""
        [session] = self._stage.sessions()
        return {cbor2.loads(entry.property): cbor2.loads(entry.value) for entry in entries(session.record)}

    def change_policy(self, policy: str) -> None:
        """Give the running server another policy."""
        self._stage.change_policy(policy)

    def cut_power_at(self, message: str) -> None:
        """Let the board's power be cut when this message reaches the relay, before the relay forwards it."""
        self._is_cut.clear()
        self._cut_at = message

    def wait_for_cut(self) -> None:
        """Wait until the power has been cut. Raises LocalError if the message does not come."""
        if not self._is_cut.wait(SAYS_SECONDS):
            raise LocalError(f"no {self._cut_at} came in {SAYS_SECONDS} s")

    def _tap(self, sender: str, datagram: bytes, _lost: bool) -> None:
        passed = Passed(sender == "client", datagram)
        self.passed.append(passed)
        if passed.name == self._cut_at:
            self._cut_at = None
            self.board.power_off()
            self._is_cut.set()
