"""AES-128 by the vectors of FIPS 197."""

from binascii import unhexlify
from hashlib import sha256

from dpe_device.aes import AES


def test_appendix_b_and_c_1() -> None:
    for key, block, expected in (
        ("2b7e151628aed2a6abf7158809cf4f3c", "3243f6a8885a308d313198a2e0370734", "3925841d02dc09fbdc118597196a0b32"),
        ("000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"),
    ):
        aes = AES(unhexlify(key))
        assert aes.encrypt(unhexlify(block)) == unhexlify(expected)
        assert aes.encrypt(unhexlify(block)) == unhexlify(expected)


def test_every_octet_goes_through_the_s_box() -> None:
    """All octets once, as 16 blocks under the key of zeros. The expected hash is of OpenSSL's ciphertext."""
    aes = AES(bytes(16))
    hashed = sha256(b"")
    for start in range(0, 256, 16):
        hashed.update(aes.encrypt(bytes(range(start, start + 16))))
    assert hashed.digest() == unhexlify("89268854246cedbb002be2f9bf8cf3ee4f93e0c9245dbfa2b84006a219a9e27e")
