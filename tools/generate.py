#!/usr/bin/env python3
"""Make the files that are made from others. With `--check`, only compare, and exit with 1 on a difference.

- dpe_coap/numbers.py: the constants of dpe1.cddl
- docs/state-machines.md: drawn from the transition tables in the code. The server's is TRANSITIONS of
  dpe_server.registration.transactions. The client's is in the docstring of dpe_device.registration, where it costs a
  board nothing.
- docs/protocol.md: the schema in it
- docs/reference/cli.md: the `dpe` commands themselves (cli_page.py)
- docs/reference/api.md: the OpenAPI document of the HTTP API (api_pages.py)
- docs/reference/metrics.md, server/packaging/grafana/dpe-server.json: the list of metrics (metrics_pages.py)
- tools/packaging/man/: the same as manual pages (man_pages.py)
- tools/packaging/completion/: what `dpe completion` prints for each shell
- tools/packaging/index.md: README.md for an index of packages (index_page.py)
"""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cddlparser
from cddlparser.ast import Operator, Range, Rule, Value

import api_pages
import cli_page
import index_page
import man_pages
import metrics_pages
from dpe_device import registration, session
from dpe_server.registration.transactions import TRANSITIONS, Event, State
from dpe_tools import cli, completion
from dpe_tools.commands.completion import SHELLS

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "dpe_coap" / "dpe1.cddl"
PACKAGING = ROOT / "tools" / "packaging"
MANUAL = PACKAGING / "man"
PROTOCOL = ROOT / "docs" / "protocol.md"

HEAD = '''"""Labels, codes and sizes of DPE-1. Generated from dpe1.cddl by tools/generate.py; do not edit."""

from enum import IntEnum
from typing import Final
'''

PAGE = """\
# State machines

Made from the tables in the code by `tools/generate.py`; a test fails when this page and the code differ.

## The DPE Client

`device/dpe_device/registration.py`. The events `step` and `start` are calls of these methods; `step` returns the state.

```mermaid
{client}
```

## The session of a DPE Client

`device/dpe_device/session.py`: what follows the registration. Its states and events come besides those above.

```mermaid
{session}
```

## A transaction at the DPE Server

`server/dpe_server/registration/transactions.py`. A transaction begins with a REQUEST whose security token is valid. It
ends after 300 s, or earlier when a bound evicts it. Both can happen in every state and are not drawn.

```mermaid
{server}
```

| state | meaning |
|---|---|
{states}

| event | meaning |
|---|---|
{events}
"""


def constants(schema: str) -> dict[str, int]:
    """Return every constant of the schema by its Python name: LABEL_*, SIZE_*, MIN_*, MAX_* and so on.

    SIZE_ is an exact size in bytes. MAX_ is the largest value of a number or the largest size of a string, and MIN_ the
    smallest value of a number where that is not 0.
    """
    found: dict[str, int] = {}
    for rule in cddlparser.parse(schema).rules:
        if not isinstance(rule, Rule):
            continue
        name = rule.name.name.replace("-", "_").upper()
        kind: Any = rule.type.types[0]
        if isinstance(kind, Value):
            found[name] = int(kind.value)
        elif isinstance(kind, Range):
            if int(kind.min.value) != 0:
                found[f"MIN_{name}"] = int(kind.min.value)
            found[f"MAX_{name}"] = int(kind.max.value)
        elif isinstance(kind, Operator):
            size = kind.controller
            if isinstance(size, Value):
                found[f"SIZE_{name}"] = int(size.value)
            else:
                found[f"MAX_{name}"] = int(size.types[0].max.value)
    return found


