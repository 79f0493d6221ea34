"""Errors as RFC 9457 has them: what was wrong, what was expected, and what to do. None of them shows a value."""

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from dpe_coap.errors import DpeError
from dpe_server.files.logs import log_defect
from dpe_server.store.contract import StoreError

TYPE = "application/problem+json"
_NAME = re.compile(r"[A-Za-z_-]{1,40}|[0-9]{1,4}")
"""What may be shown of where a fault is: no name that only a sender knows."""

_HINTS = {
    404: "see the OpenAPI document: openapi.json beside the resources",
    405: "use a method of those in the header Allow",
}
_DETAILS = {404: "there is no such resource", 405: "this resource does not take this method"}


class Fault(BaseModel):
    """One of several things that are wrong with a request."""

    where: str = Field(description="Which part of the request: the query, the path or the body, and the field in it.")
    what: str = Field(description="What was expected there.")


class ProblemDocument(BaseModel):
    """What is told of an error (RFC 9457). It never shows a value of the request."""

    type: str = Field(description="Always about:blank: the status says which kind of error it is.")
    title: str
    status: int
    detail: str = Field(description="What was wrong, and what was expected.")
    hint: str = Field(description="What to do about it.")
    faults: list[Fault] | None = None


class Problem(HTTPException):
    """An error that the sender of a request can cause, or must know of."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        hint: str,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.hint = hint
        self.faults = faults

    @property
    def document(self) -> dict[str, Any]:
        """The error as JSON."""
        told: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status_code).phrase,
            "status": self.status_code,
            "detail": self.detail,
            "hint": self.hint,
        }
        return told | ({"faults": [fault.model_dump() for fault in self.faults]} if self.faults else {})

    @property
    def response(self) -> Response:
        """The error as an answer."""
        body = json.dumps(self.document)
        headers = {"Cache-Control": "no-store"} | dict(self.headers or {})
        return Response(body, self.status_code, headers, media_type=TYPE)


def too_busy(detail: str, *, hint: str, after: int) -> Problem:
    """Return the error for who asks too much; ``after`` is in how many seconds to try again."""
    return Problem(429, detail, hint=hint, headers={"Retry-After": str(after)})


def unavailable() -> Problem:
    """Return the error for what the sender has no part in. What is wrong is in the log, not in the answer."""
    return Problem(
        503,
        "the server cannot do that now",
        hint="try again; if that does not help, its operator finds why with: dpe doctor STATE",
        headers={"Retry-After": "2"},
    )


def install(api: FastAPI) -> None:
    """Have every error of an application told as a problem."""
    api.add_exception_handler(HTTPException, _of_http)
    api.add_exception_handler(RequestValidationError, _of_validation)
    api.add_exception_handler(DpeError, _of_ours)
    api.add_exception_handler(Exception, _of_defect)


def _of_http(_request: Request, error: Exception) -> Response:
    if isinstance(error, Problem):
        return error.response
    assert isinstance(error, HTTPException)
    status = error.status_code
    detail = _DETAILS.get(status, "the request cannot be answered")
    return Problem(status, detail, hint=_HINTS.get(status, "mend the request"), headers=error.headers).response


def _of_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    faults = [Fault(where=_place(one["loc"]), what=_what(one)) for one in found[:20]]
    hint = "mend what `faults` names; the OpenAPI document has all fields"
    if any(one["type"] == "json_invalid" for one in found):
        return Problem(400, "the body is not JSON", hint="send one JSON object, in UTF-8").response
    return Problem(422, "the request is not as it must be", hint=hint, faults=faults).response


def _what(found: Mapping[str, Any]) -> str:
    """Return what was expected; pydantic's own words name what was expected, but not what was found."""
    return str(found["msg"]).removeprefix("Value error, ")


def _place(parts: Sequence[int | str]) -> str:
    return ".".join(str(part) if _NAME.fullmatch(str(part)) else "…" for part in parts)


def _of_ours(_request: Request, error: Exception) -> Response:
    """Answer an error of ours that nothing nearer has answered. Its text may name a path, and is for the log alone."""
    log_defect("store does not answer" if isinstance(error, StoreError) else "request failed", error)
    return unavailable().response


def _of_defect(_request: Request, error: Exception) -> Response:
    return Problem(500, "this is a defect of the server", hint="report it; its log says where it is").response
