"""What went wrong, as somebody before a browser is told: what it was, and what to do."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException

from dpe_coap.errors import DpeError
from dpe_server.store.contract import StoreError

MEANINGS = {
    400: ("This request is not one that a page here makes.", "Go back, reload the page, and try again."),
    401: ("You are not logged in, or not any more.", "Use a login link: dpe web prints one when it starts."),
    403: ("You may not do this.", "Ask somebody who may act as an operator."),
    404: ("There is no such page.", "Begin at the overview."),
    405: ("This cannot be done here.", "Go back, and use the buttons of the page."),
    413: ("That was too much at once.", "Send less."),
    500: ("Something went wrong here that should not.", "The log of dpe web says what. Try again, or report it."),
    503: ("The database does not answer.", "Try again in a moment; dpe doctor STATE says what is wrong."),
}


class Fault(HTTPException):
    """An answer other than the page that was asked for: ``what`` was wrong, and ``hint`` says what to do."""

    def __init__(self, status: int, what: str = "", hint: str = "") -> None:
        meaning, way = MEANINGS.get(status, MEANINGS[400])
        super().__init__(status, what or meaning)
        self.hint = hint or way


@dataclass(frozen=True)
class Told:
    """What is told of an error."""

    status: int
    what: str
    hint: str


def told_of(error: Exception) -> Told:
    """Return what is told of an error, and never more of it than a visitor may know."""
    if isinstance(error, Fault):
        return Told(error.status_code, str(error.detail), error.hint)
    if isinstance(error, HTTPException):
        return Told(error.status_code, *MEANINGS.get(error.status_code, MEANINGS[400]))
    if isinstance(error, StoreError):
        return Told(503, f"The database does not answer: {error}", error.hint or MEANINGS[503][1])
    if isinstance(error, DpeError):
        return Told(500, str(error), error.hint or "See: dpe doctor STATE")
    return Told(500, *MEANINGS[500])
