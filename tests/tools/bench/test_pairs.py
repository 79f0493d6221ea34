"""`dpe bench pairs`: this checkout beside another, here beside itself."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from dpe_bench.pairs import ALLOWED, Comparison
from dpe_tools.cli import main
from tests.tools.conftest import Invoke


def test_a_checkout_beside_itself(root: Path) -> None:
    arguments = ("--pairs", "1", "--seconds", "0.2", "--job", "transport job", "--json")
    result = CliRunner().invoke(main, ["bench", "pairs", str(root), *arguments])
    (compared,) = json.loads(result.stdout)["comparisons"]
    assert compared["job"] == "transport job"
    for runs in ("this", "again", "other"):
        assert [1 < cpu < 10_000 for cpu in compared[runs]] == [True]
    assert compared["ratio"] == pytest.approx(compared["this"][0] / compared["other"][0])
    assert result.exit_code == (0 if compared["holds"] else 1)


def test_what_is_no_checkout_is_said(dpe: Invoke, tmp_path: Path) -> None:
    result = dpe("bench", "pairs", str(tmp_path), status=1)
    assert "is no checkout of this project" in result.stderr
    assert "git worktree add" in result.stderr


def test_a_benchmark_that_fails_is_told_with_its_last_line(dpe: Invoke, tmp_path: Path) -> None:
    (tmp_path / "server" / "dpe_server").mkdir(parents=True)
    (tmp_path / "tools" / "dpe_tools").mkdir(parents=True)
    (tmp_path / "tools" / "dpe_tools" / "__init__.py").touch()
    (tmp_path / "tools" / "dpe_tools" / "__main__.py").write_text("raise SystemExit('no such thing')")
    result = dpe("bench", "pairs", str(tmp_path), "--pairs", "6", "--seconds", "0.1", status=1)
    assert f"the benchmark of {tmp_path} failed: no such thing" in result.stderr


def test_the_median_of_the_pairs_counts_and_the_machine_is_allowed_for() -> None:
    compared = Comparison("job", this=[10.0, 11.0, 30.0], again=[10.0, 11.0, 12.0], other=[10.0, 10.0, 10.0])
    assert compared.ratio == pytest.approx(1.1)
    assert compared.same == 1.0
    assert not compared.holds
    unsteady = Comparison("job", this=[10.0, 11.0, 30.0], again=[9.0, 10.0, 10.0], other=[10.0, 10.0, 10.0])
    assert unsteady.same == pytest.approx(1.111, abs=0.001)
    assert unsteady.ratio <= ALLOWED + unsteady.same - 1
    assert unsteady.holds
