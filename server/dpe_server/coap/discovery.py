"""Resource discovery: what GET /.well-known/core answers (RFC 6690)."""

from collections.abc import Sequence

from dpe_coap.binding import CONTENT_FORMAT_CBOR, INTERFACE, PATH, RESOURCE_TYPE

_TARGET = "/" + "/".join(PATH)
_ATTRIBUTES = {"href": _TARGET, "rt": RESOURCE_TYPE, "if": INTERFACE, "ct": str(CONTENT_FORMAT_CBOR)}
LINK = f'<{_TARGET}>;rt="{RESOURCE_TYPE}";if="{INTERFACE}";ct={CONTENT_FORMAT_CBOR}'.encode()
"""The server's only link."""


def links(query: Sequence[bytes]) -> bytes:
    """Return the links that match every filter in ``query``: ``name=value``, or ``name=prefix*`` (section 4.1).

    A query without an equals sign is no filter, and ignored.
    """
    return LINK if all(_matches(item) for item in query if b"=" in item) else b""


def _matches(item: bytes) -> bool:
    name, _, pattern = item.decode(errors="replace").partition("=")
    value = _ATTRIBUTES.get(name)
    if value is None:
        return False
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern
