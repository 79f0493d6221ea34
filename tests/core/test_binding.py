"""The CoAP binding's numbers and problem details."""

import cbor2
import pytest

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


def test_dotted_codes() -> None:
    assert [code.dotted for code in (Code.POST, Code.CHANGED, Code.PROXYING_NOT_SUPPORTED)] == ["0.02", "2.04", "5.05"]
