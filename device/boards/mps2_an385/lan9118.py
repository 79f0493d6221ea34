"""The SMSC LAN9118 Ethernet controller, polled. Register numbers are those of its data sheet."""

import struct
import time

from machine import mem32

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it

_RX_DATA = const(0x00)
_TX_DATA = const(0x20)
_RX_STATUS = const(0x40)
_ID_REV = const(0x50)
_TX_CFG = const(0x70)
_HW_CFG = const(0x74)
_RX_FIFO_INF = const(0x7C)
_MAC_COMMAND = const(0xA4)
_MAC_DATA = const(0xA8)

_MAC_CR = const(1)
_ADDRH = const(2)
_ADDRL = const(3)

_ID = const(0x118)
_SOFT_RESET = const(1)
_MUST_BE_ONE = const(0x100000)
_TX_FIFO_5K = const(0x50000)
_TX_ON = const(2)
_MAC_TX_RX_ON = const(0xC)
_MAC_WRITE = const(0x80000000)
_MAC_READ = const(0xC0000000)
_RX_ERROR = const(0x8000)
_FIRST_AND_LAST = const(0x3000)

_SIZE_CRC = const(4)


class Lan9118:
    """An Ethernet controller at an address of the memory; OSError if there is none.

    `mac` is its address, 6 bytes. Frames have no checksum: the controller makes and checks it.
    """

    def __init__(self, base: int) -> None:
        self._base = base
        if mem32[base + _ID_REV] >> 16 != _ID:
            raise OSError("there is no LAN9118 at 0x%x" % base)
        mem32[base + _HW_CFG] = _SOFT_RESET
        while mem32[base + _HW_CFG] & _SOFT_RESET:
            time.sleep_ms(1)
        mem32[base + _HW_CFG] = _MUST_BE_ONE | _TX_FIFO_5K
        mem32[base + _TX_CFG] = _TX_ON
        mem32[base + _MAC_DATA] = _MAC_TX_RX_ON
        mem32[base + _MAC_COMMAND] = _MAC_WRITE | _MAC_CR
        self.mac = struct.pack("<IH", self._read_mac(_ADDRL), self._read_mac(_ADDRH) & 0xFFFF)

    def _read_mac(self, register: int) -> int:
        mem32[self._base + _MAC_COMMAND] = _MAC_READ | register
        value: int = mem32[self._base + _MAC_DATA]
        return value

    def send(self, frame: bytes) -> None:
        """Send a frame."""
        fifo = self._base + _TX_DATA
        mem32[fifo] = _FIRST_AND_LAST | len(frame)
        mem32[fifo] = len(frame)
        frame += b"\0\0\0"
        for at in range(0, len(frame) - 3, 4):
            mem32[fifo] = struct.unpack_from("<I", frame, at)[0]

    def receive(self, buffer: bytearray) -> int:
        """Take a frame into `buffer` and return its length; 0 if there is none, it is damaged, or it does not fit."""
        base = self._base
        if not mem32[base + _RX_FIFO_INF] >> 16:
            return 0
        status = mem32[base + _RX_STATUS]
        length: int = (status >> 16 & 0x3FFF) - _SIZE_CRC
        for at in range(0, length + _SIZE_CRC, 4):
            word = mem32[base + _RX_DATA]
            if at + 4 <= len(buffer):
                struct.pack_into("<I", buffer, at, word)
        return 0 if status & _RX_ERROR or length > len(buffer) else length
