"""`dpe session` against a real server process: what is sent, what is told, and what is never sent twice."""

import fcntl
import json
import queue
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dpe_device.store import FileStore
from dpe_tools.credentials import for_device, load
from dpe_tools.datagram import OSCORE, Datagram, parse
from tests.device.scripted import sealed
from tests.tools.conftest import IMEI, Invoke, Running
from tests.tools.strangers import Stranger

POLICIES = {
    "battery": {"pmin": 60, "pmax": 3600, "st": 5},
    "firmware": {},
    "free_memory": {"pmin": 3600, "pmax": 3600},
    "last_reboot": {},
}
"""What the policy of a new server has devices report."""


@pytest.fixture
def device(dpe: Invoke, credential: Path) -> Path:
    """The credential of a device that is registered."""
    dpe("register", credential)
    return credential


def client_id(dpe: Invoke, server: Running) -> str:
    ((one),) = json.loads(dpe("sessions", server.state, "--json").stdout)
    return str(one["client_id"])


def shown(dpe: Invoke, server: Running) -> dict[str, object]:
    told = json.loads(dpe("device", "show", server.state, client_id(dpe, server), "--json").stdout)
    return {name: entry["value"] for name, entry in told["properties"].items()}


def numbers(trace: Iterator[Datagram]) -> list[int]:
    """The numbers of protected requests."""
    return [int.from_bytes(value[1:-7], "big") for one in trace if (value := one.option(OSCORE))]


def test_a_report_says_what_was_sent_and_what_is_to_be_reported(dpe: Invoke, server: Running, device: Path) -> None:
    done = dpe("session", "report", device, "battery=86", "firmware=4.2", "roaming=true", "my.temp=21.5")
    assert done.stdout.splitlines() == [
        "reported: battery 86 %, firmware 4.2, roaming true, my.temp 21.5",
        f"accepted: 2.04 Changed, Client ID {client_id(dpe, server)}, at {server.uri}",
        "the session lives 604800 s from now; to be reported:",
        "  battery (%): when it changes by 5 or more, at most every 60 s, at least every 3600 s",
        "  firmware: when it changes",
        "  free_memory (bytes): every 3600 s",
        "  last_reboot (Unix s): when it changes",
    ]
    assert done.stderr == ""
    assert shown(dpe, server) == {"battery": 86, "firmware": "4.2", "roaming": True, "my.temp": 21.5}


def test_a_report_as_json(dpe: Invoke, server: Running, device: Path) -> None:
    told = json.loads(dpe("session", "report", device, "24=h'0102'", "battery=null", "--json").stdout)
    assert told == {
        "reported": {"24": {"bytes": "0102"}, "battery": None},
        "answer": "accepted",
        "code": "2.04",
        "lifetime": 604_800,
        "policies": POLICIES,
        "client_id": client_id(dpe, server),
        "server": server.uri,
        "datagrams": {"sent": 1, "received": 1},
    }


def test_a_property_that_is_null_goes(dpe: Invoke, server: Running, device: Path) -> None:
    dpe("session", "report", device, "battery=1", "signal=-70")
    dpe("session", "report", device, "battery=null")
    assert shown(dpe, server) == {"signal": -70}


def test_without_properties_the_session_is_refreshed(dpe: Invoke, server: Running, device: Path) -> None:
    dpe("session", "report", device, "battery=1")
    assert dpe("session", "report", device).stdout.startswith("reported: nothing new\naccepted: 2.04 Changed, ")
    assert shown(dpe, server) == {"battery": 1}


def test_what_is_to_be_reported_can_be_asked(dpe: Invoke, device: Path) -> None:
    lines = dpe("session", "get", device).stdout.splitlines()
    assert lines[0].startswith("accepted: 2.05 Content, ")
    assert lines[-1] == "  last_reboot (Unix s): when it changes"
    told = json.loads(dpe("session", "get", device, "--json").stdout)
    assert (told["code"], told["policies"], told["lifetime"]) == ("2.05", POLICIES, 604_800)


