"""A CoAP client endpoint (RFC 7252): confirmable POSTs to /dpe/register, one at a time. No socket, no clock.

Datagrams and the time go in; datagrams, the next deadline and responses come out. A response belongs to a request by
message ID and CoAP token when piggybacked, by CoAP token when separate; the caller compares the sender.
"""

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Entropy, Response

_MAX_RETRANSMIT = const(4)
_PATIENCE = const(32)  # times ACK_TIMEOUT for a separate response

_OPTION_CONTENT_FORMAT = const(12)
_OPTION_MAX_AGE = const(14)

# Version 1 and the message's type, which together are the high half of the first byte.
_CON = const(4)
_ACK = const(6)
_RST = const(7)


class Client:
    """An endpoint with its message IDs and its open exchange, if there is one.

    `entropy(n)` gives n random bytes; `ack_timeout` is ACK_TIMEOUT in ms (section 4.8).
    """

    def __init__(self, entropy: "Entropy", ack_timeout: int) -> None:
        self.due: "int | None" = None  # when to call `expire`, in ms; None: no exchange is open
        self.entropy = entropy
        self.ack_timeout = ack_timeout
        self._mid = int.from_bytes(entropy(2), "big")
        self._request = self._acked = b""

    def random(self, limit: int) -> int:
        """Return a random number below `limit`."""
        return limit * int.from_bytes(self.entropy(2), "big") >> 16

    def post(self, now: int, payload: bytes) -> bytes:
        """Open an exchange and return its datagram."""
        self._mid = self._mid + 1 & 0xFFFF
        self._request = (
            b"\x42\2" + self._mid.to_bytes(2, "big") + self.entropy(2) + b"\xb3dpe\x08register\x11\x3c\xff" + payload
        )
        self._left = _MAX_RETRANSMIT
        self._wait = self.ack_timeout + self.random(self.ack_timeout >> 1)
        self.due = now + self._wait
        return self._request

    def expire(self, now: int) -> "bytes | None":
        """Return the datagram once more, or None: the exchange has failed and is closed."""
        self._left -= 1
        if self._left < 0:
            self.due = None
            return None
        self._wait *= 2
        self.due = now + self._wait
        return self._request

    def close(self, reply: "bytes | None") -> None:
        """Close the exchange on a response that is believed; `reply` is what `receive` gave with it."""
        self.due = None
        self._acked = reply or b""

    def receive(self, datagram: bytes) -> "tuple[bytes | None, Response | None]":
        """Take a datagram of the server; return the datagram to reply with, or None, and the response, or None.

        A response is its code (0: reset), Content-Format, Max-Age in seconds and payload. Its reply is to be sent only
        if it is believed; if it is not, the exchange stays open as though nothing had come.
        """
        reply = None
        response: "Response | None" = None
        if len(datagram) > 3:
            kind = datagram[0] >> 4
            mid = datagram[2:4]
            if self.due is not None:
                ours = mid == self._request[2:4]
                if kind >= _ACK and not datagram[1]:
                    if ours and kind == _RST:
                        response = 0, None, 0, b""
                    elif ours and kind == _ACK and self._left >= 0:
                        self._left = -1  # nothing is sent again
                        self.due += self.ack_timeout * _PATIENCE
                elif (
                    (ours or kind != _ACK)
                    and _CON <= kind <= _ACK
                    and datagram[0] & 15 == 2
                    and datagram[4:6] == self._request[4:6]
                ):
                    response = _parse(datagram)
            if kind == _CON:
                reply = (b"\x60\0" if response else b"\x70\0") + mid
                if not response and mid == self._acked[2:]:
                    reply = self._acked
        return reply, response


def _parse(datagram: bytes) -> "Response | None":
    # None if it is malformed or has a critical option: none is known here.
    content_format = None
    max_age = 0
    at = 6
    number = delta = length = 0
    while at < len(datagram):
        octet = datagram[at]
        at += 1
        if octet == 0xFF:
            return (datagram[1], content_format, max_age, datagram[at:]) if at < len(datagram) else None
        for part in (octet >> 4, octet & 15):
            if part > 12:
                more = part - 12
                part = int.from_bytes(datagram[at : at + more], "big") + (13 if more == 1 else 269)
                at += more
                if more == 3:
                    return None
            delta = length
            length = part
        number += delta
        value = int.from_bytes(datagram[at : at + length], "big")
        at += length
        if number == _OPTION_CONTENT_FORMAT:
            content_format = value
        elif number == _OPTION_MAX_AGE:
            max_age = value
        elif number & 1:
            return None
    return (datagram[1], content_format, max_age, b"") if at == len(datagram) else None
