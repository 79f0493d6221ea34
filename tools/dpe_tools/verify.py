"""Verifies the security token of one message, given the credential and the messages that came before."""

from dataclasses import dataclass
from typing import TypeVar

from dpe_coap import messages
from dpe_coap.errors import LocalError, MalformedMessage
from dpe_coap.keys import RequestStep, ResponseStep, agree
from dpe_coap.messages import SIZE_NONCE, Confirm, Message, Request, Response, Success

Kind = TypeVar("Kind", Request, Response, Success, Confirm)


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """What can be said of a security token; ``valid`` is None when the key chain lacks a link."""

    valid: bool | None
    why: str = ""

    def __str__(self) -> str:
        """Write it as ``valid``, ``not valid`` or ``cannot tell: needs --request``."""
        word = {True: "valid", False: "not valid", None: "cannot tell"}[self.valid]
        return f"{word}: {self.why}" if self.why else word


@dataclass(frozen=True, slots=True)
class Chain:
    """The known messages of one registration, as received, and the client's ephemeral X25519 private key."""

    request: bytes | None = None
    response: bytes | None = None
    success: bytes | None = None
    ephemeral: bytes | None = None


def verify(start: RequestStep, message: Message, payload: bytes, chain: Chain) -> TokenCheck:
    """Say whether the last 16 bytes of ``payload`` are its MAC. ``message`` is the decoded payload.

    Raises LocalError if a message of ``chain`` is not of the kind that belongs in its place.
    """
    if isinstance(message, Request):
        return TokenCheck(start.verify(payload))
    if chain.request is None:
        return TokenCheck(None, "needs --request, the REQUEST before it")
    request = decode_as(Request, chain.request, "--request")
    if not start.verify(chain.request):
        return TokenCheck(False, "the REQUEST before it is not of this credential")
    response_bytes = payload if isinstance(message, Response) else chain.response
    if response_bytes is None:
        return TokenCheck(None, "needs --response, the RESPONSE before it")
    response = decode_as(Response, response_bytes, "--response")
    dh = b""
    if request.x25519_key is not None:
        if response.x25519_key is None:
            return TokenCheck(False, "the RESPONSE has no X25519 key though its REQUEST has one")
        if chain.ephemeral is None:
            return TokenCheck(None, "needs --ephemeral, the client's X25519 private key")
        dh = response.x25519_key + agree(chain.ephemeral, response.x25519_key)
    step = start.respond(chain.request, response.security_token[:SIZE_NONCE], dh)
    return _after_request(step, message, payload, response_bytes, chain)


def _after_request(step: ResponseStep, message: Message, payload: bytes, response: bytes, chain: Chain) -> TokenCheck:
    if isinstance(message, Response):
        return TokenCheck(step.verify(payload))
    if not step.verify(response):
        return TokenCheck(False, "the RESPONSE before it does not answer that REQUEST")
    after_response = step.next(response)
    if isinstance(message, Success):
        return TokenCheck(after_response.verify(payload))
    assert isinstance(message, Confirm)
    if chain.success is None:
        return TokenCheck(None, "needs --success, the SUCCESS before it")
    decode_as(Success, chain.success, "--success")
    if not after_response.verify(chain.success):
        return TokenCheck(False, "the SUCCESS before it does not answer that RESPONSE")
    return TokenCheck(after_response.next(chain.success).verify(payload))


def decode_as(kind: type[Kind], payload: bytes, source: str) -> Kind:
    """Decode a message that must be of one kind. Otherwise raises LocalError, which names ``source``."""
    try:
        message = messages.decode(payload)
    except MalformedMessage as error:
        raise LocalError(f"{source} is not a DPE-1 message: {error}", hint="see it with: dpe inspect FILE") from None
    if not isinstance(message, kind):
        raise LocalError(f"{source} is a {type(message).__name__.upper()}, not a {kind.__name__.upper()}")
    return message
