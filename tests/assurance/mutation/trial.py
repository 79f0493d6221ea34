"""Trials of a changed file: its tests run in forks of this process, and the first that fails ends the trial.

The file itself is never written. If only functions differ, a fork of a process that has loaded the file and its tests
gets the code of the changed functions, which takes hundredths of a second. If that is impossible, or a changed function
already ran on import, a fork imports the changed source and the tests again. A trial ends after a certain processor
time, whatever else the machine does meanwhile.
"""

import contextlib
import gc
import os
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, FunctionType

import pytest
from hypothesis import HealthCheck, Phase, settings

PATIENCE = 300
"""Seconds after which a trial that waits for ever has failed."""
MEMORY = 4 << 30
"""Bytes of address space that a trial may use."""

PROFILE = "trial"
_OPTIONS = (
    *("-q", "-s", "-x", "-o", "timeout=0", "-p", "no:cacheprovider", "-p", "no:faulthandler"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # the plugins are loaded already
    f"--hypothesis-profile={PROFILE}",
)
_OURS = ("dpe_bench", "dpe_coap", "dpe_device", "dpe_server", "dpe_tools", "tests")

settings.register_profile(
    PROFILE,
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

Tell = Callable[[str, str], None]


@dataclass
class Trials:
    """The trials of one file of the project."""

    root: Path
    file: str
    tests: Sequence[str]
    jobs: int = 1
    """How many trials run at a time."""
    processor_time: int = 60
    """Seconds after which a trial has failed: 4 + 5 times what the tests take, once that is known."""
    failed: Counter[str] = field(default_factory=Counter)
    """How often each test has failed. The test that fails most runs first."""

    def run(self, sources: Sequence[str], tell: Tell) -> None:
        """Try each source, and return for each what failed: a test, ``import`` or ``time``; nothing if all passed.

        Raises RuntimeError if the tests cannot run, or if one fails without any change.
        """
        sys.dont_write_bytecode = False  # otherwise every fork would compile what it imports
        loop = _Loop(self, sources, tell)
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            sys.setprofile(loop.note)
            status = pytest.main([*_OPTIONS, *self._paths], plugins=[loop])
        sys.setprofile(None)
        if status != pytest.ExitCode.OK or loop.fault:
            raise RuntimeError(loop.fault or f"the tests of {self.file} cannot be collected: {status!r}")
        for name in list(sys.modules):
            if name.partition(".")[0] in _OURS and name != "tests" and not name.startswith("tests.assurance"):
                del sys.modules[name]
        for source, failed, _ in self.forks((source, self._imported(source)) for source in loop.left):
            tell(source, failed)

    @property
    def _paths(self) -> list[str]:
        return [str(self.root / test) for test in self.tests]

    @property
    def module(self) -> str:
        """The name under which the file is imported."""
        parts = Path(self.file).with_suffix("").parts
        return ".".join(parts[1:] if parts[0] in ("device", "server", "tools") else parts)

    def _imported(self, source: str) -> Callable[["_Watch"], int]:
        def trial(watch: _Watch) -> int:
            sys.meta_path.insert(0, _Finder(self.module, source))
            for path in self._paths:
                if status := int(pytest.main([*_OPTIONS, path], plugins=[watch])):
                    return status
            return 0

        return trial

    def forks(self, trials: Iterable[tuple[str, Callable[["_Watch"], int]]]) -> Iterator[tuple[str, str, float]]:
        """Run each source in a fork. As they end, yield for each what failed, and the seconds of processor time."""
        trials = iter(trials)
        running: dict[int, tuple[str, int]] = {}
        memory = Path("/dev/shm")  # the databases of the tests need not survive
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            try:
                while True:
                    while len(running) < self.jobs and (trial := next(trials, None)):
                        pid, pipe = self._fork(trial[1], folder)
                        running[pid] = trial[0], pipe
                    if not running:
                        return
                    pid, status, used = os.wait4(-1, 0)
                    source, pipe = running.pop(pid)
                    with os.fdopen(pipe) as said:
                        failed = _failed(status, said.read())
                    self.failed[failed] += 1
                    yield source, failed, used.ru_utime + used.ru_stime
            finally:
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)

    def _fork(self, trial: Callable[["_Watch"], int], folder: str) -> tuple[int, int]:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writing)
            return pid, reading
        status = 70
        try:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nowhere, stream)
            for what, limit in ((resource.RLIMIT_CPU, self.processor_time), (resource.RLIMIT_AS, MEMORY)):
                resource.setrlimit(what, (limit, limit))
            signal.alarm(PATIENCE)
            os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = tempfile.mkdtemp(dir=folder)
            status = trial(_Watch(self.failed, writing))
        finally:
            os._exit(status)


