"""A CoAP endpoint (RFC 7252) that sends confirmable POSTs of CBOR to /dpe/register, one at a time. No socket, no clock.

A response belongs to a request by message ID and CoAP token when it is piggybacked, by CoAP token when it is separate;
whoever calls has compared the sender.
"""

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Address, Any, Entropy, Options, Response

_PATIENCE = const(32)  # so many ACK_TIMEOUTs more for a separate response

# What is left of an exchange: one of these, or a number of transmissions more than the last of them. Whoever calls sets
# it to 0 when the exchange has failed, and to 1 when it was answered and the next one goes on at the same address.
_FAILED = const(0)  # or there was none
_ACKNOWLEDGED = const(2)  # nothing is sent again
_BEGUN = const(8)  # at _ACKNOWLEDGED none of MAX_RETRANSMIT + 1 transmissions is left, nor the wait after the last

# The first byte: version 1, type, and the length of the CoAP token, which is always 4 in a message for us.
_ACK = const(0x64)  # 0x44 is CON, 0x54 NON

_BAD_REQUEST = const(0x80)
_OPTION_OSCORE = const(9)  # the only critical option that is known here


class Endpoint:
    """Message IDs, and the last exchange: open, even if it has failed, until it is answered or another one begins."""

    entropy: "Entropy"  # gives n random bytes
    ack_timeout: int  # ACK_TIMEOUT in ms
    peer: "Address" = None  # None when a datagram is to be sent: to the server's next address, from another socket
    mid = 0  # the last message ID
    due: "Any" = 0  # when there is something to do next, in ms; None: nothing
    _request = _acked = b""  # the datagram of the open exchange, and our last ACK of a separate response
    _left = _FAILED

    def post(self, payload: bytes, options: bytes = b"\xb3dpe\x08register\x11\x3c\xff") -> None:
        """Open an exchange: a new message ID and CoAP token. `options` are encoded, with FF before the payload."""
        if self._left == _FAILED:
            self.peer = None
            self.mid += int.from_bytes(self.entropy(2), "big")
        self.mid = self.mid + 1 & 0xFFFF
        coap_token = self.entropy(4)
        # ACK_RANDOM_FACTOR is 1.5. Nobody can tell the wait from the CoAP token who has not seen the datagram.
        self._wait = self.ack_timeout + (int.from_bytes(coap_token, "big") * self.ack_timeout >> 33)
        self._request = b"\x44\2" + self.mid.to_bytes(2, "big") + coap_token + options + payload
        self._left = _BEGUN  # last: memory may run out before

    def transmit(self, now: int) -> "bytes | None":
        """Return the exchange's datagram, for the first time or again; None: it has failed."""
        self.due = now + self._wait
        self._wait *= 2
        self._left -= 1
        return self._request if self._left > _ACKNOWLEDGED else None

    def receive(self, datagram: bytes) -> "tuple[bytes | None, Response | None]":
        """Take a datagram; return one to answer it with, and the response that it is, each may be None.

        A response is its code, its options as numbers, and its payload; a reset counts as an error. It leaves the
        exchange open, and the answer is for one that is believed: to ignore both is as if nothing had come.
        """
        reply = None
        response: "Response | None" = None
        kind = datagram[:2]
        mid = datagram[2:4]
        ours = mid == self._request[2:4]
        if ours and kind == b"\x70\0":
            response = _BAD_REQUEST, {}, b""
        elif ours and kind == b"\x60\0":
            if self._left > _ACKNOWLEDGED:
                self._left = _ACKNOWLEDGED
                self.due += self.ack_timeout * _PATIENCE
        elif kind[0] in b"\x44\x54\x64" and datagram[4:8] == self._request[4:8] and (ours or kind[0] != _ACK):
            response = parse(datagram)
        if kind[0] >> 4 == 4:
            reply = b"\x60\0" + mid
            if response:
                self._acked = reply
            elif reply != self._acked:
                reply = b"\x70\0" + mid
        return reply, response


def parse(datagram: bytes) -> "Response | None":
    """Return the code, the options and the payload of a message whose CoAP token has 4 bytes.

    None if it is malformed, or has a critical option other than OSCORE's.
    """
    options: "Options" = {}
    at = 8
    number = delta = length = 0
    while at < len(datagram) and datagram[at] < 0xFF:
        octet = datagram[at]
        at += 1
        for part in (octet >> 4, octet & 15):
            if part > 12:
                more = part - 12
                if more > 2:
                    return None
                part = int.from_bytes(datagram[at : at + more], "big") + 256 * more - 243  # 13 or 269
                at += more
            delta = length
            length = part
        number += delta
        if number & 1 > (number == _OPTION_OSCORE):
            return None
        options[number] = int.from_bytes(datagram[at : at + length], "big")
        at += length
    payload = datagram[at + 1 :]
    return (datagram[1], options, payload) if payload or at == len(datagram) else None
