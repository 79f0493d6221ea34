"""Reads UDP datagrams from a capture: pcapng, or the older pcap, as Wireshark, tcpdump and `dpe serve` write them."""

import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dpe_coap.errors import LocalError
from dpe_server.net.pcapng import MAGIC, End

MOST = 1 << 18
"""Bytes of the longest block that is believed, and of the longest packet."""
_PCAP = {0xA1B2C3D4: 1_000_000, 0xA1B23C4D: 1_000_000_000}  # by magic number: time stamps a second
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_RESOLUTION = 9  # an option of an interface
_UDP = 17
_EXTENSIONS = (0, 43, 60)  # of IPv6: hop by hop, routing, destination
_IPV4, _IPV6, _VLAN = 0x0800, 0x86DD, (0x8100, 0x88A8)
_LOOPBACK, _ETHERNET, _RAW, _COOKED, _COOKED2 = (0, 108), 1, (12, 14, 101, 228, 229), 113, 276


BACKWARDS = 64 << 20
"""Bytes from the end of a capture that are read backwards."""


@dataclass(frozen=True, slots=True)
class Captured:
    """One UDP datagram of a capture."""

    frame: int
    """Which packet of the file it is, from 1, as Wireshark counts."""
    at: float
    """Unix seconds; 0 if the file does not say."""
    source: End
    destination: End
    datagram: bytes


class _Interface(NamedTuple):
    link: int
    unit: float


def read(path: str) -> Iterator[Captured]:
    """Yield the UDP datagrams that are whole: not what was cut when it was captured, and no fragments.

    Raises LocalError if the file cannot be read, is no capture, or ends within a packet.
    """
    try:
        with Path(path).open("rb") as file:
            first = file.read(4)
            packets = _pcapng(file, path) if first == MAGIC else _pcap(file, first, path)
            for frame, (at, link, data) in enumerate(packets, 1):
                found = _datagram(link, data) if data is not None else None
                if found is not None:
                    yield Captured(frame, at, *found)
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None


