"""The Spin models have no error within their bounds, every fault planted in them is found, and the page says so."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.formal.__main__ import table
from tests.formal.spin import (
    MODELS,
    Job,
    ModelError,
    Result,
    explore,
    explore_all,
    parse,
    plan,
    reached_by_none,
    statements,
)

PLANS = {name: plan(name) for name in MODELS}
RUNS = [run for runs, _, _ in PLANS.values() for run in runs]
MUTANTS = [mutant for _, mutants, _ in PLANS.values() for mutant in mutants]
PROPERTIES = {"registration": 10, "session": 9, "nodes": 5}
"""Those that hold in each state."""
LASTING = {"registration": 1, "session": 1, "nodes": 0}
"""Those about what happens in the end."""

each_model = pytest.mark.parametrize("model", MODELS)

pytestmark = pytest.mark.timeout(600)  # the first test to ask explores all


@pytest.fixture(scope="module")
def found(require_tool: Callable[[str], str]) -> dict[str, Result]:
    for program in ("spin", "cc"):
        require_tool(program)
    jobs = [*RUNS, *MUTANTS]
    return dict(zip([job.name for job in jobs], explore_all(jobs), strict=True))


@pytest.mark.parametrize("run", RUNS, ids=lambda job: job.name)
def test_nothing_is_violated(run: Job, found: dict[str, Result]) -> None:
    assert found[run.name].violated is None
    assert found[run.name].states > 100_000, "bounds so small that little is explored"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda job: job.name)
def test_a_fault_is_caught(mutant: Job, found: dict[str, Result]) -> None:
    assert found[mutant.name].violated == mutant.caught_by


@each_model
def test_every_statement_is_reached(model: str, found: dict[str, Result]) -> None:
    runs, _, expected = PLANS[model]
    unreached = reached_by_none([found[run.name] for run in runs])
    assert statements(runs[0].model, unreached) == expected


@each_model
def test_every_property_is_broken_by_a_fault(model: str) -> None:
    runs, mutants, _ = PLANS[model]
    lines = runs[0].model.splitlines()
    safety = {line.split()[1] for line in lines if re.match(r"bool \w+ = true;", line)}
    lasting = {line.split()[1] for line in lines if line.startswith("ltl ")}
    assert len(safety) == PROPERTIES[model]
    assert len(lasting) == LASTING[model]
    assert {mutant.caught_by for mutant in mutants} == safety | lasting


@each_model
def test_the_page_shows_what_was_found(model: str, root: Path, found: dict[str, Result]) -> None:
    runs, mutants, _ = PLANS[model]
    shown = table(runs, [found[job.name] for job in runs], mutants, [found[job.name] for job in mutants])
    page = (root / "docs" / "formal" / "README.md").read_text(encoding="utf-8")
    assert f"```text\n{shown}\n```" in page, f"docs/formal/README.md should show:\n{shown}"


def test_a_model_with_a_mistake_is_refused(require_tool: Callable[[str], str]) -> None:
    require_tool("spin")
    with pytest.raises(ModelError, match="spin exited"):
        explore(Job("mistaken", RUNS[0].model.replace("proctype Server", "proctype"), RUNS[0].bounds))


def test_a_search_that_is_not_whole_is_refused() -> None:
    whole = "State-vector 9 byte, depth reached 7, errors: 0\n 5 states, stored\n 9 transitions (= stored+matched)\n"
    assert parse(whole).states == 5
    for cut in ("error: max search depth too small\n", "pan: out of memory\n", "Warning: Search not completed\n"):
        with pytest.raises(ModelError):
            parse(cut + whole)
    with pytest.raises(ModelError, match="did not tell"):
        parse("")


def test_a_replacement_must_fit() -> None:
    with pytest.raises(ModelError, match="0 times"):
        plan("registration", "no model")
