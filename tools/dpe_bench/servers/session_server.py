"""A DPE Server under measurement: python -m dpe_bench.servers.session_server KIND STATE PORT.

``durable`` is what `dpe serve` runs. ``unlimited`` is the same, but a device may report as often as it likes: so a
thousand sessions can load it, too. ``uncommitted`` is the first one again, but its store says of each report that it is
durable, and writes nothing: what is left is all but the commit. Prints a line when it is ready, and serves until
SIGTERM.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from dpe_server.operation import app
from dpe_server.session.shares import Shares
from dpe_server.store.contract import Change, Contact, Outcome
from dpe_server.store.sqlite.store import SqliteStore

DURABLE, UNLIMITED, UNCOMMITTED = "durable", "unlimited", "uncommitted"


def _take(_shares: Shares, _client_id: int, _now: float) -> bool:
    """Let a session report."""
    return True


def _commit(_store: SqliteStore, changes: Sequence[Change], **_: object) -> list[Outcome]:
    """Say that all is durable. There are only reports here."""
    assert all(isinstance(change, Contact) for change in changes)
    return [Outcome.COMMITTED] * len(changes)


def main(kind: str, state: Path, port: int) -> None:
    """Serve."""
    if kind == UNLIMITED:
        Shares.take = _take  # type: ignore[assignment,method-assign]
    if kind == UNCOMMITTED:
        SqliteStore.commit = _commit  # type: ignore[assignment,method-assign]
    app.serve(state, [f"127.0.0.1:{port}"], workers=1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
