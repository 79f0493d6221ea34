"""What the annotations of the DPE Client name. For type checkers only: no interpreter reads this file."""

from collections.abc import Callable
from typing import Any as Any
from typing import Protocol

Version = tuple[int, int]
Fields = dict[int, Any]
Entropy = Callable[[int], bytes]
Accept = Callable[[bytes, Version], int | None]
Options = dict[int, int]
Response = tuple[int, Options, bytes]
Trace = Callable[[str, bytes], object]
Address = Any

Credential = dict[str, Any]

class Storage(Protocol):
    def load(self) -> bytes | None: ...
    def save(self, record: bytes) -> None: ...

class X25519(Protocol):
    def public(self, private: bytes) -> bytes: ...
    def shared(self, private: bytes, peer: bytes) -> bytes: ...
