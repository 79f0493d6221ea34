"""One registration, ended at each point in turn at which a process of the server or a board can end."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from dpe_tools.simulation.board import Board, PowerCut
from dpe_tools.simulation.process import Process
from dpe_tools.simulation.simulation import Simulation
from dpe_tools.simulation.trouble import NONE, Trouble

pytestmark = pytest.mark.timeout(300)


@contextmanager
def at(
    monkeypatch: pytest.MonkeyPatch, number: int, of: type, name: str, ends: Callable[..., None]
) -> Iterator[Counter[str]]:
    """Call ``ends`` when a method is called for the ``number``th time; count what it is called for."""
    before = getattr(of, name)
    counts: Counter[str] = Counter()

    def counted(self: object, *arguments: str) -> None:
        counts[arguments[0] if arguments else name] += 1
        if counts.total() == number:
            ends(self, *arguments)
        before(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(of, name, counted)
        yield counts


def crash(process: Process, what: str) -> None:
    process.machine.condition.crash_at = what


def power_cut(_: Board) -> None:
    raise PowerCut


def out_of_memory(_: Board) -> None:
    raise MemoryError


@pytest.mark.parametrize(
    "trouble",
    [
        NONE,
        replace(NONE, lane=False),
        replace(NONE, lane=False, commits=(200, 300)),  # with separate responses
        replace(NONE, workers=2, boards=2),
        replace(NONE, sqlite=True),
        replace(NONE, sqlite=True, lane=False),
        replace(NONE, reports=1),
        replace(NONE, reports=1, lane=False),
        replace(NONE, reports=1, sqlite=True),
    ],
    ids=[
        "lane",
        "aiocoap",
        "separate",
        "workers",
        "SQLite",
        "SQLite, aiocoap",
        "reports",
        "reports, aiocoap",
        "reports, SQLite",
    ],
)
def test_the_server_ends_at_every_await_write_and_commit(trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    with at(monkeypatch, 0, Process, "point", crash) as whole:
        Simulation(1, trouble=trouble).run()
    assert set(whole) == {"await", "send", "before the commit", "write", "after the commit"}
    for number in range(1, whole.total() + 1):
        simulation = Simulation(1, trouble=trouble)
        with at(monkeypatch, number, Process, "point", crash):
            simulation.run()
        assert simulation.counts["crashes"] == 1, number
        assert simulation.counts["registrations"] >= 1


@pytest.mark.parametrize("ends", [power_cut, out_of_memory])
@pytest.mark.parametrize("trouble", [NONE, replace(NONE, reports=1)], ids=["registration", "reports"])
@pytest.mark.parametrize("seed", range(6))
def test_the_client_ends_at_every_use_of_what_can_fail(
    seed: int, trouble: Trouble, ends: Callable[[Board], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeds differ in suite, versions and firmware, so in what the client does."""
    with at(monkeypatch, 0, Board, "_strike", ends) as whole:
        Simulation(seed, trouble=trouble).run()
    assert whole.total() > 8
    for number in range(1, whole.total() + 1):
        simulation = Simulation(seed, trouble=trouble)
        with at(monkeypatch, number, Board, "_strike", ends) as counts:
            simulation.run()
        assert counts.total() >= number
        assert simulation.counts["commits"] >= 1  # and that it is REGISTERED in the end, the run has seen
