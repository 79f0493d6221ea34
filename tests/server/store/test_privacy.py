"""Who takes the database without the at-rest key learns no IMEI and no session key from it."""

import os
from collections.abc import Callable
from pathlib import Path

from dpe_coap.client_ids import client_id_of
from dpe_coap.imei import Imei, luhn
from dpe_server.keys.at_rest import AtRest
from dpe_server.store.contract import RestrictEpoch, Revoke, Session
from dpe_server.store.sqlite.store import SqliteStore

Make = Callable[..., Session]


def test_the_database_holds_no_imei_and_no_session_key(store: SqliteStore, make: Make, path: Path, now: int) -> None:
    at_rest = AtRest(os.urandom(32), os.urandom)
    imeis = [Imei.parse(f"352099{number:08}") for number in range(1, 200)]
    secrets = [os.urandom(24) for _ in imeis]
    sessions = []
    for imei, keys in zip(imeis, secrets, strict=True):
        client_id, device = client_id_of(os.urandom(7)), at_rest.device_id(imei)
        sessions.append(
            make(
                client_id=client_id,
                device=device,
                sealed_imei=at_rest.seal_imei(imei, device),
                sealed_keys=at_rest.seal_keys(keys, client_id),
            )
        )
    store.commit([*sessions, Revoke(sessions[0].device, now), RestrictEpoch(sessions[1].device, 2)])
    files = list(path.parent.iterdir())
    data = b"".join(file.read_bytes() for file in files)
    assert sessions[5].device in data  # so that the search is one
    for imei, keys in zip(imeis, secrets, strict=True):
        digits = imei.digits
        nibbles = digits + "f" * (len(digits) % 2)
        swapped = bytes.fromhex("".join(nibbles[n + 1] + nibbles[n] for n in range(0, len(nibbles), 2)))
        number = int(digits)
        for form in (
            digits.encode(), imei.packed, swapped, number.to_bytes(6), number.to_bytes(8), keys, keys.hex().encode(),
            f"{digits}{luhn(digits)}".encode(), digits.encode("utf-16-le"),
        ):  # fmt: skip
            assert form not in data
    assert not any("352099" in file.name for file in files)


def test_the_repr_of_a_session_shows_nothing_of_the_device(make: Make) -> None:
    session = make()
    shown = repr(session)
    for name in ("device", "sealed_imei", "th3", "success_hash", "confirm", "sealed_keys"):
        value = getattr(session, name)
        assert repr(value) not in shown
        assert value.hex() not in shown
        assert f"{name}=" not in shown
