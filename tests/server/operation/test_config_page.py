"""docs/reference/config.md: it has every key as the code has it."""

import re
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path
from typing import get_type_hints

import pytest
from markdown_it import MarkdownIt

from dpe_server.net.udp import LOOPBACK
from dpe_server.operation.config import _CHECKS, ONE_MACHINE, Config, ConfigError, parse, template
from dpe_server.store.contract import TRACE

KEYS = {key.name: key.default for key in fields(Config)}
"""With the default of each."""
TYPES = get_type_hints(Config)
CALLED = {str: "string", int: "integer", tuple[str, ...]: "array of strings"}


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "reference" / "config.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows(page: str) -> dict[str, dict[str, str]]:
    """The table of each key, by the key: what the page says it is."""
    found: dict[str, dict[str, str]] = {}
    key, names = "", list[str]()
    tokens = MarkdownIt().enable("table").parse(page)
    for token, cell in pairwise(tokens):
        if token.type == "heading_open":
            key, names = cell.content.strip("`"), []
        elif token.type == "th_open":
            names.append(cell.content)
        elif token.type == "td_open":
            row = found.setdefault(key, {})
            row[names[len(row)]] = cell.content
    return found


def sized(name: str, size: int) -> object:
    """A value of a size: a number, or a text of so many bytes."""
    if TYPES[name] is int:
        return size
    return f"coap://{'h' * (size - len('coap://'))}" if name == "uri" else "x" * size


def test_every_key_has_its_table_in_the_order_of_the_code(rows: dict[str, dict[str, str]]) -> None:
    assert list(rows) == list(_CHECKS) == list(KEYS)
    assert {tuple(row) for row in rows.values()} == {("type", "unit", "limits", "default", "read")}
    assert all(all(row.values()) for row in rows.values())
    assert [row["type"] for row in rows.values()] == [CALLED[TYPES[name]] for name in KEYS]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        *(("realm", 1), ("uri", 8), ("retry_after", 1), ("retention", 0)),
        *(("audit_megabytes", 0), ("audit_files", 2), ("audit_least_free", 0), ("node", 1)),
    ],
)
def test_the_limits_are_those_of_the_code(rows: dict[str, dict[str, str]], name: str, least: int) -> None:
    check = _CHECKS[name]
    told = [int(number) for number in re.findall(r"\d+", rows[name]["limits"])]
    most = told[0] if rows[name]["limits"].startswith("at most") else told[1]
    assert told[0] in (least, most)
    assert check(sized(name, least)) is None
    assert check(sized(name, most)) is None
    assert check(sized(name, least - 1)) is not None
    assert check(sized(name, most + 1)) is not None


def test_the_shortest_time_for_which_a_trace_is_kept(rows: dict[str, dict[str, str]]) -> None:
    assert f"less than {TRACE} counts as {TRACE}" in rows["retention"]["limits"]


def test_the_limits_of_a_list_of_addresses(rows: dict[str, dict[str, str]]) -> None:
    assert rows["listen"]["limits"] == "at least one, none twice"
    assert _CHECKS["listen"]([]) is not None
    assert _CHECKS["listen"](["127.0.0.1"]) is None
    assert _CHECKS["listen"](["127.0.0.1", "127.0.0.1"]) is not None


def test_the_defaults_are_those_of_the_code_and_of_a_new_file(rows: dict[str, dict[str, str]]) -> None:
    written = parse(template("r", "coap://h"))
    for name, default in KEYS.items():
        told = rows[name]["default"]
        if default is MISSING:
            assert told == "none: must be given"
            others = "\n".join(f'{other} = "coap://h"' for other in ("realm", "uri") if other != name)
            with pytest.raises(ConfigError, match=f"{name}: is missing"):
                parse(others)
        elif TYPES[name] is int:
            assert int(told.split()[0]) == default == getattr(written, name)
        else:
            assert default == getattr(written, name)
            assert TYPES[name] is str or re.findall(r"`(.+?)`", told) == list(LOOPBACK)


def test_the_last_example_has_every_key(page: str) -> None:
    (example,) = (token.content for token in MarkdownIt().parse(page) if token.type == "fence" and token.info == "toml")
    assert parse(example).durability == ONE_MACHINE
    assert re.findall(r"^\w+", example, re.MULTILINE) == list(KEYS)
