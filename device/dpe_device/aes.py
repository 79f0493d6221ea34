"""AES-128 (FIPS 197), one block at a time, for firmware without `cryptolib`. Slow, and not in constant time."""

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it

_SIZE = const(16)
_ROUNDS = const(10)

# The S-box. Made here: the inverses in GF(2^8) by the powers of 3, then section 5.1.1's transformation.
_S = bytearray(256)
_S[0] = 0x63
_p = _q = 1
for _ in range(255):
    _p ^= (_p << 1) ^ (_p >> 7) * 0x11B  # times 3
    _q ^= _q << 1  # divided by 3
    _q ^= _q << 2
    _q = (_q ^ _q << 4) & 0xFF
    _q ^= (_q >> 7) * 0x09
    _x = _q ^ _q << 1 ^ _q << 2 ^ _q << 3 ^ _q << 4
    _S[_p] = (_x ^ _x >> 8) & 0xFF ^ 0x63


class AES:
    """AES-128 under `key`, 16 bytes."""

    def __init__(self, key: bytes) -> None:
        words = bytearray(key)
        constant = 1
        while len(words) < _SIZE * (_ROUNDS + 1):  # section 5.2
            last = words[-4:]
            if not len(words) & 15:
                last = bytearray((_S[last[1]] ^ constant, _S[last[2]], _S[last[3]], _S[last[0]]))
                constant = constant << 1 ^ (constant >> 7) * 0x11B
            for octet in last:
                words.append(words[-_SIZE] ^ octet)
        self._words = words

    def encrypt(self, block: bytes) -> bytes:
        """Return the ciphertext of one block of 16 bytes."""
        words = self._words
        state = bytes(block[n] ^ words[n] for n in range(_SIZE))
        for start in range(_SIZE, _SIZE * (_ROUNDS + 1), _SIZE):
            mixed = bytearray(_S[state[5 * n & 15]] for n in range(_SIZE))  # SubBytes and ShiftRows
            if start < _SIZE * _ROUNDS:
                for n in range(0, _SIZE, 4):  # MixColumns
                    a, b, c, d = mixed[n : n + 4]
                    every = a ^ b ^ c ^ d
                    for x, y in ((a, b), (b, c), (c, d), (d, a)):
                        y ^= x
                        mixed[n] = x ^ every ^ y << 1 & 0xFF ^ (y >> 7) * 0x1B
                        n += 1
            state = bytes(mixed[n] ^ words[start + n] for n in range(_SIZE))
        return state
