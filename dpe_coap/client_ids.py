"""The forms of a DPE Client ID: 7 bytes on the wire, 56 bits as an integer in the server, 14 hex digits for people."""

from dpe_coap.numbers import SIZE_CLIENT_ID


def client_id_of(wire: bytes) -> int:
    """Return the Client ID that a message has as 7 bytes, most significant first."""
    return int.from_bytes(wire, "big")


def client_id_bytes(client_id: int) -> bytes:
    """Return a Client ID as messages have it (7 bytes); OverflowError if it has more than 56 bits or is negative."""
    return client_id.to_bytes(SIZE_CLIENT_ID, "big")


def client_id_text(client_id: int) -> str:
    """Return a Client ID as people see it: 14 hex digits."""
    return f"{client_id:0{2 * SIZE_CLIENT_ID}x}"
