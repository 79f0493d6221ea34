"""The CoAP binding's numbers and problem details."""

import cbor2
import pytest

from dpe_coap import binding
from dpe_coap.binding import RESPONSE_CODES, Code, problem
from dpe_coap.numbers import Status


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("OK", "2.04"),
        ("VERSION_NOT_SUPPORTED", "4.12"),
        ("REFUSED", "4.03"),
        ("SUITE_TOO_WEAK", "4.03"),
        ("REPROVISION", "4.03"),
        ("UNAVAILABLE", "5.03"),
        ("REDIRECT", "4.03"),
    ],
)
def test_code_of_a_response(status: str, code: str) -> None:
    assert RESPONSE_CODES[Status[status]].dotted == code


def test_every_response_status_has_a_code() -> None:
    assert set(RESPONSE_CODES) == {status for status in Status if status < Status.DECLINED}


def test_problem_details() -> None:
    assert cbor2.loads(problem("truncated")) == {-1: "truncated"}
    assert cbor2.loads(problem("truncated", detail="offset 3")) == {-1: "truncated", -2: "offset 3"}


def test_numbers_and_names_of_the_binding() -> None:
    """As docs/protocol.md has them; everything else is written in terms of these."""
    assert binding.PATH == ("dpe", "register")
    assert binding.SESSION_PATH == ("dpe",)
    assert (binding.RESOURCE_TYPE, binding.INTERFACE) == ("dpe.register", "dpe-1")
    assert binding.DEFAULT_PORT == 5683
    assert (binding.CONTENT_FORMAT_CBOR, binding.CONTENT_FORMAT_PROBLEM) == (60, 257)
    assert binding.MAX_PAYLOAD == 256


def test_dotted_codes() -> None:
    assert {code.dotted: code.name for code in Code} == {
        "0.01": "GET",
        "0.02": "POST",
        "0.04": "DELETE",
        "2.02": "DELETED",
        "2.04": "CHANGED",
        "2.05": "CONTENT",
        "4.00": "BAD_REQUEST",
        "4.01": "UNAUTHORIZED",
        "4.02": "BAD_OPTION",
        "4.03": "FORBIDDEN",
        "4.04": "NOT_FOUND",
        "4.05": "METHOD_NOT_ALLOWED",
        "4.06": "NOT_ACCEPTABLE",
        "4.12": "PRECONDITION_FAILED",
        "4.13": "REQUEST_ENTITY_TOO_LARGE",
        "4.15": "UNSUPPORTED_CONTENT_FORMAT",
        "5.03": "SERVICE_UNAVAILABLE",
        "5.05": "PROXYING_NOT_SUPPORTED",
    }
