"""As much of ARP, IPv4 and UDP (RFC 826, 791, 768) as a client needs that is alone behind one gateway."""

import struct
import time

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from lan9118 import Lan9118

_BUFFER = const(364)  # for a UDP payload of 320 bytes, in whole words
_ETHERNET = const(14)  # lengths of the headers
_IPV4 = const(34)
_UDP = const(42)

_BROADCAST = b"\xff\xff\xff\xff\xff\xff"
_TYPE_IPV4 = b"\x08\0"
_TYPE_ARP = b"\x08\6"
_ARP = b"\0\1\x08\0\6\4"  # of Ethernet and IPv4
_ARP_REQUEST = const(1)
_ARP_REPLY = const(2)
_ARP_TRIES = const(4)
_ARP_WAIT = const(250)  # ms
_EHOSTUNREACH = const(113)


class Host:
    """An IPv4 host that reaches all others by way of a gateway. Both addresses are of 4 bytes."""

    def __init__(self, ethernet: "Lan9118", address: bytes, gateway: bytes) -> None:
        self._ethernet = ethernet
        self._address = address
        self._gateway = gateway
        self._gateway_mac = b""
        self._buffer = bytearray(_BUFFER)
        self._datagrams = 0

    def send(self, port: int, peer: bytes, payload: bytes) -> None:
        """Send a UDP datagram to `peer`, its address and port in 6 bytes; OSError if the gateway is not there."""
        self._find_gateway()
        self._datagrams += 1
        size = len(payload) + _UDP - _IPV4
        udp = struct.pack(">HHHH", port, peer[4] << 8 | peer[5], size, 0)
        pseudo = self._address + peer[:4] + b"\0\x11" + udp[4:6]
        udp = udp[:6] + (checksum(pseudo + udp + payload) or 0xFFFF).to_bytes(2, "big")
        size += _IPV4 - _ETHERNET
        ip = struct.pack(">BBHHHBBH", 0x45, 0, size, self._datagrams & 0xFFFF, 0x4000, 64, 17, 0)
        ip = ip[:10] + checksum(ip + self._address + peer[:4]).to_bytes(2, "big") + self._address + peer[:4]
        self._ethernet.send(self._gateway_mac + self._ethernet.mac + _TYPE_IPV4 + ip + udp + payload)

    def receive(self, port: int) -> "tuple[bytes, bytes] | None":
        """Return the UDP datagram that has come to `port` and its sender, as in `send`, or None.

        What has come but is not that, is answered if it is a question for the address of this host, and else dropped.
        """
        frame = self._buffer
        length = self._ethernet.receive(frame)
        kind = frame[12:14]
        if length >= _UDP and kind == _TYPE_ARP and frame[14:20] == _ARP:
            self._on_arp(frame)
        elif length >= _UDP and kind == _TYPE_IPV4 and frame[14] == 0x45 and frame[23] == 17:
            end = _ETHERNET + (frame[16] << 8 | frame[17])
            to, size = struct.unpack_from(">HH", frame, 36)
            if (
                to == port
                and frame[30:34] == self._address
                and not (frame[20] & 0x3F or frame[21])  # not a fragment
                and end <= length
                and size == end - _IPV4
                and not checksum(frame[_ETHERNET:_IPV4])
                and not (
                    (frame[40] or frame[41]) and checksum(frame[26:34] + b"\0\x11" + frame[38:40] + frame[_IPV4:end])
                )
            ):
                return bytes(frame[_UDP:end]), bytes(frame[26:30] + frame[34:36])
        return None

    def _on_arp(self, frame: bytearray) -> None:
        if frame[28:32] == self._gateway:
            self._gateway_mac = bytes(frame[22:28])
        if frame[21] == _ARP_REQUEST and frame[38:42] == self._address:
            self._send_arp(_ARP_REPLY, bytes(frame[22:28]), bytes(frame[28:32]))

    def _find_gateway(self) -> None:
        for _ in range(_ARP_TRIES):
            if self._gateway_mac:
                return
            self._send_arp(_ARP_REQUEST, _BROADCAST, self._gateway)
            start = time.ticks_ms()
            while not self._gateway_mac and time.ticks_diff(time.ticks_ms(), start) < _ARP_WAIT:
                time.sleep_ms(1)
                self.receive(0)
        if not self._gateway_mac:
            raise OSError(_EHOSTUNREACH)

    def _send_arp(self, operation: int, mac: bytes, address: bytes) -> None:
        own = self._ethernet.mac
        self._ethernet.send(mac + own + _TYPE_ARP + _ARP + bytes((0, operation)) + own + self._address + mac + address)


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071); 0 over data that contains its own."""
    total = 0
    for at in range(0, len(data) - 1, 2):
        total += data[at] << 8 | data[at + 1]
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
