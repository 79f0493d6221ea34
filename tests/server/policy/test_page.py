"""docs/how-to/policy.md: its examples are policies, and it has every key and every action."""

from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from dpe_server.policy import parse
from dpe_server.policy.file import KEYS, REPORTING, RULE


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
    keys = ["allow_clear_imei", *RULE, *(key for keys in KEYS.values() for key in keys), *REPORTING]
    assert [key for key in keys if f"\n{key} = " not in f"\n{first}"] == ["reporting"]
    assert "[rule.reporting." in first
    assert [word for word in (*keys, *KEYS) if f"`{word}`" not in page] == []
    assert [action for action in KEYS if f'action = "{action}"' not in first] == []
