"""Verifies the security token of one message, given the credential and the messages that came before.

From the whole registration come the keys of its session.
"""

from dataclasses import dataclass
from typing import TypeVar

from dpe_coap import messages
from dpe_coap.errors import LocalError, MalformedMessage
from dpe_coap.keys import ConfirmStep, RequestStep, ResponseStep, SuccessStep, agree
from dpe_coap.messages import SIZE_NONCE, Confirm, Message, Request, Response, Success
from dpe_coap.numbers import Status
from dpe_tools.oscore_files import Context

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
    step = _step(start, message, payload, chain)
    return step if isinstance(step, TokenCheck) else TokenCheck(step.verify(payload))


def session_of(start: RequestStep, chain: Chain) -> Context | TokenCheck:
    """Return the keys of the session that a registration has begun; without REQUEST, RESPONSE and SUCCESS, why not.

    Raises LocalError as ``verify`` does.
    """
    if chain.success is None:
        return TokenCheck(None, "needs --success, the SUCCESS of its registration")
    success = decode_as(Success, chain.success, "--success")
    step = _step(start, success, chain.success, chain)
    if isinstance(step, TokenCheck):
        return step
    assert isinstance(step, SuccessStep)
    if not step.verify(chain.success):
        return TokenCheck(False, "the SUCCESS does not answer that RESPONSE")
    if success.status != Status.OK:
        return TokenCheck(False, "the SUCCESS declines the Client ID: no session began")
    return Context(success.client_id, *step.next(chain.success).export())


def _step(
    start: RequestStep, message: Message, payload: bytes, chain: Chain
) -> RequestStep | ResponseStep | SuccessStep | ConfirmStep | TokenCheck:
    """Return the step that ``message`` is said in, or why there is none."""
    if isinstance(message, Request):
        return start
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
    return step if isinstance(message, Response) else _after_response(step, message, response_bytes, chain)


def _after_response(
    step: ResponseStep, message: Message, response: bytes, chain: Chain
) -> SuccessStep | ConfirmStep | TokenCheck:
    if not step.verify(response):
        return TokenCheck(False, "the RESPONSE before it does not answer that REQUEST")
    after_response = step.next(response)
    if isinstance(message, Success):
        return after_response
    assert isinstance(message, Confirm)
    if chain.success is None:
        return TokenCheck(None, "needs --success, the SUCCESS before it")
    decode_as(Success, chain.success, "--success")
    if not after_response.verify(chain.success):
        return TokenCheck(False, "the SUCCESS before it does not answer that RESPONSE")
    return after_response.next(chain.success)


def decode_as(kind: type[Kind], payload: bytes, source: str) -> Kind:
    """Decode a message that must be of one kind. Otherwise raises LocalError, which names ``source``."""
    try:
        message = messages.decode(payload)
    except MalformedMessage as error:
        raise LocalError(f"{source} is not a DPE-1 message: {error}", hint="see it with: dpe inspect FILE") from None
    if not isinstance(message, kind):
        raise LocalError(f"{source} is a {type(message).__name__.upper()}, not a {kind.__name__.upper()}")
    return message
