"""What the device's source must keep to: the schema's numbers, its own table of transitions, no I/O in the core."""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dpe_coap import numbers
from dpe_device import registration, session
from tests.device import (
    test_answers,
    test_coap,
    test_hints,
    test_reboot,
    test_registration,
    test_session,
    test_session_course,
)
from tests.device.scripted import TRANSITIONS

EDGES = {"__init__", "__main__", "udp", "device", "store", "x25519", "aio"}
IO = {"os", "socket", "time", "random", "select", "machine", "asyncio", "uos", "usocket", "utime", "io"}


@pytest.fixture(scope="module")
def sources(root: Path) -> dict[str, ast.Module]:
    """The syntax trees of the device's modules, by name."""
    return {file.stem: ast.parse(file.read_bytes()) for file in sorted((root / "device" / "dpe_device").glob("*.py"))}


def constants(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The `_NAME = const(..)` of a module."""
    for node in tree.body:
        match node:
            case ast.Assign([ast.Name(name)], ast.Call(ast.Name("const"), [ast.Constant(int(value))])):
                yield name, value


def registered(name: str) -> int | None:
    """The number that the schema gives to a constant of the device, or None if it is the device's own."""
    kind, _, rest = name[1:].partition("_")
    if kind == "TYPE":
        return numbers.MessageType[rest]
    if kind == "STATUS":
        return numbers.Status[rest]
    if kind == "ATTRIBUTE":
        return numbers.Attribute[rest]
    if kind in ("LABEL", "SIZE", "MAX") or rest.startswith("LABEL"):
        value: int = getattr(numbers, name[1:])
        return value
    return None


OWN = {"_SIZE", "_SIZE_BLOCK", "_SIZE_TAG", "_MAX_MESSAGE", "_MAX_NESTING"}


def test_the_constants_are_the_schema_s(sources: dict[str, ast.Module]) -> None:
    compared = 0
    for module, tree in sources.items():
        for name, value in constants(tree):
            if name not in OWN and (expected := registered(name)) is not None:
                assert value == expected, f"{module}.{name}"
                compared += 1
    assert compared > 30


def test_the_core_has_no_socket_file_clock_or_chance(sources: dict[str, ast.Module]) -> None:
    for module in sources.keys() - EDGES:
        for node in ast.walk(sources[module]):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & IO, module
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in IO | EDGES, module
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("open", "__import__", "print"), module


def changes(module: ModuleType) -> set[tuple[str, str]]:
    """The changes of state in the table of a module."""
    rows = [line.split()[:3] for line in (module.__doc__ or "").splitlines()]
    start = rows.index(["state", "event", "next"])
    table = [row for row in rows[start + 1 :] if len(row) == 3]
    assert len({(state, event) for state, event, _ in table}) == len(table)
    return {(state, following) for state, _, following in table if state != following}


def seen(*modules: ModuleType) -> set[tuple[str, str]]:
    """The changes of state in the tests of these modules."""
    TRANSITIONS.clear()
    for module in modules:
        for name, function in vars(module).items():
            if name.startswith("test_"):
                function()
    return set(TRANSITIONS)


def test_the_table_of_transitions_is_what_the_code_does() -> None:
    found = seen(test_registration, test_answers, test_hints, test_reboot, test_coap)
    assert found == changes(registration)


def test_the_table_of_a_session_is_what_the_code_does() -> None:
    table = changes(session)
    found = seen(test_session, test_session_course)
    # A step may lead through READY, or through the end of a back-off.
    through = {(a, c) for a, b in table for d, c in table if b == d and b in ("READY", "BACKOFF") and a != c}
    assert found - changes(registration) <= table | through
    assert table - found == set()
