"""Many credentials at once: their files, and what is left when provisioning is killed, interrupted or out of disk."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import cbor2
import pytest

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei, luhn
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import KeyRing, nobodys
from dpe_server.operation.config import Config
from dpe_server.operation.credential import Credential, credential
from dpe_server.operation.provisioning import Layout, Provisioning
from dpe_server.operation.state_dir import StateDir
from tests.assurance.disk import _on_tmpfs
from tests.conftest import missing

KEYS = KeyRing({1: b"1" * 32, 3: b"3" * 32}, {1: b"h" * 32, 9: b"H" * 32}, b"r" * 32)
AT_REST = AtRest(KEYS.at_rest, os.urandom)
CONFIG = Config("my realm", "coap://dpe.example:5683")


def made(imei: Imei) -> Credential:
    return credential(KEYS, CONFIG, imei)


def devices(count: int) -> list[tuple[int, Imei]]:
    return [(number + 3, Imei.parse(f"352099{number:08}")) for number in range(count)]


def provision(out: Path, count: int, layout: Layout = Layout.FILES) -> Provisioning:
    """Write the credentials of so many devices."""
    one = Provisioning(out, devices(count), made, AT_REST.device_id, layout)
    for _ in one.write():
        pass
    return one


def content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def lines(out: Path) -> list[str]:
    return (out / "index.csv").read_text().splitlines()[1:]


def whole(out: Path) -> dict[int, Credential]:
    """The credentials that are whole, by row. Nothing else may be there but what the index names."""
    files = content(out) if out.exists() else {}
    index = files.pop("index.csv", b"").decode()
    named = [line.split(",") for line in index[: index.rfind("\n") + 1].splitlines()[1:]]
    found: dict[int, Credential] = {}
    if named and len(named[0]) == 3:
        (name,) = {name for _, name, _ in named}
        assert set(files) <= {name}
        for line, item in zip(named, items(name, files.get(name, b"")), strict=False):
            assert item["row"] == int(line[0])
            found[item["row"]] = Credential.read(
                cbor2.dumps(item) if name.endswith("seq") else json.dumps(item).encode()
            )
        return found
    assert set(files) <= {name for _, cbor in named for name in (cbor, cbor.removesuffix("cbor") + "json")}
    for row, name in named:
        both = files.get(name, b""), files.get(name.removesuffix("cbor") + "json", b"")
        try:
            one, other = map(Credential.read, both)
        except LocalError:
            continue
        assert one == other
        found[int(row)] = one
    return found


def items(name: str, data: bytes) -> Iterator[dict[str, Any]]:
    if name.endswith("jsonl"):
        yield from (json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines())
        return
    stream = BytesIO(data)
    while stream.tell() < len(data):
        try:
            yield cbor2.CBORDecoder(stream, read_size=1).decode()
        except cbor2.CBORDecodeEOF:
            return


def check_all(out: Path, count: int, before: dict[int, Credential]) -> None:
    """All are there, once, and those that were there before are the same as before."""
    found = whole(out)
    assert sorted(found) == [row for row, _ in devices(count)]
    assert len(lines(out)) == count
    assert before.items() <= found.items()
    for row, imei in devices(count):
        assert KEYS.claim(found[row].handle, nobodys(os.urandom)) == (3, imei, ANY, found[row].device_key, True)


# -- what is written --


def test_files_are_whole_and_for_their_owner_only(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    before = os.umask(0)
    try:
        done = provision(out, 30)
    finally:
        os.umask(before)
    assert (done.before, done.written) == (0, 30)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in out.iterdir()} == {0o600}
    names = [f"device-{AT_REST.device_id(imei).hex()[:16]}" for _, imei in devices(30)]
    assert lines(out) == [f"{row},{name}.cbor" for (row, _), name in zip(devices(30), names, strict=True)]
    assert content(out).keys() == {"index.csv", *(f"{name}.{kind}" for name in names for kind in ("cbor", "json"))}
    check_all(out, 30, {})
    for (row, imei), one in zip(devices(30), whole(out).values(), strict=True):
        assert replace(one, handle=b"") == replace(made(imei), handle=b""), row


@pytest.mark.parametrize("layout", Layout)
def test_no_file_has_an_imei(tmp_path: Path, layout: Layout) -> None:
    provision(tmp_path / "out", 30, layout)
    everything = b"".join(name.encode() + data for name, data in content(tmp_path / "out").items())
    assert not any(form in everything for _, imei in devices(30) for form in (imei.digits.encode(), imei.packed))
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (tmp_path / "out").rglob("*")} == {0}


@pytest.mark.parametrize("layout", Layout)
def test_again_nothing_is_written(tmp_path: Path, layout: Layout) -> None:
    provision(tmp_path, 5, layout)
    before = content(tmp_path)
    again = provision(tmp_path, 5, layout)
    assert (again.before, again.written) == (5, 0)
    assert content(tmp_path) == before
    check_all(tmp_path, 5, {})
    more = provision(tmp_path, 7, layout)
    assert (more.before, more.written) == (5, 2)
    check_all(tmp_path, 7, {})


# -- what is there already, and is something else --


def refused(out: Path, *arguments: Any, match: str, **options: Any) -> None:
    before = content(out)
    with pytest.raises(LocalError, match=match) as caught:
        list(Provisioning(out, *arguments, **options).write())
    assert caught.value.hint
    assert content(out) == before


@pytest.mark.parametrize("layout", Layout)
def test_another_list_server_or_layout_is_refused(tmp_path: Path, layout: Layout) -> None:
    provision(tmp_path, 3, layout)
    usual = made, AT_REST.device_id
    other = [(row, Imei.parse(f"358000{row:08}")) for row, _ in devices(3)]
    changed = lambda imei: replace(made(imei), server="coap://elsewhere.example")  # noqa: E731
    refused(tmp_path, other, *usual, layout, match="another list|another credential|as it was written")
    refused(tmp_path, devices(2), *usual, layout, match="another list")
    refused(tmp_path, devices(3), changed, AT_REST.device_id, layout, match="another credential|as it was written")
    at_rest = AtRest(b"x" * 32, os.urandom)
    if layout in (Layout.FILES, Layout.FOLDERS):
        refused(tmp_path, devices(3), made, at_rest.device_id, layout, match="another server")
    for another in set(Layout) - {layout}:
        refused(tmp_path, devices(3), *usual, another, match="another list|of another kind")


def test_what_is_damaged_in_the_middle_of_one_file_is_not_cut_off(tmp_path: Path) -> None:
    for layout, name in ((Layout.JSON_LINES, "credentials.jsonl"), (Layout.CBOR_SEQUENCE, "credentials.cborseq")):
        out = tmp_path / name
        provision(out, 5, layout)
        data = (out / name).read_bytes()
        (out / name).write_bytes(data.replace(b"realm", b"ralme", 3))
        refused(out, devices(5), made, AT_REST.device_id, layout, match="not as it was written|another credential")


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    name = f"device-{AT_REST.device_id(devices(3)[1][1]).hex()[:16]}"
    for kind in ("cbor", "json"):
        (tmp_path / f"{name}.{kind}").write_text("theirs")
        with pytest.raises(LocalError, match=rf"{name}\.{kind} is there already"):
            provision(tmp_path, 3)
        assert (tmp_path / f"{name}.{kind}").read_text() == "theirs"
        assert len(lines(tmp_path)) == 1, "the device before it is done"
        (tmp_path / f"{name}.{kind}").unlink()
    provision(tmp_path, 3)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "index.csv").write_text("something else\n")
    refused(tmp_path, devices(3), made, AT_REST.device_id, match="of another kind")


@pytest.mark.parametrize("layout", [Layout.JSON_LINES, Layout.CBOR_SEQUENCE])
def test_one_file_of_others_is_left_alone(tmp_path: Path, layout: Layout) -> None:
    name = "credentials.jsonl" if layout is Layout.JSON_LINES else "credentials.cborseq"
    (tmp_path / name).write_text("theirs")
    refused(tmp_path, devices(3), made, AT_REST.device_id, layout, match="more than the index knows")


def test_credentials_that_an_index_has_lost_are_taken_up(tmp_path: Path) -> None:
    """An earlier version left such files when it was killed."""
    provision(tmp_path, 4)
    before = whole(tmp_path)
    (tmp_path / "index.csv").write_text("".join((tmp_path / "index.csv").read_text().splitlines(True)[:3]))
    provision(tmp_path, 4)
    check_all(tmp_path, 4, before)


def test_what_a_power_cut_has_emptied_is_made_again(tmp_path: Path) -> None:
    provision(tmp_path, 5)
    before = whole(tmp_path)
    names = [line.split(",")[1] for line in lines(tmp_path)]
    (tmp_path / names[1]).write_bytes(b"")
    (tmp_path / names[2]).with_suffix(".json").write_bytes(b"\0" * 100)
    again = provision(tmp_path, 5)
    assert (again.before, again.written) == (3, 2)
    del before[devices(5)[1][0]]
    check_all(tmp_path, 5, before)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    first = Provisioning(tmp_path, devices(3), made, AT_REST.device_id).write()
    next(first)
    refused(tmp_path, devices(3), made, AT_REST.device_id, match="another dpe provision is at work there")
    list(first)
    check_all(tmp_path, 3, {})


def test_a_directory_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(LocalError, match=rf"{tmp_path / 'file'}.*: Not a directory; 0 of 1 credentials are done"):
            provision(out, 1)
    assert content(tmp_path) == {"file": b""}


# -- what goes wrong on the way --

CALLS = ("open", "pwrite", "ftruncate", "mkdir", "unlink", "rmdir", "fsync", "close")
COUNT = 3


@contextmanager
def at_call(
    number: int, happen: Callable[[], None], monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> Iterator[list[str]]:
    """Let something happen at the ``number``-th call of the operating system, before it or after it.

    A write is half done before it happens.
    """
    seen: list[str] = []

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            seen.append(name)
            if len(seen) != number:
                return real(*arguments, **options)
            if name == "pwrite" and not after:
                real(arguments[0], arguments[1][: len(arguments[1]) // 2], arguments[2])
            try:
                return real(*arguments, **options) if after or name == "close" else None
            finally:
                happen()

        return call

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, wrapped(name, getattr(os, name)))
        yield seen


def calls_of_a_run(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> int:
    with at_call(0, lambda: None, monkeypatch, after=False) as seen:
        provision(tmp_path / "rehearsal" / "out", COUNT, layout)
    assert len(seen) > 2 * COUNT
    return len(seen)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("layout", Layout)
def test_killed_at_any_point_it_goes_on(
    tmp_path: Path, layout: Layout, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of its own is killed at each of its calls of the operating system."""
    for number in range(1, calls_of_a_run(tmp_path, layout, monkeypatch) + 1):
        out = tmp_path / str(number) / "out"
        child = os.fork()
        if child == 0:
            with at_call(number, lambda: os.kill(os.getpid(), signal.SIGKILL), monkeypatch, after=after):
                provision(out, COUNT, layout)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        before = whole(out)
        resumed = provision(out, COUNT, layout)
        assert resumed.before + resumed.written == COUNT
        check_all(out, COUNT, before)


