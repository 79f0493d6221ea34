"""`dpe bench server` and `dpe bench registrations`: they run, and what they count is right."""

import json
import secrets
import socket
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from hmac import digest
from pathlib import Path
from typing import Any

import cbor2
import pytest

from dpe_bench import contenders, fleet, generator, machine, native, plot
from dpe_bench.generator import Generator, Load
from dpe_bench.process import ServerUnderMeasurement
from dpe_bench.samples import MOST, SUM, merge
from dpe_bench.servers.stages import COMMIT, OTHER, STAGES
from dpe_bench.transport import KEY
from dpe_bench.transport_job import TransportJob, answer
from dpe_coap.errors import LocalError
from dpe_server.handling.handler import handle
from dpe_server.operation.state_dir import StateDir
from dpe_server.policy import load as load_policy
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Registrar
from dpe_server.store.opening import open_store
from tests.conftest import missing
from tests.tools.bench.peer import Peer, ReceivedRequest
from tests.tools.conftest import Invoke

HMAC_KEY = bytes.fromhex(KEY)
RUNS = 40


def loaded(load: Path, answer_: Callable[[ReceivedRequest], Iterable[bytes]], **options: Any) -> tuple[Load, Peer]:
    """Load a server that answers so; return what the generator found."""
    with Peer(answer_) as peer:
        run = Generator(load, None, job="transport", argument=KEY, port=peer.port, endpoints=16)
        return run.run(seconds=20, **{"window": 4, "runs": RUNS, **options}), peer


def good(request: ReceivedRequest) -> bytes:
    made = answer(HMAC_KEY, request.payload)
    assert made is not None
    return made


def signed(fields: dict[int, object]) -> bytes:
    """Return a message with these fields under a valid MAC."""
    unsigned = cbor2.dumps({**fields, 23: bytes(16)})[:-16]
    return unsigned + digest(HMAC_KEY, unsigned, "sha256")[:16]


# -- the load generator --


@pytest.mark.parametrize(
    ("program", "libraries", "system"),
    [
        ("load.c transport_job.c registration_job.c session_job.c", "libcrypto", None),
        ("echo_server.c", "libcrypto", None),
        ("libcoap_server.c", "libcoap-3-notls libcrypto", None),
        ("libcoap_oscore_server.c", "libcoap-3-openssl", ".cache/peers/libcoap"),
    ],
)
def test_the_programs_compile_without_a_warning(
    program: str, libraries: str, system: str | None, load: Path, root: Path, tmp_path: Path
) -> None:
    try:
        flags = native.flags(libraries.split(), "", system=None if system is None else root / system)
    except native.Missing as error:
        missing(str(error))
    files = [native.SOURCES / source for source in program.split()]
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-O2", *map(str, files), *flags, "-o", "program"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_right_answers_are_counted(load: Path) -> None:
    found, peer = loaded(load, lambda request: [request.reply(good(request))])
    assert (found.runs, found.verified, found.faults, found.resent, found.duplicates) == (RUNS, RUNS, 0, 0, 0)
    assert len(peer.seen) == RUNS
    assert found.times["count"] == RUNS
    assert 0 < found.times["p50"] <= found.times["p99"] <= found.times["max"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda request: request.reply(good(request)[:-1] + bytes([good(request)[-1] ^ 1])),
        lambda request: request.reply(good(request)[:-1]),
        lambda request: request.reply(good(request) + b"\0"),
        lambda request: request.reply(request.payload),
        lambda request: request.reply(signed({**cbor2.loads(good(request)), 1: bytes(16)})),
        lambda request: request.reply(signed({1: request.payload[3:19], 2: 70_000_000})),
        lambda request: request.reply(good(request), options=b""),
        lambda request: request.reply(good(request), options=b"\xc1\x3d"),
        lambda request: request.reply(good(request))[:-44],
    ],
    ids=[
        "MAC", "short", "long", "the request itself", "nonce", "number", "no Content-Format", "other Content-Format",
        "no payload",
    ],
)  # fmt: skip
def test_a_wrong_answer_ends_the_exchange(load: Path, wrong: Callable[[ReceivedRequest], bytes]) -> None:
    found, _ = loaded(load, lambda request: [wrong(request)])
    assert (found.runs, found.verified, found.wrong) == (0, 0, RUNS)


