"""The machine and the versions that a benchmark's figures are from."""

import os
import platform
import sqlite3
import ssl
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path


def describe() -> dict[str, str]:
    """Return what a reader needs to judge the figures, by name."""
    return {
        "CPU": f"{_cpu()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "OpenSSL of Python": ssl.OPENSSL_VERSION.split()[1],
        "SQLite": sqlite3.sqlite_version,
        "cbor2": version("cbor2"),
        "cryptography": version("cryptography"),
    }


def sentence(facts: Mapping[str, str]) -> str:
    """Return the facts as one line of text."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def file_system(path: Path) -> str:
    """Return the type of the file system that ``path`` is on, as in /proc/mounts."""
    path = path.resolve()
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split(" ")
        if path.is_relative_to(place) and len(place) >= len(best[0]):
            best = (place, kind)
    return best[1]


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
