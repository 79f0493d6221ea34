"""Runs tests/device/run.py, out of the read-only file system that the emulator puts into the flash."""

import gc
import sys

import uctypes
import vfs

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it

_ADDRESS = const(0x80000)
_SIZE = const(0x80000)
_SCRIPT = "/rom/tests/device/run.py"

vfs.mount(vfs.VfsRom(uctypes.bytearray_at(_ADDRESS, _SIZE)), "/rom")
print("%s, heap of %d bytes" % (sys.implementation[2], gc.mem_alloc() + gc.mem_free()))
sys.path[:0] = "/rom", "/rom/device"  # as this file system knows no parent folder
sys.argv[:] = [_SCRIPT]
try:
    with open(_SCRIPT) as file:
        exec(file.read(), {"__name__": "__main__", "__file__": _SCRIPT})  # noqa: S102
except SystemExit as end:
    if end.args[0]:
        raise
