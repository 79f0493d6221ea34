"""Our reader of CBOR beside micropython-lib's cbor2: size, instructions, and which faulty encodings they let pass."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpe_bench.device.costs import COUNTED
from dpe_bench.device.interpreter import Interpreter
from dpe_coap import messages
from dpe_coap.messages import Confirm, Response, Version
from dpe_coap.numbers import MessageType, Status

_TOKEN = bytes(range(32))
_CLIENT_ID = _TOKEN[:7]
_HANDLE = _TOKEN[:17]
_MAC = bytes(range(16)).hex()

MESSAGES = {
    MessageType.RESPONSE: messages.encode(
        Response(
            version=Version(1, 0),
            status=Status.OK,
            security_token=_TOKEN,
            client_id=_CLIENT_ID,
            sealed_handle=_HANDLE,
        )
    ),
    MessageType.CONFIRM: messages.encode(Confirm(Status.OK, _TOKEN[:16])),
}
"""The two messages that a client reads; what they hold does not matter to a reader."""

FAULTY = {
    "bytes after the map": f"a3000404001750{_MAC}00",
    "cut short": f"a3000404001750{_MAC}"[:-2],
    "a map of indefinite length": f"bf000404001750{_MAC}ff",
    "bytes of indefinite length": f"a300040400175f50{_MAC}ff",
    "a number not in its shortest form": f"a300180404001750{_MAC}",
    "a key not in its shortest form": f"a318000404001750{_MAC}",
    "a length not in its shortest form": f"a300040400175810{_MAC}",
    "a key twice": f"a40004040004001750{_MAC}",
    "keys out of order": f"a3040000041750{_MAC}",
    "a tag around the map": f"d9d9f7a3000404001750{_MAC}",
    "text that is not UTF-8": f"a4000404000b62c3281750{_MAC}",
    "a float longer than its value needs": f"a4000404000bfa3f8000001750{_MAC}",
    "false in two bytes": f"a4000404000bf8141750{_MAC}",
    "a reserved head": f"a4000404000b1c1750{_MAC}",
}
"""CONFIRM with one fault each against RFC 8949 section 4.2.1 (or well-formedness), in hex."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What was found of a reader."""

    name: str
    version: str
    code: int
    """Bytes of .mpy."""
    scope: str
    """What this code does."""
    instructions: int | None
    """To read the two messages, once each."""
    accepts: list[str]
    """The faults that it lets pass."""


def measure(interpreter: Interpreter, which: str, name: str, version: str, code: int, scope: str) -> Reader:
    """Let a reader, as `codec` has it, read the messages and the faulty encodings."""
    good = _file(interpreter.folder, [(kind, message.hex()) for kind, message in MESSAGES.items()])
    said = interpreter.run("codec", which, good, 1)
    if said != ["accepted"] * len(MESSAGES):
        raise AssertionError(f"{name} does not read the two messages: {said}")
    more, less = (interpreter.instructions("codec", which, good, times) for times in (COUNTED + 1, 1))
    faulty = _file(interpreter.folder, [(MessageType.CONFIRM, encoding) for encoding in FAULTY.values()])
    said = interpreter.run("codec", which, faulty, 1)
    accepts = [fault for fault, one in zip(FAULTY, said, strict=True) if one == "accepted"]
    instructions = None if more is None or less is None else (more - less) // COUNTED
    return Reader(name, version, code, scope, instructions, accepts)


def _file(folder: Path, encodings: Sequence[tuple[int, str]]) -> Path:
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
        file.writelines(f"{kind} {encoding}\n" for kind, encoding in encodings)
    return Path(file.name)
