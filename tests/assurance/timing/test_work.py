"""The work behind a refusal is the same for every reason: counted, not timed."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dpe_coap.imei import Imei
from dpe_coap.keys import RequestStep
from dpe_coap.messages import Request
from dpe_server.registration.authentication import Authenticator, Sender
from dpe_server.store.contract import NOBODY
from dpe_server.store.questions import Facts, Questions
from dpe_server.store.sqlite.store import SqliteStore
from tests.assurance.timing.measuring import InProcess, register
from tests.assurance.timing.refusals import BY_MODEL, POLICY, Make, Refusals
from tests.assurance.timing.session_refusals import SessionRefusals, protected
from tests.assurance.timing.work import count

SPREAD = 20
"""Bytecodes, of some two thousand: choosing between two values takes one more or less."""
OPERATIONS = 15
"""Operations of the database, of some fifty: it reads a row that is there, or fills in for one that is not."""
SHA256, ANY_READ, BYTECODES = "module.openssl_sha256", "Cursor.fetchall", "bytecodes"
AESCCM = "AESCCM.decrypt"
GENUINE = ("number not above the mark", "session over")
"""The session's own keys have made these requests: they are decrypted, which takes less time than to fail."""
FAILS_LATE = {"oscore:fail": (1, 0), AESCCM: (2, 1)}
"""So something else must fail."""


class Counting:
    """A server without sockets, whose work for a message can be counted."""

    def __init__(self, refusals: Refusals) -> None:
        of_sessions = SessionRefusals(refusals.state)
        self.server = InProcess(refusals)
        expired = refusals.begin_expiring(self.server.ask)
        self.server.expire()
        of_sessions.speak(self.server.ask_protected)
        self.classes = {
            "REQUEST": refusals.requests(),
            "SUCCESS": refusals.successes(self.server.ask, expired),
            "session": of_sessions.requests(),
        }

    def close(self) -> None:
        self.server.close()

    def work(self, kind: str, make: Make) -> Counter[str]:
        """Count the calls, the bytecodes and the database's ``operations`` for one message."""
        datagram_of = protected if kind == "session" else register
        datagrams = [datagram_of(1, b"tt", make()) for _ in range(20)]
        for datagram in datagrams:  # what is remembered of earlier ones is
            self.server.exchange(datagram)
        operations = self._operations(datagrams[0])
        counts = count(lambda: self.server.exchange(datagrams[0]))
        counts["operations"] = operations
        return counts

    def _operations(self, datagram: bytes) -> int:
        made = 0

        def progress() -> int:
            nonlocal made
            made += 1
            return 0

        self.server.store._database._reader.set_progress_handler(progress, 1)
        self.server.exchange(datagram)
        self.server.store._database._reader.set_progress_handler(None, 1)
        return made

    def spread(self, kind: str) -> tuple[dict[str, Counter[str]], int, int]:
        """Return the calls by class, and by how much bytecodes and operations differ."""
        works = {name: self.work(kind, make) for name, make in self.classes[kind].items()}
        bytecodes = [work.pop(BYTECODES) for work in works.values()]
        operations = [work.pop("operations") for work in works.values()]
        assert min(bytecodes) > 1_000
        assert min(operations) > 5
        return works, max(bytecodes) - min(bytecodes), max(operations) - min(operations)


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Counting]:
    counting = Counting(Refusals(tmp_path / "state"))
    yield counting
    counting.close()


@pytest.mark.parametrize("policy", [POLICY, BY_MODEL], ids=["one for all", "by model"])
@pytest.mark.parametrize(
    ("kind", "classes", "most"), [("REQUEST", 7, SPREAD), ("SUCCESS", 7, SPREAD), ("session", 8, 2 * SPREAD)]
)
def test_every_refusal_is_the_same_work(tmp_path: Path, policy: str, kind: str, classes: int, most: int) -> None:
    with closing(Counting(Refusals(tmp_path / "state", policy))) as counting:
        works, bytecodes, operations = counting.spread(kind)
    assert len(works) == classes
    reference = next(iter(works.values()))
    assert reference[AESCCM] == 1 if kind == "session" else reference[SHA256] > 4
    assert reference[ANY_READ] > 0
    for name, work in works.items():
        differs = {call: (work[call], reference[call]) for call in work | reference if work[call] != reference[call]}
        assert differs == (FAILS_LATE if name in GENUINE else {}), name
    assert bytecodes <= most
    assert operations <= OPERATIONS


def test_a_refusal_without_its_work_is_seen(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is when a handle that does not open is refused at once."""
    prove = Authenticator.prove

    def hasty(self: Authenticator, request: Request, payload: bytes, th1: bytes) -> Sender:
        if not self._claims(request.identity)[0][0][-1]:
            step = RequestStep.of(bytes(32), "realm")
            return Sender(False, request, payload, th1, step, 0, Imei(bytes(7)), 0, bytes(16), "bad handle")
        return prove(self, request, payload, th1)

    monkeypatch.setattr(Authenticator, "prove", hasty)
    works, bytecodes, _ = counting.spread("REQUEST")
    assert works["unknown device"][SHA256] < works["wrong key"][SHA256]
    assert bytecodes > SPREAD


def test_a_look_at_the_store_for_some_is_seen(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    look = SqliteStore.look

    def only_of_devices(self: SqliteStore, questions: Questions) -> Facts:
        return look(self, questions if questions.restrictions != {NOBODY} else Questions(holders=questions.holders))

    monkeypatch.setattr(SqliteStore, "look", only_of_devices)
    works, bytecodes, operations = counting.spread("REQUEST")
    assert works["wrong key"][ANY_READ] < works["revoked device"][ANY_READ]
    assert bytecodes > SPREAD
    assert operations > OPERATIONS
