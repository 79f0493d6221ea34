"""Builds the container's image, and runs a server in it as a container would, with several users and volumes.

The image is built by buildah from the Containerfile, as it is in the repository; its base image is made by mmdebstrap,
as no registry of images need be reached. It is then run without a container's runtime: in namespaces of its own, with a
file system that it can only read, a numeric user and no capability.

Needs root, Debian's packages buildah and mmdebstrap, and the package registries of Debian and PyPI.
"""

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from dpe_coap.errors import LocalError
from dpe_tools.server_process import free_port
from tests.assurance import trials
from tests.assurance.container import course
from tests.assurance.container.box import ROOT, Box, give_to_group

CONTAINERFILE = ROOT / "server" / "packaging" / "container" / "Containerfile"
MANIFEST = ROOT / "server" / "packaging" / "kubernetes" / "dpe.yaml"
BASE = "localhost/base"
AUTHORITIES = "/run/authorities.crt"
"""Where the build finds whom this machine trusts."""
USER = 10001
STRANGER = 1_000_650_000


@dataclass
class Report:
    """What was found."""

    size: int
    """Bytes of the image's files."""
    tried: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Some lines."""
        return "\n".join([f"the image has {self.size / 1e6:,.0f} MB", *(f"checked: {one}" for one in self.tried)])


class Buildah:
    """Debian's buildah with a store of its own. It needs no daemon and no container's runtime."""

    def __init__(self, folder: Path) -> None:
        self._store = ["--root", str(folder / "images"), "--runroot", str(folder / "run")]

    def __call__(self, *arguments: str) -> str:
        """Run it; return what it prints."""
        return call("buildah", *self._store, *arguments, environment={"BUILDAH_ISOLATION": "chroot"})


def call(*command: str, environment: Mapping[str, str] = {}) -> str:  # it is not changed
    """Run a program; LocalError with what it said last."""
    if shutil.which(command[0]) is None:
        raise LocalError(f"{command[0]} is not installed: sudo apt-get install {command[0]}")
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise LocalError(f"{command[0]} has failed:\n{last}")
    return done.stdout


@contextmanager
def built(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Build the image; yield the folder of its files, and its configuration."""
    buildah = Buildah(folder)
    call("mmdebstrap", "--variant=minbase", "bookworm", str(folder / "base.tar"))
    base = buildah("from", "scratch").strip()
    buildah("add", "--quiet", base, str(folder / "base.tar"), "/")
    buildah("commit", "--quiet", "--rm", base, BASE)
    context = folder / "context"
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(context / "dist"))
    shutil.copytree(ROOT / "requirements", context / "requirements")
    volumes = [f"--volume={source}:{target}:ro" for source, target in _for_pip(folder)]
    buildah(
        "build", "--pull-never", "--format=docker", f"--build-arg=BASE={BASE}", *volumes, f"--file={CONTAINERFILE}",
        "--tag=dpe-coap", str(context),
    )  # fmt: skip
    told = json.loads(buildah("inspect", "--type=image", "localhost/dpe-coap"))
    made = buildah("from", "--pull-never", "localhost/dpe-coap").strip()
    try:
        yield Path(buildah("mount", made).strip()), told["Docker"]["config"]
    finally:
        buildah("umount", made)


