"""`dpe init`, `provision`, `revoke` and `keys`: what an operator does before and between registrations."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import cbor2
import pytest

from dpe_coap.errors import LocalError
from dpe_coap.imei import luhn
from dpe_device.store import load_credential
from dpe_server.operation.credential import Credential
from dpe_tools.credentials import load_all
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
    result = dpe("init", tmp_path / "state", *bad, status=2)
    assert f"Error: Invalid value for '{bad[0]}': expected " in result.stderr
    assert not (tmp_path / "state").exists()


def imei(number: int) -> str:
    digits = f"35{number:012d}"
    return f"{digits}{luhn(digits)}"


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
    source.write_text("serial,imei\n" + "".join(f"{n},{imei(n)}\n" for n in range(2000)), encoding="utf-8")
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


def test_provision_again_makes_no_second_credential(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert dpe("provision", state, IMEI, "--out", out).stdout.startswith("1 credential in ")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    again = dpe("provision", state, IMEI, "--out", out)
    assert "1 credential in " in again.stdout
    assert "1 of them from before" in again.stdout
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_provision_into_the_folder_of_another_list_is_refused(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    dpe("provision", state, IMEI, "--out", out)
    again = dpe("provision", state, IMEIS[1], "--out", out, status=1)
    assert "index.csv was made from another list" in again.stderr
    assert "hint: " in again.stderr
    assert len(list(out.iterdir())) == 3
    dpe("keys", "rotate", "master", state)
    assert (
        "before the server's realm, URI or key changed" in dpe("provision", state, IMEI, "--out", out, status=1).stderr
    )


@pytest.mark.parametrize("text", ["", "imei\n", "imei\n490154203237519\n", "sep=;\nno;imei\n", "4.9E+14\n", "a,b\n"])
def test_a_list_without_a_good_row_leaves_nothing(dpe: Invoke, state: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    result = dpe("provision", state, "--csv", tmp_path / "list.csv", "--out", tmp_path / "a" / "out", status=1)
    assert "hint: " in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "a").exists()


def test_rows_that_are_mended_are_done_by_the_same_command(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "list.csv", tmp_path / "out"
    source.write_text(f"imei\n{imei(1)}\n490154203237519\n{imei(2)}\n", encoding="utf-8")
    result = dpe("provision", state, "--csv", source, "--out", out, status=1)
    assert "row 3: column imei: not an IMEI: the check digit" in result.stderr
    assert "1 of 3 IMEIs are at fault; 2 done" in result.stderr
    source.write_text(f"imei\n{imei(1)}\n{IMEI}\n{imei(2)}\n", encoding="utf-8")
    assert "3 credentials in " in dpe("provision", state, "--csv", source, "--out", out).stdout
    index = (out / "index.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in index] == ["row", "2", "4", "3"]


def test_lines_of_json_say_the_row_where_there_is_a_list(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    source.write_text(f"# fleet\nno,imei\n1,{IMEI}\n", encoding="utf-8")
    (line,) = dpe("provision", state, "--csv", source, "--json").stdout.splitlines()
    assert json.loads(line)["row"] == 3
    path = tmp_path / "line.json"
    path.write_text(line, encoding="utf-8")
    assert Credential.read(line.encode()).device_key == load_credential(str(path))["device_key"]
    lines = dpe("provision", state, "--stdin", "--json", stdin=f"{IMEI}\n\n{IMEIS[1]}\n").stdout.splitlines()
    assert [json.loads(line)["row"] for line in lines] == [1, 3]


@pytest.mark.parametrize("source", ["file", "-", "--stdin", "--csv -"])
def test_a_list_is_read_alike_from_a_file_and_from_standard_input(
    dpe: Invoke, state: Path, tmp_path: Path, source: str
) -> None:
    data = f'sep=;\r\nGer\u00e4t;IMEI No.\r\n1;"=""{IMEI}"""\r\n2;350000000000007\r\n'.encode("utf-16")
    (tmp_path / "list.csv").write_bytes(data)
    arguments = ["--csv", tmp_path / "list.csv"] if source == "file" else source.split()
    result = dpe("provision", state, *arguments, "--json", stdin=data, status=1)
    made, fault = map(json.loads, result.stdout.splitlines())
    assert made["row"] == 3
    assert fault["error"]["message"] == "1 of 2 IMEIs are at fault; 1 done"
    assert "row 4: column IMEI No.: not an IMEI: the check digit" in result.stderr


