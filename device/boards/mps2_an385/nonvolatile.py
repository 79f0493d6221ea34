"""The board's non-volatile memory, as a block device for a file system.

It is the PSRAM at 0x21000000, which QEMU backs with a file: what is written there stays, whether the board is reset or
its power is cut, as in the FRAM or the battery-backed memory of a real board.
"""

from uctypes import bytearray_at

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it

_ADDRESS = const(0x21000000)
_BLOCK = const(512)  # bytes
_BLOCKS = const(64)

_IOCTL_BLOCK_COUNT = const(4)
_IOCTL_BLOCK_SIZE = const(5)


class NonVolatile:
    """A block device with the extended interface of MicroPython, as littlefs needs it."""

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        """Read from a block into `buffer`."""
        buffer[:] = bytearray_at(_ADDRESS + block * _BLOCK + offset, len(buffer))

    def writeblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        """Write `buffer` to a block; this memory need not be erased first."""
        bytearray_at(_ADDRESS + block * _BLOCK + offset, len(buffer))[:] = buffer

    def ioctl(self, operation: int, argument: int) -> "int | None":
        """Tell the size; anything else needs nothing done."""
        if operation == _IOCTL_BLOCK_COUNT:
            return _BLOCKS
        return _BLOCK if operation == _IOCTL_BLOCK_SIZE else 0
