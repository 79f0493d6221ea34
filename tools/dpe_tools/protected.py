"""Protected messages of sessions (RFC 8613) outside of any session: made for another client, or opened to be read."""

import os
from dataclasses import dataclass

from dpe_coap import oscore
from dpe_coap.binding import CONTENT_FORMAT_CBOR, SESSION_PATH, Code
from dpe_coap.errors import LocalError, RemoteError
from dpe_tools.datagram import OSCORE, TYPES, Datagram, parse
from dpe_tools.oscore_files import Context
from dpe_tools.verify import TokenCheck

SIZE_COAP_TOKEN = 4
_CONTENT_FORMAT = 12
_URI_PATH = 11


def report(context: Context, number: int, payload: bytes) -> bytes:
    """Return the datagram of a protected report: confirmable, with a message ID and a CoAP token of its own.

    ``number`` is 1 to 2^40 - 1, and never used twice in a session. ``payload`` is a dpe-report.
    """
    inside = ((_URI_PATH, SESSION_PATH[0].encode()), (_CONTENT_FORMAT, bytes([CONTENT_FORMAT_CBOR])))
    plaintext = bytes([Code.POST]) + bytes(Datagram(TYPES[0], 0, 0, b"", inside, payload))[4:]
    keys = oscore.derive(context.master_secret, context.master_salt, context.client_id)
    ciphertext = oscore.encrypt(
        keys.client,
        oscore.nonce(keys.common_iv, context.client_id, number),
        oscore.additional_data(context.client_id, number),
        plaintext,
    )
    return bytes(
        Datagram(
            TYPES[0],
            Code.POST,
            int.from_bytes(os.urandom(2), "big"),
            os.urandom(SIZE_COAP_TOKEN),
            ((OSCORE, oscore.option(context.client_id, number)),),
            ciphertext,
        )
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """A protected message as far as it could be opened."""

    check: TokenCheck
    """Whether it was made with the session's keys."""
    nonce: bytes = b""
    """13 bytes; empty: it cannot be told."""
    plaintext: bytes = b""
    """Empty unless the check is valid."""


def named(request: bytes, source: str) -> tuple[bytes, int]:
    """Return the Client ID and the number in the datagram of a protected request. LocalError: it is none."""
    try:
        seen = parse(request)
        return oscore.read_option(seen.option(OSCORE) or b"")
    except RemoteError as error:
        raise LocalError(f"{source} is not the datagram of a protected request: {error}") from None


def open_message(data: bytes, about: tuple[bytes, int], context: Context) -> Opened:
    """Open the datagram of a request, or of the response to it, with the keys of a session.

    ``about`` is the Client ID and the number of the request.
    """
    client_id, number = about
    if client_id != context.client_id:
        told = f"the kid is {client_id.hex()}, and that registration was for Client ID {context.client_id.hex()}"
        return Opened(TokenCheck(False, told))
    seen = parse(data)
    keys = oscore.derive(context.master_secret, context.master_salt, context.client_id)
    key = keys.client if seen.code < 32 else keys.server
    nonce = oscore.nonce(keys.common_iv, client_id, number)
    plaintext = None
    if len(seen.payload) > oscore.SIZE_TAG:
        plaintext = oscore.decrypt(key, nonce, oscore.additional_data(client_id, number), seen.payload)
    if plaintext is None:
        return Opened(TokenCheck(False, "not made with this session's keys, or changed on the way"), nonce)
    return Opened(TokenCheck(True), nonce, plaintext)
