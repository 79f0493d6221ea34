"""The systemd unit as it is in the repository: its settings, and the system calls that it leaves."""

import subprocess
from pathlib import Path

UNIT = Path("server", "packaging", "dpe-serve.service")


def settings(root: Path) -> dict[str, list[str]]:
    """Return the values of each setting of the unit's [Service], in their order."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in (root / UNIT).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def system_calls(root: Path, systemd_analyze: str) -> set[str]:
    """Return the names of the system calls that the unit's filter lets through."""
    allowed: set[str] = set()
    for line in settings(root)["SystemCallFilter"]:
        names = {call for name in line.removeprefix("~").split() for call in _expand(name, systemd_analyze)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed | _expand("@default", systemd_analyze)


def _expand(name: str, systemd_analyze: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    shown = subprocess.run(
        [systemd_analyze, "--no-pager", "syscall-filter", name], check=True, capture_output=True, text=True
    ).stdout
    members = [line.strip() for line in shown.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    assert members, f"systemd knows nothing in {name}"
    return {call for member in members for call in _expand(member, systemd_analyze)}