def _no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(("trouble", "after"), [(_no_space, False), (_interrupt, False), (_interrupt, True)])
def test_stopped_at_any_point_it_says_how_far_it_is_and_goes_on(
    tmp_path: Path, layout: Layout, trouble: Callable[[], None], after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, calls_of_a_run(tmp_path, layout, monkeypatch) + 1):
        out = tmp_path / str(number) / "out"
        one = Provisioning(out, devices(COUNT), made, AT_REST.device_id, layout)
        kind = LocalError if trouble is _no_space else KeyboardInterrupt
        with at_call(number, trouble, monkeypatch, after=after), pytest.raises(kind) as caught:
            list(one.write())
        before = whole(out)
        assert one.done == f"{one.written} of {COUNT} credentials are done"
        assert one.written <= len(before)
        if isinstance(caught.value, LocalError):
            assert f"No space left on device; {one.done}" in str(caught.value)
            assert "it goes on" in caught.value.hint
        if not before and not after:
            assert not out.parent.exists(), "a run that did nothing leaves nothing"
        provision(out, COUNT, layout)
        check_all(out, COUNT, before)


@pytest.mark.parametrize("layout", Layout)
def test_a_full_disk(tmp_path: Path, layout: Layout) -> None:
    try:
        with _on_tmpfs(tmp_path / "disk", "64k") as disk:
            with pytest.raises(
                LocalError, match=r"No space left on device; \d+ of 2000 credentials are done"
            ) as caught:
                provision(disk / "out", 2000, layout)
            before = whole(disk / "out")
            assert 0 < len(before) < 2000
            assert f" {len(before)} of 2000" in str(caught.value)
            assert len(lines(disk / "out")) == len(before), "nothing is half there"
            subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=10000", disk], check=True)
            provision(disk / "out", 2000, layout)
            check_all(disk / "out", 2000, before)
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            with pytest.raises(LocalError, match="Read-only file system; 0 of 1 credentials are done"):
                provision(disk / "other" / "out", 1, layout)
    except LocalError as error:
        missing(f"nothing can be mounted here: {error}")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_the_command_goes_on_after_a_signal(tmp_path: Path, number: int, status: int) -> None:
    """The real command, and a list as it comes; the signal hits it when some credentials are there."""
    state = StateDir.create(tmp_path / "state", "example", "coap://127.0.0.1:5683")
    digits = [f"352099{number:08}" for number in range(3000)]
    (tmp_path / "list.csv").write_text("imei\n" + "".join(f"{one}{luhn(one)}\n" for one in digits))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dpe_tools", "provision", str(state.path)]
    command += ["--csv", str(tmp_path / "list.csv"), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (out / "index.csv").exists() or len(lines(out)) < 20:
            assert process.poll() is None
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == status
    before = whole(out)
    assert 18 < len(before) < 3000
    if number == signal.SIGINT:
        assert f"dpe: error: interrupted; {len(before)} of 3000 credentials are done\nhint: " in said
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"3000 credentials in {out}, {len(before)} of them from before; ")
    after = whole(out)
    assert len(after) == len(lines(out)) == 3000
    assert before.items() <= after.items()
