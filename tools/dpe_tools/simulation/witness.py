"""Stands between the batcher and the registrar, and shows the invariants what is asked and what is answered."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpe_server.handling.reply import Reply
from dpe_server.registration.registrar import Prepared, Registrar
from dpe_server.store.contract import Outcome

if TYPE_CHECKING:
    from dpe_tools.simulation.process import Process


class Witness:
    """A ``Service`` of the batcher."""

    def __init__(self, process: "Process", registrar: Registrar) -> None:
        self._process = process
        self._registrar = registrar
        self._invariants = process.host.invariants
        self._asked: dict[int, tuple[Sequence[bytes], set[bytes]]] = {}

    def prepare(self, batch: Sequence[bytes], now: float, wall: float) -> Prepared:
        """See ``Registrar.prepare``."""
        live = self._invariants.live(self._process.host, batch)
        prepared = self._registrar.prepare(batch, now, wall)
        self._asked[id(prepared)] = batch, live
        self._invariants.prepared(self._process, batch, prepared, now)
        return prepared

    def complete(self, prepared: Prepared, outcomes: Sequence[Outcome] | None, now: float) -> list[Reply]:
        """See ``Registrar.complete``."""
        replies = self._registrar.complete(prepared, outcomes, now)
        batch, live = self._asked.pop(id(prepared))
        if outcomes is not None:
            self._invariants.ended(self._process, prepared.sessions, outcomes)
        self._invariants.completed(self._process, batch, live, replies)
        return replies
