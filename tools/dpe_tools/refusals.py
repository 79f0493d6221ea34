"""What a server's refusal means, in words for the person who sees it."""

from typing import Final

from dpe_coap.binding import Code
from dpe_coap.numbers import Status
from dpe_tools.annotate import status_name
from dpe_tools.exits import Refused

HINTS: Final[dict[int, str]] = {
    Status.VERSION_NOT_SUPPORTED: "offer a version that the server's policy accepts, with --version",
    Status.REFUSED: "see which rule refuses it on the server: dpe policy explain STATE --imei IMEI --version VERSION",
    Status.UNAVAILABLE: "the server's audit log says why: a rule's range of Client IDs is used up, or its store fails",
    Status.SUITE_TOO_WEAK: "the policy asks for the X25519 suite; add --x25519",
    Status.REPROVISION: "the device's key generation is retired; make a new credential with: dpe provision STATE IMEI",
    Status.REDIRECT: "the policy sends this device to another server of the same realm",
    Status.SUPERSEDED: "a newer registration of the same device won; if it was not yours, register again",
}

UNAUTHORIZED = (
    "it says no more to anybody who has proved nothing. Was the credential made from this server's STATE? "
    "Is the device revoked (dpe revoke)? Has the server loaded its newest keys (dpe doctor STATE)?"
)
CODES: Final[dict[int, str]] = {
    Code.UNAUTHORIZED: UNAUTHORIZED,
    Code.SERVICE_UNAVAILABLE: "it is overloaded, or cannot write to its store: then its log says `store not writable`",
}
"""Answers without a security token, which the server of this project gives to a sound REQUEST or SUCCESS."""
EMPTY = (
    "your CoAP client shows the code. 4.01: the credential is not of this server, or the device is revoked; "
    "5.03: the server cannot take it now"
)
STRANGER = "is a DPE Server of this version at that address, and no other CoAP server?"


def refused(status: int, detail: str = "") -> Refused:
    """Return the error for a RESPONSE or CONFIRM whose status is not ok."""
    return Refused(f"refused: {status_name(status)}{detail}", hint=HINTS.get(status, ""))


def hint_of(code: int) -> str:
    """Return what may be behind an error of CoAP that came without a security token."""
    return CODES.get(code, STRANGER)
