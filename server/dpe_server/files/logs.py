"""The operational log: structlog on standard error, with what other libraries log routed into it.

It tells an operator what the server does and what it suffers from. Peers, payloads, IMEIs, keys and security tokens
have no place in it; decisions about devices go to the audit log. A thread writes it: when nobody reads standard error,
lines are dropped and counted, and the server goes on.
"""

import logging
import sys

import structlog

from dpe_server.files.line_writer import LineWriter

_log = structlog.get_logger(__name__)


class _Handler(logging.Handler):
    """Gives records to a LineWriter."""

    def __init__(self) -> None:
        super().__init__()
        self.writer = LineWriter(sys.stderr, self._lost)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.writer.put(self.format(record))
        except Exception as error:
            self.writer.put(f"a log record cannot be shown: {type(error).__name__}")

    def _lost(self, count: int) -> str:
        values = {"event": "log lines lost", "count": count, "level": "warning"}
        return self.format(logging.LogRecord(__name__, logging.WARNING, "", 0, values, (), None))


def configure(*, as_json: bool) -> None:
    """Send the log to standard error: coloured text on a terminal, plain text elsewhere, JSON lines if ``as_json``."""
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
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _shorten_exception, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


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