def test_provision_into_one_file_of_its_owner(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        for name in ("device.json", "device.cbor"):
            path = tmp_path / name
            dpe("provision", state, IMEI, "--file", path)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert Credential.read(path.read_bytes()).realm == load_credential(str(path))["realm"]
            assert path.read_bytes().startswith(b"{") == name.endswith("json")
            content = path.read_bytes()
            assert "is there already" in dpe("provision", state, IMEI, "--file", path, status=1).stderr
            assert path.read_bytes() == content
    finally:
        os.umask(before)
    assert "--file is for one device" in dpe("provision", state, *IMEIS, "--file", tmp_path / "x", status=2).stderr
    dpe("provision", state, IMEI, "--file", tmp_path / "x", "--json", status=2)
    assert "No such file" in dpe("provision", state, IMEI, "--file", tmp_path / "a" / "x", status=1).stderr
    assert not (tmp_path / "x").exists()


def test_a_redirection_into_a_file_of_everybody_is_told(state: Path, tmp_path: Path) -> None:
    for mode, told in ((0o644, True), (0o600, False)):
        path = tmp_path / f"{mode:o}"
        path.touch()
        path.chmod(mode)
        with path.open("wb") as out:
            command = [sys.executable, "-m", "dpe_tools", "provision", str(state), IMEI, "--json"]
            done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, check=True)
        assert (b"other users may read that file" in done.stderr) is told
        assert Credential.read(path.read_bytes()).epoch == 1


