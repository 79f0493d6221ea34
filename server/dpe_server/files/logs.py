"""The operational log: structlog on standard error, with what other libraries log routed into it.

It tells an operator what the server does and what it suffers from. Peers, payloads, IMEIs, keys and security tokens
have no place in it; decisions about devices go to the audit log. A thread writes it: when nobody reads standard error,
lines are dropped and counted, and the server goes on.
"""

import logging
import os
import sys

import structlog

from dpe_server.files.line_writer import LineWriter

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
"""What may be the least that is logged, by its name."""
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}
_DEBUG = 7
"""syslog's priorities (sd-daemon(3); RFC 5424 section 6.2.1)."""

_log = structlog.get_logger(__name__)


class _Handler(logging.Handler):
    """Gives records to a LineWriter, with their ``priorities`` if that is wanted."""

    def __init__(self, *, priorities: bool) -> None:
        super().__init__()
        self._priorities = priorities
        self.writer = LineWriter(sys.stderr, self._lost)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.writer.put(self.format(record))
        except Exception as error:
            self.writer.put(f"a log record cannot be shown: {type(error).__name__}")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._priorities:
            return text
        prefix = f"<{_PRIORITIES.get(record.levelno, _DEBUG)}>"
        return prefix + text.replace("\n", f"\n{prefix}")  # the journal takes each line for itself

    def _lost(self, count: int) -> str:
        values = {"event": "log lines lost", "count": count, "level": "warning"}
        return self.format(logging.LogRecord(__name__, logging.WARNING, "", 0, values, (), None))


def is_journal() -> bool:
    """Return whether standard error goes to systemd's journal, which says so in JOURNAL_STREAM (systemd.exec(5))."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def configure(*, as_json: bool, level: str = "info", priorities: bool | None = None) -> None:
    """Send the log to standard error: coloured text on a terminal, plain text elsewhere, JSON lines if ``as_json``.

    Nothing below ``level`` (of LEVELS) is logged. With ``priorities``, each line begins with that of syslog, as the
    journal and `logger --prio-prefix` read it; None: only for the journal.
    """
    least = LEVELS[level]
    terminal = sys.stderr is not None and sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=structlog.dev.plain_traceback)
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,  # which worker it is
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(least),
        cache_logger_on_first_use=False,
    )
    handler = _Handler(priorities=is_journal() if priorities is None else priorities)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _shorten_exception, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)


def finish() -> None:
    """Wait for the lines that were logged, a second at most, and have no thread then: to be called before a fork."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.writer.finish()


def begin_in_child() -> None:
    """Begin anew in a process that was just forked."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.writer.forget()


def log_defect(event: str, error: BaseException | None) -> None:
    """Log an exception that nobody foresaw, by its type and place: its text may hold what must not be logged."""
    _log.error(event, **_describe(error))


def _describe(error: BaseException | None) -> dict[str, str]:
    if error is None:
        return {}
    place = "unknown"
    frame = error.__traceback__
    while frame is not None:
        place = f"{frame.tb_frame.f_globals.get('__name__')}:{frame.tb_lineno}"
        frame = frame.tb_next
    return {"error": type(error).__name__, "place": place}


def _shorten_exception(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Give other libraries' exceptions the form of our own."""
    information = event.pop("exc_info", None)
    if isinstance(information, tuple):
        event.update(_describe(information[1]))
    return event
