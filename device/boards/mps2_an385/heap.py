"""Makes the heap of the board smaller than it is, to see what fits into it."""

import gc

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from dpe_device._types import Any


def fill(free: int) -> "Any":
    """Take memory until only so many bytes of the heap are free; return what keeps it."""
    taken: "Any" = None
    gc.collect()
    while gc.mem_free() > free:
        taken = taken, bytearray(32)
    gc.collect()
    return taken
