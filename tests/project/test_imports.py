"""What import-linter cannot say: the only modules that a package may import (it knows which it may not)."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Built in, or in the base installation, of MicroPython 1.20 and later on its unix, ESP32 and bare-metal ports.
MICROPYTHON = {
    "asyncio", "binascii", "cryptolib", "errno", "gc", "hashlib", "io", "json", "machine", "micropython", "os",
    "random", "select", "socket", "struct", "sys", "time",
}  # fmt: skip


def imported(package: Path) -> Iterator[tuple[str, str]]:
    """Every module that the package imports from outside itself, with the place."""
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""] if node.level == 0 else []
            else:
                continue
            for name in names:
                if name.split(".")[0] != package.name:
                    yield name.split(".")[0], f"{file.relative_to(package.parent)}:{node.lineno}"


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("dpe_coap", {"cbor2", "cryptography", *sys.stdlib_module_names}),
        ("device/dpe_device", MICROPYTHON),
    ],
)
def test_imports_only_what_it_may(root: Path, package: str, allowed: set[str]) -> None:
    assert [f"{place} imports {name}" for name, place in imported(root / package) if name not in allowed] == []
