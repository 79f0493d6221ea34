"""Datagrams as a pcapng file has them, which Wireshark and its kin read (draft-ietf-opsawg-pcapng).

Only UDP is known here, so the headers of IP and UDP are made anew: the link type is LINKTYPE_RAW.
"""

import ipaddress
import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dpe_coap.errors import LocalError

MAGIC = b"\x0a\x0d\x0d\x0a"
"""The first four bytes of every pcapng file."""
LIMIT = 1 << 30
"""Bytes at which a capture ends, so that a forgotten one does not fill the disk."""

_LINKTYPE_RAW = 101
_COMMENT, _FLAGS, _USER_APPLICATION = 1, 2, 4  # options of blocks
_BYTE_ORDER = 0x1A2B3C4D
_INTERFACE, _PACKET = 1, 6  # types of blocks
_INBOUND, _OUTBOUND = 1, 2
_HOPS = 64
_UDP = 17


class CaptureError(LocalError):
    """A capture cannot be written."""


@dataclass(frozen=True, slots=True)
class End:
    """One end of a conversation."""

    address: bytes
    """4 bytes of IPv4, or 16 of IPv6."""
    port: int

    @classmethod
    def of(cls, address: tuple[object, ...]) -> "End":
        """Return the end that a socket's address names, as ``socket.getsockname`` tells it."""
        packed = ipaddress.ip_address(str(address[0]).partition("%")[0]).packed
        return cls(packed, int(str(address[1])))


@dataclass(frozen=True, slots=True)
class Packet:
    """One datagram on its way."""

    source: End
    destination: End
    datagram: bytes
    inbound: bool | None = None
    """Whether it came to who captures it; None: it only passed by."""
    comment: str = ""


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("=II", kind, length) + body + struct.pack("=I", length)


def header(application: str) -> bytes:
    """Return what a file begins with. ``application`` says who writes it."""
    section = struct.pack("=IHHq", _BYTE_ORDER, 1, 0, -1) + _option(_USER_APPLICATION, application.encode()) + bytes(4)
    return _block(int.from_bytes(MAGIC, "big"), section) + _block(_INTERFACE, struct.pack("=HHI", _LINKTYPE_RAW, 0, 0))


def block(packet: Packet, microseconds: int) -> bytes:
    """Return the block of a packet, seen so long after the beginning of 1970."""
    data = _ip(packet)
    words = struct.pack("=IIIII", 0, microseconds >> 32, microseconds & 0xFFFFFFFF, len(data), len(data))
    options = b""
    if packet.comment:
        options += _option(_COMMENT, packet.comment.encode())
    if packet.inbound is not None:
        options += _option(_FLAGS, struct.pack("=I", _INBOUND if packet.inbound else _OUTBOUND))
    return _block(_PACKET, words + data + bytes(-len(data) % 4) + (options and options + bytes(4)))


def _ip(packet: Packet) -> bytes:
    source, destination = packet.source, packet.destination
    length = 8 + len(packet.datagram)
    ports = struct.pack("!HHH", source.port, destination.port, length)
    pseudo = source.address + destination.address + struct.pack("!II", length, _UDP)
    # An all-zero sum would say that there is none (RFC 768).
    udp = ports + struct.pack("!H", _checksum(pseudo + ports + packet.datagram) or 0xFFFF) + packet.datagram
    if len(source.address) == 16:
        return struct.pack("!IHBB", 6 << 28, length, _UDP, _HOPS) + source.address + destination.address + udp
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, _HOPS, _UDP, 0)  # don't fragment, like a device
    ip += source.address + destination.address
    return ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:] + udp


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Capture:
    """A file that grows by packets. Several processes may write to it once it is open.

    The file is for its owner alone (mode 0600). One that is there is replaced if it is a capture or empty, and else
    CaptureError is raised, as it is if the file cannot be made.
    """

    def __init__(self, path: Path | str, application: str, *, limit: int = LIMIT) -> None:
        self.path = Path(path)
        self._limit = limit
        hint = "name a file in a folder that can be written"
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise CaptureError(f"cannot write the capture {self.path}: {error.strerror}", hint=hint) from None
        self._file = os.fdopen(descriptor, "rb+", buffering=0)
        try:
            if not _is_ours(descriptor):
                raise CaptureError(
                    f"{self.path} is there, and is no capture: it stays as it is", hint="name another file"
                )
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            self._file.write(header(application))
        except OSError as error:
            self._file.close()
            raise CaptureError(f"cannot write the capture {self.path}: {error.strerror}", hint=hint) from None
        except CaptureError:
            self._file.close()
            raise

    def write(self, packets: Iterable[Packet], microseconds: int) -> None:
        """Append packets, all at once. CaptureError: the disk is full, or the limit is reached; the file is closed."""
        data = b"".join(block(packet, microseconds) for packet in packets)
        why = ""
        try:
            if os.fstat(self._file.fileno()).st_size + len(data) > self._limit:
                why = f"it would be longer than {self._limit} bytes"
            elif self._file.write(data) != len(data):
                why = "the disk is full"
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            self.close()
            raise CaptureError(f"the capture {self.path} ends: {why}")

    @property
    def closed(self) -> bool:
        """Whether nothing more is written."""
        return self._file.closed

    def close(self) -> None:
        """Write no more."""
        self._file.close()


def _is_ours(descriptor: int) -> bool:
    """Return whether a file may be replaced. A pipe or a device may not."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode) and os.pread(descriptor, len(MAGIC), 0) in (b"", MAGIC)
