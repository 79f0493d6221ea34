#!/usr/bin/env python3
"""Make docs/state-machines.md from the transition tables in the code.

The server's table is TRANSITIONS of dpe_server.transactions; the client's stands in the docstring of
dpe_device.registration, where it costs a board nothing. `--check` only compares and exits 1 on a difference.
"""

import sys
from pathlib import Path

from dpe_device import registration
from dpe_server.transactions import TRANSITIONS, Event, State

TARGET = Path(__file__).resolve().parent.parent / "docs" / "state-machines.md"

PAGE = """\
# State machines

Made from the code's own tables by `tools/generate_state_machines.py`; a test fails when this page and the code differ.

## The DPE Client

The event is the one that `Registration.step` reports; `start` is a call. `device/dpe_device/registration.py`.

```mermaid
{client}
```

## A transaction at the DPE Server

A transaction begins with a REQUEST whose security token is valid, and ends after 300 s, or when a bound evicts it; both
may happen in every state and are not drawn. `server/dpe_server/transactions.py`.

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


def client_transitions() -> list[tuple[str, str, str]]:
    """Return the client's transitions (state, event, next state) from the table in its docstring."""
    lines = (registration.__doc__ or "").splitlines()
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
        server=diagram(State.PENDING.name, server).replace(
            "[*] --> PENDING", "[*] --> PENDING: Client ID offered\n    [*] --> ANSWERED: refusal"
        ),
        states="\n".join(f"| {state.name} | {state.value} |" for state in State),
        events="\n".join(f"| {event.name.lower().replace('_', ' ')} | {event.value} |" for event in Event),
    )


def main() -> int:
    """Write or check the page; return the exit status."""
    text = page()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET.name} differs from the code; run tools/generate_state_machines.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
