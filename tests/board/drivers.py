"""Tests of the board's network and random numbers on any MicroPython: `micropython tests/board/drivers.py`.

The Ethernet is a list. Run by tests/board/test_drivers.py; prints a line for each test.
"""

import struct
import sys

here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
sys.path.insert(0, here + "/../../device/boards/mps2_an385")

import entropy  # noqa: E402
import ipv4  # noqa: E402

OWN = b"\x0a\0\2\x0f"
GATEWAY = b"\x0a\0\2\2"
OTHER = b"\x0a\0\2\x63"
OWN_MAC = b"\x02\0\0\0\0\1"
GATEWAY_MAC = b"\x52\x55\x0a\0\2\2"
PORT = 50000
PEER = GATEWAY + b"\x16\x33"  # 5683


class Clock:
    """Time that goes on when somebody sleeps."""

    now = 0

    def ticks_ms(self):
        return self.now

    def ticks_diff(self, end, start):
        return end - start

    def sleep_ms(self, ms):
        self.now += ms


class Ethernet:
    """A controller whose frames come from a list and go to one; its gateway answers, if it is there."""

    mac = OWN_MAC

    def __init__(self, has_gateway=True):
        self.sent = []
        self.coming = []
        self._has_gateway = has_gateway

    def send(self, frame):
        self.sent.append(frame)
        if frame == arp(1, OWN_MAC, OWN, b"\xff" * 6, GATEWAY) and self._has_gateway:
            self.coming.append(arp(2, GATEWAY_MAC, GATEWAY, OWN_MAC, OWN))

    def receive(self, buffer):
        if not self.coming:
            return 0
        frame = self.coming.pop(0)
        buffer[: len(frame)] = frame
        return len(frame)


def arp(operation, sender_mac, sender, target_mac, target):
    head = target_mac + sender_mac + b"\x08\x06\0\1\x08\0\6\4\0" + bytes([operation])
    return head + sender_mac + sender + target_mac + target


def datagram(payload=b"payload", to=OWN, port=PORT, options=b"", flags=0, protocol=17, with_checksum=True):
    length = 8 + len(payload)
    udp = struct.pack(">HHHH", 5683, port, length, 0) + payload
    if with_checksum:
        udp = udp[:6] + struct.pack(">H", ipv4.checksum(GATEWAY + to + bytes([0, 17, 0, length]) + udp)) + udp[8:]
    size = 20 + len(options) + length
    head = (
        struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, size, 7, flags, 64, protocol, 0) + GATEWAY + to + options
    )
    head = head[:10] + struct.pack(">H", ipv4.checksum(head)) + head[12:]
    return OWN_MAC + GATEWAY_MAC + b"\x08\0" + head + udp


def host(*frames, has_gateway=True):
    ethernet = Ethernet(has_gateway)
    ethernet.coming += frames
    return ipv4.Host(ethernet, OWN, GATEWAY), ethernet


def received(frame):
    return host(frame)[0].receive(PORT)


def test_the_checksum_is_that_of_rfc_1071():
    assert ipv4.checksum(b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7") == 0xFFFF ^ 0xDDF2
    assert ipv4.checksum(b"\x01") == 0xFFFF ^ 0x0100


def test_a_datagram_goes_to_the_gateway_that_arp_finds_once():
    sender, ethernet = host()
    sender.send(PORT, PEER, b"odd")
    sender.send(PORT, PEER, b"")
    assert len(ethernet.sent) == 3
    frame = ethernet.sent[1]
    assert frame[:14] == GATEWAY_MAC + OWN_MAC + b"\x08\0"
    assert ipv4.checksum(frame[14:34]) == 0
    assert frame[16:18] == b"\0\x1f"
    assert frame[23:24] + frame[26:34] == b"\x11" + OWN + GATEWAY
    assert frame[34:40] == b"\xc3\x50\x16\x33\0\x0b"
    assert ipv4.checksum(frame[26:34] + b"\0\x11" + frame[38:40] + frame[34:]) == 0
    assert frame[42:] == b"odd"


def test_without_a_gateway_sending_fails_within_a_second():
    sender, ethernet = host(has_gateway=False)
    start = ipv4.time.now
    try:
        sender.send(PORT, PEER, b"")
    except OSError as error:
        assert error.errno == 113
    else:
        raise AssertionError("it was sent")
    assert len(ethernet.sent) == 4
    assert ipv4.time.now - start == 1000


def test_a_datagram_is_received_with_its_sender():
    assert received(datagram()) == (b"payload", PEER)
    assert received(datagram(b"")) == (b"", PEER)
    assert received(datagram() + bytes(11)) == (b"payload", PEER)
    assert received(datagram(with_checksum=False)) == (b"payload", PEER)
    assert received(datagram(flags=0x4000)) == (b"payload", PEER)


def test_what_is_not_for_the_port_is_dropped():
    for other in (
        datagram(to=OTHER),
        datagram(port=PORT + 1),
        datagram(protocol=6),
        datagram(options=b"\x01\x01\x01\x01"),
        datagram(flags=0x2000),
        datagram(flags=1),
    ):
        assert received(other) is None


def test_every_flipped_bit_is_found():
    good = datagram()
    for at in range(14, len(good)):
        for bit in range(8):
            frame = bytearray(good)
            frame[at] ^= 1 << bit
            assert received(bytes(frame)) is None, (at, bit)


def test_every_truncation_is_dropped():
    for frame in (datagram(), arp(1, GATEWAY_MAC, GATEWAY, bytes(6), OWN)):
        for length in range(len(frame)):
            receiver, ethernet = host(frame[:length])
            assert receiver.receive(PORT) is None
            assert ethernet.sent == []


def test_arp_is_answered_for_the_own_address_alone():
    receiver, ethernet = host(
        arp(1, GATEWAY_MAC, GATEWAY, bytes(6), OTHER), arp(1, GATEWAY_MAC, GATEWAY, bytes(6), OWN)
    )
    assert receiver.receive(PORT) is None
    assert ethernet.sent == []
    assert receiver.receive(PORT) is None
    assert ethernet.sent == [arp(2, OWN_MAC, OWN, GATEWAY_MAC, GATEWAY)]


class Store:
    """A store of one record."""

    def __init__(self, record):
        self.record = record

    def load(self):
        return self.record

    def save(self, record):
        self.record = record


def test_no_start_repeats_the_random_bytes_of_another():
    seed = Store(bytes(32))
    drawn = set()
    for _ in range(20):
        entropy.start(seed)
        drawn.update((entropy.urandom(16), entropy.urandom(16), seed.record))
    assert len(drawn) == 60
    assert [len(entropy.urandom(size)) for size in (0, 1, 32, 33, 100)] == [0, 1, 32, 33, 100]


def test_a_seed_that_cannot_be_replaced_is_not_used():
    class Broken(Store):
        def save(self, record):
            raise OSError(5)

    entropy.start(Store(bytes(32)))
    before = entropy._state
    for store, error in ((Broken(bytes(32)), OSError), (Store(None), ValueError)):
        try:
            entropy.start(store)
        except error:
            assert entropy._state == before
        else:
            raise AssertionError("it was used")


ipv4.time = Clock()
for name in sorted(globals()):
    if name.startswith("test_"):
        globals()[name]()
        print("ok", name)
