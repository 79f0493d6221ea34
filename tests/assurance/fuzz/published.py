"""Inputs that reproduce published faults of other implementations in this field, and what must happen here."""

from typing import NamedTuple

EXTENDED = "option and extended-length parsing"
CBOR = "CBOR depth and length"
RELEASE = "memory and counters that are never released"
AMPLIFICATION = "amplification"
EXCEPTION = "an exception that nobody handles"
REPLAY = "replay"
CLASSES = (EXTENDED, CBOR, RELEASE, AMPLIFICATION, EXCEPTION, REPLAY)

SILENCE, RESET = "silence", "Reset"

_POST = b"\x40\x02\x12\x34"
_REGISTER = b"\xb3dpe\x08register\x11\x3c"
_CONFIRM = b"\xa4\0\4\4\0\x0b%b\x17\x50" + bytes(16)
_SUCCESS = b"\xa5\0\3\3\x47" + bytes(7) + b"\4\0\x0b%b\x17\x50" + bytes(16)


class ToServer(NamedTuple):
    """One datagram, and the one answer to it."""

    name: str
    kind: str
    stands_for: str
    datagram: bytes
    answer: str
    """SILENCE, RESET, or the code of the response."""


class ToDevice(NamedTuple):
    """A response to the device's request, from behind message ID and CoAP token. The device must not believe it."""

    name: str
    kind: str
    stands_for: str
    head: bytes
    rest: bytes
    backs_off: bool = False
    """Whether it counts as an error without a security token: a hint to try again later."""


def _message(item: bytes) -> bytes:
    """A SUCCESS with an item under an unknown label."""
    return _POST + _REGISTER + b"\xff" + _SUCCESS % item


TO_SERVER = (
    ToServer("CoAP token longer than the datagram", EXTENDED, "CVE-2020-12886, Mbed OS", b"\x48\x02\x12\x34ab", RESET),
    ToServer("extended CoAP token length", EXTENDED, "GHSA-p9hp-2jxm-6rqp, RIOT", b"\x4d\x02\x12\x34", RESET),
    ToServer("reserved CoAP token length", EXTENDED, "CVE-2020-12886, Mbed OS", b"\x4f\x02\x12\x34", RESET),
    ToServer("option delta 15", EXTENDED, "RFC 7252 section 3.1", _POST + b"\xf0", RESET),
    ToServer("option length 15", EXTENDED, "RFC 7252 section 3.1", _POST + b"\xbf", RESET),
    ToServer("extended delta cut off", EXTENDED, "CVE-2020-12883, Mbed OS", _POST + b"\xe0\x01", RESET),
    ToServer("extended length cut off", EXTENDED, "CVE-2020-12883, Mbed OS", _POST + b"\xbd", RESET),
    ToServer("value past the end", EXTENDED, "CVE-2020-12884, Mbed OS", _POST + b"\xb3dpe\x0e\xff\xffx", RESET),
    ToServer("length of 65,804 bytes", EXTENDED, "CVE-2020-10063, Zephyr", _POST + b"\xbe\xff\xff" + b"x" * 40, RESET),
    ToServer("option number wraps", EXTENDED, "CVE-2020-12887, Mbed OS", _POST + b"\xe0\xff\xff\xb3dpe" * 2, RESET),
    ToServer(
        "options of no length without end", EXTENDED, "CVE-2020-12885, Mbed OS", _POST + b"\x0d\x00" * 30_000, RESET
    ),
    ToServer("empty Uri-Path", EXTENDED, "CVE-2019-12101, LibNyoci", _POST + b"\xb0", "4.04"),
    ToServer("Uri-Path of 270 bytes", EXTENDED, "CVE-2019-12101, LibNyoci", _POST + b"\xbe\0\1" + b"x" * 270, "4.02"),
    ToServer("payload marker at the end", EXTENDED, "RFC 7252 section 3", _POST + _REGISTER + b"\xff", RESET),
    ToServer("depth", CBOR, "CVE-2019-25001, serde_cbor", _message(b"\x81" * 150 + b"\0"), "4.00"),
    ToServer("depth by tags", CBOR, "CVE-2019-25001, serde_cbor", _message(b"\xc1" * 150 + b"\0"), "4.00"),
    ToServer("bytes of 2^63", CBOR, "CVE-2020-28491, jackson", _message(b"\x5b\x80" + bytes(7)), "4.00"),
    ToServer("text of 2^32", CBOR, "CVE-2024-26134, cbor2", _message(b"\x7b\0\0\0\1" + bytes(4)), "4.00"),
    ToServer("array of 2^64 - 1", CBOR, "CVE-2020-28491, jackson", _message(b"\x9b" + b"\xff" * 8), "4.00"),
    ToServer("map of 2^32", CBOR, "CVE-2020-28491, jackson", _message(b"\xbb\0\0\0\1" + bytes(4)), "4.00"),
    ToServer("indefinite length", CBOR, "CVE-2019-25001, serde_cbor", _message(b"\x9f" * 100), "4.00"),
    ToServer(
        "the message itself too long", CBOR, "CVE-2024-26134, cbor2", _POST + _REGISTER + b"\xff" + b"\xa5" * 60_000,
        "4.13",
    ),
    ToServer("nothing", EXCEPTION, "CVE-2018-12680, CoAPthon", b"", SILENCE),
    ToServer("three bytes", EXCEPTION, "CVE-2018-12680, CoAPthon", b"\x40\x02\x12", SILENCE),
    ToServer("another version", EXCEPTION, "CVE-2018-12680, CoAPthon", b"\x80\x02\x12\x34", SILENCE),
    ToServer("code of no class", EXCEPTION, "CVE-2018-12679, CoAPthon3", b"\x40\x3f\x12\x34", RESET),
    ToServer("response that nobody asked for", EXCEPTION, "CVE-2018-12679, CoAPthon3", b"\x60\x45\x12\x34", SILENCE),
    ToServer("empty with bytes behind it", EXCEPTION, "CVE-2018-12680, CoAPthon", b"\x40\x00\x12\x34x", RESET),
    ToServer("Uri-Path that is no text", EXCEPTION, "CVE-2018-12680, CoAPthon", _POST + b"\xb2\xff\xfe", "4.04"),
    ToServer(
        "Uri-Host that is no text", EXCEPTION, "CVE-2018-12680, CoAPthon", _POST + b"\x32\xc3\x28\x83dpe\x08register",
        "4.15",
    ),
    ToServer("Block2 far behind the end", EXCEPTION, "CVE-2018-12679, CoAPthon3",
             b"\x40\x01\x12\x34\xbb.well-known\x04core\xc3\xff\xff\xf6", "4.00"),
    ToServer("Block1 with the reserved size", EXCEPTION, "CVE-2018-12679, CoAPthon3",
             _POST + _REGISTER + b"\xd1\x02\x0f\xffx", "4.00"),
)  # fmt: skip
"""Message ID 0x1234 throughout."""

