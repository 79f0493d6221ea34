"""The server as a container runs it: a read-only file system, a numeric user, and volumes as others make them.

The file system is this machine's; ``./tools/assure container`` does the same with the image.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.assurance.container import course, enter
from tests.assurance.container.box import Box, give_to_group
from tests.conftest import missing

needs_root = pytest.mark.usefixtures("_as_root")

STRANGER = 1_000_650_000
"""A user of a range that OpenShift gives to a project: it has no name, and the group 0."""


# -- the image --


def instructions(root: Path) -> list[tuple[str, str]]:
    """The Containerfile's instructions, each as a name and the rest."""
    text = (root / "server/packaging/container/Containerfile").read_text(encoding="utf-8")
    joined = re.sub(r"\\\n\s*", "", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def test_the_image_is_that_of_a_program_with_no_rights(root: Path) -> None:
    found = instructions(root)
    starts = [place for place, (name, _) in enumerate(found) if name == "FROM"]
    assert len(starts) == 2, "what builds it is not in it"
    last = dict(found[starts[1] :])
    assert re.fullmatch("[1-9][0-9]*:[1-9][0-9]*", last["USER"])
    assert json.loads(last["HEALTHCHECK"].partition("CMD ")[2]) == ["dpe", "doctor", "--probe", "127.0.0.1:5683"]
    assert json.loads(last["ENTRYPOINT"]) == ["dpe"]
    assert json.loads(last["CMD"]) == ["serve", "/data/dpe", "--listen", "0.0.0.0:5683", "--json-log"]
    assert last["VOLUME"] == "/data"
    assert not [rest for name, rest in found if name in ("ADD", "ARG") and re.search("http|pass|token|secret", rest)]


def test_nothing_of_a_checkout_gets_into_an_image_but_locked_packages_and_the_wheel(root: Path) -> None:
    found = instructions(root)
    copied = [rest.split()[0] for name, rest in found if name == "COPY" and not rest.startswith("--from=")]
    allowed = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()[1:]
    assert allowed == ["*", *(f"!{one}" for one in sorted(copied))]
    (locks,) = [rest for name, rest in found if name == "ARG" and rest.startswith("LOCKS=")]
    for lock in locks.partition("=")[2].strip('"').split():
        assert "--hash=sha256:" in (root / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    (installing,) = [rest for name, rest in found if name == "RUN" and "$LOCKS" in rest]
    assert "--require-hashes" in installing


# -- its users and volumes --


@pytest.fixture
def _as_root(require_tool: Callable[[str], str]) -> None:
    unshare = require_tool("unshare")
    if os.geteuid() != 0 or subprocess.run([unshare, *enter.UNSHARE, "true"], capture_output=True).returncode != 0:
        missing("only root can make namespaces with other users, as containers have")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A new volume: its root is root's."""
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o755)
    return volume


@needs_root
def test_the_box_is_what_it_says(volume: Path) -> None:
    box = Box(volume, user=STRANGER, group=0, groups=[STRANGER])
    volume.chmod(0o777)
    status, shown, errors = box.run(
        "sh",
        "-c",
        """
        id -u; id -g; id -G; cat /proc/1/comm; ls /tmp | wc -l
        grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status | tr -d '\\t'
        for place in / /etc /usr/bin /srv /var/tmp; do touch $place/dpe-written 2>/dev/null && echo "wrote $place"; done
        touch /tmp/x /mnt/x && echo wrote
    """,
    )
    lines = shown.splitlines()
    assert (status, errors) == (0, "")
    assert lines[:3] == [str(STRANGER), "0", f"0 {STRANGER}"]
    assert lines[3:] == ["sh", "0", "CapEff:0000000000000000", "CapBnd:0000000000000000", "NoNewPrivs:1", "wrote"]
    assert (volume / "x").stat().st_uid == STRANGER
    assert not Path("/tmp/x").exists()


@needs_root
def test_a_volume_of_docker(volume: Path) -> None:
    """Docker gives a new volume the owner and the mode of the folder in the image."""
    os.chown(volume, 10001, 10001)
    volume.chmod(0o700)
    box = Box(volume)
    course.found(box)
    course.serve(box, "--workers", "2", "--metrics", "0")
    modes = course.modes(volume / "dpe")
    assert set(modes.values()) == {0o600}, modes
    assert (volume / "dpe").stat().st_mode & 0o7777 == 0o700


@needs_root
@pytest.mark.parametrize(("user", "group", "mounts"), [(10001, 10001, 2), (STRANGER, 0, 1)])
def test_a_volume_that_kubernetes_gives_to_a_group(volume: Path, user: int, group: int, mounts: int) -> None:
    """With each mount, the group gets all files again."""
    trusting = {"DPE_TRUSTED_GROUPS": str(user)}
    box = Box(volume, user=user, group=group, groups=[user], environment=trusting)
    give_to_group(volume, user)
    assert (volume.stat().st_uid, volume.stat().st_mode & 0o7777) == (0, 0o2775)
    course.found(box)
    for _ in range(mounts):
        course.serve(box)
        give_to_group(volume, user)
        modes = course.modes(volume / "dpe")
        assert {mode & 0o007 for mode in modes.values()} == {0}, "others may do nothing"
        assert modes["keys.json"] == 0o660
    status, _, errors = Box(volume, user=user, group=group, groups=[user]).run("dpe", "serve", f"{box.data}/dpe")
    assert status == 1
    assert "can be changed by a group of users" in errors
    assert f"DPE_TRUSTED_GROUPS={user}" in errors
    other = Box(volume, user=user + 1, group=group, groups=[user], environment=trusting)
    status, _, errors = other.run("dpe", "sessions", f"{box.data}/dpe")
    assert status == 1, "a group that is trusted makes nobody the owner"
    assert f"runAsUser: {user}" in errors


@needs_root
def test_a_volume_that_belongs_to_root(volume: Path) -> None:
    status, _, errors = course.init(Box(volume))
    assert status == 1
    assert errors.startswith("dpe: error: /mnt/dpe: Permission denied\nhint: ")
