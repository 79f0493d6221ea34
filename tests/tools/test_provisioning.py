"""`dpe init`, `provision`, `revoke` and `keys`: what an operator does before and between registrations."""

import json
import stat
from pathlib import Path

import pytest

from dpe_device.store import load_credential
from dpe_server.operation.credential import Credential
from tests.tools.conftest import IMEI, IMEIS, Invoke


def test_init_makes_a_private_directory_once(dpe: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "state"
    made = dpe("init", path, "--realm", "prod", "--uri", "coap://dpe.example.org")
    assert "prod" in made.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o600}
    keys = json.loads((path / "keys.json").read_text(encoding="utf-8"))
    assert keys["at_rest"] not in made.output
    again = dpe("init", path, status=1)
    assert again.stderr.startswith(f"dpe: error: {path} is not empty\nhint: ")
    assert json.loads((path / "keys.json").read_text(encoding="utf-8")) == keys


@pytest.mark.parametrize("bad", [["--uri", "http://x"], ["--realm", ""]])
def test_init_refuses_a_bad_configuration(dpe: Invoke, tmp_path: Path, bad: list[str]) -> None:
    result = dpe("init", tmp_path / "state", *bad, status=1)
    assert result.stderr.startswith("dpe: error: ")
    assert not (tmp_path / "state").exists()


def test_provision_one_is_a_json_object(dpe: Invoke, state: Path) -> None:
    for form in (dpe("provision", state, IMEI, "--json"), dpe("provision", state, "-", stdin=f"{IMEI}\n")):
        made = json.loads(form.stdout)
        assert set(made) == {"server", "realm", "handle", "device_key", "epoch"}
        assert (len(made["handle"]), len(made["device_key"])) == (34, 64)
        assert IMEI[:14] not in form.output


def test_provision_many_are_json_lines(dpe: Invoke, state: Path) -> None:
    lines = dpe("provision", state, *IMEIS, "--json").stdout.splitlines()
    assert len({json.loads(line)["device_key"] for line in lines}) == len(IMEIS)


def test_provision_thousands_into_files(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    source = tmp_path / "fleet.csv"
    source.write_text("serial,imei\n" + "".join(f"{n},35{n:012d}\n" for n in range(2000)), encoding="utf-8")
    out = tmp_path / "out"
    assert "2000 credentials" in dpe("provision", state, "--csv", source, "--out", out).stdout
    index = (out / "index.csv").read_text(encoding="utf-8").splitlines()
    assert len(index) == 2001
    row, name = index[1].split(",")
    assert row == "2"
    as_cbor, as_json = out / name, (out / name).with_suffix(".json")
    assert Credential.read(as_cbor.read_bytes()) == Credential.read(as_json.read_bytes())
    assert load_credential(str(as_cbor)) == load_credential(str(as_json))
    assert {stat.S_IMODE(file.stat().st_mode) for file in out.iterdir()} == {0o600}
    assert not [file for file in out.iterdir() if "35000000" in file.name or b"35000000" in file.read_bytes()]


def test_provision_prints_what_it_writes(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    result = dpe("provision", state, IMEI, "352099001761481", "--json", "--out", tmp_path / "out")
    printed = [Credential.read(line.encode()) for line in result.stdout.splitlines()]
    written = [Credential.read(file.read_bytes()) for file in (tmp_path / "out").glob("*.cbor")]
    assert len(printed) == 2
    assert {c.handle for c in printed} == {c.handle for c in written}
    assert "2 credentials" in result.stderr


def test_provision_tells_bad_rows_and_does_the_others(dpe: Invoke, state: Path) -> None:
    result = dpe("provision", state, "--stdin", stdin="490154203237518\n490154203237519\nabc\n", status=1)
    assert len(result.stdout.splitlines()) == 1
    assert "row 2: not an IMEI: the check digit" in result.stderr
    assert "row 3: " in result.stderr
    assert "2 of 3 IMEIs are at fault; 1 done" in result.stderr
    assert "49015420" not in result.output


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "give IMEIs as arguments, or --csv FILE, or --stdin"),
        ([IMEI, "--stdin"], 2, "give IMEIs as arguments, or --csv FILE, or --stdin"),
        (["490154203237519"], 1, "the check digit (the 15th) is wrong"),
        (["--csv", "/no/such/file"], 1, "cannot read /no/such/file: No such file"),
        (["--stdin"], 1, "there is no IMEI in the input"),
    ],
)
def test_provision_wrong_input(dpe: Invoke, state: Path, arguments: list[str], status: int, words: str) -> None:
    result = dpe("provision", state, *arguments, status=status)
    assert words in result.stderr
    assert result.stdout == ""


