"""The lock files are whole, what they pin may be used and was not withdrawn; and each check finds what it looks for."""

import hashlib
import json
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.assurance import dependencies
from tests.assurance.dependencies import (
    ROOT,
    Pin,
    is_allowed,
    licence,
    pins,
    read_locks,
    unhashed,
    unlicensed,
    vulnerable,
    withdrawn,
)

HASH = "--hash=sha256:" + "0" * 64


def test_every_pin_has_its_hashes() -> None:
    locks = read_locks()
    assert {"run", "lowest", "build", "test", "audit"} <= locks.keys()
    assert list(unhashed(locks)) == []
    assert {"aiocoap", "cryptography"} <= {pin.name for pin in locks["run"]}


def test_a_pin_without_a_hash_is_found() -> None:
    found = pins(f"# made\na==1 \\\n    {HASH} \\\n    {HASH}\n    # via x\nb-c==2.0 ; x != 'y' \\\n    {HASH}\nd==3\n")
    assert found == [Pin("a", "1", 2), Pin("b-c", "2.0", 1), Pin("d", "3", 0)]
    assert list(unhashed({"run": found, "no": []})) == [
        "requirements/run.txt: d has no hash",
        "requirements/no.txt pins nothing",
    ]


@pytest.mark.parametrize("line", ["a>=1", "--index-url x", "./folder", "a @ file:///x"])
def test_what_is_no_pin_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a pin"):
        pins(f"b==1 {HASH}\n{line}\n")


def test_what_is_installed_with_the_product_may_be() -> None:
    run = read_locks()["run"]
    assert list(unlicensed(run)) == []
    assert {pin.name: licence(distribution(pin.name)) for pin in run}["cryptography"] == "Apache-2.0 OR BSD-3-Clause"


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND BSD-3-Clause", True),
        ("(MIT)", True),
        ("MIT AND GPL-2.0-only", False),
        ("LGPL-2.1-only", False),
        ("License :: Other/Proprietary License", False),
        ("none declared", False),
    ],
)
def test_licences(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) == allowed


def test_a_licence_that_is_not_allowed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "LICENCES", {"BSD-3-Clause"})
    assert list(unlicensed([Pin("structlog", "1", 1), Pin("click", "1", 1), Pin("no-such-package", "1", 1)])) == [
        f"structlog: licence {licence(distribution('structlog'))}",
        "no-such-package is not installed: its licence is not known",
    ]


def test_nothing_that_is_installed_with_the_product_was_withdrawn() -> None:
    assert list(withdrawn(ROOT / "requirements" / "run.txt")) == []


@pytest.mark.parametrize("yanked", [False, True])
def test_a_withdrawn_version_is_found(tmp_path: Path, yanked: bool) -> None:
    wheel = tmp_path / "example_dpe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "example_dpe-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: example-dpe\nVersion: 1.0\n"
        )
        archive.writestr(
            "example_dpe-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("example_dpe-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    page = tmp_path / "simple" / "example-dpe" / "index.html"
    page.parent.mkdir(parents=True)
    mark = ' data-yanked="it was broken"' if yanked else ""
    page.write_text(f'<!DOCTYPE html><a href="{wheel.as_uri()}#sha256={digest}"{mark}>{wheel.name}</a>')
    lock = tmp_path / "lock.txt"
    lock.write_text(f"example-dpe==1.0 --hash=sha256:{digest}\n")
    found = list(withdrawn(lock, "--index-url", (tmp_path / "simple").as_uri()))
    assert found == (["example-dpe 1.0 was withdrawn"] if yanked else [])


def test_an_index_that_does_not_answer_is_said(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(f"no-such-package-of-dpe==1.0 {HASH}\n")
    (line,) = withdrawn(lock, "--index-url", tmp_path.as_uri())
    assert "could not be asked for lock.txt" in line


def test_what_pip_audit_says_is_read() -> None:
    report = {
        "dependencies": [
            {"name": "fine", "version": "1", "vulns": []},
            {"name": "bad", "version": "2", "vulns": [{"id": "X-1", "fix_versions": ["3"], "aliases": []}]},
            {"name": "worse", "version": "2", "vulns": [{"id": "X-2", "fix_versions": [], "aliases": []}]},
            {"name": "unknown", "skip_reason": "not found"},
            {"name": "another", "skip_reason": "not found"},
        ]
    }
    assert list(vulnerable(json.dumps(report))) == [
        "bad 2: X-1, mended by 3",
        "worse 2: X-2, mended by nothing yet",
        "could not be asked for 2: unknown, another",
    ]
