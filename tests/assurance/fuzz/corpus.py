"""The kept inputs of each target: a text file with one input per line, in hex."""

from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def path_of(target: str) -> Path:
    """Return the file with the inputs of a target."""
    return FOLDER / f"{target}.txt"


def read(target: str) -> list[bytes]:
    """Return the kept inputs of a target."""
    path = path_of(target)
    return [bytes.fromhex(line) for line in path.read_text(encoding="ascii").splitlines()] if path.exists() else []


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Keep inputs, the shortest first."""
    found = sorted(set(inputs), key=lambda data: (len(data), data))
    path_of(target).write_text("".join(f"{data.hex()}\n" for data in found), encoding="ascii")
