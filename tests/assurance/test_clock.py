"""The short form of ``./tools/assure clock``."""

from pathlib import Path

import pytest

from dpe_coap.errors import LocalError
from tests.assurance.clock import HEAD, HOUR, run
from tests.conftest import missing


@pytest.mark.timeout(480)
@pytest.mark.parametrize("lifetime", [None, HOUR])
def test_a_clock_that_jumps_harms_nobody(tmp_path: Path, lifetime: int | None) -> None:
    try:
        report = run(lifetime, 4, 1, tmp_path)
    except LocalError as error:
        missing(f"the clock of a process cannot be set: {error}")
    assert report.faults == [], f"\n{HEAD}\n{report}"
    assert report.kills > 0
    assert (report.ended > 0) == (lifetime is not None)