_BELIEVABLE = b"\xc1\x3c\xff"

TO_DEVICE = (
    ToDevice("option delta 15", EXTENDED, "RFC 7252 section 3.1", b"\x64\x44", b"\xf0"),
    ToDevice("extended delta cut off", EXTENDED, "CVE-2020-12883, Mbed OS", b"\x64\x44", b"\xe0\x01"),
    ToDevice("extended length cut off", EXTENDED, "CVE-2020-12883, Mbed OS", b"\x64\x44", b"\xcd"),
    ToDevice("value past the end", EXTENDED, "CVE-2020-12884, Mbed OS", b"\x64\x44", b"\xce\xff\xffx"),
    ToDevice("option number grows", EXTENDED, "CVE-2020-12887, Mbed OS", b"\x64\x44", b"\xe0\xff\xff" * 40),
    ToDevice("payload marker at the end", EXTENDED, "RFC 7252 section 3", b"\x64\x44", b"\xc1\x3c\xff"),
    ToDevice("depth", CBOR, "CVE-2019-25001, serde_cbor", b"\x64\x44",
             _BELIEVABLE + _CONFIRM % (b"\x81" * 200 + b"\0")),
    ToDevice("bytes of 2^63", CBOR, "CVE-2020-28491, jackson", b"\x64\x44", _BELIEVABLE + _CONFIRM % b"\x5b\x80"),
    ToDevice("array of 2^64 - 1", CBOR, "CVE-2020-28491, jackson", b"\x64\x44",
             _BELIEVABLE + _CONFIRM % (b"\x9b" + b"\xff" * 8)),
    ToDevice("map of 2^32", CBOR, "CVE-2020-28491, jackson", b"\x64\x44",
             _BELIEVABLE + _CONFIRM % (b"\xbb\0\0\0\1" + bytes(4))),
    ToDevice("longer than a message", CBOR, "CVE-2024-26134, cbor2", b"\x64\x44", _BELIEVABLE + bytes(1_200)),
    ToDevice("text that is none", EXCEPTION, "CVE-2018-12679, CoAPthon3", b"\x64\x44",
             _BELIEVABLE + _CONFIRM % b"\x62\xc3\x28"),
    ToDevice("another method's code", EXCEPTION, "CVE-2018-12679, CoAPthon3", b"\x64\x1f", b""),
    ToDevice("success without a message", REPLAY, "a success that nobody proved", b"\x64\x44", b""),
    ToDevice("Max-Age of 2^32 - 1", RELEASE, "CVE-2022-39368, Californium", b"\x64\xa3",
             b"\xd4\x01" + b"\xff" * 4, True),
    ToDevice("Max-Age of 300 bytes", RELEASE, "CVE-2022-39368, Californium", b"\x64\xa3",
             b"\xde\x01\0\x1f" + b"\xff" * 300, True),
)  # fmt: skip
