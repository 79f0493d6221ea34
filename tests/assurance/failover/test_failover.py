"""The short form of ``./tools/assure failover``, and that its eyes are open."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import pytest

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_bytes
from dpe_tools.cluster import group
from dpe_tools.cluster.balancer import Balancer
from dpe_tools.cluster.instance import Instance, own
from dpe_tools.load.network import Endpoint, Received
from tests import coap
from tests.assurance.failover import Settings, run, scribe
from tests.assurance.failover.eavesdropper import Eavesdropper
from tests.assurance.failover.scribe import Record
from tests.assurance.failover.watched import LONGEST, Watched

SHORT = Settings(kills=1, stops=1, nodes=1, devices=60, load=80)
HARM = [
    ("DELETE FROM device WHERE device IN ({live} 1)", "1 devices: REGISTERED, and there is no row"),
    (
        "UPDATE device SET client_id = client_id # 1 WHERE device IN ({live} 2)",
        "2 devices: REGISTERED, and the row has another Client ID",
    ),
    (
        "UPDATE device SET record = '' WHERE device IN ({live} 3 OFFSET 2)",
        "3 devices: the row has another report than the last one",
    ),
]
"""What is done to the rows of devices that have a session and have reported, and what is found."""
LIVE = "SELECT device FROM device WHERE length(record) > 0 ORDER BY device LIMIT"

pytestmark = pytest.mark.usefixtures("postgresql_programs")


@pytest.mark.timeout(480)
def test_nothing_is_lost_with_a_primary_or_a_node(tmp_path: Path) -> None:
    report = run(SHORT, tmp_path)
    assert report.faults == [], f"\n{report}"
    assert {kind: len(times) for kind, times in report.silences.items()} == {
        "primary killed": 1,
        "primary halted": 1,
        "node killed": 1,
    }
    assert report.registrations > 2 * SHORT.devices
    assert report.accepted >= report.reports > SHORT.devices
    assert report.sessions >= report.registrations
    assert report.compared >= 3 * SHORT.devices
    assert report.repeats > SHORT.devices


@pytest.mark.timeout(240)
def test_what_is_lost_is_found(postgresql_programs: Path, tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="dpe-pg-") as place,
        group.running(postgresql_programs, Path(place), standbys=1) as database,
        Watched(tmp_path, database, devices=20, seed=1) as watched,
    ):
        watched.work_until_done(60, LONGEST)
        watched.finish(LONGEST)
        watched.compare()
        assert watched.faults == []
        for statement, found in HARM:
            database.primary.sql(statement.format(live=LIVE))
            watched.compare()
            assert found in watched.faults


@pytest.fixture(scope="module")
def instance(postgresql_programs: Path) -> Iterator[Instance]:
    """A database with the columns of a device of which notes are made."""
    with tempfile.TemporaryDirectory(prefix="dpe-pg-") as place:
        own(Path(place))
        with Instance(postgresql_programs, Path(place), {}) as made:
            made.make()
            made.start()
            made.sql("CREATE TABLE device (device bytea PRIMARY KEY, client_id int8, ordinal int8, mark int8)")
            scribe.begin(made)
            yield made


@pytest.fixture
def noted(instance: Instance) -> Callable[[str], Record]:
    """A function that makes a session of one device, does something to its row, and returns what was noted."""
    instance.sql("TRUNCATE device, noted.act")
    instance.sql("INSERT INTO device VALUES ('one', 7, 10, NULL)")

    def noted(statements: str) -> Record:
        instance.sql(statements)
        return Record(instance)

    return noted


SET = "UPDATE device SET"


def test_what_must_be_is_no_fault(noted: Callable[[str], Record]) -> None:
    record = noted(f"{SET} mark = 1; {SET} mark = 5; {SET} client_id = 8, ordinal = 11, mark = NULL; {SET} mark = 1")
    now = time.time()
    record.check({(7, 1): now, (7, 4): now, (7, 5): now, (7, 6): now, (8, 1): now})
    assert record.faults == []
    assert record.accepted == 3
    assert record.sessions == 2


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (f"{SET} mark = 4; {SET} mark = 3", "number 3 is accepted after 4"),
        (f"{SET} mark = 4; {SET} mark = 5; {SET} mark = 4", "number 4 is accepted again"),
        (f"{SET} client_id = 8, ordinal = 9", "an older registration has come after a newer one"),
        (f"{SET} client_id = NULL, ordinal = 10; {SET} client_id = 7, ordinal = 11", "its keys are back"),
        ("INSERT INTO device VALUES ('two', 7, 12, NULL)", "two devices have this Client ID"),
    ],
)
def test_what_must_not_be_is_found_in_the_notes(noted: Callable[[str], Record], statements: str, found: str) -> None:
    (fault,) = noted(statements).faults
    assert found in fault
    assert fault.startswith("00000000000007: ") or "older" in found


def test_a_report_that_was_answered_and_is_lost_is_found(noted: Callable[[str], Record]) -> None:
    before = time.time() - 1
    record = noted(f"{SET} mark = 3")
    record.check({(7, 4): time.time()})
    record.check({(7, 2): before})
    record.check({(9, 1): time.time()})
    assert [fault.partition(": ")[2] for fault in record.faults] == [
        "number 4 was answered, and is lost",
        "number 2 was answered, and is lost",
        "number 1 was answered, and is lost",
    ]


class _Silent:
    """A network that sends nothing and receives what it is given."""

    peer = ("192.0.2.1", 5683)
    nodes = (peer, peer)

    def __init__(self) -> None:
        self.came: list[Received] = []
        self.lease = self.release = None

    def send(self, endpoint: Endpoint, datagram: bytes) -> None:
        pass

    def send_to(self, node: int, endpoint: Endpoint, datagram: bytes) -> None:
        pass

    def receive(self, ready: Iterable[object]) -> Iterator[Received]:
        yield from self.came
        self.came.clear()


def test_two_requests_or_two_answers_under_a_number_are_found() -> None:
    network = _Silent()
    heard = Eavesdropper(cast(Balancer, network), 1)
    endpoint = cast(Endpoint, object())

    def asks(number: int, ciphertext: bytes) -> None:
        option = (9, oscore.option(client_id_bytes(7), number))
        heard.send(endpoint, bytes(coap.Message(coap.CON, coap.POST, 1, b"%d" % number, [option], ciphertext)))

    def answers(number: int, ciphertext: bytes, option: bytes = b"") -> None:
        message = coap.Message(coap.ACK, 0x44, 1, b"%d" % number, [(9, option)], ciphertext)
        network.came.append(Received(endpoint, bytes(message), network.peer, 0))
        list(heard.receive([]))

    for _ in range(2):
        asks(1, b"request")
        answers(1, b"answer")
    asks(2, b"request")
    assert heard.faults == []
    assert list(heard.answered) == [(7, 1)]
    answers(1, b"other answer")
    asks(2, b"other request")
    answers(3, b"answer")
    answers(2, b"answer", b"\x01\x05")
    assert heard.faults == [
        "00000000000007: two answers under number 1",
        "00000000000007: two requests under number 2",
        "a protected answer to nothing that was asked",
        "an answer with a nonce of its own",
    ]
