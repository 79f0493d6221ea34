"""What a server's refusal means, in words for the person who sees it."""

from typing import Final

from dpe_coap.numbers import Status
from dpe_tools.annotate import status_name
from dpe_tools.exits import Refused

HINTS: Final[dict[int, str]] = {
    Status.VERSION_NOT_SUPPORTED: "offer a version that the server's policy accepts, with --version",
    Status.REFUSED: "see which rule refuses it on the server: dpe policy explain STATE --imei IMEI --version VERSION",
    Status.UNAVAILABLE: "the range of Client IDs is used up or the store cannot be written; see: dpe doctor STATE",
    Status.SUITE_TOO_WEAK: "the policy asks for the X25519 suite; add --x25519",
    Status.REPROVISION: "the device's key generation is retired; make a new credential with: dpe provision STATE IMEI",
    Status.REDIRECT: "the policy sends this device to another server of the same realm",
    Status.SUPERSEDED: "a newer registration of the same device won; if it was not yours, register again",
}

UNAUTHORIZED = (
    "the server does not know this device's key: was the credential made from this STATE, is the device revoked "
    "(dpe revoke), or was the server restarted half-way?"
)


def refused(status: int, detail: str = "") -> Refused:
    """Return the error for a RESPONSE or CONFIRM whose status is not ok."""
    return Refused(f"refused: {status_name(status)}{detail}", hint=HINTS.get(status, ""))
