"""What the instruments share that try a real server."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dpe_coap.errors import LocalError
from tests.assurance import trials


@dataclass
class Report:
    name: str
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"report {self.name}"


def test_each_trial_has_an_empty_folder_that_is_gone_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    folders: list[Path] = []

    def trial(folder: Path) -> Report:
        assert list(folder.iterdir()) == []
        (folder / "something").touch()
        folders.append(folder)
        return Report(str(len(folders)))

    assert trials.run_each([trial, trial]) == 0
    assert capsys.readouterr().out == "report 1\nreport 2\n"
    assert len(set(folders)) == 2
    assert not any(folder.exists() for folder in folders)


def test_a_fault_in_any_of_them_is_told_and_gives_1(capsys: pytest.CaptureFixture[str]) -> None:
    many = [f"fault {number}" for number in range(trials.MOST_SHOWN + 5)]
    assert trials.run_each([lambda _: Report("a", many), lambda _: Report("b")]) == 1
    assert capsys.readouterr().out.splitlines() == ["report a", *many[: trials.MOST_SHOWN], "report b"]


def test_what_cannot_be_tried_is_said_and_gives_1(capsys: pytest.CaptureFixture[str]) -> None:
    def trial(_: Path) -> Report:
        raise LocalError("no such disk", hint="buy one")

    assert trials.run_each([trial]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "cannot be tried here: no such disk" in told.err


def test_an_instrument_tells_what_it_does_first(capsys: pytest.CaptureFixture[str]) -> None:
    parser = trials.parser("disk", "In one line.\n\nAnd at length.")
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    told = capsys.readouterr().out
    assert told.startswith("usage: ./tools/assure disk")
    assert told.index("In one line.") < told.index("--help") < told.index("And at length.")