def test_provision_overwrites_nothing(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    dpe("provision", state, IMEI, "--out", tmp_path / "out")
    again = dpe("provision", state, IMEI, "--out", tmp_path / "out", status=1)
    assert "is there already" in again.stderr
    assert "hint: " in again.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["provision", "{}", IMEI],
        ["revoke", "{}", IMEI],
        ["sessions", "{}"],
        ["keys", "list", "{}"],
        ["keys", "rotate", "master", "{}"],
        ["keys", "minimum-epoch", "{}", "1"],
        ["device", "show", "{}", "00" * 7],
        ["policy", "explain", "{}", "--imei", IMEI, "--version", "1.0"],
        ["serve", "{}"],
    ],
)
def test_a_missing_state_directory_is_told_with_a_hint(dpe: Invoke, tmp_path: Path, command: list[str]) -> None:
    path = str(tmp_path / "none")
    result = dpe(*(word.format(path) for word in command), status=1)
    assert result.stderr == f"dpe: error: {path}: there is no such directory\nhint: make one with: dpe init {path}\n"


def test_keys_rotate_and_retire(dpe: Invoke, state: Path) -> None:
    keys = (state / "keys.json").read_text(encoding="utf-8")
    assert "master key 2 added" in dpe("keys", "rotate", "master", state).stdout
    assert "handle key 2 added" in dpe("keys", "rotate", "handle", state).stdout
    assert json.loads(dpe("provision", state, IMEI).stdout)["epoch"] == 2
    dpe("keys", "minimum-epoch", state, 2)
    told = json.loads(dpe("keys", "list", state, "--json").stdout)
    assert told == {"master": [1, 2], "handle": [1, 2], "minimum_epoch": 2}
    assert "epochs 1, 2" in dpe("keys", "list", state).stdout
    assert "no device could register" in dpe("keys", "minimum-epoch", state, 3, status=1).stderr
    assert dpe("keys", "rotate", "both", state, status=2).stdout == ""
    shown = dpe("keys", "list", state).output
    assert not [key for key in json.loads(keys)["master"].values() if key in shown]


def test_revoke_counts(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    assert dpe("revoke", state, IMEI).stdout == "revoked: 1 device, 0 sessions ended\n"
    source = tmp_path / "stolen"
    source.write_text("\n".join(IMEIS), encoding="utf-8")
    assert dpe("revoke", state, "--csv", source).stdout == "revoked: 3 devices, 0 sessions ended\n"
    assert "below epoch 2" in dpe("revoke", state, IMEIS[1], "--below-epoch", 2).stdout
    shown = dpe("device", "show", state, "--imei-stdin", stdin=f"{IMEI}\n").stdout
    assert "revoked" in shown


def test_a_list_is_revoked_whole_or_not_at_all(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    source = tmp_path / "stolen"
    source.write_bytes(f"{IMEI}\n".encode() * 5_000 + b"\xff\n")
    assert "not UTF-8" in dpe("revoke", state, "--csv", source, status=1).stderr
    assert not json.loads(dpe("device", "show", state, "--imei-stdin", "--json", stdin=IMEI).stdout)["revoked"]
    result = dpe("revoke", state, "--stdin", stdin=f"{IMEI}\nno IMEI\n", status=1)
    assert result.stdout == "revoked: 1 device, 0 sessions ended\n", "those without fault are"
    assert json.loads(dpe("device", "show", state, "--imei-stdin", "--json", stdin=IMEI).stdout)["revoked"]