def _failed(status: int, said: str) -> str:
    if os.WIFSIGNALED(status):
        return "time" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL, signal.SIGALRM) else "crash"
    return "" if os.WEXITSTATUS(status) == pytest.ExitCode.OK else said or "import"


class _Watch:
    """Puts the tests in order, and ends the process when the first one fails."""

    def __init__(self, failed: Counter[str], pipe: int) -> None:
        self._before = failed
        self._pipe = pipe

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: -self._before[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self._pipe, report.nodeid.encode())
            os._exit(int(pytest.ExitCode.TESTS_FAILED))


class _Loop:
    """Replaces pytest's loop over the loaded tests: a fork with changed functions for each source."""

    def __init__(self, trials: Trials, sources: Sequence[str], tell: Tell) -> None:
        self._trials = trials
        self._sources = sources
        self._tell = tell
        self.left: list[str] = []
        """Sources whose change an already loaded test may not see."""
        self.fault = ""
        """Why there was no trial."""
        self._ran: set[CodeType] = set()

    def note(self, frame: FrameType, event: str, argument: object) -> None:
        """Note which functions of the file run before the tests do. A profiler (``sys.setprofile``)."""
        if event == "call" and frame.f_code.co_filename.endswith(self._trials.file):
            self._ran.add(frame.f_code)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        sys.setprofile(None)
        path = self._trials.root / self._trials.file
        module = sys.modules.get(self._trials.module)
        if module is None or module.__file__ is None:
            self.fault = f"no test imports {path}"
            return True
        functions: dict[CodeType, list[FunctionType]] = {}
        for thing in gc.get_objects():
            if type(thing) is FunctionType and thing.__code__.co_filename == module.__file__:
                functions.setdefault(thing.__code__, []).append(thing)
        gc.collect()
        gc.freeze()  # the forks share what is there
        old = compile(path.read_text(encoding="utf-8"), module.__file__, "exec", dont_inherit=True)

        def swaps() -> Iterator[tuple[str, Callable[[_Watch], int]]]:
            for source in self._sources:
                try:
                    changes = list(_changes(old, compile(source, module.__file__ or "", "exec", dont_inherit=True)))
                    swap = [(function, new) for before, new in changes for function in functions[before]]
                    if any(before in self._ran for before, _ in changes):
                        raise ValueError
                except (KeyError, SyntaxError, ValueError):
                    self.left.append(source)
                else:
                    yield source, self._swapped(session, swap)

        for _, failed, seconds in self._trials.forks([("", self._swapped(session, []))]):
            if failed:
                self.fault = f"without any change of {self._trials.file}, this fails: {failed}"
                return True
            self._trials.processor_time = min(self._trials.processor_time, 4 + int(5 * seconds))
        for source, failed, _ in self._trials.forks(swaps()):
            self._tell(source, failed)
        gc.unfreeze()
        return True

    def _swapped(self, session: pytest.Session, swap: list[tuple[FunctionType, CodeType]]) -> Callable[[_Watch], int]:
        def trial(watch: _Watch) -> int:
            for function, code in swap:
                function.__code__ = code
            session.config.pluginmanager.register(watch)
            items = list(session.items)
            watch.pytest_collection_modifyitems(items)
            for item, following in zip(items, [*items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            return 0

        return trial


def _changes(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Yield the functions that differ. Raises ValueError if anything else differs."""
    if _own(old) != _own(new):
        raise ValueError
    for before, after in zip(_inner(old), _inner(new), strict=True):
        if before != after:
            if not before.co_flags & 1:  # the body of a class
                yield from _changes(before, after)
            elif before.co_freevars != after.co_freevars:
                raise ValueError
            else:
                yield before, after


def _inner(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _own(code: CodeType) -> tuple[object, ...]:
    constants = [repr(constant) for constant in code.co_consts if not isinstance(constant, CodeType)]
    return code.co_name, code.co_code, code.co_names, constants


class _Finder(PathFinder):
    """Finds one module with its changed source."""

    def __init__(self, name: str, source: str) -> None:
        self._name = name
        self._source = source

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:  # type: ignore[override]
        if fullname != self._name:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(self._source, fullname, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, source: str, name: str, path: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)
