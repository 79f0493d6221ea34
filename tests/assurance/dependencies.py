"""The packages that this project depends on: pinned by hash, licensed, not withdrawn, without known vulnerabilities?"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LOCKS = tuple(sorted(path.stem for path in (ROOT / "requirements").glob("*.txt")))
"""The files in requirements/. ``run`` is for users who install the product."""

LICENCES = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"}
"""SPDX names of the licences that packages installed with the product may have."""
_CLASSIFIERS = {
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
}

_PIN = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)(?:[\s\\]|;[^\\]*)*((?:--hash=sha256:[0-9a-f]{64}[\s\\]*)*)"
)
_WITHDRAWN = re.compile(r"yanked version: '([^']+)' candidate \(version ([^ )]+)")
_MINUTES = 10 * 60


@dataclass(frozen=True, slots=True)
class Pin:
    """A package in a lock file."""

    name: str
    version: str
    hashes: int
    """How many of its files may be installed."""


def pins(lock: str) -> list[Pin]:
    """Read the text of a lock file. Raises ValueError if it contains anything but pins."""
    text = "\n".join(line for line in lock.splitlines() if not line.lstrip().startswith("#"))
    found, end = [], 0
    for match in _PIN.finditer(text):
        if text[end : match.start()].strip():
            break
        found.append(Pin(match[1], match[2], match[3].count("--hash")))
        end = match.end()
    if text[end:].strip():
        raise ValueError(f"not a pin: {text[end:].strip().splitlines()[0][:80]}")
    return found


def read_locks() -> dict[str, list[Pin]]:
    """Return the pins of each lock file."""
    return {name: pins((ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")) for name in LOCKS}


def unhashed(locks: Mapping[str, Sequence[Pin]]) -> Iterator[str]:
    """Yield what is wrong with pins: a file without pins, or a pin that any file would satisfy."""
    for name, found in locks.items():
        if not found:
            yield f"requirements/{name}.txt pins nothing"
        for pin in found:
            if not pin.hashes:
                yield f"requirements/{name}.txt: {pin.name} has no hash"


def licence(of: Distribution) -> str:
    """Return the licence that a package declares, as an SPDX expression or in its own words."""
    declared = of.metadata["License-Expression"]
    if declared:
        return declared
    names = [value for value in of.metadata.get_all("Classifier") or [] if value.startswith("License ::")]
    return " AND ".join(_CLASSIFIERS.get(name, name) for name in names) or of.metadata["License"] or "none declared"


def is_allowed(expression: str) -> bool:
    """Return whether a licence is allowed: all of its parts or, with OR, one of them."""
    ways = expression.replace("(", "").replace(")", "").split(" OR ")
    return any(set(way.split(" AND ")) <= LICENCES for way in ways)


def unlicensed(run: Sequence[Pin]) -> Iterator[str]:
    """Yield the packages whose licence is not allowed, and the packages that are not installed."""
    for pin in run:
        try:
            found = distribution(pin.name)
        except PackageNotFoundError:
            yield f"{pin.name} is not installed: its licence is not known"
        else:
            if not is_allowed(licence(found)):
                yield f"{pin.name}: licence {licence(found)}"


def withdrawn(lock: Path, *options: str) -> Iterator[str]:
    """Yield the packages of a lock file that the index has withdrawn (yanked), or about which it had no answer.

    ``options`` are options of pip.
    """
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    with tempfile.TemporaryDirectory() as nowhere:
        command += ["--require-hashes", "--target", nowhere, *options, "-r", str(lock)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MINUTES, check=False)
    if done.returncode:
        yield f"the index could not be asked for {lock.name}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}"
    for name, version in _WITHDRAWN.findall(done.stderr):
        yield f"{name} {version} was withdrawn"


def vulnerable(report: str) -> Iterator[str]:
    """Yield what pip-audit's report (JSON) says: vulnerabilities, and packages about which it had no answer."""
    skipped = []
    for package in json.loads(report)["dependencies"]:
        if "skip_reason" in package:
            skipped.append(package["name"])
        for one in package.get("vulns", []):
            fixed = ", ".join(one["fix_versions"]) or "nothing yet"
            yield f"{package['name']} {package['version']}: {one['id']}, mended by {fixed}"
    if skipped:
        yield f"could not be asked for {len(skipped)}: {', '.join(skipped)}"


def audit(lock: Path) -> Iterator[str]:
    """Yield what pip-audit finds in a lock file. pip-audit is installed first, from its own lock file."""
    folder = ROOT / ".cache" / "venv-audit"
    if subprocess.run([ROOT / "tools" / "venv", folder, "build", "audit"], check=False).returncode:
        yield f"{lock.name}: could not be asked for: pip-audit could not be installed"
        return
    command = [str(folder / "bin" / "pip-audit"), "--requirement", str(lock), "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_MINUTES, check=False)
    try:
        yield from (f"{lock.name}: {line}" for line in vulnerable(done.stdout))
    except (ValueError, KeyError):
        yield f"{lock.name}: could not be asked for: {(done.stderr.strip().splitlines() or ['no word'])[-1]}"


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 if nothing is found, 1 if something is found or could not be asked."""
    parser = argparse.ArgumentParser(
        prog="./tools/assure dependencies",
        description="Checks the lock files: hashes, licences, versions withdrawn, known vulnerabilities (pip-audit).",
        epilog="The last two ask the package index that pip is configured for, and pip-audit's services.",
    )
    parser.add_argument("--offline", action="store_true", help="hashes and licences only")
    given = parser.parse_args(arguments)
    locks = read_locks()
    print(f"{'lock':10}{'packages':>9}{'files':>7}")
    for name, found in locks.items():
        print(f"{name:10}{len(found):9}{sum(pin.hashes for pin in found):7}")
    print()
    for pin in locks["run"]:
        print(f"{pin.name:18}{pin.version:10}{licence(distribution(pin.name))}")
    checks = [("hashes", unhashed(locks)), ("licences", unlicensed(locks["run"]))]
    if not given.offline:
        paths = [ROOT / "requirements" / f"{name}.txt" for name in LOCKS]
        checks.append(("withdrawn", (line for path in paths for line in withdrawn(path))))
        checks.append(("vulnerabilities", (line for path in paths for line in audit(path))))
    failed = False
    print()
    for name, lines in checks:
        faults = list(lines)
        failed = failed or bool(faults)
        print(f"{name:16} {'ok' if not faults else f'{len(faults)} found or not asked'}", flush=True)
        for line in faults:
            print(f"  {line}")
    return int(failed)
