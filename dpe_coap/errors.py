"""Errors of the protocol. A LocalError is our own caller's fault; a RemoteError is the peer's and has a CoAP code.

No error text contains an IMEI, a handle, a key or a security token.
"""

from dpe_coap.binding import Code


class DpeError(Exception):
    """The base of all errors that dpe-coap raises on purpose.

    ``hint`` says in one sentence what to do next, or is empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class LocalError(DpeError):
    """Our caller asked for something impossible: a value out of range, or a file that is not what it should be."""


class RemoteError(DpeError):
    """The peer sent something that cannot be accepted. ``code`` is the CoAP response code to answer with."""

    code = Code.BAD_REQUEST


class MalformedMessage(RemoteError):
    """Bytes that are not a strictly encoded DPE-1 message.

    ``fault`` says in a few words what is wrong, and ``offset`` says where, in bytes from the start. ``key`` is the map
    label of the field at fault, or None if the fault is in the encoding itself.
    """

    def __init__(self, fault: str, *, offset: int, key: int | None = None) -> None:
        self.fault = fault
        self.offset = offset
        self.key = key
        super().__init__(f"{fault}, {self.place}")

    @property
    def place(self) -> str:
        """The place of the fault, as text: the offset and, if a field is at fault, its key."""
        return f"offset {self.offset}" if self.key is None else f"key {self.key}, offset {self.offset}"


class TooLarge(MalformedMessage):
    """A message, or something in it, that is larger than it may be."""

    code = Code.REQUEST_ENTITY_TOO_LARGE
