"""The mutation testing itself: a fault that a test sees is told, what none can see is not; and the list is in order.

All mutants are tried by ``./tools/assure mutation``: that takes too long for each change.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.assurance import mutation
from tests.assurance.mutation.survivors import Fault, explained, strays
from tests.assurance.protocol_core import TESTS

FILE = "dpe_coap/imei.py"

PROGRAM = """
import json, sys
from pathlib import Path
from tests.assurance.mutation.trial import Trials

file, tests, changes = json.loads(sys.argv[1])
source = Path(file).read_text(encoding="utf-8")
sources = {}
for before, after in changes:
    assert source.count(before) == 1, before
    sources[source.replace(before, after)] = after
told = {}
trials = Trials(Path.cwd(), file, tests, jobs=2)
trials.run(list(sources), lambda source, failed: told.update({sources[source]: failed}))
print(json.dumps(told))
"""

CHANGES = [
    ("not in (14, 15, 16):", "not in (14, 16):"),  # a function, which a loaded module can be given
    ("TAC_DIGITS = 8", "TAC_DIGITS = 7"),  # what is run on import
    ("2 * SIZE_CLEAR_IMEI", "2 / 0"),
    ("text.strip()", "any(iter(int, 1))"),  # has no end
    ("return self.packed.hex()", "return bytes(self.packed).hex()"),  # the same
]


@pytest.mark.timeout(300)
def test_a_fault_is_told_by_the_test_that_sees_it() -> None:
    command = [sys.executable, "-P", "-c", PROGRAM, json.dumps([FILE, TESTS[FILE], CHANGES])]
    done = subprocess.run(command, cwd=mutation.ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told.pop("return bytes(self.packed).hex()") == ""
    assert told.pop("any(iter(int, 1))") == "time"
    assert told.pop("2 / 0") == "import"
    assert set(told) == {"not in (14, 16):", "TAC_DIGITS = 7"}
    assert {test.partition("[")[0] for test in told.values()} == {"tests/core/test_imei.py::test_forms_of_one_imei"}


def test_tests_that_fail_without_a_fault_are_no_trial(tmp_path: Path) -> None:
    wrong = tmp_path / "test_wrong.py"
    wrong.write_text("from dpe_coap import imei\n\n\ndef test_wrong():\n    assert not imei\n")
    command = [sys.executable, "-P", "-c", PROGRAM, json.dumps([FILE, [str(wrong)], CHANGES])]
    done = subprocess.run(command, cwd=mutation.ROOT, capture_output=True, text=True)
    assert "RuntimeError: without any change of dpe_coap/imei.py, this fails: " in done.stderr
    assert "test_wrong.py::test_wrong" in done.stderr.splitlines()[-1]


def test_every_listed_survivor_is_a_line_of_the_core() -> None:
    """One whose line has changed is another mutant, and must be tried again."""
    assert {fault.file for fault in explained()} <= set(TESTS)
    assert strays(mutation.ROOT) == []


def test_a_listed_survivor_whose_line_is_gone_is_found(tmp_path: Path) -> None:
    listed = tmp_path / "survivors.toml"
    group = f'[[group]]\nfile = "{FILE}"\nreason = "none"\nmutants = [%s]\n'
    listed.write_text(group % '["", "TAC_DIGITS = 8", "TAC_DIGITS = 7"], ["luhn", "no such line", "pass"]')
    assert strays(mutation.ROOT, listed) == [Fault(FILE, "luhn", "no such line", "pass")]
    listed.write_text(group.replace('"none"', '" "') % '["", "TAC_DIGITS = 8", "TAC_DIGITS = 7"]')
    with pytest.raises(ValueError, match=r"without a reason:\ndpe_coap/imei.py: module\n  - TAC_DIGITS = 8\n  \+ TAC"):
        explained(listed)


def test_a_file_of_another_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutation.main(["server/dpe_server/net/udp.py"]) == 2
    assert "they are dpe_coap/binding.py, " in capsys.readouterr().err