def _for_pip(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files, and where to bind them for the build alone, by which pip reaches the index that it does here."""
    told = call(sys.executable, "-m", "pip", "config", "list")
    found = dict(re.findall(r"^\S+\.([a-z-]+)='(.*)'$", told, re.MULTILINE))
    lines = ["[global]", *(f"{name} = {found[name]}" for name in ("index-url", "trusted-host") if name in found)]
    authorities = found.get("cert") or ssl.get_default_verify_paths().cafile
    if authorities:
        lines.append(f"cert = {AUTHORITIES}")
        yield Path(authorities).resolve(), AUTHORITIES
    (folder / "pip.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    yield folder / "pip.conf", "/etc/pip.conf"


def trial(folder: Path) -> Report:
    """Build the image, look into it, and run it."""
    with built(folder) as (image, config):
        files = [path for path in image.rglob("*") if path.is_file() and not path.is_symlink()]
        report = Report(sum(path.stat().st_size for path in files))
        environment = dict(one.split("=", 1) for one in config["Env"])

        def check(what: str, act: Callable[[], object]) -> None:
            try:
                act()
                report.tried.append(what)
            except LocalError as error:
                report.faults.append(f"{what}: {error}")

        def volume(owner: int, mode: int) -> Path:
            made = Path(tempfile.mkdtemp(dir=folder, prefix="volume-"))
            os.chown(made, owner, owner)
            made.chmod(mode)
            return made

        def run(box: Box, mounts: int) -> None:
            if box.groups:
                _init_container(box)
            else:
                course.found(box)
            for _ in range(mounts):
                course.serve(box, "--metrics", "0")
                if box.groups:
                    give_to_group(box.volume, box.groups[0])

        def given(user: int, group: int) -> Box:
            box = Box(volume(0, 0o755), image, user, group, [user], {**environment, "DPE_TRUSTED_GROUPS": str(user)})
            give_to_group(box.volume, user)
            return box

        check("it is a program of a numeric user, with nothing in its environment", lambda: _config(config))
        check("it has no program that gives privileges, and no key", lambda: _files(image, files))
        check("it has what the extras need", lambda: _extras(volume(0, 0o755), image, environment))
        check("a volume of Docker", lambda: run(Box(volume(USER, 0o700), image, environment=environment), 2))
        check("a volume of Kubernetes, for a group", lambda: run(given(USER, USER), 2))
        check("a volume of OpenShift, for a user without a name", lambda: run(given(STRANGER, 0), 2))
        return report


def _init_container(box: Box) -> None:
    """Do what the manifest has done before the server: twice, as with each start of the pod."""
    manifest = next(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))
    (container,) = manifest["spec"]["template"]["spec"]["initContainers"]
    told = {"REALM": "test", "URI": f"coap://127.0.0.1:{free_port()}"}
    pod = replace(box, environment={**box.environment, **told})
    for _ in range(2):
        status, shown, errors = pod.run(*container["command"])
        if status:
            raise LocalError(f"the pod's init container ends with {status}:\n{shown}{errors}")


def _config(config: Mapping[str, Any]) -> None:
    expected = {
        "User": f"{USER}:{USER}", "Entrypoint": ["dpe"], "StopSignal": "SIGTERM", "Volumes": {"/data": {}},
        "Cmd": ["serve", "/data/dpe", "--listen", "0.0.0.0:5683", "--json-log"],
    }  # fmt: skip
    for name, value in expected.items():
        if config.get(name) != value:
            raise LocalError(f"{name} is {config.get(name)}")
    names = {one.partition("=")[0] for one in config["Env"]}
    if names != {"PATH", "PYTHONDONTWRITEBYTECODE"}:
        raise LocalError(f"it has the environment {names}")


def _files(image: Path, files: Sequence[Path]) -> None:
    for path in files:
        name, found = path.relative_to(image), path.stat()
        if found.st_mode & 0o6000:
            raise LocalError(f"{name} gives privileges")
        if found.st_uid == USER or found.st_mode & 0o002:
            raise LocalError(f"the server could change {name}")
        if path.name in ("keys.json", "config.toml", "pgpass") or path.suffix == ".sqlite":
            raise LocalError(f"{name} may be a secret")
    if (image / "opt" / "dpe-coap" / "bin" / "pip").exists():
        raise LocalError("it has pip")


def _extras(volume: Path, image: Path, environment: Mapping[str, str]) -> None:
    script = "import prometheus_client, psycopg, starlette; import dpe_server.web.app"
    status, _, errors = Box(volume, image, environment=environment).run("python", "-c", script)
    if status:
        raise LocalError(errors)


def main(arguments: Sequence[str]) -> int:
    """Run the instrument."""
    trials.parser("container", __doc__).parse_args(arguments)
    return trials.run_each([trial])
