"""A disk that is full, or fails, under a real server that is registering devices.

There are three troubles, each on a small file system of its own: another file fills a tmpfs, the load itself fills a
tmpfs, and the kernel makes an ext4 read-only after an error. Then devices are told, under a valid security token, to
come back. Nobody gets a CONFIRM that the database does not hold, and what is durable is still confirmed again. When
there is room again, the same server goes on and every device registers. After the error, the same is true of a server
on the repaired file system. Needs root, to mount.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dpe_server.operation.state_dir import StateDir
from dpe_tools.server_process import ServerProcess
from tests.assurance import trials
from tests.assurance.administration import call
from tests.assurance.crowd import Crowd, open_state, steady_port

REFUSED = 10
"""So many devices must be told to come back."""
SECONDS = 60
"""Seconds in which that must happen."""
EXPECTED = {"5.03"}
"""The only errors that a device may see, besides 4.01 if the server was restarted while the device registered."""
SMALL = "2m"
LARGE = "64m"
IMAGE = 64 << 20


@dataclass(slots=True)
class Report:
    """What was found in one kind of trouble."""

    trouble: str
    rounds: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Of successful registrations, of RESPONSEs that said unavailable, and of error responses by CoAP code."""
    compared: int = 0
    asked_again: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """A line of the table."""
        numbers = (self.rounds, *(self.counts[name] for name in ("registered", "unavailable", "5.03")), self.compared)
        return f"{self.trouble:<22}" + "".join(
            f"{number:>14}" for number in (*numbers, self.asked_again, len(self.faults))
        )


COLUMNS = ("rounds", "registrations", "unavailable", "5.03 in all", "compared", "asked again", "faults")
HEAD = f"{'trouble':<22}" + "".join(f"{name:>14}" for name in COLUMNS)


@contextmanager
def _mounted(folder: Path, *what: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    call("mount", *what, str(folder))
    try:
        yield folder
    finally:
        call("umount", str(folder))


def _on_tmpfs(place: Path, size: str) -> AbstractContextManager[Path]:
    return _mounted(place, "-t", "tmpfs", "-o", f"size={size}", "none")


class _Trial:
    """A server on a state directory, and its devices."""

    def __init__(self, report: Report, state: StateDir, log: Path, devices: int, seed: int) -> None:
        self.report = report
        self.server = ServerProcess(state.path, log, port=steady_port())
        self._counted: Counter[str] = Counter()
        self.crowd = Crowd(state, self.server.address[1], devices=devices, at_once=48, seed=seed)

    def warm_up(self) -> None:
        self.crowd.work_until_registered(100)

    def in_trouble(self, *, compare: bool = True) -> None:
        """Go on until devices are refused, and check that nothing else is wrong."""
        report, crowd = self.report, self.crowd
        report.faults += crowd.work_until_refused(REFUSED, SECONDS)
        if compare:
            self.compare()
        asked, unlike = crowd.ask_again()
        report.asked_again += asked
        report.faults += unlike
        report.rounds += 1

    def compare(self) -> None:
        compared, wrong = self.crowd.compare()
        self.report.compared += compared
        self.report.faults += wrong

    def recovered(self, *, anew: bool = False) -> None:
        """Check that every device registers, and note how it went."""
        report, crowd = self.report, self.crowd
        report.faults += crowd.all_register()
        self.compare()
        now = Counter(registered=crowd.registered, unavailable=crowd.unavailable, **crowd.errors)
        report.counts += now - self._counted
        self._counted = now
        expected = {*EXPECTED, "4.01"} if anew else EXPECTED
        others = {code: count for code, count in crowd.errors.items() if code not in expected}
        report.faults += [f"{count} answers were {code}" for code, count in others.items()]


@contextmanager
def _trial(report: Report, folder: Path, place: Path, devices: int, seed: int) -> Iterator[_Trial]:
    trial = _Trial(report, open_state(place, retry_after=1), folder / "log", devices, seed)
    with trial.server, trial.crowd:
        yield trial


def fill_by_another(rounds: int, seed: int, folder: Path) -> Report:
    """Let another file take all the room, then remove it."""
    report = Report("full, by another file")
    with _on_tmpfs(folder / "disk", LARGE) as place, _trial(report, folder, place, 200, seed) as trial:
        for _ in range(rounds):
            trial.warm_up()
            ballast = place / "ballast"
            _fill(ballast)
            trial.in_trouble()
            ballast.unlink()
            trial.recovered()
    return report


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                if file.write(bytes(size)) < size:
                    size //= 2
            except OSError:
                size //= 2


def fill_by_load(rounds: int, seed: int, folder: Path) -> Report:
    """Let the registrations take all the room, then give them more."""
    report = Report("full, by the load")
    for number in range(rounds):
        (part := folder / str(number)).mkdir()
        with _on_tmpfs(part / "disk", SMALL) as place, _trial(report, part, place, 1000, seed + number) as trial:
            trial.in_trouble()
            call("mount", "-o", f"remount,size={LARGE}", str(place))
            trial.recovered()
    return report


def fail(rounds: int, seed: int, folder: Path) -> Report:
    """Let the kernel find an error on the file system and make it read-only. Repair it, and start again."""
    report = Report("read-only, by an error")
    image, place, log = folder / "image", folder / "disk", folder / "log"
    with image.open("wb") as file:
        file.truncate(IMAGE)
    call("mkfs.ext4", "-q", str(image))
    with _on_ext4(image, place):
        trial = _Trial(report, open_state(place, retry_after=1), log, 200, seed)
    with trial.crowd:
        for _ in range(rounds):
            with _on_ext4(image, place) as device, trial.server:
                trial.warm_up()
                with (
                    trial.crowd.resting()
                ):  # Linux's fdatasync may return 0 for a write that such an error has just removed
                    Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1", encoding="ascii")
                trial.in_trouble(compare=False)  # only a process that had the database open can read it now
            if trial.server.process.returncode != 0:
                report.faults.append(f"the server ended with status {trial.server.process.returncode}")
            call("e2fsck", "-fp", str(image), good=(0, 1))  # 1: it has repaired something
            with _on_ext4(image, place), trial.server:
                trial.compare()
                trial.recovered(anew=True)
    return report


@contextmanager
def _on_ext4(image: Path, place: Path) -> Iterator[str]:
    """Mount the image, and return the name of its device."""
    with _mounted(place, "-o", "loop,errors=remount-ro", str(image)):
        yield Path(call("findmnt", "-no", "SOURCE", str(place))).name


TROUBLES: Sequence[Callable[[int, int, Path], Report]] = (fill_by_another, fill_by_load, fail)


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 something was found, 2 wrong usage."""
    parser = trials.parser("disk", __doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of each trouble [5]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the load [1]")
    given = parser.parse_args(arguments)
    print(HEAD)
    return trials.run_each(partial(trouble, given.rounds, given.seed) for trouble in TROUBLES)
