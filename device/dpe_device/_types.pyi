"""What the annotations of the DPE Client name. For type checkers only: no interpreter reads this file."""

from collections.abc import Callable
from collections.abc import Sequence as Sequence
from typing import Any as Any
from typing import Protocol, TypedDict
from typing import Unpack as Unpack

Version = tuple[int, int]
Fields = dict[int, Any]
Entropy = Callable[[int], bytes]
Accept = Callable[[bytes, Version], int | None]
Options = dict[int, int]
Response = tuple[int, Options, bytes]
Trace = Callable[[str, bytes], object]
Address = Any

Credential = dict[str, Any]
Encrypt = Callable[[bytes], bytes]

class Cipher(Protocol):
    def encrypt(self, block: bytes, /) -> bytes: ...

Aes = Callable[[bytes], Cipher]

Property = int | str  # 0 to 65535, or 1 to 32 bytes of UTF-8
Value = bool | int | float | str | bytes | None  # None: it is not there any more
Conditions = dict[int, Any]

class Reports(Protocol):
    def make(self, now: int, session: int, /) -> bytes: ...
    def done(self, code: int, answer: bytes, lifetime: int | None, /) -> int | None: ...

class Storage(Protocol):
    def load(self) -> bytes | None: ...
    def save(self, record: bytes) -> None: ...

class X25519(Protocol):
    def public(self, private: bytes) -> bytes: ...
    def shared(self, private: bytes, peer: bytes) -> bytes: ...

class Settings(TypedDict, total=False):  # the keywords of Registration
    versions: tuple[Version, ...]
    firmware: str | None
    x25519: X25519 | None
    suite: int
    accept: Accept | None
    ack_timeout: int
    backoff: int
