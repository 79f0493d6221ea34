"""Answers of the registrar, and what is in them, that need nothing else of it."""

from collections.abc import Callable

from dpe_coap import keys as schedule
from dpe_coap.binding import CONTENT_FORMAT_PROBLEM, Code, problem
from dpe_coap.errors import MalformedMessage
from dpe_coap.messages import Confirm, Request, encode
from dpe_coap.numbers import SIZE_MAC, Status
from dpe_server.handling.handler import Batch
from dpe_server.handling.reply import Reply
from dpe_server.registration.audit_records import log_unproved

NO_MAC = bytes(SIZE_MAC)
"""Stands in a message that is not signed yet."""


def malformed(error: MalformedMessage, payload: bytes, batch: Batch) -> Reply:
    """Return 4.00 with problem details that name the fault and its place (RFC 9290)."""
    log_unproved(batch, payload, "malformed", fault=error.fault, place=error.place)
    return Reply(Code.BAD_REQUEST, problem(error.fault, detail=error.place), CONTENT_FORMAT_PROBLEM)


def signed_confirm(step: schedule.ConfirmStep, status: Status, lifetime: int | None = None) -> bytes:
    """Return a CONFIRM; ``lifetime`` is in seconds."""
    return step.sign(encode(Confirm(status, NO_MAC, lifetime)))


def confirmed(confirm: bytes) -> Reply:
    """Return the reply that carries a CONFIRM."""
    return Reply.cbor(Code.CHANGED, confirm)


def agree(request: Request, random: Callable[[int], bytes]) -> tuple[bytes | None, bytes]:
    """Return our ephemeral public key and ``dh`` in the X25519 suite, otherwise None and empty bytes."""
    if request.x25519_key is None:
        return None, b""
    private = random(schedule.KEY_SIZE)
    shared = schedule.agree(private, request.x25519_key)
    public = schedule.ephemeral(private)
    return public, public + shared