@pytest.mark.parametrize("layout", ["json-lines", "cbor-sequence"])
@pytest.mark.parametrize("cut", [1, 50])
def test_an_item_that_is_none_is_told(dpe: Invoke, state: Path, tmp_path: Path, layout: str, cut: int) -> None:
    dpe("provision", state, *IMEIS, "--out", tmp_path, "--layout", layout)
    (path,) = tmp_path.glob("credentials.*")
    path.write_bytes(path.read_bytes()[: -1 - cut])
    with pytest.raises(LocalError, match=f"{path.name}: an item is not a credential") as caught:
        load_all(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("layout", ["folders", "json-lines", "cbor-sequence"])
def test_layouts_for_many_devices(dpe: Invoke, state: Path, tmp_path: Path, layout: str) -> None:
    source, out = tmp_path / "fleet.csv", tmp_path / "out"
    source.write_text("imei\n" + "".join(f"{imei(n)}\n" for n in range(300)), encoding="utf-8")
    assert "300 credentials in" in dpe("provision", state, "--csv", source, "--out", out, "--layout", layout).stdout
    index = (out / "index.csv").read_text(encoding="utf-8").splitlines()
    assert len(index) == 301
    assert len({one.device_key for one in load_all(out)}) == 300
    if layout == "folders":
        assert index[0] == "row,file"
        assert all((out / line.split(",")[1]).is_file() for line in index[1:])
        assert max(len(list(folder.iterdir())) for folder in out.iterdir() if folder.is_dir()) < 20
        return
    assert index[0] == "row,file,item"
    (path,) = (file for file in out.iterdir() if file.name != "index.csv")
    assert index[1:3] == [f"2,{path.name},1", f"3,{path.name},2"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    items = []
    with path.open("rb") as file:
        while data := file.peek(1)[:1]:
            items.append(json.loads(file.readline()) if data == b"{" else cbor2.load(file))
    assert [item["row"] for item in items] == list(range(2, 302))
    assert len({item["device_key"] for item in items}) == 300
    one = json.dumps(items[0]).encode() if layout == "json-lines" else cbor2.dumps(items[0])
    assert Credential.read(one).realm == "dpe"
    (tmp_path / "one").write_bytes(one)
    assert load_credential(str(tmp_path / "one"))["realm"] == "dpe"


@pytest.mark.parametrize(
    "command",
    [
        ["provision", "{}", IMEI],
        ["revoke", "{}", IMEI],
        ["unrevoke", "{}", IMEI],
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
    assert told == {"master": [1, 2], "handle": [1, 2], "minimum_epoch": 2, "epoch": 2, "handle_key": 2}
    assert "epochs 1, 2" in dpe("keys", "list", state).stdout
    assert "no device could register" in dpe("keys", "minimum-epoch", state, 3, status=1).stderr
    assert dpe("keys", "rotate", "both", state, status=2).stdout == ""
    shown = dpe("keys", "list", state).output
    assert not [key for key in json.loads(keys)["master"].values() if key in shown]


def revoked(dpe: Invoke, state: Path, number: str) -> bool:
    shown = json.loads(dpe("device", "show", state, "--imei-stdin", "--json", stdin=number).stdout)
    return bool(shown["revoked"])


def test_revoke_counts(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    first = dpe("revoke", state, IMEI)
    assert first.stdout == "revoked: 1 device, 0 sessions ended\n"
    assert first.stderr == "note: 1 device has never been seen by this server, or not since a session ended\n"
    source = tmp_path / "stolen"
    source.write_text("\n".join(IMEIS), encoding="utf-8")
    again = dpe("revoke", state, "--csv", source)
    assert again.stdout == "revoked: 3 devices, 0 sessions ended\n"
    assert again.stderr.startswith("note: 2 devices have never been seen")
    assert "below epoch 2" in dpe("revoke", state, IMEIS[1], "--below-epoch", 2).stdout
    assert revoked(dpe, state, IMEI)


def test_a_revocation_is_taken_back(dpe: Invoke, state: Path) -> None:
    dpe("revoke", state, *IMEIS)
    dpe("revoke", state, *IMEIS[:2], "--below-epoch", 2)
    dry = dpe("unrevoke", state, *IMEIS[:2], "--dry-run")
    assert dry.stdout == "revocation would be lifted: 2 devices\n"
    assert dry.stderr == "nothing was changed\n"
    assert all(revoked(dpe, state, one) for one in IMEIS)
    assert dpe("unrevoke", state, *IMEIS[:2]).stdout == "revocation lifted: 2 devices\n"
    assert [revoked(dpe, state, one) for one in IMEIS] == [False, False, True]
    again = dpe("unrevoke", state, "--stdin", stdin="\n".join(IMEIS))
    assert again.stdout == "revocation lifted: 1 device\n"
    assert again.stderr == "note: 2 of 3 devices: the device is not revoked\n"
    lifted = dpe("unrevoke", state, IMEI, "--below-epoch")
    assert lifted.stdout == "minimum epoch lifted: 1 device\n"
    shown = [
        json.loads(dpe("device", "show", state, "--imei-stdin", "--json", stdin=one).stdout)["minimum_epoch"]
        for one in IMEIS
    ]
    assert shown == [0, 2, 0]
    assert "has no minimum epoch" in dpe("unrevoke", state, IMEI, "--below-epoch").stderr


def test_unrevoke_does_all_of_a_list_or_nothing(dpe: Invoke, state: Path) -> None:
    dpe("revoke", state, IMEI)
    result = dpe("unrevoke", state, "--stdin", stdin=f"{IMEI}\nabc\n", status=1)
    assert "row 2: not an IMEI" in result.stderr
    assert "1 of 2 IMEIs are at fault; nothing done" in result.stderr
    assert revoked(dpe, state, IMEI)


def test_what_is_imposed_is_in_the_audit_log_and_in_the_journal(dpe: Invoke, state: Path) -> None:
    dpe("revoke", state, IMEI)
    dpe("revoke", state, IMEI, "--below-epoch", 3)
    dpe("unrevoke", state, IMEI)
    dpe("revoke", state, IMEI, "--dry-run")
    dpe("unrevoke", state, IMEI)
    audit = [json.loads(line) for line in (state / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["event"], line.get("below_epoch")) for line in audit] == [
        ("revoked", None),
        ("revoked", 3),
        ("unrevoked", None),
    ]
    assert len({line["device"] for line in audit}) == 1
    journal = (state / "operators.jsonl").read_text(encoding="utf-8")
    acts = [json.loads(line)["act"] for line in journal.splitlines()]
    assert acts == ["revoke", "restrict-epoch", "unrevoke"]
    assert IMEI[:14] not in journal


def test_a_dry_run_of_revoke_changes_nothing(dpe: Invoke, state: Path) -> None:
    result = dpe("revoke", state, *IMEIS, "--dry-run")
    assert result.stdout == "would be revoked: 3 devices, 0 sessions ended\n"
    assert "3 devices have never been seen" in result.stderr
    assert "nothing was changed" in result.stderr
    dry = dpe("revoke", state, IMEI, "--below-epoch", 2, "--dry-run")
    assert dry.stdout == "1 device: credentials below epoch 2 would be refused\n"
    shown = json.loads(dpe("device", "show", state, "--imei-stdin", "--json", stdin=IMEI).stdout)
    assert (shown["revoked"], shown["minimum_epoch"]) == (False, 0)


@pytest.mark.parametrize(
    "text",
    [
        f"{IMEI}\nno IMEI\n",
        f"{IMEI}\n" * 5_000,
        f'imei,remark\n{IMEI},"open\n',
        f"{IMEI}\n10499001234568\n",
        f"{IMEI}\n4.9015E+14\n",
        f"{IMEI}\n\xff\n",
    ],
)
def test_a_list_is_revoked_whole_or_not_at_all(dpe: Invoke, state: Path, tmp_path: Path, text: str) -> None:
    source = tmp_path / "stolen"
    source.write_text(text, encoding="latin-1")
    for given in (("--csv", source), ("--stdin",)):
        result = dpe("revoke", state, *given, stdin=source.read_bytes(), status=1)
        assert "nothing" in result.stderr
        assert result.stdout == ""
        assert IMEI not in result.output
    assert not revoked(dpe, state, IMEI)


def test_faults_beyond_the_first_are_counted(dpe: Invoke, state: Path) -> None:
    result = dpe("revoke", state, "--stdin", stdin="x\n" * 30, status=1)
    assert result.stderr.count("dpe: error: row ") == 20
    assert "dpe: error: 10 more rows are at fault" in result.stderr
    assert "30 of 30 IMEIs are at fault; nothing done" in result.stderr
