"""Every link in the documents leads somewhere, and the glossary has each word once, in order, with its source."""

import re
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
DOCUMENTS = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()
)  # fmt: skip


def tokens(document: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(document.read_text(encoding="utf-8"))


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    found = tokens(document)
    headings = [found[at + 1].content for at, token in enumerate(found) if token.type == "heading_open"]
    assert headings
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document: Path) -> list[str]:
    inner = [child for token in tokens(document) for child in token.children or []]
    found = [child.attrGet("href" if child.type == "link_open" else "src") for child in inner]
    return [str(link) for link in found if link is not None]


def fault(document: Path, link: str) -> str | None:
    """What is wrong with a link to a file or a heading of this repository; None for a link to elsewhere."""
    if re.match(r"[a-z]+:", link):
        return None
    name, _, anchor = link.partition("#")
    target = document if not name else (document.parent / name).resolve()
    if not target.exists():
        return f"{link}: there is no such file"
    if anchor and anchor not in anchors(target):
        return f"{link}: there is no such heading"
    return None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert [found for link in links(document) if (found := fault(document, link))] == []


def test_a_link_to_nowhere_is_noticed(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "# A page: `x`, 2.0\n\n[a](nothing.md) [b](#b) ![c](c.svg) [d](#a-page-x-20) [e](https://e.example)\n"
    )
    assert [fault(document, link) for link in links(document)] == [
        "nothing.md: there is no such file",
        "#b: there is no such heading",
        "c.svg: there is no such file",
        None,
        None,
    ]


def glossary() -> list[list[list[str]]]:
    """The glossary's tables: of each its rows, of each its cells."""
    sections = GLOSSARY.read_text(encoding="utf-8").split("\n## ")[1:]
    rows = [[line for line in section.splitlines() if line.startswith("|")][2:] for section in sections]
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in table] for table in rows]


def test_the_glossary_has_each_word_once_and_in_order() -> None:
    tables = glossary()
    assert len(tables) == 3
    words = [[row[0] for row in table] for table in tables]
    for column in words:
        assert all(re.fullmatch(r"\*\*[^*]+\*\*", word) for word in column)
        assert column == sorted(column, key=lambda word: word.strip("*").lower())
    together = [word.lower() for column in words for word in column]
    assert len(together) == len(set(together)) == GLOSSARY.read_text(encoding="utf-8").count("**") / 2


def test_the_glossary_says_each_word_in_a_sentence_and_where_it_is_defined() -> None:
    for word, meaning, where in (row for table in glossary() for row in table):
        assert re.fullmatch(r"[A-Z].*[^.]\.", meaning), word
        assert ". " not in meaning, f"{word}: more than one sentence"
        assert re.fullmatch(r"\[[^]]+\]\([^)]+\)|RFC \d{4} section [\d.]*\d", where), word
