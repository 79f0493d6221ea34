"""`dpe bench web`: that visitors are there when it says so, and that every answer is verified."""

import json
import os
from pathlib import Path

import pytest

from dpe_bench import web
from dpe_bench.web_run import Pair, Times
from tests.conftest import missing
from tests.tools.conftest import Invoke

pytestmark = pytest.mark.timeout(120)


def test_devices_register_while_visitors_look(dpe: Invoke, load: Path) -> None:
    if os.geteuid() != 0:
        missing("only root may go first on a core")
    report = json.loads(dpe("bench", "web", "--quick", "--json").stdout)
    ((pair),) = report["pairs"]
    assert pair["faults"] == 0, pair["told"]
    assert pair["answers"] > 20, "each visitor had one, at least"
    assert all(time > 0 for time in (*pair["request"], *pair["registration"]))
    assert report["same"] == pytest.approx(pair["request"][2] / pair["request"][0])


@pytest.mark.parametrize(
    ("visited", "faults", "status"),
    [(109.0, 0, 0), (125.0, 0, 1), (109.0, 1, 1)],
)
def test_visitors_that_are_noticed(
    dpe: Invoke, monkeypatch: pytest.MonkeyPatch, visited: float, faults: int, status: int
) -> None:
    times = Times(100.0, visited, 100.0)
    pair = Pair(times, times, answers=10, told="HTTP/1.1 500" if faults else "", faults=faults)
    monkeypatch.setattr(web, "_measure", lambda *_: [pair] * 3)
    result = dpe("bench", "web", status=status)
    assert f"with visitors / without: {visited / 100:.3f}; without / without: 1.000" in result.stdout
    assert ("3 answers were wrong or missing; 'HTTP/1.1 500'" in result.stderr) == bool(faults)
