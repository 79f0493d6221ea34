"""What a running server has loaded: each of its processes writes it to ``loaded-N.json`` in the state directory.

Beside it, ``metrics.json`` says where the server's metrics are.

So others can see what it does not have yet. The files hold fingerprints and no key.
"""

import json
import os
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_server.keys.ring import fingerprint
from dpe_server.operation import locking
from dpe_server.operation.state_dir import StateDir

PATTERN = "loaded-*.json"
METRICS = "metrics.json"
"""Where a running server's metrics are. In a container, that is an address of the container's own."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one process of a server has loaded, or what it would load now."""

    keys: dict[str, str]
    """Fingerprints by name, such as ``master key 2``."""
    files: dict[str, str]
    """Fingerprints of config.toml, which is read at the start only, and of policy.toml."""
    uris: list[str]
    """Where it listens."""

    @classmethod
    def of(cls, opened: StateDir, uris: list[str]) -> "Loaded":
        """Return what the state directory holds now. To be called before the policy is read, rather than after it."""
        return cls(opened.keys.fingerprints, {name: _of_file(opened.path / name) for name in FILES}, uris)


FILES = ("config.toml", "policy.toml")


def write(directory: Path, number: int, loaded: Loaded) -> None:
    """Say what the server's process ``number`` has loaded; OSError."""
    told = {"keys": loaded.keys, "files": loaded.files, "uris": loaded.uris}
    _write(directory / f"loaded-{number}.json", told)


def write_metrics(directory: Path, url: str) -> None:
    """Say where the server's metrics are; OSError."""
    _write(directory / METRICS, {"url": url})


def metrics(opened: StateDir) -> str | None:
    """Return the URL of a running server's metrics; None when none runs, or it serves none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        if is_running(opened):
            return str(json.loads((opened.path / METRICS).read_text(encoding="utf-8"))["url"])
    return None


def _write(path: Path, told: Mapping[str, Any]) -> None:
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  # a descriptor
        json.dump(told, file)
    new.replace(path)


def forget(directory: Path) -> None:
    """Delete what a server has said, as it does when it starts and when it has ended."""
    for path in (*directory.glob(PATTERN), directory / METRICS):
        with suppress(OSError):
            path.unlink()


def is_running(opened: StateDir) -> bool:
    """Say whether a server runs on the state directory, be it in another container."""
    return locking.is_held(opened.path / "serve.lock")


def read(opened: StateDir) -> list[Loaded]:
    """Return what each process of a running server has loaded; nothing when none runs."""
    return processes(opened.path) if is_running(opened) else []


def common(directory: Path) -> Loaded:
    """Return what all processes of the server that runs have loaded; nothing is said of a file of which some differ."""
    processes = [(process.keys.items(), process.files.items(), process.uris) for process in _read(directory)]
    keys, files, uris = zip(*processes, strict=True) if processes else ((), (), ())
    return Loaded(_common(keys), _common(files), [uri for some in uris for uri in some])


def _common(given: Sequence[ItemsView[str, str]]) -> dict[str, str]:
    return dict(set(given[0]).intersection(*given)) if given else {}


def lacking(opened: StateDir) -> list[str]:
    """Return the names of the keys in keys.json that a running server has not loaded, such as ``master key 2``."""
    now = opened.keys.fingerprints
    return sorted({name for process in read(opened) for name in now if process.keys.get(name) != now[name]})


def reload_hint(opened: StateDir) -> str:
    """Return the command that makes a running server load its keys and its policy again."""
    pid = locking.holder(opened.path / "serve.lock")
    return f"kill -HUP {pid}" if pid else "send SIGHUP to the server, in its container or on its machine"


def processes(directory: Path) -> list[Loaded]:
    """Return what processes have said that they have loaded, whether they run or not."""
    return list(_read(directory))


def _read(directory: Path) -> Iterator[Loaded]:
    for path in sorted(directory.glob(PATTERN)):
        with suppress(OSError, ValueError, KeyError, TypeError):  # just replaced, or of another version
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            yield Loaded(dict(values["keys"]), dict(values["files"]), list(values["uris"]))


def _of_file(path: Path) -> str:
    try:
        return fingerprint(path.read_bytes())
    except OSError:
        return ""
