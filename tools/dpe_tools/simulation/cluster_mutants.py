"""Faults of nodes that share a database: some are planted in the product, some in the way in which it is used."""

from dpe_tools.simulation.invariants import names as it
from dpe_tools.simulation.mutant import Change, Mutant, one_change

_CLUSTER = "dpe_tools.simulation.cluster:"
_NOT_DURABLE = (it.AFTER_COMMIT, it.REGISTERED_IS_DURABLE, it.MARK_IS_DURABLE, it.END_IS_DURABLE)

OF_CLUSTERS = (
    Mutant(
        "a commit is cancelled at its deadline, and says that it is done",
        _NOT_DURABLE,
        (
            Change(
                _CLUSTER + "NodesStore._at_deadline",
                'raise _Unknown("made to hang")',
                "return [Outcome.COMMITTED] * len(given.changes)",
            ),
        ),
    ),
    Mutant(
        "a commit that comes late goes by no ordinal",
        (it.NEWER_WINS, it.STAYS_ENDED, it.REGISTERED_IS_DURABLE),
        (
            Change(
                _CLUSTER + "Cluster._take_effect",
                "given.tell(",
                "late = {s.device: s for s in given.changes if hasattr(s, 'th3')}\n"
                "    kept = tuple(s for s in self._disk.sessions if s.device not in late)\n"
                "    self._disk.sessions = (*kept, *late.values())\n"
                "    given.tell(",
            ),
        ),
    ),
    one_change(
        "each machine orders registrations by its own clock",
        it.NEWER_WINS,
        "dpe_server.registration.ordinals:SequenceOrdinals.next",
        "ordinal = self._next",
        "ordinal = int(now * 1e6)",
    ),
    one_change(
        "revocation stands in a table of its own, of which a commit sees what was there when it began",
        it.REVOKED,
        "dpe_tools.simulation.memory_store:MemoryStore._establish",
        "revoked = self._revoked(disk)",
        "revoked = self._revoked(disk) if self._begun_with is None else self._begun_with",
    ),
    Mutant(
        "what a new connection reads first is not behind an acknowledged write",
        _NOT_DURABLE,
        (Change(_CLUSTER + "NodesStore._connect", "if self._cluster.silent:", "if False:"),),
    ),
    Mutant(
        "what a primary shows counts, though another has taken its place",
        (*_NOT_DURABLE, it.STAYS_ENDED, it.MARK_RISES, it.SAME_REPLY, it.REVOKED),
        (
            Change(
                _CLUSTER + "NodesStore._connect",
                "is_new = self._connected != self._cluster.epoch",
                "is_new = self._connected < 0",
            ),
        ),
    ),
    Mutant(
        "a commit whose outcome is unknown counts as done",
        _NOT_DURABLE,
        (
            Change(
                "dpe_server.handling.batching:Batcher._committed",
                "if error is not None and self._is_unknown(error):",
                "if isinstance(error, CommitUnknown):\n"
                "        self._end_commit([Outcome.COMMITTED] * len(self._changes))\n"
                "        return self._go_on()\n"
                "    if False:",
            ),
        ),
    ),
)
