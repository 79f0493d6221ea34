"""The operational log: one line an event, on standard error, without the text of exceptions."""

import json
import logging
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
