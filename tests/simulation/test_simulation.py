"""Two thousand seeds of the simulation, that a seed repeats itself, and that planted faults are caught."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from dpe_tools.commands.simulate import simulate
from dpe_tools.simulation import mutation, runner
from dpe_tools.simulation.invariants.names import REGISTERED_IS_DURABLE
from dpe_tools.simulation.mutant import Change, Mutant
from dpe_tools.simulation.mutants import MUTANTS

pytestmark = pytest.mark.timeout(900)

FIRST = 5200
SEEDS = 2000
"""From the first on, so many that all comes to pass that is looked for."""
MUTANT_SEEDS = 2000
"""In which each mutant must be caught; nearly all are within some tens."""
JOBS = os.cpu_count() or 1


def test_seeds() -> None:
    result = runner.run(range(FIRST, FIRST + SEEDS), JOBS)
    told = [f"seed {one.seed}: {one.invariant}: {one.what}; again: {one.replay}" for one in result.failures]
    assert not told, "\n".join(told)
    assert result.seeds == SEEDS
    counts = result.counts
    for what in (
        "crashes: await",
        "crashes: send",
        "crashes: before the commit",
        "crashes: write",
        "crashes: after the commit",
        "power cuts",
        "out of memory",
        "client REFUSED",
        "superseded",
        "declined",
        "store-failed",
        "confirm-repeated",
        "malformed",
        "rebindings",
        "sqlite",
        "workers",
        "aiocoap alone",
        "reports",
        "requests accepted",
        "first-contact",
        "session-ended",
        "recoveries",
        "exchanges under siege",
        "answers lost",
        "clusters",
        "failovers",
        "primaries anew",
        "commits after their time",
    ):
        assert counts[what] > 0, f"no seed has come to that: {what}"


def test_a_commit_begins_before_the_requests_of_its_batch_are_answered() -> None:
    """Its transaction makes room for none of them: another one does, and the invariants must know that."""
    assert runner.run_one(258438).failures == []


def test_every_mutant_is_caught(root: Path) -> None:
    """Each is tried first at the seed that the page names, which saves minutes as long as the page is right."""
    page = (root / "docs/how-to/simulate.md").read_text(encoding="utf-8")
    lines = page.partition("$ dpe simulate --mutants\n")[2].partition("\n```")[0].splitlines()[1:-1]
    named = {name: int(seed) for name, _, seed in (re.split("  +", line) for line in lines)}
    assert named.keys() == {mutant.name for mutant in MUTANTS}
    findings = mutation.run(range(MUTANT_SEEDS), JOBS, first=named)
    assert len(findings) == len(MUTANTS) >= 16
    assert all(finding.is_caught for finding in findings), "\n".join(mutation.table(findings))


def test_a_mutant_is_gone_when_it_is_over() -> None:
    mutant = next(one for one in MUTANTS if one.caught_by == (REGISTERED_IS_DURABLE,))
    assert mutation.hunt(mutant, range(200)).is_caught
    assert runner.run_some(range(20)).failures == []


@pytest.mark.parametrize(
    "change",
    [
        Change("dpe_server.registration.registrar:Registrar.read", "what is not there", ""),
        Change("dpe_server.registration.registrar:Registrar.read", "batch", ""),  # there more than once
        Change("dpe_server.registration.registrar:Registrar.nothing", "x", ""),
    ],
)
def test_a_mutant_that_does_not_apply_is_not_caught(change: Change) -> None:
    finding = mutation.hunt(Mutant("stale", (REGISTERED_IS_DURABLE,), (change,)), range(1))
    assert not finding.is_caught
    assert finding.fault.startswith("does not apply")


def test_a_fault_that_does_no_harm_is_not_caught() -> None:
    idle = Change("dpe_server.registration.registrar:Registrar.complete", "batch.records)", "[*batch.records])")
    finding = mutation.hunt(Mutant("idle", (REGISTERED_IS_DURABLE,), (idle,)), range(10))
    assert finding.fault.startswith("not caught in 10 seeds")


@pytest.fixture(scope="module")
def seeds() -> list[int]:
    """Seeds that have everything between them: SQLite, workers, aiocoap alone, attackers."""
    return [2, 9, 570, 852]


def dpe(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dpe_tools", "simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


TRACES = """
from dpe_tools.simulation.runner import run_one
for seed in {seeds}:
    print(run_one(seed, print))
"""


def test_a_seed_repeats_itself_byte_for_byte(seeds: list[int]) -> None:
    def traces(hash_seed: str) -> str:
        command = [sys.executable, "-c", TRACES.format(seeds=seeds)]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    first = traces("0")
    assert first.count("\n") > 50 * len(seeds)
    assert traces("424242") == first
    assert first.startswith(dpe("--seed", str(seeds[0]), "--trace").stdout[:10_000].rpartition("\n1 seeds")[0])


def test_a_seed_is_the_same_whatever_ran_before(seeds: list[int]) -> None:
    def trace(seed: int) -> list[str]:
        lines: list[str] = []
        runner.run_one(seed, lines.append)
        return lines

    before = [trace(seed) for seed in seeds]
    runner.run_some(range(10))
    assert [trace(seed) for seed in reversed(seeds)] == before[::-1]


def test_a_seed_that_fails_says_how_to_run_it_again() -> None:
    mutant = next(one for one in MUTANTS if one.name == "the client does not compare MACs")
    with mutation.planted(mutant):
        failures = runner.run_some(range(100)).failures
        again = [runner.run_one(failure.seed).failures for failure in failures]
        told = CliRunner().invoke(simulate, ["--seed", str(failures[0].seed)])
        as_json = CliRunner().invoke(simulate, ["--seed", str(failures[0].seed), "--json"])
    assert again == [[failure] for failure in failures]
    assert failures[0].replay == f"dpe simulate --seed {failures[0].seed} --trace"
    assert told.exit_code == as_json.exit_code == 1
    assert failures[0].replay in told.stdout
    assert json.loads(as_json.stdout)["failures"][0]["replay"] == failures[0].replay


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", [["--seeds", "1000000"], ["--mutants", "--seeds", "1000000"]])
def test_ctrl_c_ends_it_and_leaves_nothing(what: list[str]) -> None:
    command = [sys.executable, "-m", "dpe_tools", "simulate", "--jobs", "2", *what]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stderr is not None
        try:
            line = running.stderr.readline()
            os.killpg(running.pid, signal.SIGINT)
            told, said = running.communicate()  # until the last process that could write has ended
        finally:  # if it does not end, this test fails, and nothing else waits for it
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
    assert line.split(" of ")[0].isdigit()
    assert running.returncode == 130
    assert "Traceback" not in said
    assert ("seeds, 0 failed" in told) == ("--mutants" not in what)


def test_the_command(seeds: list[int]) -> None:
    done = dpe("--seeds", "20", "--first", "5", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("20 seeds, 0 failed: ")
    assert "seeds/s" in done.stdout
    assert dpe("--trace").returncode == 2
    assert dpe("--mutants", "--seed", "1").returncode == 2
