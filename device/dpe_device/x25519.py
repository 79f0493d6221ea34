"""X25519 (RFC 7748) on MicroPython's integers. Not in constant time: a key is used for one registration only."""

_P = (1 << 255) - 19
_LOW = (1 << 255) - 1


def public(private: bytes) -> bytes:
    """Return the public key (32 bytes) of a private one (32 random bytes)."""
    return _multiply(private, 9)


def shared(private: bytes, peer: bytes) -> bytes:
    """Return the shared secret (32 bytes) with a peer's public key; ValueError if it is all zero (section 6.1)."""
    secret = _multiply(private, int.from_bytes(peer, "little") & _LOW)
    if not any(secret):
        raise ValueError("all-zero X25519 result")
    return secret


def _fold(x: int) -> int:
    # The same modulo 2^255 - 19, but shorter; MicroPython's division takes twice as long.
    return (x & _LOW) + 19 * (x >> 255)


def _multiply(private: bytes, u: int) -> bytes:
    # The Montgomery ladder of section 5. What an iteration leaves is folded twice, to below 2^256; what only it uses
    # is folded once, to below 2^274: then no product passes 2^540.
    fold = _fold
    scalar = int.from_bytes(private, "little") & (1 << 254) - 8 | 1 << 254
    x2, z2, x3, z3 = 1, 0, u, 1
    swapped = 0
    for at in range(254, -1, -1):
        bit = scalar >> at & 1
        if bit != swapped:
            x2, z2, x3, z3 = x3, z3, x2, z2
            swapped = bit
        a = x2 + z2
        b = x2 - z2
        da = fold((x3 - z3) * a)
        cb = fold((x3 + z3) * b)
        a = fold(a * a)
        b = fold(b * b)
        x2 = fold(fold(a * b))
        b = a - b
        z2 = fold(fold(b * (a + 121665 * b)))
        a = da + cb
        x3 = fold(fold(a * a))
        a = da - cb
        z3 = fold(fold(u * fold(a * a)))
    # The lowest bits of the scalar are 0: nothing is left swapped.
    return (x2 * pow(z2, _P - 2, _P) % _P).to_bytes(32, "little")
