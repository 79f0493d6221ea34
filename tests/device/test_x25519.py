"""X25519 by the vectors of RFC 7748."""

from binascii import unhexlify

from dpe_device import x25519

ALICE = unhexlify("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
BOB = unhexlify("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
ALICE_PUBLIC = unhexlify("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB_PUBLIC = unhexlify("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SECRET = unhexlify("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")


def test_section_5_2() -> None:
    for scalar, u, expected in (
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ):
        assert x25519.shared(unhexlify(scalar), unhexlify(u)) == unhexlify(expected)


def test_section_5_2_iterated_once() -> None:
    nine = b"\x09" + bytes(31)
    expected = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    assert x25519.shared(nine, nine) == unhexlify(expected)


def test_section_6_1() -> None:
    assert x25519.public(ALICE) == ALICE_PUBLIC
    assert x25519.public(BOB) == BOB_PUBLIC
    assert x25519.shared(ALICE, BOB_PUBLIC) == SECRET
    assert x25519.shared(BOB, ALICE_PUBLIC) == SECRET


def test_an_all_zero_result_is_an_error() -> None:
    prime = (1 << 255) - 19
    for point in (0, 1, prime - 1, prime, prime + 1):
        try:
            x25519.shared(ALICE, point.to_bytes(32, "little"))
        except ValueError as error:
            assert str(error) == "all-zero X25519 result"
            continue
        raise AssertionError(f"no error for the point {point}")
