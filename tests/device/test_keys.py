"""The primitives of the key schedule, by published vectors."""

from binascii import unhexlify
from hashlib import sha256

from dpe_device import messages as keys


def test_hmac_sha_256() -> None:  # RFC 4231
    for key, data, expected in (
        ("0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            "4a656665",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        ("aa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    ):
        padded = unhexlify(key) + bytes(32 - len(key) // 2)
        for at in range(len(data) + 1):
            assert keys.hmac(padded, data[:at], data[at:]) == unhexlify(expected)


def test_hmac_takes_any_octets_for_a_key() -> None:
    for octet in range(256):
        for key in (bytes((octet,)) * 32, bytes((octet,)) + bytes(31), bytes(31) + bytes((octet,))):
            inner, outer = (bytes([octet ^ pad for octet in key + bytes(32)]) for pad in (0x36, 0x5C))
            assert keys.hmac(key, b"", b"data") == sha256(outer + sha256(inner + b"data").digest()).digest()


def test_what_is_derived_has_the_label() -> None:
    prk = bytes(range(32))
    assert keys.derive(prk, b"m1\1") == keys.hmac(prk, b"", b"DPE-1/1 m1\x01")


def verified(key: bytes, data: bytes, prefix: bytes = b"") -> bool:
    try:
        keys.verify(key, b"m2\1", data, prefix)
    except ValueError:
        return False
    return True


def test_sign_and_verify() -> None:
    key = bytes(32)
    signed = keys.sign(key, b"m2\1", b"message")
    assert signed[:7] == b"message"
    assert signed[7:] == keys.hmac(keys.derive(key, b"m2\1"), b"", b"message")[:16]
    assert verified(key, signed)
    assert not verified(bytes(31) + b"\1", signed)
    assert not verified(key, keys.sign(key, b"m3\1", b"message"))
    for at in range(len(signed)):
        assert not verified(key, signed[:at] + bytes((signed[at] ^ 0x80,)) + signed[at + 1 :])


def test_the_prefix_is_verified_but_not_part_of_the_message() -> None:
    key = bytes(32)
    signed = b"message" + keys.hmac(keys.derive(key, b"m2\1"), b"before", b"message")[:16]
    assert verified(key, signed, b"before")
    assert not verified(key, signed)


def test_what_is_too_short_is_not_verified() -> None:
    for size in range(16):
        assert not verified(bytes(32), bytes(size))
