"""X25519 (RFC 7748) on MicroPython's integers. Not in constant time: the key is used for one registration only."""

_P = (1 << 255) - 19


def public(private: bytes) -> bytes:
    """Return the public key (32 bytes) of a private one (32 random bytes)."""
    return _multiply(private, 9)


def shared(private: bytes, peer: bytes) -> bytes:
    """Return the shared secret (32 bytes) with a peer's public key; ValueError if it is all zero (section 6.1)."""
    secret = _multiply(private, int.from_bytes(peer, "little") & ((1 << 255) - 1))
    if not any(secret):
        raise ValueError("all-zero X25519 result")
    return secret


def _multiply(private: bytes, u: int) -> bytes:
    # The Montgomery ladder of section 5.
    p = _P
    scalar = int.from_bytes(private, "little") & (1 << 254) - 8 | 1 << 254
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in range(254, -1, -1):
        swap = scalar >> bit & 1
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a = x2 + z2
        b = x2 - z2
        c = x3 + z3
        d = x3 - z3
        da = d * a % p
        cb = c * b % p
        aa = a * a % p
        bb = b * b % p
        x3 = (da + cb) ** 2 % p
        z3 = u * (da - cb) ** 2 % p
        e = aa - bb
        x2 = aa * bb % p
        z2 = e * (aa + 121665 * e) % p
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")
