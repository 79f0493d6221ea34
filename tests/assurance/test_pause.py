"""The short form of ``./tools/assure pause``."""

from pathlib import Path

import pytest

from tests.assurance.pause import run


@pytest.mark.timeout(480)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_stopped_for_a_while_goes_on_as_if_nothing_had_been(tmp_path: Path, workers: int) -> None:
    report = run(2, 1.0, workers, 1, tmp_path)
    assert report.faults == [], f"\n{report}"
    assert report.sent_again > 32
    assert report.registrations > 600
