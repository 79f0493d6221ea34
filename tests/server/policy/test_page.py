"""docs/how-to/policy.md: its examples are policies, and it has every key and every action."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from dpe_coap.session_messages import decode_policies
from dpe_server.policy import NOTHING, Vocabulary, parse, read_override
from dpe_server.policy.declared import KEYS as PROPERTY
from dpe_server.policy.file import KEYS, RULE, TOP
from dpe_server.policy.reporting import NAMES
from dpe_server.policy.vocabulary import FIELD


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "how-to" / "policy.md").read_text(encoding="utf-8")


def examples(page: str) -> list[str]:
    return [token.content for token in MarkdownIt().parse(page) if token.type == "fence" and token.info == "toml"]


def test_every_example_is_a_policy(page: str) -> None:
    found = examples(page)
    assert len(found) == 3
    assert all(parse(text).rules for text in found)


def test_every_key_and_action_is_explained_and_in_the_first_example(page: str) -> None:
    first = examples(page)[0]
    keys = [*TOP, *RULE, *(key for keys in KEYS.values() for key in keys), *PROPERTY, *NAMES]
    given = [key for key in keys if re.search(rf"(^|[{{,] ?){key} = ", first, re.MULTILINE)]
    assert [key for key in keys if key not in given] == ["property", "rule", "report"]
    assert all(table in first for table in ("[property.", "[[rule]]", "[rule.report]"))
    assert [word for word in (*keys, *KEYS) if f"`{word}`" not in page] == []
    assert [action for action in KEYS if f'action = "{action}"' not in first] == []


def test_every_property_of_the_field_is_in_the_table(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|[^|]*\| (\d+) \|$", page, re.MULTILINE)
    assert rows == [(entry.name, entry.type, str(entry.wire)) for entry in FIELD]


def test_the_former_keys_are_translated(page: str) -> None:
    told = re.findall(r"^\| `[^|]*(?:every|on_change)[^|]*` \| ([^|]+) \|$", page, re.MULTILINE)
    tables = [f"[report]\nbattery = {{ {line.strip('`') if line != 'nothing' else ''} }}" for line in told]
    assert [decode_policies(read_override(table, Vocabulary())) for table in tables] == [
        {0: {0: 3600, 1: 3600}},
        {0: {}},
        {0: {0: 60}},
        {0: {0: 60, 1: 3600}},
    ]


def test_the_tables_that_are_shown_alone_are_right(page: str) -> None:
    found = [token.content for token in MarkdownIt().parse(page) if token.type == "fence" and token.info == "text"]
    assert len(found) == 2
    for text in found:
        assert read_override(text.replace("[rule.report]", "[report]"), Vocabulary()) != NOTHING
