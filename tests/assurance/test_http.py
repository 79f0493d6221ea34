"""The short form of ``./tools/assure http``, and that its eyes are open."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpe_server.operators import searching
from dpe_server.web.api.problems import Problem
from tests.assurance.http import Settings, run
from tests.server.web.api.held import IMEIS

SHORT = Settings(examples=8)
FEW = Settings(examples=3, only="/sessions")


@pytest.mark.timeout(240)
def test_bad_and_good_requests_get_what_the_document_says_and_learn_nothing(tmp_path: Path) -> None:
    report = run(SHORT, tmp_path)
    assert report.faults == [], f"\n{report}"
    assert report.operations == 15
    assert report.statuses.total() >= 15 * SHORT.examples
    assert {200, 400, 404, 422} <= report.statuses.keys(), "of all kinds"
    assert not report.statuses.keys() & {401, 403, 500, 503}


def _broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError


def _leaking(*arguments: Any, **options: Any) -> Any:
    raise Problem(422, f"not {IMEIS[0]}", hint="leak")


def _undocumented(*arguments: Any, **options: Any) -> Any:
    raise Problem(418, "tea", hint="coffee")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("wrong", "found"),
    [(_broken, "Server error"), (_leaking, "shows what it must not"), (_undocumented, "Undocumented status code")],
)
def test_what_is_wrong_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., Any], found: str
) -> None:
    monkeypatch.setattr(searching, "search", wrong)
    report = run(FEW, tmp_path)
    assert report.operations == 1
    assert any(found in fault for fault in report.faults), report.faults