def backwards(path: Path) -> Iterator[Captured]:
    """Yield the UDP datagrams of a capture that `dpe serve --pcap` has written or still writes, the last one first.

    Not more than BACKWARDS bytes are read, and frames have no numbers (0). LocalError if it is no such file.
    """
    name = str(path)
    try:
        with path.open("rb") as file, closing(mmap(file.fileno(), 0, access=ACCESS_READ)) as data:
            if data[:4] != MAGIC:
                raise _fault(name, "not a capture in pcapng")
            order = "<" if data[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = _first_interfaces(data, order, name)
            at = len(data)
            while at >= 12 and len(data) - at < BACKWARDS:
                (length,) = struct.unpack_from(f"{order}I", data, at - 4)
                start = at - length
                if length % 4 or not 12 <= length <= MOST or start < 0:
                    raise _fault(name, "the capture ends within a block")
                kind, again = struct.unpack_from(f"{order}II", data, start)
                if again != length:
                    raise _fault(name, "the capture ends within a block")
                if kind in (_PACKET, _OLD_PACKET):
                    when, link, packet = _packet(order, kind, data[start + 8 : at - 4], interfaces)
                    found = _datagram(link, packet) if packet is not None else None
                    if found is not None:
                        yield Captured(0, when, *found)
                at = start
    except (struct.error, IndexError):
        raise _fault(name, "a block is shorter than what it holds") from None
    except ValueError:
        raise _fault(name, "the file is empty") from None  # as mmap says it
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None


def _first_interfaces(data: mmap, order: str, path: str) -> list[_Interface]:
    """Return the interfaces that are named before the first packet, as programs write them."""
    found, at = [], 0
    while at + 12 <= len(data):
        kind, length = struct.unpack_from(f"{order}II", data, at)
        if length % 4 or not 12 <= length <= MOST:
            raise _fault(path, "a block has a length that none can have")
        if kind in (_PACKET, _OLD_PACKET, _SIMPLE):
            break
        if kind == _INTERFACE:
            found.append(_interface(order, data[at + 8 : at + length - 4]))
        at += length
    return found


def _fault(path: str, what: str) -> LocalError:
    return LocalError(f"{path}: {what}", hint="name a file that Wireshark, tcpdump or dpe serve --pcap has written")


def _take(file: BinaryIO, size: int, path: str) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise _fault(path, "the capture ends within a packet")
    return data


_Packet = tuple[float, int, bytes | None]
"""Unix seconds, link type, and the packet; None if it was cut."""


def _pcap(file: BinaryIO, magic: bytes, path: str) -> Iterator[_Packet]:
    order = next((order for order in "<>" if len(magic) == 4 and struct.unpack(f"{order}I", magic)[0] in _PCAP), None)
    if order is None:
        raise _fault(path, "not a capture: neither pcapng nor pcap")
    per_second = _PCAP[struct.unpack(f"{order}I", magic)[0]]
    (link,) = struct.unpack(f"{order}16xI", _take(file, 20, path))
    while header := file.read(16):
        if len(header) < 16:
            raise _fault(path, "the capture ends within a packet")
        seconds, fraction, length, original = struct.unpack(f"{order}IIII", header)
        if length > MOST:
            raise _fault(path, "a packet is too long to be one")
        data = _take(file, length, path)
        yield seconds + fraction / per_second, link & 0xFFFF, data if length == original else None


def _pcapng(file: BinaryIO, path: str) -> Iterator[_Packet]:
    order = ""
    interfaces: list[_Interface] = []
    head = MAGIC + _take(file, 4, path)
    while head:
        if len(head) < 8:
            raise _fault(path, "the capture ends within a block")
        if head[:4] == MAGIC:
            mark = _take(file, 4, path)
            order = "<" if mark == b"\x4d\x3c\x2b\x1a" else ">"
            file.seek(-4, 1)
            interfaces = []
        kind, length = struct.unpack(f"{order}II", head)
        if length % 4 or not 12 <= length <= MOST:
            raise _fault(path, "a block has a length that none can have")
        body = _take(file, length - 8, path)[:-4]
        try:
            if kind == _INTERFACE:
                interfaces.append(_interface(order, body))
            elif kind in (_PACKET, _OLD_PACKET, _SIMPLE):
                yield _packet(order, kind, body, interfaces)
        except (struct.error, IndexError):
            raise _fault(path, "a block is shorter than what it holds") from None
        head = file.read(8)


def _interface(order: str, body: bytes) -> _Interface:
    (link,) = struct.unpack_from(f"{order}H", body)
    unit, at = 1e-6, 8
    while at + 4 <= len(body):
        code, size = struct.unpack_from(f"{order}HH", body, at)
        if code == _RESOLUTION:
            exponent = body[at + 4] & 0x7F
            unit = 2.0**-exponent if body[at + 4] & 0x80 else 10.0**-exponent
        at += 4 + size + -size % 4
    return _Interface(link, unit)


def _packet(order: str, kind: int, body: bytes, interfaces: list[_Interface]) -> _Packet:
    if kind == _SIMPLE:
        (original,) = struct.unpack_from(f"{order}I", body)
        return 0.0, interfaces[0].link, body[4 : 4 + original] if len(body) >= 4 + original else None
    form = f"{order}IIIII" if kind == _PACKET else f"{order}HxxIIII"
    number, high, low, length, original = struct.unpack_from(form, body)
    data = body[20 : 20 + length]
    whole = len(data) == length == original
    return (high << 32 | low) * interfaces[number].unit, interfaces[number].link, data if whole else None


def _datagram(link: int, data: bytes) -> tuple[End, End, bytes] | None:
    """Return source, destination and content of the UDP datagram in a packet; None if there is none."""
    try:
        ip = _above_link(link, data)
        if ip is None:
            return None
        if ip[0] >> 4 == 4:
            (length, _, fragment) = struct.unpack_from("!HHH", ip, 2)
            if ip[9] != _UDP or fragment & 0x3FFF:
                return None
            source, destination, udp = ip[12:16], ip[16:20], ip[(ip[0] & 15) * 4 : length]
        elif ip[0] >> 4 == 6:
            source, destination = ip[8:24], ip[24:40]
            (length,) = struct.unpack_from("!H", ip, 4)
            following, udp = ip[6], ip[40 : 40 + length]
            while following in _EXTENSIONS:
                following, udp = udp[0], udp[8 * (udp[1] + 1) :]
            if following != _UDP:
                return None
        else:
            return None
        from_port, to_port, size = struct.unpack_from("!HHH", udp)
    except (struct.error, IndexError):
        return None
    if not 8 <= size <= len(udp):
        return None
    return End(source, from_port), End(destination, to_port), udp[8:size]


def _above_link(link: int, data: bytes) -> bytes | None:
    """Return the IP packet in a frame; None if it carries something else, or the link is unknown."""
    if link in _RAW:
        return data
    if link in _LOOPBACK:
        return data[4:]
    if link == _COOKED2:
        return data[20:] if data[:2] in (b"\x08\x00", b"\x86\xdd") else None
    at = {_ETHERNET: 12, _COOKED: 14}.get(link)
    if at is None:
        return None
    (kind,) = struct.unpack_from("!H", data, at)
    while kind in _VLAN:
        at += 4
        (kind,) = struct.unpack_from("!H", data, at)
    return data[at + 2 :] if kind in (_IPV4, _IPV6) else None
