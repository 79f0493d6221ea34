"""The events of a good run, to be told again to new invariants, with some more that must not be."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest

from dpe_server.keys.at_rest import AtRest
from dpe_server.store.contract import Session
from dpe_tools.faults import Faults
from dpe_tools.simulation import events as ev
from dpe_tools.simulation import invariants, session_events
from dpe_tools.simulation.simulation import Simulation
from dpe_tools.simulation.trouble import Trouble
from dpe_tools.simulation.world import World

Event = TypeVar("Event")


@dataclass
class Run:
    """What happened in a run, each with its time."""

    at_rest: AtRest
    events: list[tuple[int, Any]]

    def all(self, kind: type[Event]) -> list[Event]:
        return [event for _, event in self.events if isinstance(event, kind)]

    def last(self, kind: type[Event]) -> Event:
        return self.all(kind)[-1]

    @property
    def durable(self) -> tuple[Session, ...]:
        """The rows in the end."""
        return self.last(ev.Stored).rows

    @property
    def history(self) -> list[Session]:
        """The rows that the device of the first has had, one after the other."""
        rows = {row.success_hash: row for event in self.all(ev.Stored) for row in event.rows}
        first = next(iter(rows.values()))
        return [row for row in rows.values() if row.device == first.device]


class Watched(World):
    """A world that goes on when an invariant does not hold."""

    def __init__(self) -> None:
        super().__init__(0, Faults())
        self.failed: list[tuple[str, str]] = []

    def fail(self, invariant: str, what: str) -> None:
        self.failed.append((invariant, what))


def recorded(seed: int, trouble: Trouble) -> Run:
    """Run a seed, and keep what happens."""
    told: list[AtRest] = []
    events: list[tuple[int, Any]] = []

    def watch(world: World, at_rest: AtRest) -> None:
        told.append(at_rest)
        for kind in {**vars(ev), **vars(session_events)}.values():
            if isinstance(kind, type):
                world.on(kind, lambda event: events.append((world.now, event)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(invariants, "watch", watch)
        Simulation(seed, trouble=trouble).run()
    return Run(told[0], events)


def failed(run: Run, *more: object, unsaid: Callable[[object], bool] = lambda _: False) -> list[tuple[str, str]]:
    """What does not hold when the run goes on with some more events; ``unsaid`` says what of it nobody hears."""
    world = Watched()
    invariants.watch(world, run.at_rest)
    for world.now, event in run.events:
        if not unsaid(event):
            world.emit(event)
    for event in more:
        world.emit(event)
    return world.failed


Change = Callable[[Any], object]
More = Callable[[Run], tuple[object, ...]]


def again(kind: type, **changes: object) -> More:
    """Say the last event of a kind again, with other fields: values, or what makes them of those that it had."""

    def more(run: Run) -> tuple[object]:
        return (changed(run.last(kind), **changes),)

    return more


def changed(event: Any, **changes: object) -> Any:
    """Return an event with other fields: values, or what makes them of those that it had."""
    made = {name: new(getattr(event, name)) if callable(new) else new for name, new in changes.items()}
    return replace(event, **made)


def but(**changes: object) -> Change:
    """Make another record of one, with other fields."""
    return lambda record: replace(record, **changes)


def flipped(at: int = -1) -> Change:
    """Flip a bit of the byte at this place."""

    def change(message: bytes) -> bytes:
        different = bytearray(message)
        different[at] ^= 1
        return bytes(different)

    return change