def test_each_message_has_a_new_number_that_was_saved(
    dpe: Invoke, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = device.with_name("device.json.state")
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    sent: list[Datagram] = []
    blocks: list[int] = []
    send = socket.socket.send

    def sending(one: socket.socket, data: bytes) -> int:
        sent.append(parse(data))
        record = FileStore(str(state)).load()
        assert record is not None
        blocks.append(int.from_bytes(record[:4], "big"))
        return send(one, data)

    monkeypatch.setattr(socket.socket, "send", sending)
    for _ in range(3):
        dpe("session", "report", device, "battery=1")
    found = numbers(iter(sent))
    assert found == sorted(set(found))
    assert len(found) == 3
    assert [number // 256 for number in found] == [1, 2, 3], "each process has a block of its own"
    assert [block - blocks[0] for block in blocks] == [0, 1, 2], "the next block is saved before a number is used"
    dpe("register", device)
    dpe("session", "report", device, "battery=1")
    assert numbers(iter(sent[-1:])) == [257], "a new session has numbers of its own"


def test_a_command_that_is_killed_has_used_its_numbers_up(dpe: Invoke, device: Path) -> None:
    seen: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with Stranger(lambda datagram: seen.put(datagram)) as silent:
        content = json.loads(device.read_text(encoding="utf-8")) | {"server": silent.uri}
        device.write_text(json.dumps(content), encoding="utf-8")
        command = [sys.executable, "-m", "dpe_tools", "session", "report", str(device), "battery=1"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
            first = parse(seen.get(timeout=20))
            killed.kill()
        dpe("session", "report", device, "battery=2", "--timeout", "0.2", status=3)
        second = parse(seen.get(timeout=20))
    assert numbers(iter([first, second])) == [257, 513]


def test_what_cannot_be_saved_is_not_sent(dpe: Invoke, device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(_store: FileStore, _record: bytes) -> None:
        raise OSError("no room")

    monkeypatch.setattr(FileStore, "save", save)
    done = dpe("session", "report", device, "battery=1", "--timeout", "0.2", "--trace", status=1)
    assert done.stderr.startswith("dpe: error: nothing was sent: the device could not save that a number is used\nhint")


def test_one_command_at_a_time_is_a_device(dpe: Invoke, device: Path) -> None:
    with device.with_name("device.json.state").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for command in (["session", "get", device], ["register", device]):
            assert "another command is this device just now" in dpe(*command, status=1).stderr
    dpe("session", "get", device)


def test_a_session_that_is_ended_is_gone_on_both_sides(dpe: Invoke, server: Running, device: Path) -> None:
    known = client_id(dpe, server)
    done = dpe("session", "end", device)
    assert done.stdout == f"ended: the server has erased the session of Client ID {known}\n"
    assert json.loads(dpe("sessions", server.state, "--json").stdout) == []
    assert f"{device} is not registered\nhint: register it first: dpe register {device}" in (
        dpe("session", "report", device, "battery=1", status=1).stderr
    )
    dpe("register", device)
    told = json.loads(dpe("session", "end", device, "--json").stdout)
    assert (told["answer"], told["code"]) == ("accepted", "2.02")


def test_a_session_that_the_server_does_not_know(dpe: Invoke, server: Running, device: Path) -> None:
    dpe("revoke", server.state, IMEI)
    dpe("unrevoke", server.state, IMEI)
    for command in (["report", device, "battery=1"], ["get", device]):
        told = dpe("session", *command, status=4).stderr.splitlines()
        place = server.uri.removeprefix("coap://")
        assert told == [
            f"dpe: {place} answers 4.01 Unauthorized; trying again",
            "dpe: error: the server does not know this session: 4.01 Unauthorized",
            f"hint: it has ended, or the device was revoked; register it again: dpe register {device}",
        ]
    ended = dpe("session", "end", device, status=4).stderr
    assert "dpe: error: the session has ended on the device, but the server did not confirm it: 4.01 Un" in ended
    assert "is not registered" in dpe("session", "get", device, status=1).stderr
    dpe("register", device)
    dpe("session", "report", device, "battery=1")


@pytest.mark.parametrize("words", [["report", "battery=7"], ["get"], ["end"]])
def test_one_refusal_may_come_from_a_restart(dpe: Invoke, server: Running, device: Path, words: list[str]) -> None:
    """A server that is restarted before it has answered refuses the repeat, and takes the next number."""
    asked: list[Datagram] = []
    host, port = server.process.address

    def answer(datagram: bytes) -> bytes:
        asked.append(parse(datagram))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as behind:
            behind.settimeout(20)
            behind.sendto(datagram, (host, port))
            taken = behind.recv(2048)
        return b"\x64\x81" + datagram[2:8] if len(asked) == 1 else taken

    with Stranger(answer) as between:
        content = json.loads(device.read_text(encoding="utf-8"))
        device.write_text(json.dumps(content | {"server": between.uri}), encoding="utf-8")
        command, *properties = words
        ending = command == "end"
        done = dpe("session", command, device, *properties, "--json", status=4 if ending else 0)
    first, second, *others = numbers(iter(asked))
    assert first < second
    assert len(others) == ending, "what is ended is not there any more: three exchanges in all"
    assert done.stderr.startswith(f"dpe: {between.uri.removeprefix('coap://')} answers 4.01 Unauthorized; trying again")
    if command == "report":
        assert shown(dpe, server) == {"battery": 7}


def test_wrong_keys_are_refused(dpe: Invoke, server: Running, device: Path) -> None:
    known = for_device(load(str(device)))
    store = FileStore(f"{device}.state")
    record = store.load()
    assert record is not None
    prk3 = 9 + 26
    store.save(sealed(record[:prk3] + bytes(32) + record[prk3 + 32 : -16], known))
    assert "does not know this session" in dpe("session", "report", device, "battery=1", status=4).stderr
    assert shown(dpe, server) == {}


def test_a_report_that_is_refused_under_protection_says_why(dpe: Invoke, server: Running, device: Path) -> None:
    many = [f"{number}=0" for number in range(100, 164)]
    dpe("session", "report", device, *many)
    done = dpe("session", "report", device, "battery=1", status=4)
    assert done.stderr.startswith(
        "dpe: error: the server refuses this: 4.13 Request Entity Too Large: too many or too large properties: at most"
    )
    assert "hint: nothing of it was stored" in done.stderr
    assert len(shown(dpe, server)) == 64


def test_what_no_message_can_carry_is_not_sent(dpe: Invoke, device: Path) -> None:
    many = [f"{number}=0" for number in range(100, 165)]
    done = dpe("session", "report", device, *many, "--trace", status=1)
    assert done.stderr.startswith("dpe: error: cannot report this: ")
    assert "->" not in done.stderr


def test_nobody_listens(dpe: Invoke, server: Running, device: Path) -> None:
    server.process.stop()
    try:
        for command in (["report", device, "battery=1"], ["get", device], ["end", device]):
            done = dpe("session", *command, "--timeout", "0.3", status=3)
            assert f"dpe: error: no answer from {server.uri} in 0.3 s" in done.stderr
    finally:
        server.process.begin()
        server.process.await_ready()
    # That it is to end was saved, so that comes first.
    done = dpe("session", "report", device, "battery=1", status=1)
    assert done.stderr.startswith("dpe: error: the session has ended: an earlier `dpe session end` was not over\nhint:")
    dpe("register", device)
    dpe("session", "report", device, "battery=1")


def unknown_once() -> Callable[[bytes], bytes | None]:
    """Answer 4.01, and then nothing."""
    answers = iter([b"\x60\x81"])
    return lambda _: next(answers, None)


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (lambda _: None, 3, "no answer from {uri} in 0.4 s ("),
        (lambda _: b"\x60\xa3", 4, "{uri} did not take it in 0.4 s: 5.03 Service Unavailable"),
        (unknown_once(), 4, "the server does not know this session: 4.01 Unauthorized"),
        (lambda _: b"\x60\x84", 4, "{uri} did not take it in 0.4 s: 4.04 Not Found"),
        (lambda _: b"\x60\x44", 1, "{uri} did not take it in 0.4 s: nothing that came back is protected"),
    ],
    ids=["silence", "5.03", "4.01, then silence", "4.04", "2.04"],
)
def test_what_is_known_of_a_server_that_does_not_take_it(
    dpe: Invoke, device: Path, answer: Callable[[bytes], bytes | None], status: int, error: str
) -> None:
    def answered(datagram: bytes) -> bytes | None:
        head = answer(datagram)
        return None if head is None else bytes([head[0] | datagram[0] & 15, head[1]]) + datagram[2:8]

    with Stranger(answered) as stranger:
        content = json.loads(device.read_text(encoding="utf-8")) | {"server": stranger.uri}
        device.write_text(json.dumps(content), encoding="utf-8")
        done = dpe("session", "report", device, "battery=1", "--timeout", "0.4", status=status)
    assert f"dpe: error: {error.format(uri=stranger.uri)}" in done.stderr
    assert "hint: " in done.stderr


def test_a_name_that_is_nearly_one_of_the_field_is_told(dpe: Invoke, server: Running, device: Path) -> None:
    done = dpe("session", "report", device, "batery=3")
    assert done.stderr == 'dpe: batery: did you mean "battery"? It is reported as batery\n'
    assert shown(dpe, server) == {"batery": 3}


def test_trace_shows_every_datagram(dpe: Invoke, device: Path) -> None:
    lines = dpe("session", "report", device, "battery=86", "--trace").stderr.splitlines()
    assert [line.split()[2:] for line in lines] == [
        ["->", "42", "bytes", "CON", "POST", "/", "OSCORE"],
        ["<-", "62", "bytes", "ACK", "2.04", "Changed", "OSCORE"],
    ]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], 2),
        (["{}", "battery"], 2),
        (["{}", "battery=101"], 2),
        (["{}", "=1"], 2),
        (["{}", "70000=1"], 2),
        (["{}", "x=[1]"], 2),
        (["{}", "battery=1", "0=2"], 2),
        (["/no/such/file", "battery=1"], 1),
        (["{}", "battery=1", "--state", "/no/such/directory/state"], 1),
        (["{}", "--timeout", "0"], 2),
    ],
)
def test_wrong_arguments(dpe: Invoke, credential: Path, words: list[str], status: int) -> None:
    result = dpe("session", "report", *(word.format(credential) for word in words), status=status)
    assert "rror: " in result.stderr
