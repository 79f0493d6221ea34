"""Reading captures: both formats, both byte orders, the usual links, and whatever else a file may hold."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.errors import LocalError
from dpe_server.net.pcapng import MAGIC, Packet, block, header
from dpe_server.operators.capture_file import MOST, Captured, read
from tests.tools.captures import CLIENT, SERVER

IP = block(Packet(CLIENT, SERVER, b"hello"), 0)[28 : 28 + 20 + 8 + 5]
SIX = (
    bytes.fromhex("60000000 0016 00 40") + bytes(15) + b"\1" + bytes(15) + b"\2"
    + bytes.fromhex("1100 0000 0000 0000 9c40 1633 000d 0000") + b"hello" + bytes(1)
)  # fmt: skip
"""IPv6 with a hop-by-hop header and a byte too much at the end."""
LINKS = {
    1: bytes(12) + b"\x08\x00" + IP,
    101: IP,
    12: IP,
    0: b"\2\0\0\0" + IP,
    113: bytes(14) + b"\x08\x00" + IP,
    276: b"\x08\x00" + bytes(18) + IP,
}


def _pcap(packets: list[bytes], link: int = 101, order: str = "<", magic: int = 0xA1B2C3D4, cut: int = 0) -> bytes:
    data = struct.pack(f"{order}IHHIIII", magic, 2, 4, 0, 0, 65535, link)
    for packet in packets:
        data += struct.pack(f"{order}IIII", 7, 500_000, len(packet), len(packet) + cut) + packet
    return data


def _pcapng(order: str, packet: bytes, resolution: int) -> bytes:
    def one(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack(f"{order}II", kind, 12 + len(body)) + body + struct.pack(f"{order}I", 12 + len(body))

    section = one(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    interface = one(1, struct.pack(f"{order}HHIHHBxxxI", 101, 0, 0, 9, 1, resolution, 0))
    stamp = 3 << 32
    words = struct.pack(f"{order}IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(packet), len(packet))
    simple = one(3, struct.pack(f"{order}I", len(packet)) + packet)
    old = one(2, struct.pack(f"{order}HHIIII", 0, 0, 3, 0, len(packet), len(packet)) + packet)
    return section + interface + one(0x0BAD, b"anything") + one(6, words + packet) + simple + old


def _read(path: Path, data: bytes) -> list[Captured]:
    path.write_bytes(data)
    return list(read(str(path)))


@pytest.mark.parametrize("link", LINKS)
def test_finds_the_datagram_on_a_link(link: int, tmp_path: Path) -> None:
    (found,) = _read(tmp_path / "file", _pcap([LINKS[link]], link))
    assert (found.source, found.destination, found.datagram) == (CLIENT, SERVER, b"hello")


def test_finds_it_behind_tags_of_a_network_and_headers_of_ipv6(tmp_path: Path) -> None:
    tagged = bytes(12) + bytes.fromhex("88a80001 81000002 86dd") + SIX
    (found,) = _read(tmp_path / "file", _pcap([tagged], 1))
    assert (found.source.address[-1], found.destination.address[-1]) == (1, 2)
    assert (found.source.port, found.destination.port, found.datagram) == (40000, 5683, b"hello")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "at"), [(0xA1B2C3D4, 7.5), (0xA1B23C4D, 7.0005)])
def test_reads_pcap_in_both_byte_orders(order: str, magic: int, at: float, tmp_path: Path) -> None:
    found = _read(tmp_path / "file", _pcap([b"\0", IP], order=order, magic=magic))
    assert [(one.frame, one.at, one.datagram) for one in found] == [(2, at, b"hello")]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("resolution", "at"), [(6, 3 * 2**32 / 1e6), (0x80 | 32, 3.0)])
def test_reads_every_packet_block_of_pcapng(order: str, resolution: int, at: float, tmp_path: Path) -> None:
    found = _read(tmp_path / "file", _pcapng(order, IP, resolution))
    assert [(one.frame, one.datagram) for one in found] == [(number, b"hello") for number in (1, 2, 3)]
    assert [one.at for one in found] == pytest.approx([at, 0, at])


def test_passes_over_what_is_no_whole_datagram(tmp_path: Path) -> None:
    fragment = IP[:6] + b"\x20\x00" + IP[8:]
    tcp = IP[:9] + b"\6" + IP[10:]
    lying = IP[:24] + b"\xff\xff" + IP[26:]
    for packets, link in (([fragment, tcp, lying, IP[:10], b"", b"\xf0" + IP], 101), ([bytes(12) + b"\x08\x06"], 1)):
        assert _read(tmp_path / "file", _pcap(packets, link)) == []
    assert _read(tmp_path / "file", _pcap([IP], 147)) == []  # a link that nobody knows
    assert _read(tmp_path / "file", _pcap([IP], cut=1)) == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a capture"),
        (b"{}", "not a capture"),
        (b'{"device_key": 1}', "not a capture"),
        (_pcap([IP])[:-1], "ends within a packet"),
        (_pcap([IP]) + b"\0", "ends within a packet"),
        (_pcap([])[:-1], "ends within a packet"),
        (_pcap([]) + struct.pack("<IIII", 0, 0, MOST + 1, MOST + 1), "too long"),
        (MAGIC, "ends within a packet"),
        (header("me")[:-1], "ends within a packet"),
        (header("me") + bytes(4), "ends within a block"),
        (header("me") + bytes(8), "a length that none can have"),
        (header("me")[:40] + block(Packet(CLIENT, SERVER, b"hello"), 0), "shorter than what it holds"),
    ],
)
def test_says_what_is_wrong_with_a_file(data: bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=why) as raised:
        _read(tmp_path / "file", data)
    assert "Wireshark" in raised.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No such file"):
        list(read(str(tmp_path / "file")))


WHOLE = [_pcap([LINKS[1]], 1), _pcapng("<", SIX, 6), _pcap([SIX], order=">")]


@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.integers(0, 400),
    st.binary(max_size=40),
)
def test_any_bytes_give_datagrams_or_one_error(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    changes: list[tuple[int, int]],
    end: int,
    more: bytes,
) -> None:
    damaged = bytearray(data[:end] + more)
    for at, value in changes:
        if at < len(damaged):
            damaged[at] = value
    try:
        found = _read(tmp_path_factory.getbasetemp() / "damaged", bytes(damaged))
    except LocalError:
        return
    assert all(len(one.datagram) < len(damaged) for one in found)
