"""The server as a process before it listens, without its standard streams, and where nobody reads them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from dpe_server.operation import loaded
from dpe_server.operation.state_dir import StateDir
from tests.audit import until
from tests.coap import Client
from tests.conftest import missing
from tests.end_to_end.devices import Device
from tests.end_to_end.processes import children
from tests.server.files.test_line_writer import Pipe

EARLY = """
import builtins, os, signal, sys
import_, done = builtins.__import__, []

def hooked(name, *rest, **options):
    if name == "{module}" and not done:
        done.append(True)
        for number in {numbers}:
            os.kill(os.getpid(), number)
    return import_(name, *rest, **options)

builtins.__import__ = hooked
sys.argv[1:1] = {arguments}
import {program}.__main__ as program
program.{main}()
"""
"""A server that gets signals at its first import of a module that takes long."""
PROGRAMS = [("dpe_tools", ["serve"], "click", "run"), ("dpe_server", [], "structlog", "main")]
UNSHARE = ("--user", "--map-root-user", "--pid", "--fork", "--kill-child")


def early(program: tuple[str, list[str], str, str], *numbers: signal.Signals) -> list[str]:
    name, arguments, module, main = program
    text = EARLY.format(
        module=module, numbers=[int(number) for number in numbers], arguments=arguments, program=name, main=main
    )
    return [sys.executable, "-c", text]


def uri_of(state: StateDir) -> str:
    """Wait until a server has said in the state directory where it listens."""
    path = state.path / "loaded-0.json"
    until(path.exists)
    return str(json.loads(path.read_text())["uris"][0])


@contextmanager
def run(command: Sequence[str], state: StateDir, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server on a free port; end it with SIGTERM."""
    config = state.path / "config.toml"
    config.write_text('realm = "test realm"\nuri = "coap://127.0.0.1"\nlisten = ["127.0.0.1:0"]\n')
    with subprocess.Popen([*command, str(state.path)], **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(30) == 0


SERVE = [sys.executable, "-m", "dpe_tools", "serve"]


# -- signals before there is anybody to obey them --


@pytest.mark.parametrize("program", PROGRAMS, ids=[name for name, *_ in PROGRAMS])
def test_signals_do_not_kill_a_server_that_starts(
    state: StateDir, tmp_path: Path, program: tuple[str, list[str], str, str]
) -> None:
    log = tmp_path / "log"
    numbers = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    with log.open("wb") as errors, run(early(program, *numbers), state, stderr=errors) as process:
        until(lambda: "policy and keys reloaded" in log.read_text())
        with Client(uri_of(state)) as client:
            assert client.discover().dotted == "2.05"
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
                process.send_signal(number)
            until(lambda: log.read_text().count("policy and keys reloaded") == 2)
            assert client.discover().dotted == "2.05"


@pytest.mark.parametrize("program", PROGRAMS, ids=[name for name, *_ in PROGRAMS])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_early_end_is_an_orderly_end(
    state: StateDir, program: tuple[str, list[str], str, str], number: signal.Signals
) -> None:
    with run(early(program, number), state, stderr=subprocess.PIPE) as process:
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert b"stopping" in process.stderr.read()
    assert not (state.path / "dpe.sqlite-wal").exists()


def test_the_first_process_of_a_container_ends_early(state: StateDir) -> None:
    """The kernel gives PID 1 no signal that it does not handle."""
    if subprocess.run(["unshare", *UNSHARE, "true"], capture_output=True).returncode != 0:
        missing("namespaces cannot be made here")
    with run(["unshare", *UNSHARE, *early(PROGRAMS[0], signal.SIGTERM)], state) as process:
        assert process.wait(30) == 0


def test_signals_do_not_kill_workers(state: StateDir, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as errors, run([*SERVE, "--workers", "2"], state, stderr=errors) as process:
        uri_of(state)
        until(lambda: len(children(process.pid)) == 2)
        workers = children(process.pid)
        for pid in (process.pid, *workers):
            os.kill(pid, signal.SIGUSR1)
        process.send_signal(signal.SIGHUP)
        until(lambda: log.read_text().count("policy and keys reloaded") == 2)
        assert children(process.pid) == workers


# -- the service manager --


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("abstract", [False, True])
def test_it_tells_the_service_manager(state: StateDir, tmp_path: Path, workers: str, abstract: bool) -> None:
    name = f"@dpe-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(30)
        with run([*SERVE, "--workers", workers], state, env={**os.environ, "NOTIFY_SOCKET": name}):
            assert manager.recv(100) == b"READY=1"
            with Client(uri_of(state)) as client:
                assert client.discover().dotted == "2.05"
        assert manager.recv(100) == b"STOPPING=1"


@contextmanager
def told(folder: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """The service manager's socket, and the environment of who is to tell it something."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(30)
        yield manager, {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_tells_the_service_manager_when_it_has_reloaded(state: StateDir, tmp_path: Path, workers: str) -> None:
    with (
        told(tmp_path) as (manager, environment),
        run([*SERVE, "--workers", workers], state, env=environment) as process,
    ):
        assert manager.recv(100) == b"READY=1"
        for _ in range(2):
            with (state.path / "policy.toml").open("a") as policy:
                policy.write("# changed\n")
            before = time.monotonic()
            process.send_signal(signal.SIGHUP)
            first, second = manager.recv(100).splitlines()
            assert first == b"RELOADING=1"
            name, _, microseconds = second.partition(b"=")
            assert name == b"MONOTONIC_USEC"
            assert before <= int(microseconds) / 1e6 <= time.monotonic()
            assert manager.recv(100) == b"READY=1"
            have = [process.files for process in loaded.processes(state.path)]
            assert have == [loaded.Loaded.of(state, []).files] * int(workers)
        (state.path / "policy.toml").write_text("rule = 1")
        process.send_signal(signal.SIGHUP)
        assert manager.recv(100).startswith(b"RELOADING=1")
        assert manager.recv(100) == b"READY=1", "a policy with a fault is told in the log, and the old one stays"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_tells_the_watchdog_that_all_of_it_goes_on(state: StateDir, tmp_path: Path, workers: str) -> None:
    log = tmp_path / "log"
    with (
        told(tmp_path) as (manager, environment),
        log.open("wb") as errors,
        run(
            [*SERVE, "--workers", workers], state, env={**environment, "WATCHDOG_USEC": "3000000"}, stderr=errors
        ) as process,
    ):
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        if workers == "2":
            hung = children(process.pid)[1]
            os.kill(hung, signal.SIGSTOP)
            until(lambda: "worker does not answer" in log.read_text())
            manager.setblocking(False)
            with suppress(BlockingIOError):
                while manager.recv(100):
                    pass
            process.send_signal(signal.SIGHUP)  # which has it look more often
            manager.settimeout(30)
            assert manager.recv(100).startswith(b"RELOADING=1"), "nothing is told while one of them hangs"
            os.kill(hung, signal.SIGCONT)
            while (heard := manager.recv(100)) != b"READY=1":
                assert heard == b"WATCHDOG=1"
            assert manager.recv(100) == b"WATCHDOG=1"


def test_a_service_manager_that_is_gone_is_a_warning(state: StateDir, tmp_path: Path) -> None:
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "none")}
    with run(SERVE, state, env=environment, stderr=subprocess.PIPE) as process:
        uri_of(state)
        process.terminate()
        assert process.stderr is not None
        assert b"service manager not notified" in process.stderr.readline()


# -- standard streams --


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-", ">/dev/full 2>/dev/full"])
def test_it_serves_without_standard_streams(state: StateDir, closed: str, workers: str) -> None:
    command = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *SERVE, "--workers", workers]
    with run(command, state) as process:
        with Client(uri_of(state)) as client:
            device = Device(state)
            request = device.request()
            offer = device.read(request, client.post(request).payload)
            success = offer.success()
            offer.confirm(success, client.post(success).payload)
        process.send_signal(signal.SIGHUP)  # it logs something
    assert (state.path / "dpe.sqlite").read_bytes().startswith(b"SQLite format 3\0")


@pytest.mark.parametrize("closed", [">&-", ">/dev/full"])
def test_what_standard_output_does_not_take_is_in_the_log(state: StateDir, tmp_path: Path, closed: str) -> None:
    log = tmp_path / "log"
    with log.open("wb") as errors, run(["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *SERVE], state, stderr=errors):
        uri = uri_of(state)
        until(lambda: f"unsaid='listening on {uri}'" in log.read_text())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_pipes_that_nobody_reads_do_not_stop_it(state: StateDir, workers: str) -> None:
    pipe = Pipe()
    pipe.fill()
    command = [*SERVE, "--workers", workers]
    with run(command, state, stdout=pipe.stream, stderr=pipe.stream) as process, Client(uri_of(state)) as client:
        for _ in range(3):
            process.send_signal(signal.SIGHUP)
            assert client.discover().dotted == "2.05"
    pipe.stream.close()
    os.close(pipe.reader)


def test_in_ascii_it_says_what_it_can(state: StateDir, tmp_path: Path) -> None:
    unicode = StateDir.create(tmp_path / "m\u00fcnchen", "m\u00fcnchen", "coap://127.0.0.1")
    (unicode.path / "policy.toml").write_text('[[rule]]\nname = "\u2713"\n', encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run([*SERVE, str(unicode.path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("dpe: error: ")
    assert "Traceback" not in done.stderr


def test_a_log_in_json_is_json_alone(state: StateDir, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as errors, run([*SERVE, "--json-log"], state, stdout=subprocess.PIPE, stderr=errors) as process:
        uri = uri_of(state)
        until(lambda: "listening" in log.read_text())
        process.terminate()
        assert process.stdout is not None
        assert process.stdout.read() == b""
    first, last = map(json.loads, log.read_text().splitlines())
    assert (first["event"], first["uri"], first["level"]) == ("listening", uri, "info")
    assert last["event"] == "stopping"


def test_a_server_that_only_its_machine_can_reach_says_so(state: StateDir, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as errors, run(SERVE, state, stderr=errors) as process:
        uri_of(state)
        config = state.path / "config.toml"
        config.write_text(config.read_text().replace("coap://127.0.0.1", "coap://dpe.example"))
        process.send_signal(signal.SIGHUP)
        until(lambda: "not reloaded, restart the server" in log.read_text())
    assert re.search(r"config.toml not reloaded, restart the server +changed=uri\n", log.read_text())
    with log.open("wb") as errors, subprocess.Popen([*SERVE, str(state.path)], stderr=errors) as process:
        until(lambda: "only this machine can reach the server" in log.read_text())
        process.terminate()
        assert process.wait(30) == 0
    assert "devices_come_to=coap://dpe.example" in log.read_text()
