"""Who takes part: each contender's programs for MicroPython, and the size of their code."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import dpe_device
from dpe_bench.device.interpreter import Interpreter
from dpe_coap.errors import LocalError

PROGRAMS = Path(__file__).with_name("on_micropython")
DEADLINE = 150
"""ACK_TIMEOUTs after which our client is stopped: 300 s at CoAP's 2 s."""
TRANSMISSIONS = 5
"""MAX_RETRANSMIT + 1 of RFC 7252."""

MICROCOAPY = "git clone https://github.com/insighio/microCoAPy && git -C microCoAPy checkout 3c2f911"
CBOR2 = "git clone https://github.com/micropython/micropython-lib, and give its folder python-ecosys/cbor2"

_CLIENT = Path(dpe_device.__file__).parent
_COAP = ("coap", "udp")
_PROTOCOL = ("messages", "registration")
_NO_MODULES = ("__init__", "__main__")


@dataclass(frozen=True, slots=True)
class Contender:
    """A client, as `on_micropython` has it, and the bytes of its code (.mpy)."""

    name: str
    version: str
    program: str
    """The module that registers devices with it."""
    counted: str
    """The same, and it counts what the CoAP layer takes for a response."""
    coap_code: int
    """CoAP and sockets."""
    code: int
    """Everything that a registration needs, but for storage."""
    posts: int | None = None
    """How often it posts a message; None: that is the client's own matter."""

    def limit(self, ack_timeout: int) -> int:
        """Return the LIMIT of its program; ``ack_timeout`` is in ms."""
        return DEADLINE * ack_timeout if self.posts is None else self.posts


def ours(interpreter: Interpreter) -> Contender:
    """Compile the client of this project."""
    for name in ("drive", "idle", "codec", "with_dpe", "with_dpe_counted"):
        _program(interpreter, name)
    interpreter.compile(_CLIENT / "__init__.py", "dpe_device/__init__.py")
    size = {name: interpreter.compile(_CLIENT / f"{name}.py", f"dpe_device/{name}.py") for name in _COAP + _PROTOCOL}
    coap_code = sum(size[name] for name in _COAP)
    digest = _digest([_CLIENT / f"{name}.py" for name in _COAP + _PROTOCOL])
    return Contender("dpe-coap", digest, "with_dpe", "with_dpe_counted", coap_code, sum(size.values()))


def microcoapy(interpreter: Interpreter, source: Path) -> list[Contender]:
    """Compile microCoAPy, from its checkout: as its documentation uses it, and within a careful application's loop."""
    files = _sources(source, "microcoapy", MICROCOAPY)
    coap_code = sum(interpreter.compile(file, f"microcoapy/{file.name}") for file in files)
    code = coap_code + _program(interpreter, "with_microcoapy")
    code += interpreter.compile(_CLIENT / "messages.py", "dpe_device/messages.py")
    version = _digest(files)
    program = "with_microcoapy"
    return [
        Contender("microCoAPy", version, program, program, coap_code, code, 1),
        Contender("microCoAPy in a retry loop", version, program, program, coap_code, code, TRANSMISSIONS),
    ]


def cbor2(interpreter: Interpreter, source: Path) -> tuple[str, int]:
    """Compile micropython-lib's cbor2, from its folder; return the version and the bytes of its code."""
    files = _sources(source, "cbor2", CBOR2)
    return _digest(files), sum(interpreter.compile(file, f"cbor2/{file.name}") for file in files)


def modules(interpreter: Interpreter) -> dict[str, int]:
    """Return the bytes of the code of every module that the client consists of, the optional ones too."""
    names = sorted(file.stem for file in _CLIENT.glob("*.py") if file.stem not in _NO_MODULES)
    return {name: interpreter.compile(_CLIENT / f"{name}.py", f"dpe_device/{name}.py") for name in names}


def messages_code(interpreter: Interpreter) -> int:
    """Return the bytes of our reader's module, which has the key schedule and the four messages in it, too."""
    return interpreter.compile(_CLIENT / "messages.py", "dpe_device/messages.py")


def _program(interpreter: Interpreter, name: str) -> int:
    return interpreter.compile(PROGRAMS / f"{name}.py", f"{name}.py")


def _sources(source: Path, package: str, how: str) -> list[Path]:
    folder = source / package
    files = sorted(folder.glob("*.py"))
    if not (folder / "__init__.py").is_file():
        raise LocalError(f"{source} has no package {package} in it", hint=f"get it with: {how}")
    return files


def _digest(files: list[Path]) -> str:
    """Name a version by its files: the beginning of the SHA-256 of their contents, in the order of their names."""
    content = hashlib.sha256()
    for file in sorted(files):
        content.update(file.read_bytes())
    return f"sources {content.hexdigest()[:12]}"
