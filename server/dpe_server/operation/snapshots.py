"""The numbers of each process of a server, in a file for each; and their sum.

Files of processes that have ended stay while the server runs: what they have counted has happened. What they had at
hand is gone with them.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dpe_server.handling.counts import Counts, Histogram
from dpe_server.store.contract import Change, Contact, Deregister, Session

EVERY = 1.0
"""Seconds between two snapshots of a process."""
STALE = 10.0
"""Seconds after which a process without a newer snapshot has ended, or hangs."""

CHANGES: Mapping[type[Change], str] = {Session: "registration", Contact: "report", Deregister: "deregistration"}
"""What the changes are called that are counted."""


@dataclass(frozen=True, slots=True)
class AtHand:
    """What a process has at hand now."""

    waiting: int
    """Requests without a reply."""
    transactions: int
    """Registrations under way, or over for less than 300 s."""
    session_keys: int
    """Sessions whose keys are in memory."""


@dataclass(frozen=True, slots=True)
class CountedElsewhere:
    """What a process has counted since its start, beside ``Counts``."""

    lane: int
    """Exchanges that the lane has answered."""
    endpoint: int
    """Exchanges that the CoAP endpoint has begun."""
    resent_registration: int
    """REQUESTs and SUCCESSes that came again and were known."""
    resent_session: int
    """Protected requests that came again and were known."""
    resent_endpoint: int
    """Requests that came again to the CoAP endpoint."""
    derived: int
    """How often keys of a session were derived."""
    hits: int
    """Protected requests whose session's keys were in memory."""
    suppressed: int
    """Audit records without a line."""


@dataclass(slots=True)
class Sum:
    """The numbers of all processes of a server."""

    processes: int = 0
    """Those that run."""
    started: float | None = None
    """Unix time of the first start, in seconds."""
    batches: tuple[list[int], float] = field(default_factory=lambda: ([], 0.0))
    """As in ``Histogram``: how many values by place, and their sum."""
    commits: tuple[list[int], float] = field(default_factory=lambda: ([], 0.0))
    numbers: Counter[str] = field(default_factory=Counter)
    """By name, as in ``Counts``, ``CountedElsewhere`` and ``AtHand``."""
    outcomes: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """By what was to be changed and what became of it."""
    events: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """As in ``Counts``."""


def write(folder: Path, counts: Counts, at_hand: AtHand, counted: CountedElsewhere, started: float) -> None:
    """Write this process's numbers; OSError. ``started`` is Unix time in seconds."""
    told = {
        "at": time.monotonic(),
        "started": started,
        "batches": _histogram(counts.batches),
        "commits": _histogram(counts.commits),
        "counts": {
            "failed_commits": counts.failed_commits,
            "turned_away": counts.turned_away,
            **asdict(counted),
        },
        "at_hand": asdict(at_hand),
        "outcomes": [
            [CHANGES[change], outcome.value, count]
            for (change, outcome), count in counts.outcomes.items()
            if change in CHANGES
        ],
        "events": [[*map(str, event), count] for event, count in counts.events.items()],
    }
    path = folder / f"{os.getpid()}.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps(told), encoding="utf-8")
    new.replace(path)


def read(folder: Path, now: float) -> Sum:
    """Sum up what all processes have written; ``now`` is monotonic time in seconds."""
    total = Sum()
    for told in _read(folder):
        total.started = told["started"] if total.started is None else min(total.started, told["started"])
        total.batches = _added(total.batches, told["batches"])
        total.commits = _added(total.commits, told["commits"])
        total.numbers.update(told["counts"])
        if now - told["at"] < STALE:
            total.processes += 1
            total.numbers.update(told["at_hand"])
        for *event, count in told["events"]:
            total.events[tuple(event)] += count
        for change, outcome, count in told["outcomes"]:
            total.outcomes[change, outcome] += count
    return total


def _histogram(histogram: Histogram) -> tuple[Sequence[int], float]:
    return histogram.counts, histogram.total


def _added(total: tuple[list[int], float], told: Sequence[Any]) -> tuple[list[int], float]:
    counts, value = told
    return [a + b for a, b in zip(total[0] or [0] * len(counts), counts, strict=True)], total[1] + value


def _read(folder: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError):
            yield json.loads(path.read_text(encoding="utf-8"))
