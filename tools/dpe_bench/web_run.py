"""The measurement of `dpe bench web`: response times of the server while a page of it is asked for, and while not."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from dpe_bench.generator import Generator, Load
from dpe_bench.loading import SHARE
from dpe_bench.process import ServerUnderMeasurement, on_core
from dpe_bench.registration_run import WARM_UP, Rig
from dpe_bench.visitors import Asked, Tally
from dpe_coap.errors import LocalError
from dpe_server.keys.at_rest import device_text
from dpe_server.operation.access import Role
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.opening import open_store
from dpe_tools.server_process import free_port

VISITORS_SECONDS = 60
"""How long visitors have to come, and to leave."""
_DPE = [sys.executable, "-m", "dpe_tools"]


class Times(NamedTuple):
    """99th percentiles in microseconds."""

    idle: float
    """Without visitors."""
    visited: float
    again: float
    """Without visitors again."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A load with visitors, between two without."""

    request: Times
    """From REQUEST to RESPONSE."""
    registration: Times
    """From REQUEST to CONFIRM."""
    answers: int
    """To visitors."""
    told: str
    """The beginning of the first wrong one."""
    faults: int
    """Answers of either server that were wrong or missing."""


def measure(rig: Rig, folder: Path, visitors: int, pairs: int) -> Iterator[Pair]:
    """Run a server on its core, its page on the other; offer 30 % of what it can do, with visitors and without."""
    settings, cores = rig.settings, rig.cores
    path, port = folder / "state", free_port()
    shutil.copytree(rig.fleet.state.path, path)
    state = StateDir.open(path)
    serve = [*_DPE, "serve", str(path), "--listen", f"127.0.0.1:{port}", "--metrics", "0"]
    show = [*_DPE, "web", str(path), "--bind", "127.0.0.1:0"]
    with ExitStack() as stack:
        server = stack.enter_context(ServerUnderMeasurement(serve, rig.log, core=cores.server, ready="listening"))
        server.move_children(cores.generator)  # what serves the metrics
        generator = Generator(
            rig.program,
            cores.generator,
            job="registration",
            argument=f"{rig.fleet.devices}:{folder / 'results'}:{state.config.realm}",
            port=port,
            endpoints=settings.devices,
            exchanges=2,
            first=True,
        )
        generator.run(seconds=30, window=settings.window, runs=WARM_UP)
        rate = SHARE * generator.run(seconds=settings.seconds, window=settings.window).rate
        web = ServerUnderMeasurement(show, rig.log, core=cores.generator, ready="come in at ")
        stack.enter_context(web)
        link = urlsplit(web.first_words.removeprefix("come in at ").strip())
        asked = _asked(link, state)

        def load() -> Load:
            return generator.run(seconds=settings.seconds, window=settings.window, rate=rate)

        for _ in range(pairs):
            idle = load()
            with _visiting(asked, link.port or 80, visitors, cores.generator) as seen:
                visited = load()
            again = load()
            loads = (idle, visited, again)
            yield Pair(
                request=Times(*(one.exchange_times[0]["p99"] for one in loads)),
                registration=Times(*(one.times["p99"] for one in loads)),
                answers=seen.answered,
                told=seen.told,
                faults=seen.wrong + seen.lost + sum(one.faults for one in loads),
            )


def _asked(link: SplitResult, state: StateDir) -> list[Asked]:
    """Come in by a login link; return what there is to ask for."""
    with closing(HTTPConnection(link.netloc, timeout=10)) as connection:
        connection.request("GET", f"{link.path}?{link.query}")
        answer = connection.getresponse()
        cookie = answer.getheader("Set-Cookie", "").partition(";")[0]
    if answer.status != 200 or not cookie:
        raise LocalError(f"the page did not let us in: it answered {answer.status}")
    with closing(open_store(state.store_url)) as store:
        device = next(store.live(0)).device  # its Client ID will be another one when it registers again
    header = f"Cookie: {cookie}"
    _, access_token = state.access.create("bench", Role.READER, int(time.time()), None)
    bearer = f"Authorization: Bearer {access_token}"
    return [
        Asked("/", header, "</html>"),
        Asked("/sessions?version=1.0", header, "</table>"),
        Asked(f"/devices/{device.hex()}", header, device_text(device)),
        Asked("/audit", header, "established"),
        Asked("/api/v1/sessions?limit=200", bearer, '"client_id"'),
        Asked("/api/v1/audit", bearer, '"established"'),
    ]


@contextmanager
def _visiting(asked: Sequence[Asked], port: int, count: int, core: int | None) -> Iterator[Tally]:
    """Have so many visitors there; the tally is complete when the block has ended."""
    tally = Tally()
    command = on_core(core, [sys.executable, "-m", "dpe_bench.visitors", str(port), str(count)])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{json.dumps(asked)}\n")
            process.stdin.flush()
            if process.stdout.readline() != "ready\n":
                raise LocalError("the visitors did not come", hint="what they said is above")
            yield tally
            told, _ = process.communicate(timeout=VISITORS_SECONDS)
        finally:
            process.kill()
    for name, value in json.loads(told).items():
        setattr(tally, name, value)
