"""The file store: cut at every step of a save, and at every step of the save after that, it has the old or the new."""

import os

from dpe_device import store
from dpe_device.registration import Registration
from dpe_device.store import FileStore
from tests.device.scripted import PEER, Bench, answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OLD, NEW, NEXT = b"the old record", b"a new record, longer", b"next"
NEVER = 1000000
MODULE: "Any" = store


class PowerCut(Exception):
    """The board is off: not an OSError, so nobody handles it."""


class Disk:
    """A file system in memory, which fails after a number of steps: truncating a file, or writing one octet, is a step.

    `tail` makes what stands in a file behind its new octets, from those it had: nothing, or erased or old octets when
    the file is written over in its place. MicroPython's `os` has none of what FileStore looks for.
    """

    def __init__(self, tail: "Any" = lambda old: b"") -> None:
        self.files: dict[str, bytes] = {}
        self.steps = NEVER
        self.error: Exception = PowerCut()
        self.tail = tail

    def __enter__(self) -> "Disk":
        MODULE.os = self
        MODULE.open = self.open
        return self

    def __exit__(self, *error: object) -> None:
        MODULE.os = os
        MODULE.open = open

    def open(self, path: str, mode: str) -> "File":
        if mode == "rb" and path not in self.files:
            raise OSError(2)
        return File(self, path, mode)

    def step(self) -> None:
        if self.steps == 0:
            raise self.error
        self.steps -= 1

    def steps_of(self, change: "Any") -> int:
        """Make a change; return how many steps it took."""
        self.steps = NEVER
        change()
        return NEVER - self.steps

    def cut(self, steps: int, change: "Any") -> None:
        """Make a change and cut the power after some of its steps."""
        self.steps = steps
        try:
            change()
            raise AssertionError("the power was not cut")
        except PowerCut:
            pass
        self.steps = NEVER


class File:
    def __init__(self, disk: Disk, path: str, mode: str) -> None:
        self.disk = disk
        self.path = path
        self.new = b""
        self.old = disk.files.get(path, b"")
        if mode == "wb":
            disk.step()
            self._put()

    def __enter__(self) -> "File":
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None and self.new:
            self.disk.files[self.path] = self.new

    def _put(self) -> None:
        self.disk.files[self.path] = self.new + self.disk.tail(self.old[len(self.new) :])

    def read(self) -> bytes:
        return self.old

    def write(self, data: bytes) -> None:
        for at in range(len(data)):
            self.disk.step()
            self.new += data[at : at + 1]
            self._put()

    def flush(self) -> None:
        self.disk.step()


TAILS = (lambda old: b"", lambda old: old, lambda old: b"\xff" * len(old), lambda old: bytes(len(old)))


def test_a_power_cut_at_any_step_leaves_the_old_record() -> None:
    for tail in TAILS:
        for before in range(4):
            cuts = 1
            done = 0
            while done < cuts:
                with Disk(tail) as disk:
                    kept = None
                    for number in range(before):
                        kept = OLD + bytes((number,))
                        FileStore("state").save(kept)
                    files = dict(disk.files)
                    cuts = disk.steps_of(lambda: FileStore("state").save(NEW))
                    assert FileStore("state").load() == NEW
                    disk.files = files
                    disk.cut(done, lambda: FileStore("state").save(NEW))
                    # At its flush the new record is whole, and longer than what was there; then the other goes.
                    assert FileStore("state").load() == (NEW if done >= 1 + 4 + len(NEW) + 8 else kept)
                    FileStore("state").save(NEXT)
                    assert FileStore("state").load() == NEXT
                    done += 1
            assert cuts == 1 + 4 + len(NEW) + 8 + 1 + 3


def test_a_power_cut_after_a_power_cut() -> None:
    for tail in TAILS:
        with Disk(tail) as disk:
            FileStore("state").save(OLD)
            files = dict(disk.files)
            steps = disk.steps_of(lambda: FileStore("state").save(NEW))
            for first in range(steps):
                for second in range(0, 4 + len(NEXT) + 8, 3):
                    disk.files = dict(files)
                    disk.cut(first, lambda: FileStore("state").save(NEW))
                    kept = FileStore("state").load()
                    disk.cut(second, lambda: FileStore("state").save(NEXT))
                    assert FileStore("state").load() == kept


def test_an_error_of_the_disk_is_an_oserror_and_leaves_the_old_record() -> None:
    with Disk() as disk:
        disk.error = OSError(28)
        keeper = FileStore("state")
        keeper.save(OLD)
        for steps in range(4 + len(NEW) + 8):
            disk.steps = steps
            try:
                keeper.save(NEW)
                raise AssertionError("no error")
            except OSError:
                pass
            disk.steps = NEVER
            assert keeper.load() == OLD
        keeper.save(NEW)
        assert keeper.load() == NEW


def test_a_record_that_is_damaged_after_its_save_leaves_none_and_not_the_one_before() -> None:
    for tail in TAILS:
        with Disk(tail) as disk:
            FileStore("state").save(OLD)
            FileStore("state").save(NEW)
            whole = dict(disk.files)
            assert len(whole) == 2
            newest = whole["state.2"]
            for at in range(len(newest)):
                for octet in (0, 0xFF, newest[at] ^ 1):
                    if octet != newest[at]:
                        disk.files["state.2"] = newest[:at] + bytes((octet,)) + newest[at + 1 :]
                        assert FileStore("state").load() is None
            FileStore("state").save(NEXT)
            assert FileStore("state").load() == NEXT


def test_what_earlier_firmware_has_left_in_two_files_is_read() -> None:
    with Disk() as disk:
        FileStore("state").save(OLD)
        old = disk.files["state"]
        FileStore("state").save(NEW)
        disk.files["state"] = old
        assert FileStore("state").load() == NEW
        FileStore("state").save(NEXT)
        assert FileStore("state").load() == NEXT


def test_a_damaged_file_does_not_count() -> None:
    with Disk() as disk:
        for garbage in (b"", b"\xff", bytes(8), bytes(12), b"\xff" * 64):
            disk.files = {"state": garbage, "state.2": garbage}
            assert FileStore("state").load() is None
            FileStore("state").save(NEXT)
            assert FileStore("state").load() == NEXT


def test_records_of_any_length_many_times() -> None:
    with Disk():
        assert FileStore("state").load() is None
        for length in (0, 1, 300, 2, 0) * 60:
            FileStore("state").save(b"\xa5" * length)
            assert FileStore("state").load() == b"\xa5" * length


def test_a_registration_whose_power_is_cut_as_it_saves() -> None:
    # After a cut at any step of saving RESPONSE the device starts over, or repeats SUCCESS: nothing between.
    states = set()
    steps = 0
    while True:
        with Disk() as disk:
            bench = Bench()
            bench.storage = FileStore("state")  # type: ignore[assignment]
            bench.boot()
            request = bench.wait_sent()
            response = bench.server.response(request.payload)
            disk.steps = steps
            try:
                bench.registration.step(bench.now, answer(request, response), PEER)
                break
            except PowerCut:
                pass
            disk.steps = NEVER
            states.add(Registration(bench.registration.credential, FileStore("state"), bench.chance).state)
            bench.boot()
            if bench.state == "IDLE":
                bench.registered()
        steps += 1
    assert steps > 100
    assert states == {"IDLE", "CONFIRMING"}
