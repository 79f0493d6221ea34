"""Every line and branch of the protocol core runs in its tests; and the check would notice one that does not."""

import pytest

from tests.assurance import coverage
from tests.assurance.protocol_core import TESTS


@pytest.mark.timeout(600)
def test_every_branch_of_the_core_is_tested() -> None:
    assert coverage.main([]) == 0


def test_a_branch_that_is_not_tested_is_found(capfd: pytest.CaptureFixture[str]) -> None:
    assert coverage.measure(["dpe_coap/imei.py", "dpe_coap/binding.py"], TESTS["dpe_coap/binding.py"]) == 1
    rows = {line.split()[0]: line for line in capfd.readouterr().out.splitlines() if "%" in line}
    assert "100.00%" in rows["dpe_coap/binding.py"]
    assert " 0.00%" in rows["dpe_coap/imei.py"], "no test even imports it"


def test_a_file_of_another_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert coverage.main(["server/dpe_server/net/udp.py"]) == 2
    assert "they are dpe_coap/binding.py, " in capsys.readouterr().err
