"""What is claimed of versions is what the metadata says."""

import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def metadata(root: Path) -> dict[str, Any]:
    """The content of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_a_requirement_that_a_document_states_is_that_of_the_metadata(root: Path, metadata: dict[str, Any]) -> None:
    required = metadata["project"]["dependencies"]
    names = "|".join(re.escape(re.split("[<>=!~]", requirement)[0]) for requirement in required)
    stated = {
        (str(file.relative_to(root)), requirement)
        for file in chain(root.glob("*.md"), (root / "docs").rglob("*.md"))
        for requirement in re.findall(rf"`((?:{names})[<>=!~][^`]*)`", file.read_text(encoding="utf-8"))
    }
    assert [claim for claim in sorted(stated) if claim[1] not in required] == []
    # Decision 5: what aiocoap does not document as stable may change with any release.
    (aiocoap,) = (requirement for requirement in required if requirement.startswith("aiocoap>="))
    assert "<" in aiocoap
    assert ("docs/decisions/0005-coap-endpoint.md", aiocoap) in stated
