"""The device's files: the record that survives a reboot, and the credential in both its forms."""

import os
from binascii import hexlify

from dpe_device.store import FileStore, load_credential
from tests.device.scripted import CREDENTIAL, DEVICE_KEY, HANDLE, encode_item, head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOLDER = os.getenv("TMPDIR") or "/tmp"


class File:
    """A file that is gone in the end."""

    def __init__(self, content: "bytes | None" = None) -> None:
        self.path = f"{FOLDER}/dpe-device-{str(hexlify(os.urandom(8)), 'ascii')}"
        if content is not None:
            self.write(content)

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: object) -> None:
        for path in (self.path, self.path + ".2"):
            try:  # noqa: SIM105  # MicroPython has no contextlib
                os.remove(path)  # noqa: PTH107  # MicroPython has no pathlib
            except OSError:
                pass

    def write(self, content: bytes) -> None:
        with open(self.path, "wb") as file:  # noqa: PTH123  # MicroPython has no pathlib
            file.write(content)

    def read(self) -> bytes:
        with open(self.path, "rb") as file:  # noqa: PTH123  # MicroPython has no pathlib
            return file.read()


def refusal(content: bytes) -> str:
    """Why a credential is not read; never with what is secret in it."""
    with File(content) as file:
        try:
            load_credential(file.path)
        except ValueError as error:
            assert str(hexlify(DEVICE_KEY), "ascii")[:16] not in str(error)
            return str(error)
    raise AssertionError("read")


def as_cbor(credential: "dict[str, Any]") -> bytes:
    pairs = [encode_item(key) + encode_item(value) for key, value in credential.items()]
    return head(5, len(pairs)) + b"".join(pairs)


def as_json(credential: "dict[str, Any]") -> bytes:
    import json

    plain = {
        key: str(hexlify(value), "ascii") if isinstance(value, bytes) else value for key, value in credential.items()
    }
    return json.dumps(plain).encode()


def test_what_was_saved_last_is_loaded() -> None:
    with File() as file:
        store = FileStore(file.path)
        assert store.load() is None
        for record in (b"first", b"second, longer", b"3"):
            store.save(record)
            assert store.load() == record
            assert FileStore(file.path).load() == record


def test_a_save_that_fails_says_so_and_leaves_the_old_record() -> None:
    with File() as file:
        store = FileStore(file.path + "/nowhere")
        try:
            store.save(b"x")
        except OSError:
            pass
        else:
            raise AssertionError("saved")
        assert store.load() is None


def test_a_record_is_private() -> None:
    if not hasattr(os, "chmod"):
        return  # MicroPython knows no modes
    with File() as file:
        FileStore(file.path).save(b"secret")
        assert os.stat(file.path)[0] & 0o777 == 0o600  # noqa: PTH116  # MicroPython has no pathlib


def test_a_credential_is_read_from_both_forms() -> None:
    for content in (as_cbor(CREDENTIAL), as_json(CREDENTIAL), b"\n  " + as_json(CREDENTIAL) + b"\n"):
        with File(content) as file:
            assert load_credential(file.path) == CREDENTIAL


def test_a_byte_order_mark_before_json_is_no_matter() -> None:
    for content in (b"\xef\xbb\xbf" + as_json(CREDENTIAL), b"\xef\xbb\xbf\r\n" + as_json(CREDENTIAL) + b"\r\n"):
        with File(content) as file:
            assert load_credential(file.path) == CREDENTIAL
    assert "JSON" in refusal(b"\xef\xbb\xbf{x")
    assert "a CBOR map" in refusal(b"\xef\xbb\xbf" + as_cbor(CREDENTIAL)[1:])
    assert "a CBOR map" in refusal(b"\xef\xbb\xbf")


def test_the_keys_may_come_in_any_order_and_with_others() -> None:
    turned: dict[str, Any] = {"note": "x", "list": (1, 2)}
    for key in ("realm", "epoch", "device_key", "server", "handle"):
        turned[key] = CREDENTIAL[key]
    with File(as_cbor(turned)) as file:
        read = load_credential(file.path)
        assert {key: read[key] for key in CREDENTIAL} == CREDENTIAL


def test_a_missing_file_is_an_os_error() -> None:
    try:
        load_credential(FOLDER + "/dpe-device-that-is-not-there")
    except OSError:
        return
    raise AssertionError("read")


def test_a_refused_credential_is_told_by_its_key() -> None:
    for key, wrong in (
        ("server", ""),
        ("server", 1),
        ("realm", b"lab"),
        ("handle", HANDLE[1:]),
        ("handle", "x" * 17),
        ("device_key", DEVICE_KEY + b"\0"),
        ("epoch", "1"),
        ("epoch", None),
    ):
        changed: dict[str, Any] = dict(CREDENTIAL)
        changed[key] = wrong
        if wrong is None:
            del changed[key]
        assert key in refusal(as_cbor(changed))
        if not (isinstance(wrong, bytes) and key == "realm"):
            assert key in refusal(as_json(changed))


def test_what_is_no_credential_is_refused() -> None:
    good = as_cbor(CREDENTIAL)
    for content in (
        b"",
        b"hello",
        b"\x80",
        good[:-1],
        good + b"\0",
        b"\xbf\xff",
        b"\xa1\x81\x01\x00",
        b"{",
        b"{}",
        b'{"a":',
        b'{"a":' * 2000,
        b'{"a":' + b"[" * 2000,
    ):
        assert "credential" in refusal(content)
