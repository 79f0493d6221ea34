"""Every command that the README and the documents show is run, and prints what they show."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PROGRAMS
from tests.project.console import Shell, agrees, commands

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_print_what_is_shown(document: Path, require_tool: Callable[[str], str], tmp_path: Path) -> None:
    for program in re.findall(r"<!-- needs: (\S+) -->", document.read_text(encoding="utf-8")):
        require_tool(program)
    # So that ./tools/demo runs as from the checkout, and leaves its environment there.
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "docs").symlink_to(ROOT / "docs")  # which have examples
    with Shell(tmp_path, PROGRAMS, timeout=60) as shell:
        for command in commands(document):
            printed, status = shell.run(command)
            where = f"{document.name}:{command.line}: $ {command.text}"
            assert agrees(command.output, printed), f"{where}\nshows:\n{command.output}\nand printed:\n{printed}"
            assert status == 0 or "error" in command.output, f"{where} exited {status}"


DOCUMENT = """\
```console
$ printf 'one\\ntwo\\n' > file
$ cat file
one
…
$ cat file
…
two
$ echo 0102030405060708 took 12 ms \\
    on 127.0.0.1:40000
a0b0c0d0e0f0a0b0 took 7.5 ms on 127.0.0.1:5683
```

```text
$ not run
```

```console
$ (cat file; sleep 60) &
one
two
$ ls nothing
ls: …: error
```
"""


def test_a_document_is_read_and_run_as_said(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text(DOCUMENT)
    found = list(commands(document))
    assert [command.line for command in found] == [2, 3, 6, 9, 19, 22]
    with Shell(tmp_path, PROGRAMS, timeout=10) as shell:
        results = []
        for command in found:
            printed, status = shell.run(command)
            results.append((agrees(command.output, printed), status))
    assert results == [(True, 0), (True, 0), (True, 0), (True, 0), (True, 0), (False, 2)]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [("one", "two"), ("one\n…", "two\none"), ("port 1", "port 2"), ("one … three", "one\nthree"), ("", "more")],
)
def test_a_difference_is_seen(shown: str, printed: str) -> None:
    assert not agrees(shown, printed)


def test_a_command_that_does_not_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "document.md").write_text("```console\n$ echo begun; sleep 60\n```\n")
    (command,) = commands(tmp_path / "document.md")
    with Shell(tmp_path, PROGRAMS, timeout=0.5) as shell, pytest.raises(TimeoutError, match="begun"):
        shell.run(command)
