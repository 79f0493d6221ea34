"""Becomes a program as a container's runtime would start it, without one: ``python enter.py PLAN``.

PLAN is a ``Plan`` in JSON. To be started as root by ``unshare UNSHARE``, so the program is process 1. It sees a file
system that it can only read, but for a /tmp of its own and the folders that are bound writable; it has one user, one
group, the other groups that it is given, no capability and no way to get one. The network is the machine's.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from tests.assurance.privileges.confine import drop_privileges

UNSHARE = ("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")


class Plan(TypedDict):
    """What the program gets."""

    root: str
    """Its file system: the folder of an image, or / for the machine's own."""
    at: str
    """An empty folder, where that is put together."""
    read: dict[str, str]
    """Folders to bind, by where it sees them."""
    write: dict[str, str]
    user: int
    group: int
    groups: list[int]
    environment: dict[str, str]
    command: list[str]


def mount(*arguments: str) -> None:
    """Mount something."""
    subprocess.run(["mount", *arguments], check=True)


def make_read_only(at: str) -> None:
    """Mount everything below a folder again, read-only."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    for _, _, _, _, point, options, *_ in map(str.split, mounts):
        if point == at or point.startswith(f"{at}/"):
            subprocess.run(["mount", "-o", f"remount,bind,ro,{options.removeprefix('rw,')}", point], check=False)


def main() -> None:
    """Become the program."""
    plan: Plan = json.loads(sys.argv[1])
    at = plan["at"]
    mount("--rbind", plan["root"], at)
    make_read_only(at)
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", f"{at}/tmp")
    for options, folders in (("bind,ro", plan["read"]), ("bind", plan["write"])):
        for target, source in folders.items():
            mount("--bind", source, at + target)
            mount("-o", f"remount,{options}", at + target)
    mount("-t", "proc", "proc", f"{at}/proc")
    if plan["root"] != "/":
        mount("--bind", "/dev", f"{at}/dev")
    os.chroot(at)
    os.chdir("/")
    drop_privileges()
    os.setgroups(plan["groups"])
    os.setresgid(*[plan["group"]] * 3)
    os.setresuid(*[plan["user"]] * 3)
    os.execvpe(plan["command"][0], plan["command"], plan["environment"])


if __name__ == "__main__":
    main()
