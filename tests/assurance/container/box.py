"""Runs programs as a container would, and makes volumes as Docker and Kubernetes make them."""

import json
import os
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.assurance.container import enter
from tests.end_to_end.processes import children

DATA = "/mnt"
"""Where the machine's own file system has room for a volume."""
CODE, PYTHON, PACKAGES = "/srv", "/media", "/opt"
"""Where it has room for the checkout, the interpreter and the packages that are installed."""
ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Box:
    """What a container is made of.

    Without ``image``, its file system is the machine's, and its programs are those of the checkout.
    """

    volume: Path
    image: Path | None = None
    user: int = 10001
    group: int = 10001
    groups: Sequence[int] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> str:
        """Where the volume is."""
        return "/data" if self.image else DATA

    def _plan(self, at: Path, command: Sequence[str]) -> enter.Plan:
        read: dict[str, str] = {}
        own: dict[str, str] = {}
        if self.image is None:
            # The interpreter may be in a folder that is root's alone.
            read = {CODE: str(ROOT), PYTHON: sys.base_prefix, PACKAGES: sysconfig.get_path("purelib")}
            paths = [CODE, *(f"{CODE}/{name}" for name in ("device", "server", "tools")), PACKAGES]
            own = {"PYTHONPATH": ":".join(paths), "PYTHONDONTWRITEBYTECODE": "1", "LD_LIBRARY_PATH": f"{PYTHON}/lib"}
            if command[0] == "dpe":
                version = f"python{sys.version_info.major}.{sys.version_info.minor}"
                command = [f"{PYTHON}/bin/{version}", "-m", "dpe_tools", *command[1:]]
        return {
            "root": str(self.image or "/"),
            "at": str(at),
            "read": read,
            "write": {self.data: str(self.volume)},
            "user": self.user,
            "group": self.group,
            "groups": list(self.groups),
            "environment": {"PATH": os.defpath, **own, **self.environment},
            "command": list(command),
        }

    @contextmanager
    def started(self, *command: str) -> Iterator["subprocess.Popen[str]"]:
        """Start a program; kill it in the end, if it still runs."""
        with tempfile.TemporaryDirectory(prefix="dpe-box-") as at:
            plan = json.dumps(self._plan(Path(at), command))
            with subprocess.Popen(
                ["unshare", *enter.UNSHARE, sys.executable, enter.__file__, plan],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            ) as process:  # fmt: skip
                try:
                    yield process
                finally:
                    process.kill()

    def run(self, *command: str, stdin: str = "") -> tuple[int, str, str]:
        """Run a program; return its exit status, and what it prints on both streams."""
        with self.started(*command) as process:
            shown, errors = process.communicate(timeout=50)
            return process.returncode, shown, errors


def first_process(process: "subprocess.Popen[str]") -> int:
    """Return the process ID of the program itself, which is 1 inside."""
    (found,) = children(process.pid)
    return found


def give_to_group(volume: Path, group: int) -> None:
    """Do with a volume what the kubelet does for fsGroup with each mount: the group may do what the owner may."""
    for path in (volume, *volume.rglob("*")):
        os.chown(path, -1, group)
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | (0o2770 if path.is_dir() else 0o660))
