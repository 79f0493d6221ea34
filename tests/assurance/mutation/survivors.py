"""The list of the mutants that no test notices, each with the reason why no test can."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("survivors.toml")


@dataclass(frozen=True)
class Fault:
    """A change of a file, without line numbers, so that it stays the same when other lines change."""

    file: str
    scope: str
    """The function or class with the fault, such as ``Map.part``. Empty for the module itself."""
    before: str
    """The changed lines, without their indentation."""
    after: str

    def __str__(self) -> str:
        """Describe the fault for a person."""
        lines = [f"{self.file}: {self.scope or 'module'}"]
        lines += [f"  - {line}" for line in self.before.splitlines()]
        lines += [f"  + {line}" for line in self.after.splitlines()]
        return "\n".join(lines)


def explained(path: Path = LIST) -> dict[Fault, str]:
    """Return the survivors with their reasons. Raises ValueError if one has no reason, or is listed twice."""
    found: dict[Fault, str] = {}
    for group in tomllib.loads(path.read_text(encoding="utf-8")).get("group", []):
        for one in _members(group):
            if one in found or not group["reason"].strip():
                raise ValueError(f"listed twice, or without a reason:\n{one}")
            found[one] = group["reason"]
    return found


def _members(group: dict[str, object]) -> Iterator[Fault]:
    mutants = group["mutants"]
    assert isinstance(mutants, list)
    for scope, before, after in mutants:
        yield Fault(str(group["file"]), scope, before, after)


def strays(root: Path, path: Path = LIST) -> list[Fault]:
    """Return the listed faults whose lines are no longer in their files."""
    lines = {
        file: {line.strip() for line in (root / file).read_text(encoding="utf-8").splitlines()}
        for file in {one.file for one in explained(path)}
    }
    return [one for one in explained(path) if not set(one.before.splitlines()) <= lines[one.file]]
