"""The operational log: one line an event, on standard error, without the text of exceptions."""

import json
import logging
import os
from collections.abc import Callable, Iterator

import pytest
import structlog

from dpe_server.files import logs

SECRET = "35693803564380"


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was written to standard error; the logging of this process is as before in the end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def written() -> str:
        logs.finish()
        return capsys.readouterr().err

    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def fail() -> None:
    raise ValueError(SECRET)


def test_json_lines(stderr: Callable[[], str]) -> None:
    logs.configure(as_json=True)
    structlog.get_logger().info("store writable again", count=3)
    logging.getLogger("other").warning("from %s", "elsewhere")
    ours, theirs = map(json.loads, stderr().splitlines())
    assert ours.pop("timestamp").endswith("Z")
    assert ours == {"event": "store writable again", "count": 3, "level": "info"}
    assert (theirs["event"], theirs["level"]) == ("from elsewhere", "warning")


def test_text_has_no_colour_when_it_is_not_for_a_terminal(stderr: Callable[[], str]) -> None:
    logs.configure(as_json=False)
    structlog.get_logger().info("store writable again", count=3)
    (line,) = stderr().splitlines()
    assert "store writable again" in line
    assert "count=3" in line
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", ["a", "b", "c", "d"]), ("info", ["b", "c", "d"]), ("warning", ["c", "d"]), ("error", ["d"])],
)
def test_nothing_below_the_level_is_logged(level: str, expected: list[str], stderr: Callable[[], str]) -> None:
    logs.configure(as_json=True, level=level)
    for log in (structlog.get_logger(), logging.getLogger("other")):
        log.debug("a")
        log.info("b")
        log.warning("c")
        log.error("d")
    assert [json.loads(line)["event"] for line in stderr().splitlines()] == 2 * expected


def test_lines_have_the_priorities_of_syslog(stderr: Callable[[], str]) -> None:
    logs.configure(as_json=True, level="debug", priorities=True)
    log = structlog.get_logger()
    for say in (log.debug, log.info, log.warning, log.error, log.critical):
        say("x")
    lines = stderr().splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert [json.loads(line[3:])["level"] for line in lines] == ["debug", "info", "warning", "error", "critical"]


def test_each_line_of_an_event_has_its_priority(stderr: Callable[[], str]) -> None:
    logs.configure(as_json=False, priorities=True)
    logging.getLogger("other").error("one\ntwo")
    assert [line[:3] for line in stderr().splitlines()] == ["<3>", "<3>"]


@pytest.mark.parametrize(("ours", "expected"), [(True, True), (False, False)])
def test_priorities_are_for_the_journal(ours: bool, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + (not ours)}")
    assert logs.is_journal() is expected
    monkeypatch.delenv("JOURNAL_STREAM")
    assert logs.is_journal() is False


def test_debug_is_not_logged(stderr: Callable[[], str]) -> None:
    logs.configure(as_json=False)
    structlog.get_logger().debug("detail")
    logging.getLogger("other").debug("detail")
    assert stderr() == ""


@pytest.mark.parametrize("as_json", [True, False])
def test_a_defect_is_one_line_with_its_type_and_place_and_not_its_text(
    stderr: Callable[[], str], as_json: bool
) -> None:
    logs.configure(as_json=as_json)
    try:
        fail()
    except ValueError as error:
        logs.log_defect("batch failed", error)
        logging.getLogger("other").exception("something failed")
    text = stderr()
    assert len(text.splitlines()) == 2
    assert text.count("ValueError") == 2
    assert text.count(f"{__name__}:") == 2
    assert SECRET not in text


def test_a_defect_without_an_exception(stderr: Callable[[], str]) -> None:
    logs.configure(as_json=True)
    logs.log_defect("strange", None)
    assert json.loads(stderr())["event"] == "strange"
