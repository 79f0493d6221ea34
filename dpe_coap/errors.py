"""Errors of the protocol. Local: our own caller is at fault. Remote: the peer is, and the error knows its CoAP code.

No error text holds an IMEI, a handle, a key or a security token.
"""

from dpe_coap.binding import Code


class DpeError(Exception):
    """Base of every error that dpe-coap raises on purpose.

    ``hint`` is one sentence on what to do next, or empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class LocalError(DpeError):
    """Our caller asked for something that cannot be: a value out of range, a file that is not what it should be."""


class RemoteError(DpeError):
    """The peer sent something that cannot be accepted; ``code`` is the CoAP response code it earns."""

    code = Code.BAD_REQUEST


class MalformedMessage(RemoteError):
    """Bytes that are not a strictly encoded DPE-1 message.

    ``fault`` says what is wrong in a few words, ``offset`` (bytes from the start) where, and ``key`` is the map label
    of the field at fault, or None when the fault is in the encoding itself.
    """

    def __init__(self, fault: str, *, offset: int, key: int | None = None) -> None:
        self.fault = fault
        self.offset = offset
        self.key = key
        super().__init__(f"{fault}, {self.place}")

    @property
    def place(self) -> str:
        """Where the fault is, as text: the offset and, if a field is at fault, its key."""
        return f"offset {self.offset}" if self.key is None else f"key {self.key}, offset {self.offset}"
