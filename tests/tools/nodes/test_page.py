"""docs/how-to/many-nodes.md: the commands that it shows print what it shows, on a database with a standby."""

from pathlib import Path

from tests.conftest import PROGRAMS
from tests.postgresql import Cluster
from tests.project.console import Shell, agrees, commands


def test_the_commands_of_the_page(root: Path, tmp_path: Path, postgresql: Cluster, url: str) -> None:
    page = (root / "docs" / "how-to" / "many-nodes.md").read_text(encoding="utf-8")
    section = page.partition("\n## The commands\n")[2].partition("\n## ")[0]
    document = tmp_path / "section.md"
    document.write_text(section.replace("```text\n$ ", "```console\n$ "), encoding="utf-8")
    found = list(commands(document))
    assert len(found) == 7
    with postgresql.standby(), Shell(tmp_path, PROGRAMS, timeout=60) as shell:
        shell.run(found[0].__class__(0, f"export DATABASE='{url}'", ""))
        for command in found:
            printed, status = shell.run(command)
            assert agrees(command.output, printed), f"$ {command.text}\nshows:\n{command.output}\nprinted:\n{printed}"
            assert status == 0, command.text
