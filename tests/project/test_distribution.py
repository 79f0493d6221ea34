"""The wheel and the source archive, made and used as a packager and a user do."""

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

PACKAGES = {"dpe_coap", "dpe_device", "dpe_server", "dpe_tools"}

pytestmark = pytest.mark.timeout(180)  # an environment is made and filled


def run(*command: str | Path, cwd: Path, status: int = 0) -> str:
    """Run a command outside the checkout, without what the calling environment adds; return what it prints.

    ``status`` is the exit status that it must have; if that is not 0, what it prints on standard error is returned.
    """
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == status, f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stderr if status else done.stdout


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=root)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


def test_the_wheel_holds_the_four_packages_alone(root: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith((".dist-info", ".data"))} == PACKAGES
    shared = {name.partition("/")[2] for name in names if ".data/" in name}
    shipped = (
        "Containerfile",
        "dpe-kubernetes.yaml",
        "dpe-alerts.yml",
        "dpe-serve-reload.conf",
        "dpe-serve.service",
        "dpe-server.json",
        "dpe.logrotate",
    )
    manual = {f"data/share/man/man1/{page.name}" for page in (root / "tools" / "packaging" / "man").iterdir()}
    assert {"data/share/man/man1/dpe.1", "data/share/man/man1/dpe-serve.1"} <= manual
    shells = {"bash-completion/completions/dpe", "fish/vendor_completions.d/dpe.fish", "zsh/site-functions/_dpe"}
    ours = {f"data/share/dpe-coap/{name}" for name in shipped} | {f"data/share/{name}" for name in shells}
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "docs", "device"],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    listed += ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"]
    assert shared == ours | manual | {f"data/share/doc/dpe-coap/{name}" for name in listed}
    for source, package in (
        (".", "dpe_coap"),
        ("device", "dpe_device"),
        ("server", "dpe_server"),
        ("tools", "dpe_tools"),
    ):
        folder = root / source
        expected = {
            str(file.relative_to(folder))
            for file in (folder / package).rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }
        assert {name for name in names if name.split("/")[0] == package} == expected
    assert {"dpe_coap/dpe1.cddl", "dpe_coap/py.typed", "dpe_server/py.typed", "dpe_tools/py.typed"} <= names


def test_the_wheel_promises_nothing_for_what_only_a_checkout_has(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    assert "Requires-Dist: aiocoap" in metadata
    assert re.findall("Provides-Extra: (.*)", metadata) == ["metrics", "postgresql", "web"]
    assert "matplotlib" not in metadata.partition("\n\n")[0]


def test_the_source_archive_is_the_repository(root: Path, built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers()}
    assert {"pyproject.toml", "README.md", "LICENSE", "dpe_coap/dpe1.cddl", "tests/conftest.py", "tools/test"} <= names
    assert {"tools/dpe_bench/native/load.c", "tools/dpe_bench/node/package-lock.json"} <= names
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    vendor = "server/dpe_server/web/static/vendor/"
    assert {f"{vendor}uPlot.iife.min.js", f"{vendor}uPlot.min.css", f"{vendor}uPlot.LICENSE"} <= names
    assert {name for name in names if not name.startswith(vendor)} - {"PKG-INFO"} <= set(listed.splitlines())


@pytest.fixture(scope="module")
def installed(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an empty virtual environment into which the wheel was installed with its pinned dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "install", "--require-hashes", "-r", root / "requirements" / "run.txt", cwd=folder)
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    run(*pip, "check", cwd=folder)
    return folder / "bin"


def test_the_installed_command_tells_its_version(installed: Path, wheel: Path, tmp_path: Path) -> None:
    assert wheel.name.split("-")[1] in run(installed / "dpe", "--version", cwd=tmp_path)


CHECKOUT = ("tools/", "tests/", "server/", "dpe_coap/", "requirements/", ".ci/", "pyproject.toml")
"""What only a checkout and the source archive have."""


def test_the_installed_documentation_leads_somewhere(installed: Path) -> None:
    folder = installed.parent / "share" / "doc" / "dpe-coap"
    pages = [*folder.glob("*.md"), *folder.glob("docs/**/*.md")]
    assert len(pages) > 40
    followed = 0
    for page in pages:
        for path in re.findall(r"\]\((?!https?:|#)([^)\s#]+)", page.read_text(encoding="utf-8")):
            end = Path(os.path.normpath(page.parent / path))
            if not str(end.relative_to(folder)).startswith(CHECKOUT):
                assert end.exists(), f"{page.relative_to(folder)}: {path}"
                followed += 1
    assert followed > 200


def test_the_installed_device_package_has_its_files(installed: Path) -> None:
    folder = installed.parent / "share" / "doc" / "dpe-coap" / "device"
    assert (folder / "examples" / "main.py").exists()
    for name in ("package.json", "aio.json", "session.json", "x25519.json", "aes.json"):
        urls = json.loads((folder / name).read_text())["urls"]
        assert urls
        assert all((folder / source).is_file() for _, source in urls)


def test_an_error_names_the_page_that_is_installed(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("rule = 1\n")
    told = run(installed / "dpe", "policy", "check", tmp_path / "policy.toml", cwd=tmp_path, status=1)
    page = told.split("hint: ")[1].split(" ")[0]
    assert Path(page) == (installed.parent / "share/doc/dpe-coap/docs/how-to/policy.md").resolve()
    assert Path(page).is_file()


def test_an_index_shows_a_page_without_links_that_lead_nowhere(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        fields, _, shown = archive.read(name).decode().partition("\n\n")
    assert "Description-Content-Type: text/markdown" in fields
    assert "Registration of OMA Device Profile Evolution" in fields
    prose = re.sub(r"(?s)```.*?```", "", shown)
    assert re.findall(r"\]\((?!https://)[^)]*\)", prose) == []
    assert "Tutorial (`docs/tutorial.md`)" in prose


def test_the_installed_demo_registers_a_device(installed: Path, tmp_path: Path) -> None:
    shown = run(installed / "dpe", "demo", cwd=tmp_path)
    for message in ("REQUEST", "RESPONSE", "SUCCESS", "CONFIRM"):
        assert message in shown
    assert list(tmp_path.iterdir()) == []  # what it makes is thrown away, and is not made here


def test_the_installed_command_sends_a_benchmark_to_a_checkout(installed: Path, tmp_path: Path) -> None:
    assert "(needs a checkout)" in " ".join(run(installed / "dpe", "--help", cwd=tmp_path).split())
    said = run(installed / "dpe", "bench", "server", "--quick", cwd=tmp_path, status=1)
    assert said.startswith("dpe: error: the benchmarks are not installed")
    assert len(said.splitlines()) == 2, "an error and a hint, no traceback"
