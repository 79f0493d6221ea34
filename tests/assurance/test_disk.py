"""The short form of ``./tools/assure disk``."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dpe_coap.errors import LocalError
from tests.assurance import disk
from tests.assurance.disk import Report
from tests.conftest import missing


@pytest.mark.timeout(480)
@pytest.mark.parametrize("trouble", disk.TROUBLES, ids=lambda trouble: trouble.__name__)
def test_a_disk_in_trouble_loses_nothing(
    trouble: Callable[[int, int, Path], Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "REFUSED", 5)
    try:
        report = trouble(1, 1, tmp_path)
    except LocalError as error:
        missing(f"nothing can be mounted here: {error}")
    assert report.faults == [], f"\n{disk.HEAD}\n{report}"
    assert report.counts["unavailable"] >= 5
    assert report.asked_again > 0
