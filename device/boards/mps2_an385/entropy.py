"""Random bytes for a board without a random number generator: a hash generator over a secret seed in its memory.

The seed is put there when the board is made and is replaced at each start before anything is drawn from it, so no
start repeats another's bytes, and a board that is opened later does not give away the earlier ones. The clock is
mixed in.
"""

import time
from hashlib import sha256

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from dpe_device.store import FileStore

_state = b""


def _hash(label: bytes, data: bytes) -> bytes:
    return sha256(label + data + time.ticks_cpu().to_bytes(4, "big")).digest()


def start(store: "FileStore") -> None:
    """Take up the seed from `store` and save the next one; OSError if it cannot be saved, ValueError without one."""
    global _state
    seed = store.load()
    if not seed:
        raise ValueError("this board has no seed: provision it")
    store.save(_hash(b"next", seed))
    _state = _hash(b"now", seed)


def urandom(size: int) -> bytes:
    """Return `size` random bytes."""
    global _state
    drawn = b""
    while len(drawn) < size:
        drawn += _hash(b"out", _state)
        _state = _hash(b"state", _state)
    return drawn[:size]
