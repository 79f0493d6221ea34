"""How DPE-1 uses CoAP: the path, the content formats, the discovery attributes and the table of response codes."""

from enum import IntEnum
from typing import Final

import cbor2

from dpe_coap.numbers import Status

PATH: Final = ("dpe", "register")
SESSION_PATH: Final = ("dpe",)
"""Where a session's messages go, under OSCORE."""
RESOURCE_TYPE: Final = "dpe.register"
INTERFACE: Final = "dpe-1"
DEFAULT_PORT: Final = 5683
CONTENT_FORMAT_CBOR: Final = 60
"""application/cbor (RFC 8949)."""
CONTENT_FORMAT_PROBLEM: Final = 257
"""application/concise-problem-details+cbor (RFC 9290)."""
MAX_PAYLOAD: Final = 256
"""The largest payload in bytes. Every DPE-1 message fits, and nothing longer is read."""


class Code(IntEnum):
    """The CoAP codes that DPE-1 uses (RFC 7252 section 12.1), as the byte on the wire."""

    GET = 0x01
    POST = 0x02
    DELETE = 0x04
    DELETED = 0x42
    CHANGED = 0x44
    CONTENT = 0x45
    BAD_REQUEST = 0x80
    UNAUTHORIZED = 0x81
    BAD_OPTION = 0x82
    FORBIDDEN = 0x83
    NOT_FOUND = 0x84
    METHOD_NOT_ALLOWED = 0x85
    NOT_ACCEPTABLE = 0x86
    PRECONDITION_FAILED = 0x8C
    REQUEST_ENTITY_TOO_LARGE = 0x8D
    UNSUPPORTED_CONTENT_FORMAT = 0x8F
    SERVICE_UNAVAILABLE = 0xA3
    PROXYING_NOT_SUPPORTED = 0xA5

    @property
    def dotted(self) -> str:
        """The code as people write it, such as ``4.01``."""
        return f"{self >> 5}.{self & 31:02d}"


RESPONSE_CODES: Final = {
    Status.OK: Code.CHANGED,
    Status.VERSION_NOT_SUPPORTED: Code.PRECONDITION_FAILED,
    Status.REFUSED: Code.FORBIDDEN,
    Status.UNAVAILABLE: Code.SERVICE_UNAVAILABLE,
    Status.SUITE_TOO_WEAK: Code.FORBIDDEN,
    Status.REPROVISION: Code.FORBIDDEN,
    Status.REDIRECT: Code.FORBIDDEN,
}
"""The CoAP code of a RESPONSE, by its status. A CONFIRM is always 2.04."""


def problem(title: str, *, detail: str | None = None) -> bytes:
    """Return a concise problem details payload (RFC 9290 section 2): title (-1) and detail (-2)."""
    details = {-1: title} if detail is None else {-1: title, -2: detail}
    return cbor2.dumps(details)
