"""The short form of ``./tools/assure following_http``."""

from pathlib import Path

import pytest

from tests.assurance.following import Settings
from tests.assurance.following_http import run

SHORT = Settings(kills=5, devices=40, seed=2)


@pytest.mark.timeout(480)
def test_a_program_over_http_that_is_killed_has_exactly_what_the_server_has(tmp_path: Path) -> None:
    report = run(SHORT, tmp_path)
    assert report.faults == [], f"\n{report}"
    assert report.kills == SHORT.kills
    assert report.applied >= 1, "so it has gone on"
    assert report.web_kills >= 1
    assert report.devices >= SHORT.devices // 2
    assert report.ended >= SHORT.kills
