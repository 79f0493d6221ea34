"""Access tokens: what is kept of them, who is admitted, and what several processes do to the file."""

import json
import re
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from dpe_server.files import durable
from dpe_server.operation import access
from dpe_server.operation.access import Access, AccessError, AccessFile, Role

NOW = 1_800_000_000


@pytest.fixture
def file(tmp_path: Path) -> AccessFile:
    return AccessFile(tmp_path)


def kept(tmp_path: Path) -> str:
    return (tmp_path / "access.json").read_text(encoding="utf-8")


def test_only_the_hash_is_kept_in_a_file_of_the_owner(file: AccessFile, tmp_path: Path) -> None:
    made, text = file.create("billing", Role.READER, NOW, 86_400)
    assert re.fullmatch(r"dpe_[0-9a-f]{64}", text)
    assert made == Access("billing", Role.READER, sha256(text.encode()).digest(), NOW, NOW + 86_400)
    assert text not in kept(tmp_path)
    assert text.removeprefix("dpe_") not in kept(tmp_path)
    assert (tmp_path / "access.json").stat().st_mode & 0o777 == 0o600
    assert file.all() == [made]
    assert "sha256" not in made.in_json()


def test_two_are_never_alike(file: AccessFile) -> None:
    assert file.create("a", Role.READER, NOW, None)[1] != file.create("b", Role.READER, NOW, None)[1]


def test_who_is_admitted_and_for_how_long(file: AccessFile) -> None:
    made, text = file.create("billing", Role.READER, NOW, 100)
    other, forever = file.create("ops", Role.OPERATOR, NOW, None)
    assert file.admit(text, NOW + 99.9) == made
    assert file.admit(text, NOW + 100) is None
    assert file.admit(forever, NOW + 10**9) == other
    for wrong in ("", "dpe_", text[:-1], text + "0", text.upper(), f" {text}", "dpe_" + "0" * 64, "\ud800"):
        assert file.admit(wrong, NOW) is None, wrong


def test_revoked_opens_nothing_at_once_also_for_another_process(file: AccessFile, tmp_path: Path) -> None:
    made, text = file.create("billing", Role.READER, NOW, None)
    assert file.admit(text, NOW)
    assert file.is_valid(made, NOW)
    assert AccessFile(tmp_path).revoke("billing").name == "billing"
    assert file.admit(text, NOW) is None
    assert not file.is_valid(made, NOW)
    assert file.all() == []


def test_what_has_expired_is_not_valid_any_more(file: AccessFile) -> None:
    made, _ = file.create("billing", Role.READER, NOW, 100)
    assert file.is_valid(made, NOW + 99)
    assert not file.is_valid(made, NOW + 100)


def test_all_are_compared_in_constant_time(file: AccessFile, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [file.create(name, Role.READER, NOW, None)[1] for name in "abc"]
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(access, "compare_digest", compare)
    for text in (*texts, "dpe_" + "0" * 64, "x"):
        compared.clear()
        file.admit(text, NOW)
        assert len(compared) == 3
        assert {other for _, other in compared} == {sha256(text.encode()).digest()}


def test_the_last_use_is_kept_to_the_hour_and_written_once(file: AccessFile, tmp_path: Path) -> None:
    _, text = file.create("billing", Role.READER, NOW, None)
    assert file.all()[0].used_at is None
    file.admit(text, NOW + 0.5)
    hour = NOW - NOW % 3600
    assert file.all()[0].used_at == hour
    inode = (tmp_path / "access.json").stat().st_ino
    file.admit(text, hour + 3599)
    assert (tmp_path / "access.json").stat().st_ino == inode, "nothing was written"
    file.admit(text, hour + 3600)
    assert file.all()[0].used_at == hour + 3600


def test_who_cannot_note_the_use_admits_all_the_same(
    file: AccessFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, text = file.create("billing", Role.READER, NOW, None)

    def full(_path: Path, _text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "replace", full)
    assert file.admit(text, NOW) == made
    with pytest.raises(AccessError, match="No space left on device"):
        file.create("more", Role.READER, NOW, None)


def test_a_name_is_there_once_and_is_a_name(file: AccessFile) -> None:
    file.create("a.B-c_1", Role.READER, NOW, 1)
    with pytest.raises(AccessError, match=r"there is an access token a\.B-c_1 already"):
        file.create("a.B-c_1", Role.OPERATOR, NOW + 100, None)
    for wrong in ("", "a b", "é", "-a", "a" * 65, "a\n"):
        with pytest.raises(AccessError, match="cannot be named"):
            file.create(wrong, Role.READER, NOW, None)
    with pytest.raises(AccessError, match="there is no access token 'b'"):
        file.revoke("b")


def test_there_are_not_too_many(file: AccessFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MOST", 2)
    file.create("a", Role.READER, NOW, None)
    file.create("b", Role.READER, NOW, None)
    with pytest.raises(AccessError, match="there are 2 access tokens already"):
        file.create("c", Role.READER, NOW, None)


def test_changes_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def create(number: int) -> None:
        AccessFile(tmp_path).create(f"n{number}", Role.READER, NOW, None)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.name for one in AccessFile(tmp_path).all()] == [f"n{number}" for number in range(8)]


GOOD = {"name": "a", "role": "reader", "created_at": 1, "expires_at": None, "used_at": None, "sha256": "00" * 32}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"access_tokens": 1}', "[" * 100_000]
    + [
        json.dumps({"access_tokens": [GOOD | change]})
        for change in (
            {"role": "root"},
            {"sha256": "00"},
            {"sha256": "x" * 64},
            {"name": "a b"},
            {"name": 1},
            {"created_at": None},
            {"expires_at": "1"},
            {"more": 1},
        )
    ],
)
def test_what_is_no_file_of_access_tokens_admits_nobody(file: AccessFile, tmp_path: Path, text: str) -> None:
    (tmp_path / "access.json").write_text(text)
    with pytest.raises(AccessError, match="not a file of access tokens") as caught:
        file.admit("dpe_" + "0" * 64, NOW)
    assert "create the access tokens anew" in caught.value.hint
    assert "0000" not in str(caught.value)


def test_the_good_file_is_good_and_bytes_are_not(file: AccessFile, tmp_path: Path) -> None:
    (tmp_path / "access.json").write_text(json.dumps({"access_tokens": [GOOD]}))
    assert [one.name for one in file.all()] == ["a"]
    (tmp_path / "access.json").write_bytes(b"\xff")
    with pytest.raises(AccessError, match="not UTF-8 text"):
        file.all()
    (tmp_path / "access.json").unlink()
    (tmp_path / "access.json").mkdir()
    with pytest.raises(AccessError, match="Is a directory"):
        file.all()


def test_what_a_role_may_do() -> None:
    assert Role.OPERATOR.covers(Role.READER)
    assert Role.OPERATOR.covers(Role.OPERATOR)
    assert Role.READER.covers(Role.READER)
    assert not Role.READER.covers(Role.OPERATOR)
