"""`dpe doctor` and `dpe policy`: what they find, and that they say where."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dpe_coap.binding import RESOURCE_TYPE
from dpe_server.operation import loaded
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import SetMinimumEpoch
from dpe_server.store.opening import examine, open_store
from dpe_tools.commands import doctor
from dpe_tools.server_process import ServerProcess
from tests.audit import lines, until
from tests.coap import ACK, CON, GET, RST, URI_PATH, Message
from tests.tools.conftest import IMEI, Invoke
from tests.tools.strangers import Stranger

RULES = """\
[[rule]]
name = "old models"
tac = ["35000000"]
action = "refuse"
lifetime = 60

[[rule]]
name = "all"
action = "accept"
colour = "red"
"""


def _failures(dpe: Invoke, state: Path) -> list[dict[str, str]]:
    told = json.loads(dpe("doctor", state, "--json", status=1).stdout)
    return [finding for finding in told if finding["level"] == "fail"]


def test_doctor_alone_looks_at_the_installation(dpe: Invoke) -> None:
    shown = dpe("doctor").stdout
    assert "fail" not in shown
    assert "cryptography" in shown


def test_a_server_that_does_not_run_is_a_warning(dpe: Invoke, state: Path) -> None:
    told = json.loads(dpe("doctor", state, "--json").stdout)
    warnings = [finding for finding in told if finding["level"] == "warn"]
    assert len(warnings) == 1
    assert "nobody listens there" in warnings[0]["what"]
    assert "dpe serve" in warnings[0]["hint"]


# -- a server that runs --


def _levels(told: str) -> list[tuple[str, str]]:
    return [(one["level"], one["what"]) for one in json.loads(told) if one["level"] != "ok"]


@pytest.fixture
def serving(state: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(state, tmp_path / "log") as server:
        yield server


def test_a_probe_for_health_checks(dpe: Invoke, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 0.1)
    (state / "config.toml").write_text('realm = "r"\nuri = "coap://127.0.0.1:9"\n')
    assert "no CoAP server answers" in dpe("doctor", "--probe", state, status=3).stdout
    monkeypatch.undo()
    with ServerProcess(state, tmp_path / "log", host="0.0.0.0") as server:
        (line,) = dpe("doctor", "--probe", state).stdout.splitlines()
        assert line == f"ok   coap://127.0.0.1:{server.address[1]} answers and offers {RESOURCE_TYPE}"
    assert "--probe needs STATE" in dpe("doctor", "--probe", status=2).stderr


@pytest.mark.parametrize("form", ["{}", "coap://{}"])
def test_a_probe_of_an_address_needs_no_state_directory(
    dpe: Invoke, serving: ServerProcess, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = "{}:{}".format(*serving.address)
    (line,) = dpe("doctor", "--probe", form.format(address)).stdout.splitlines()
    assert line == f"ok   coap://{address} answers and offers {RESOURCE_TYPE}"
    assert json.loads(dpe("doctor", "--json", form.format(address), "--probe").stdout)[0]["level"] == "ok"


def test_a_folder_that_is_named_like_an_address_is_a_state_directory(
    dpe: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "127.0.0.1:9").mkdir()
    assert "is not a state directory" in dpe("doctor", "--probe", "127.0.0.1:9", status=1).stderr
    assert "there is no such directory" in dpe("doctor", "127.0.0.1:5683", status=1).stdout
    assert "there is no such directory" in dpe("doctor", "--probe", "localhost", status=1).stderr


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "coap://", "coap://[::1"])
def test_a_probe_of_what_is_no_address(dpe: Invoke, address: str) -> None:
    assert "not a server's URI" in dpe("doctor", "--probe", address, status=1).stderr


def answering(code: int, payload: bytes = b"", *, separate: bool = False) -> Callable[[bytes], bytes | None]:
    """Who answers pings, and requests with this code."""

    def answer(datagram: bytes) -> bytes | None:
        message = Message.parse(datagram)
        if message.code == 0:
            return bytes(Message(RST, 0, message.message_id)) if message.type == CON else None
        assert (message.type, message.code) == (CON, GET)
        assert [value for number, value in message.options if number == URI_PATH] == [b".well-known", b"core"]
        kind = CON if separate else ACK
        return bytes(Message(kind, code, message.message_id, message.coap_token, [], payload))

    return answer


@pytest.mark.parametrize(
    ("answer", "level", "said", "status"),
    [
        (answering(0x45, b'</dpe/register>;rt="dpe.register"'), "ok", "answers and offers dpe.register", 0),
        (answering(0x45, b'</x>;rt="dpe.register"', separate=True), "ok", "answers and offers dpe.register", 0),
        (answering(0xA3), "ok", "answers that it is busy (5.03 Service Unavailable)", 0),
        (answering(0x81), "fail", "does not say what it offers (4.01 Unauthorized)", 1),
        (answering(0x82), "fail", "does not say what it offers (4.02 Bad Option)", 1),
        (answering(0x84), "fail", "answers, but is no DPE Server", 1),
        (answering(0x45, b"</temperature>"), "fail", "answers, but is no DPE Server", 1),
        (answering(0, b""), "warn", "it answers pings, and no request in 0.2 s", 3),
        (lambda _: None, "warn", "no answer in 0.2 s", 3),
        (lambda _: b"\xff" * 20, "warn", "no answer in 0.2 s", 3),
    ],
)
def test_what_else_may_answer_a_probe(
    answer: Callable[[bytes], bytes | None],
    level: str,
    said: str,
    status: int,
    dpe: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 0.2 if status == 3 else 10.0)
    with Stranger(answer) as stranger:
        (finding,) = json.loads(dpe("doctor", "--probe", stranger.uri, "--json", status=status).stdout)
    assert finding["level"] == level
    assert said in finding["what"]
    assert ("OSCORE" in finding["hint"]) is ("does not say" in said)


def test_a_probe_of_nobody(dpe: Invoke) -> None:
    (finding,) = json.loads(dpe("doctor", "--probe", "127.0.0.1:9", "--json", status=3).stdout)
    assert "nobody listens there" in finding["what"]


def test_a_probe_imports_little() -> None:
    """A health check runs it every few seconds."""
    script = (
        "import sys\n"
        "from dpe_tools.cli import main\n"
        "try: main(['doctor', '--probe', '127.0.0.1:9'], prog_name='dpe')\n"
        "except SystemExit as end: assert end.code == 3\n"
        "heavy = {name.partition('.')[0] for name in sys.modules}\n"
        "heavy &= {'aiocoap', 'cryptography', 'sqlite3', 'psycopg', 'structlog'}\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_doctor_sees_what_a_running_server_has_not_loaded(dpe: Invoke, state: Path, serving: ServerProcess) -> None:
    assert _levels(dpe("doctor", state, "--json").stdout) == []
    pid = serving.process.pid
    for kind, generation in (("master", 2), ("handle", 2)):
        shown = dpe("keys", "rotate", kind, state).stdout.splitlines()
        assert shown[0].startswith(f"{kind} key {generation} added")
        refused = ", and refuses new credentials until it does" if kind == "master" else ""
        assert shown[1] == f"the running server does not have it yet{refused}: kill -HUP {pid}"
    for name in ("policy.toml", "config.toml"):
        with (state / name).open("a") as file:
            file.write("# changed\n")
    told = dpe("doctor", state, "--json", status=1).stdout
    assert _levels(told) == [
        ("fail", "the running server has not loaded handle key 2: it refuses devices that need it"),
        ("fail", "the running server has not loaded master key 2: it refuses devices that need it"),
        ("warn", "policy.toml has changed since the running server read it"),
        ("warn", "config.toml has changed since the running server read it"),
    ]
    hints = [one["hint"] for one in json.loads(told) if one["level"] != "ok"]
    assert hints == [f"kill -HUP {pid}"] * 3 + ["restart the server"]
    subprocess.run(hints[0].split(), check=True)
    until(lambda: not loaded.lacking(StateDir.open(state)))
    assert _levels(dpe("doctor", state, "--json").stdout) == [
        ("warn", "config.toml has changed since the running server read it")
    ]


def test_provision_says_when_the_running_server_refuses_what_it_makes(
    dpe: Invoke, state: Path, serving: ServerProcess
) -> None:
    assert "refuses these credentials" not in dpe("provision", state, IMEI).stderr
    dpe("keys", "rotate", "handle", state)
    assert "refuses these credentials" not in dpe("provision", state, IMEI).stderr
    dpe("keys", "rotate", "master", state)
    told = "the running server refuses these credentials until it loads the new key: kill -HUP"
    assert f"{told} {serving.process.pid}\n" in dpe("provision", state, IMEI).stderr


def test_without_a_server_a_rotation_has_nothing_to_reload(dpe: Invoke, state: Path) -> None:
    assert "no server is running here" in dpe("keys", "rotate", "master", state).stdout
    assert [line["event"] for line in lines(state / "audit.jsonl")] == ["key-added"]


@pytest.mark.parametrize(("uri", "said"), [("coap://dpe.example", True), ("coap://127.0.0.1", False)])
def test_init_says_when_nobody_else_can_reach_the_server(dpe: Invoke, tmp_path: Path, uri: str, said: bool) -> None:
    shown = dpe("init", tmp_path / "new", "--uri", uri).stdout
    assert ("only this machine can reach it" in shown) is said


@pytest.mark.parametrize("wrong", [["--uri", "http://h"], ["--realm", ""]])
def test_init_names_the_option_at_fault(dpe: Invoke, tmp_path: Path, wrong: list[str]) -> None:
    shown = dpe("init", tmp_path / "new", *wrong, status=2).stderr
    assert f"Invalid value for '{wrong[0]}': expected " in shown
    assert not (tmp_path / "new").exists()


# -- what does not work --


def test_what_does_not_work_is_told_with_what_to_do(dpe: Invoke, state: Path) -> None:
    policy = state / "policy.toml"
    good = policy.read_text(encoding="utf-8")
    policy.write_text(good + "\nfrobnicate = 1\n", encoding="utf-8")
    (failure,) = _failures(dpe, state)
    assert "frobnicate" in failure["what"]
    assert failure["hint"]
    policy.write_text(good, encoding="utf-8")

    store = state / "dpe.sqlite"
    content = store.read_bytes()
    store.write_bytes(b"no database" + content[11:])
    (failure,) = _failures(dpe, state)
    assert failure["what"].startswith("store: ")
    assert "backup" in failure["hint"]
    store.write_bytes(content)

    (state / "keys.json").chmod(0o644)
    (failure,) = _failures(dpe, state)
    assert "keys.json is open to other users" in failure["what"]
    assert failure["hint"].startswith("chmod 600 ")
    (state / "keys.json").chmod(0o600)
    dpe("doctor", state)


def _with_schema(state: Path, version: int) -> None:
    with closing(sqlite3.connect(state / "dpe.sqlite")) as database:
        database.execute(f"PRAGMA user_version = {version}")


def test_a_store_of_another_schema_is_told_and_left_as_it_is(dpe: Invoke, state: Path) -> None:
    newest = examine(StateDir.open(state).store_url).newest
    _with_schema(state, newest - 1)
    warning, _ = (one for one in json.loads(dpe("doctor", state, "--json").stdout) if one["level"] == "warn")
    assert warning["what"] == f"store: schema {newest - 1}"
    assert warning["hint"] == f"dpe serve brings it to {newest}; make a backup before"
    assert examine(StateDir.open(state).store_url).schema == newest - 1
    _with_schema(state, newest + 1)
    (failure,) = _failures(dpe, state)
    assert failure["what"] == f"store: schema {newest + 1}, newer than this program's {newest}"
    assert failure["hint"] == "update dpe-coap"


def test_a_minimum_epoch_above_the_newest_key_is_told(dpe: Invoke, state: Path) -> None:
    with closing(open_store(StateDir.open(state).store_url)) as store:
        store.commit([SetMinimumEpoch(9)])
    (failure,) = _failures(dpe, state)
    assert failure["what"] == "store: the minimum epoch 9 shuts every device out"


def test_doctor_of_no_state(dpe: Invoke, tmp_path: Path) -> None:
    (failure,) = _failures(dpe, tmp_path / "none")
    assert "there is no such directory" in failure["what"]
    assert "dpe init" in failure["hint"]


def test_policy_check(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    assert "policy.toml: good, " in dpe("policy", "check", state).stdout
    file = tmp_path / "my.toml"
    file.write_text(RULES, encoding="utf-8")
    *faults, hint = dpe("policy", "check", file, status=1).stderr.splitlines()
    assert [fault.split(": ")[2:4] for fault in faults] == [
        [f"{file}:5", "lifetime"],
        [f"{file}:7", "range"],
        [f"{file}:10", "colour"],
    ]
    assert hint.startswith("hint: ")
    missing = dpe("policy", "check", tmp_path / "none.toml", status=1)
    assert missing.stderr.startswith("dpe: error: ")


def test_policy_check_sees_who_may_use_the_file(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    file = state / "policy.toml"
    file.chmod(0o666)
    for named in (state, file):
        error, hint = dpe("policy", "check", named, status=1).stderr.splitlines()
        assert error == f"dpe: error: {file} can be changed by other users (mode 0666)"
        assert hint == f"hint: chmod go-w {file}"
    elsewhere = tmp_path / "draft.toml"
    elsewhere.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    elsewhere.chmod(0o666)
    assert "good" in dpe("policy", "check", elsewhere).stdout


@pytest.mark.parametrize("form", [["--imei", IMEI], ["--imei", "-"]])
def test_policy_explain_goes_through_the_rules(dpe: Invoke, state: Path, form: list[str]) -> None:
    result = dpe("policy", "explain", state, *form, "--version", "9.0", stdin=IMEI)
    lines = result.stdout.splitlines()
    assert [line.startswith("-> ") for line in lines].count(True) == 1
    assert lines[-1].startswith("-> ")
    assert IMEI[8:14] not in result.output
    told = json.loads(dpe("policy", "explain", state, *form, "--version", "9.0", "--json", stdin=IMEI).stdout)
    assert [step["matched"] for step in told["steps"]] == [line.startswith("-> ") for line in lines]


def test_policy_explain_says_what_a_device_reports(dpe: Invoke, state: Path) -> None:
    with (state / "policy.toml").open("a") as file:
        file.write('[property.door]\nwire = 40\ntype = "boolean"\n')
    text = (state / "policy.toml").read_text().replace("firmware = {}", "door = { edge = true, roaming = false }")
    (state / "policy.toml").write_text(text)
    arguments = ("policy", "explain", state, "--imei", IMEI, "--version", "1.0")
    line, *reports = dpe(*arguments).stdout.splitlines()
    assert line.startswith("-> DPE 1.x (line 4): matches version 1.0-1.255: accept, DPE version 1.0; ")
    assert line.endswith("session of 604800 s; reports of battery, door, free_memory, last_reboot")
    assert reports == [
        "     battery (%): when it changes by 5 or more, at most every 60 s, at least every 3600 s",
        "     door: when it becomes true, not while roaming",
        "     free_memory (bytes): every 3600 s",
        "     last_reboot (Unix s): when it changes",
    ]
    [step] = json.loads(dpe(*arguments, "--json").stdout)["steps"]
    assert step["reporting"] == [report.strip() for report in reports]


def test_policy_check_names_every_fault_of_what_is_reported(dpe: Invoke, state: Path) -> None:
    file = state / "policy.toml"
    text = file.read_text().replace("firmware = {}", "firmwar = { st = 1 }").replace("st = 5", "every = 5")
    file.write_text(text)
    first, second, hint = dpe("policy", "check", state, status=1).stderr.splitlines()
    assert first.startswith(f"dpe: error: {file}:12: report.battery.every: is no longer known: write pmax for the ")
    assert second.startswith(f'dpe: error: {file}:13: report.firmwar: unknown property; did you mean "firmware"?')
    page, _, said = hint.removeprefix("hint: ").partition(" ")
    assert Path(page).read_text(encoding="utf-8").startswith("# ")
    assert (Path(page).name, said) == ("policy.md", "explains every key")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [([], 2), (["--imei", IMEI], 2), (["--imei", IMEI, "--version", "x"], 2), (["--imei", "1", "--version", "1.0"], 1)],
)
def test_policy_explain_wrong_arguments(dpe: Invoke, state: Path, arguments: list[str], status: int) -> None:
    assert "rror: " in dpe("policy", "explain", state, *arguments, status=status).stderr
