"""What a handler answers: a CoAP code and a payload, whatever carries them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dpe_coap.binding import CONTENT_FORMAT_CBOR, Code


class Reply(NamedTuple):
    """A CoAP response to one POST."""

    code: Code
    payload: bytes = b""
    content_format: int | None = None
    max_age: int | None = None
    """Seconds; for 5.03, when to come back."""
    protected: bool = False
    """Whether the payload is the ciphertext of a response under OSCORE, which the code hides (RFC 8613 section 4.2)."""

    def __repr__(self) -> str:
        """Without the payload."""
        return f"Reply(code={self.code!r}, content_format={self.content_format}, max_age={self.max_age})"

    @classmethod
    def cbor(cls, code: Code, payload: bytes, *, max_age: int | None = None) -> "Reply":
        """Return a reply that carries CBOR."""
        return cls(code, payload, CONTENT_FORMAT_CBOR, max_age)


UNAUTHORIZED = Reply(Code.UNAUTHORIZED)
"""The one answer to everything unproved: an observer cannot tell an unknown device from a wrong key."""


def busy(retry_after: int) -> Reply:
    """Return 5.03 without a payload: come back after ``retry_after`` seconds."""
    return Reply(Code.SERVICE_UNAVAILABLE, max_age=retry_after)


Deliver = Callable[[Sequence[Reply]], None]
"""Gets the replies to requests that came together, in their order."""