@pytest.mark.parametrize(
    "stray",
    [
        lambda request: request.reply(good(request), message_id=bytes([request.message_id[0] ^ 1, 9])),
        lambda request: request.reply(good(request), coap_token=b"\xff" * 4),
        lambda request: request.reply(good(request), coap_token=b""),
        lambda request: request.reply(good(request), kind=0x70),
        lambda request: b"\x20" + request.reply(good(request))[1:],
        lambda request: b"\x60\x44",
    ],
    ids=["message ID", "CoAP token", "no CoAP token", "type", "version", "short"],
)
def test_a_response_to_another_request_is_wrong(load: Path, stray: Callable[[ReceivedRequest], bytes]) -> None:
    """The exchange goes on, and the right answer behind it counts."""
    found, _ = loaded(load, lambda request: [stray(request), request.reply(good(request))])
    assert (found.runs, found.verified, found.wrong) == (RUNS, RUNS, RUNS)


def test_a_response_from_another_port_is_wrong(load: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
        forger.bind(("127.0.0.1", 0))

        def answer_(request: ReceivedRequest) -> Iterable[bytes]:
            forger.sendto(request.reply(good(request)), request.sender)
            return [request.reply(good(request))]

        found, _ = loaded(load, answer_)
    assert (found.verified, found.wrong) == (RUNS, RUNS)


def test_duplicates_and_refusals_are_told_apart(load: Path) -> None:
    twice, _ = loaded(load, lambda request: [request.reply(good(request))] * 2, window=1)
    assert (twice.verified, twice.wrong) == (RUNS, 0)
    assert RUNS - 1 <= twice.duplicates <= RUNS  # the last may come when the generator has ended
    refused, _ = loaded(load, lambda request: [request.reply(b"", code=0x81, options=b"")[:-1]])
    assert (refused.verified, refused.wrong, refused.refused, refused.faults) == (0, 0, RUNS, RUNS)


def test_a_separate_response_is_taken_and_acknowledged(load: Path) -> None:
    def answer_(request: ReceivedRequest) -> Iterable[bytes]:
        return [b"\x60\0" + request.message_id, request.reply(good(request), kind=0x40, message_id=b"\x77\x77")]

    found, peer = loaded(load, answer_)
    assert (found.verified, found.separate, found.faults) == (RUNS, RUNS, 0)
    assert peer.acknowledged == RUNS


def test_what_is_lost_is_sent_again_and_is_slow(load: Path) -> None:
    seen: set[bytes] = set()

    def answer_(request: ReceivedRequest) -> Iterable[bytes]:
        if request.payload in seen:
            return [request.reply(good(request))]
        seen.add(request.payload)
        return []

    found, peer = loaded(load, answer_, runs=4)
    assert (found.verified, found.resent, found.faults, len(peer.seen)) == (4, 4, 0, 8)
    assert found.times["p50"] >= 2e6


def test_endpoints_differ_and_message_ids_do_not_repeat(load: Path) -> None:
    with Peer(lambda request: [request.reply(good(request))]) as peer:
        run = Generator(load, None, job="transport", argument=KEY, port=peer.port, endpoints=8)
        for _ in range(3):
            run.run(seconds=20, window=4, runs=RUNS)
            assert run.next % RUNS == 0
        assert len(set(peer.seen)) == len(peer.seen) == 3 * RUNS
        assert len({address for address, _ in peer.seen}) == 8
        run.next = 8 * generator.MESSAGE_IDS - 4
        assert run.run(seconds=20, window=4).runs == 3  # and leaves the rest for an open loop
        assert run.run(seconds=20, window=4, rate=1e5).runs == 1
        with pytest.raises(LocalError, match="message IDs are used up"):
            run.run(seconds=20, window=4)


def test_an_open_loop_offers_its_rate(load: Path) -> None:
    found, peer = loaded(load, lambda request: [request.reply(good(request))], rate=1e5, runs=200)
    assert (found.runs, found.faults, len(peer.seen)) == (200, 0, 200)


def test_the_generator_says_what_it_cannot_do(load: Path) -> None:
    run = Generator(load, None, job="registration", argument="no-such-file:out:realm", port=9, endpoints=1)
    with pytest.raises(LocalError, match="the devices cannot be read"):
        run.run(seconds=1, window=1)


# -- registrations --


@dataclass
class Served:
    """A registrar behind a `Peer`, which may tamper with the replies."""

    folder: Path
    tamper: Callable[[bytes], bytes] = lambda payload: payload
    state: StateDir = field(init=False)

    def __post_init__(self) -> None:
        self.state = fleet.open_state(self.folder / "state", "test")
        fleet.provision(self.state, RUNS, self.folder / "devices")

    def load(self, program: Path) -> Load:
        """Have all devices register."""
        with closing(open_store(self.state.store_url)) as store:
            registrar = Registrar(
                realm="test",
                keys=self.state.keys,
                policy=load_policy(self.state.policy_path),
                random=secrets.token_bytes,
                ordinals=Ordinals(1),
            )

            def answer_(request: ReceivedRequest) -> Iterable[bytes]:
                (reply,) = handle(registrar, store, [request.payload], 0, 1e9).replies
                return [request.reply(self.tamper(reply.payload), code=reply.code)]

            with Peer(answer_) as peer:
                argument = f"{self.folder / 'devices'}:{self.folder / 'results'}:test"
                options: dict[str, Any] = {"endpoints": RUNS, "exchanges": 2}
                run = Generator(program, None, job="registration", argument=argument, port=peer.port, **options)
                return run.run(seconds=20, window=4, runs=RUNS)

    def check(self) -> tuple[int, int]:
        """See ``fleet.check``."""
        return fleet.check(self.state.store_url, self.state.keys, self.folder / "results")


@pytest.mark.parametrize("lifetime", ["lifetime = 604800", "", "lifetime = 65536"])
def test_devices_register_and_are_found_in_the_store(load: Path, tmp_path: Path, lifetime: str) -> None:
    served = Served(tmp_path)
    policy = served.state.policy_path
    endless = policy.read_text(encoding="utf-8")
    policy.write_text(endless.replace('action = "accept"', f'action = "accept"\n{lifetime}'), encoding="utf-8")
    found = served.load(load)
    assert (found.runs, found.verified, found.faults) == (RUNS, 2 * RUNS, 0)
    assert served.check() == (RUNS, 0)
    results = (tmp_path / "results").read_bytes()
    (tmp_path / "results").write_bytes(bytes([results[0], *results[1:10], results[10] ^ 1]) + results[11:])
    assert served.check() == (RUNS, 1)


@pytest.mark.parametrize("size", [72, 23], ids=["RESPONSE", "CONFIRM"])
@pytest.mark.parametrize("place", [0, 5, -17, -1])
def test_a_device_refuses_a_message_that_was_changed(load: Path, tmp_path: Path, size: int, place: int) -> None:
    def tamper(payload: bytes) -> bytes:
        changed = bytearray(payload)
        if len(payload) == size:
            changed[place] ^= 1
        return bytes(changed)

    found = Served(tmp_path, tamper).load(load)
    assert (found.runs, found.wrong) == (0, RUNS)
    assert found.verified == (0 if size == 72 else RUNS)
    assert (tmp_path / "results").read_bytes() == b""


# -- the commands --


@pytest.mark.timeout(180)
def test_every_server_does_the_transport_job(dpe: Invoke, load: Path, root: Path, tmp_path: Path) -> None:
    picture = tmp_path / "plot.svg"
    peers = root / ".cache" / "peers"
    shown = dpe("bench", "server", "--quick", "--endpoints", 64, "--peers", peers, "--plot", picture, "--json").stdout
    report = json.loads(shown)
    for name, why in report["missing"].items():
        missing(f"{name}: {why}")
    assert [cell["contender"] for cell in report["cells"]] == list(contenders.CONTENDERS)
    for cell in report["cells"]:
        assert cell["endpoints"] == 64
        assert cell["median"]["requests"] >= 500
        assert cell["median"]["faults"] == 0
        assert cell["median"]["seen"] == 64
    xml.etree.ElementTree.parse(picture)


@pytest.mark.timeout(180)
def test_registrations_run_and_are_checked(dpe: Invoke, load: Path, root: Path) -> None:
    kind = machine.file_system(root)
    options = ["--quick", "--stages", "--directory", root / ".cache", "--json"]
    report = json.loads(dpe("bench", "registrations", *options).stdout)
    cells = {(cell["store"], cell["server"]): cell["median"] for cell in report["cells"]}
    assert {store for store, _ in cells} >= {f"durable, on {kind}"}
    assert {server for _, server in cells} == {"this server", "this server, 2 workers", "aiocoap"}
    for median in cells.values():
        assert median["faults"] == 0
        assert 500 <= median["checked"] <= median["registrations"]
    assert report["echo"]["cpu"] > 0
    assert report["echo"]["faults"] == 0
    assert len(report["limits"]) == 2
    stages = report["profile"]["stages"]
    assert set(stages) <= {*STAGES.values(), COMMIT, OTHER}
    assert {"key schedule", COMMIT} <= set(stages)
    assert all(cost > 0 for cost in stages.values())


def test_what_is_missing_is_said(dpe: Invoke, load: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = dpe("bench", "server", "--quick", "--contender", "node-coap", "--peers", tmp_path, status=1)
    assert named.stderr.startswith("dpe: error: ")
    assert "hint: " in named.stderr
    only = {name: contenders.CONTENDERS[name] for name in ("node-coap", "C echo")}
    monkeypatch.setattr("dpe_bench.server.CONTENDERS", only)
    shown = dpe("bench", "server", "--quick", "--endpoints", 1, "--peers", tmp_path).stdout
    assert "node-coap was not measured: " in shown
    assert "tools/fetch_peers" in shown


def test_a_wrong_answer_fails_the_command(
    dpe: Invoke, load: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The echo's answer is no answer to the transport job."""
    echo = replace(contenders.CONTENDERS["C echo"](tmp_path, tmp_path), job="transport")
    monkeypatch.setitem(contenders.CONTENDERS, "C echo", lambda *_: echo)
    result = dpe("bench", "server", "--quick", "--endpoints", 8, "--contender", "C echo", status=1)
    assert "requests were not answered right" in result.stderr


def test_nothing_is_durable_in_memory(dpe: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "file_system", lambda _: "tmpfs")
    result = dpe("bench", "registrations", "--quick", status=1)
    assert result.stderr == "dpe: error: . is in memory (tmpfs): nothing is durable there\nhint: give --directory DIR\n"


# -- the parts --


def test_the_job_takes_nothing_else() -> None:
    job = TransportJob(HMAC_KEY)
    request = signed({1: bytes(16), 2: 70_000})
    assert cbor2.loads(answer(HMAC_KEY, request) or b"")[2] == 70_001
    bad = [b"", b"\xff", request[:-1] + b"x", cbor2.dumps({1: 1}), cbor2.dumps([1]), request[:-17], request + b"\0"]
    bad += [signed({1: bytes(16), 2: 70}), signed({1: bytes(16), 3: 70_000}), signed({1: bytes(15), 2: 70_000, 3: b""})]
    assert [answer(HMAC_KEY, payload) for payload in bad] == [None] * len(bad)
    replies = job.complete(job.read([request, *bad], 0), [], 0).replies
    assert [reply.code for reply in replies] == [0x44] + [0x81] * len(bad)


def test_rounds_become_one() -> None:
    @dataclass(frozen=True)
    class Sample:
        cost: float
        faults: int = field(metadata=SUM)
        pause: float | None = field(metadata=MOST)

    assert merge([Sample(3, 1, None), Sample(1, 0, 5), Sample(9, 2, 4)]) == Sample(3, 3, 5)
    assert merge([Sample(3, 1, None)]).pause is None


def test_a_server_that_does_not_start_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    with (
        pytest.raises(LocalError, match="did not start: no such thing"),
        ServerUnderMeasurement(command, tmp_path / "log", core=None),
    ):
        pass


def test_a_server_that_ends_is_told(tmp_path: Path) -> None:
    script = "import sys; print('ready', flush=True); sys.exit('gone')"
    with ServerUnderMeasurement([sys.executable, "-c", script], tmp_path / "log", core=None) as server:
        server._process.wait(20)
        with pytest.raises(LocalError, match="has ended: gone"):
            server.cpu()


def test_the_cpu_time_of_children_counts(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass\n"
    wait = "import sys; sys.stdin.read()"
    script = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\n"
        f"child = subprocess.Popen([sys.executable, '-c', {(burn + 'print(1, flush=True); ' + wait)!r}],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\nchild.stdout.readline()\nprint('ready', flush=True)\n"
        "import signal; signal.pause()\n"
    )
    with ServerUnderMeasurement([sys.executable, "-c", script], tmp_path / "log", core=None) as server:
        assert sum(server.cpu()) >= 0.38
        assert server.resident() > 8 << 20


def test_the_same_figures_give_the_same_plot(tmp_path: Path) -> None:
    pictures = []
    for name in ("one.svg", "two.svg"):
        figure = plot.figure(4, 3)
        plot.bars(figure.subplots(1, 1), {"a": {"x": 1, "y": 0.25}, "b": {"x": 1_000}})
        plot.save(figure, tmp_path / name, {"CPU": "some"})
        pictures.append((tmp_path / name).read_text())
    assert pictures[0] == pictures[1]
    assert "1,000" in pictures[0]
    assert "CPU some" in pictures[0]