def module(found: dict[str, int]) -> str:
    """Return the text of numbers.py."""
    lines = [HEAD]
    for prefix in ("LABEL_", "SESSION_LABEL_", "SIZE_", "MIN_", "MAX_"):
        lines += [f"{name}: Final = {value}" for name, value in found.items() if name.startswith(prefix)]
        lines.append("")
    for prefix, title, doc in (
        ("TYPE_", "MessageType", "The value of label 0: which of the four messages this is."),
        (
            "STATUS_",
            "Status",
            "The value of label 4. Values not listed are refusals in a RESPONSE, declines in a SUCCESS.",
        ),
        ("ATTRIBUTE_", "Attribute", "What a condition says: when a property is reported."),
        ("PROPERTY_", "Property", "The properties that have a number of one byte."),
    ):
        lines += ["", f"class {title}(IntEnum):", f'    """{doc}"""', ""]
        lines += [
            f"    {name.removeprefix(prefix)} = {value}" for name, value in found.items() if name.startswith(prefix)
        ]
        lines.append("")
    return "\n".join(lines)


def client_transitions(module: ModuleType = registration) -> list[tuple[str, str, str]]:
    """Return the client's transitions (state, event, next state) from the table in a module's docstring."""
    lines = (module.__doc__ or "").splitlines()
    start = next(n for n, line in enumerate(lines) if line.split()[:3] == ["state", "event", "next"])
    rows = []
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        state, event, following = line.split()[:3]
        rows.append((state, event, following))
    return rows


def diagram(first: str, transitions: list[tuple[str, str, str]]) -> str:
    """Return a Mermaid state diagram that begins in ``first``."""
    lines = ["stateDiagram-v2", f"    [*] --> {first}"]
    lines += [f"    {state} --> {following}: {event}" for state, event, following in transitions]
    return "\n".join(lines)


def page() -> str:
    """Return the text of state-machines.md."""
    server = [
        (state.name, event.name.lower().replace("_", " "), following.name)
        for (state, event), following in TRANSITIONS.items()
    ]
    return PAGE.format(
        client=diagram("IDLE", client_transitions()),
        session=diagram("CONFIRMING", client_transitions(session)),
        server=diagram(State.PENDING.name, server).replace(
            "[*] --> PENDING", "[*] --> PENDING: Client ID offered\n    [*] --> ANSWERED: refusal"
        ),
        states="\n".join(f"| {state.name} | {state.meaning} |" for state in State),
        events="\n".join(f"| {event.name.lower().replace('_', ' ')} | {event.meaning} |" for event in Event),
    )


def protocol() -> str:
    """Return the text of protocol.md with the schema as it is."""
    schema = SCHEMA.read_text(encoding="utf-8")
    return re.sub(r"(?s)(?<=```cddl\n).*?(?=```)", lambda _: schema, PROTOCOL.read_text(encoding="utf-8"), count=1)


def main() -> int:
    """Write or check the files; return the exit status."""
    made = {
        ROOT / "dpe_coap" / "numbers.py": module(constants(SCHEMA.read_text(encoding="utf-8"))),
        ROOT / "docs" / "state-machines.md": page(),
        PROTOCOL: protocol(),
        ROOT / "docs" / "reference" / "cli.md": cli_page.page(),
        ROOT / "docs" / "reference" / "api.md": api_pages.page(),
        ROOT / "docs" / "reference" / "metrics.md": metrics_pages.page(),
        ROOT / "server" / "packaging" / "grafana" / "dpe-server.json": metrics_pages.dashboard(),
        PACKAGING / "index.md": index_page.page(ROOT),
    }
    made |= {MANUAL / name: text for name, text in man_pages.pages().items()}
    made |= {PACKAGING / "completion" / f"dpe.{shell}": completion.script(shell, cli.main) for shell in SHELLS}
    over = set(MANUAL.glob("*")) - made.keys()
    if "--check" not in sys.argv[1:]:
        for file, text in made.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        for file in over:
            file.unlink()
        return 0
    stale = [f.name for f, text in made.items() if not f.exists() or f.read_text(encoding="utf-8") != text]
    stale += sorted(file.name for file in over)
    if stale:
        print(f"not as it would be made: {', '.join(stale)}; run tools/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
