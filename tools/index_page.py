"""tools/packaging/index.md, made from README.md: what an index of packages shows, where no link of README.md leads on.

Used by tools/generate.py. With an address of the repository in pyproject.toml (`Repository` in [project.urls]), links
lead there; without one, they become the names of files, which are in every installation.
"""

import re
import tomllib
from pathlib import Path

FOLDER = "share/doc/dpe-coap"
"""Where an installation has the documentation."""
NOTE = f"""\
<!-- Made from README.md by tools/generate.py; do not edit. -->

> The files that this page names are in the source archive, and those of the documentation are in every installation, in
> `{FOLDER}`. Where it says `./tools/`, it means a checkout of the repository or the source archive.

"""
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)\s#]*)(#[^)\s]*)?\)")


def page(root: Path) -> str:
    """Return the text of the page, of the checkout at ``root``."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    return NOTE + absolute((root / "README.md").read_text(encoding="utf-8"), address, f"v{project['version']}")


def absolute(text: str, address: str | None, version: str) -> str:
    """Return Markdown without relative links, but those within code."""

    def link(found: re.Match[str]) -> str:
        words, path, fragment = found[1], found[2], found[3] or ""
        if address is not None:
            return f"[{words}]({address.rstrip('/')}/blob/{version}/{path}{fragment})"
        return words if words.strip("`") == path else f"{words} (`{path}`)"

    lines, code = [], False
    for line in text.splitlines():
        code ^= line.startswith("```")
        lines.append(line if code else _LINK.sub(link, line))
    return "\n".join(lines) + "\n"
