"""Gathers the numbers of a server's process from what counts them, and has them written down once a second."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from dpe_server.coap.aiocoap_endpoint import CoapServer
from dpe_server.coap.lane import Lane
from dpe_server.handling.batching import Batcher
from dpe_server.operation import snapshots
from dpe_server.operation.audit import AuditLog
from dpe_server.operation.snapshots import AtHand, CountedElsewhere
from dpe_server.registration.registrar import Registrar
from dpe_server.registration.transaction_table import Transactions
from dpe_server.session.sessions import Sessions

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Counters:
    """What counts, in one process."""

    batcher: Batcher
    transactions: Transactions
    registrar: Registrar
    sessions: Sessions
    audit: AuditLog
    lanes: Sequence[Lane]
    endpoint: CoapServer

    def at_hand(self) -> AtHand:
        """Return what the process has at hand now."""
        return AtHand(
            waiting=len(self.batcher), transactions=len(self.transactions), session_keys=len(self.sessions.contexts)
        )

    def counted(self) -> CountedElsewhere:
        """Return what is counted beside ``Counts``."""
        return CountedElsewhere(
            lane=sum(lane.taken for lane in self.lanes),
            endpoint=self.endpoint.begun,
            resent_registration=self.registrar.resent,
            resent_session=self.sessions.resent,
            resent_endpoint=self.endpoint.resent,
            derived=self.sessions.contexts.derived,
            hits=self.sessions.contexts.hits,
            suppressed=self.audit.suppressed,
        )


async def publish(folder: Path, counters: Counters) -> None:
    """Write this process's numbers into ``folder`` again and again."""
    started, failing = time.time(), False
    while True:
        at_hand, counted = counters.at_hand(), counters.counted()
        try:
            await asyncio.to_thread(snapshots.write, folder, counters.batcher.counts, at_hand, counted, started)
            failing = False
        except OSError as error:
            if not failing:
                _log.warning("metrics are not written", reason=error.strerror or str(error))
            failing = True
        await asyncio.sleep(snapshots.EVERY)
