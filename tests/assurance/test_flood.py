"""The short form of ``./tools/assure flood``, and what a server keeps of peers that have proved no key: nothing."""

import random
import secrets
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dpe_coap.errors import LocalError
from dpe_server import policy
from dpe_server.handling.handler import handle
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Registrar
from dpe_server.registration.transaction_table import Transactions
from dpe_server.store.opening import open_store
from tests.assurance.crowd import open_state
from tests.assurance.flood import Settings, run
from tests.conftest import missing
from tests.end_to_end.devices import Device

SHORT = Settings(times=2, rate=20, seconds=2, settle=1, sources=3, ack_timeout=200, backoff=500)
ROUNDS = 20
NOW, WALL = 1_000.0, 1_700_000_000.0


@pytest.mark.timeout(480)
def test_honest_devices_register_beside_a_flood(tmp_path: Path) -> None:
    try:
        report = run(SHORT, tmp_path)
    except LocalError as error:
        missing(f"the flood cannot be made here: {error}")
    assert report.faults == [], f"\n{report}"
    assert report.offered > report.capacity
    assert report.calm is not None
    assert report.flooded is not None
    assert report.calm.completed > 0
    assert report.flooded.completed > 0
    assert report.compared > 100
    grown = report.flooded.resident[-1] - report.flooded.resident[0]
    assert grown < 16 << 20


def _of_unknown(recorded: list[bytes], source: random.Random) -> Iterator[bytes]:
    """Yield messages that an eavesdropper can make: recorded ones, unchanged and forged."""
    for message in recorded:
        yield message[:6] + source.randbytes(16) + message[22:]
        yield message[:-16] + source.randbytes(16)
        yield message[:3] + source.randbytes(len(message) - 3)
        yield message
        yield source.randbytes(len(message))


def test_nothing_is_kept_of_who_has_proved_no_key(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    with closing(open_store(state.store_url)) as store:
        transactions = Transactions(secrets.token_bytes)
        registrar = Registrar(
            realm=state.config.realm,
            keys=state.keys,
            policy=policy.load(state.policy_path),
            random=secrets.token_bytes,
            ordinals=Ordinals.after(0, NOW, WALL),
            transactions=transactions,
        )
        recorded = []
        for _ in range(10):
            device = Device(state)
            request = device.request()
            (response,) = handle(registrar, store, [request], NOW, WALL).replies
            success = device.read(request, response.payload).success()
            handle(registrar, store, [success], NOW, WALL)
            recorded += [request, success]
        source = random.Random(1)

        def flood() -> None:
            for _ in range(ROUNDS):
                handle(registrar, store, list(_of_unknown(recorded, source)), NOW, WALL)

        tracemalloc.start()
        flood()
        before = tracemalloc.take_snapshot()
        flood()
        after = tracemalloc.take_snapshot()
        tracemalloc.stop()
        kept = sum(each.size_diff for each in _ours(after).compare_to(_ours(before), "filename"))
        assert len(transactions) == 10
        assert store.stats(int(WALL)).live == 10
        messages = ROUNDS * 5 * len(recorded)
        assert kept < messages / 2, f"{kept} bytes of {messages} messages"  # a few numbers that are just about


def _ours(snapshot: tracemalloc.Snapshot) -> tracemalloc.Snapshot:
    """Leave out what is not the server's, and the store, as sqlite3 forgets its last 200 cursors all at once."""
    ours = (tracemalloc.Filter(True, f"*/{package}/*") for package in ("dpe_server", "dpe_coap"))
    return snapshot.filter_traces([*ours, tracemalloc.Filter(False, "*/store/sqlite/*")])
