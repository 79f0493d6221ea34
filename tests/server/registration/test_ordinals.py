from hashlib import sha256
from os import urandom
from pathlib import Path

from dpe_server import policy
from dpe_server.handling import batching
from dpe_server.net import mmsg
from dpe_server.registration.ordinals import Ordinals, SequenceOrdinals
from dpe_server.registration.registrar import Registrar
from dpe_server.store.questions import PLACE_BITS, Questions
from tests.server.registration.double import POLICY, REALM, Device, Server

UNIX = 1_800_000_000.0


def test_they_rise_with_the_monotonic_clock_and_stay_in_step_in_two_processes() -> None:
    one = Ordinals.after(0, 1000.0, UNIX)
    other = Ordinals.after(0, 1000.0, UNIX)
    assert one.next(1000.0) == UNIX * 1e6
    assert one.next(1000.0) == UNIX * 1e6 + 1
    assert other.next(1000.5) == UNIX * 1e6 + 500_000
    assert one.next(1001.0) == UNIX * 1e6 + 1_000_000


def test_they_go_on_after_the_last_one_when_the_wall_clock_was_set_back_and_the_machine_restarted() -> None:
    last = Ordinals.after(0, 5000.0, UNIX).next(5000.0)
    assert Ordinals.after(last, 3.0, UNIX - 10 * 365 * 86400).next(3.0) == last + 1


def test_the_first_of_all_is_one_where_the_wall_clock_does_not_know_the_time() -> None:
    ordinals = Ordinals.after(0, 5.0, 0.0)
    assert [ordinals.next(5.0), ordinals.next(5.0), ordinals.next(5.1)] == [1, 2, 100_001]


def test_they_never_fall_when_the_clock_does_not_move() -> None:
    ordinals = Ordinals(7)
    assert [ordinals.next(1.0) for _ in range(3)] == [1_000_007, 1_000_008, 1_000_009]
    assert ordinals.next(0.5) == 1_000_010


def test_for_many_machines_they_are_the_number_of_the_batch_and_the_place_in_it() -> None:
    ordinals = SequenceOrdinals()
    questions = Questions()
    ordinals.ask(questions)
    assert questions
    ordinals.begin(5)
    assert [ordinals.next(9.0), ordinals.next(1.0)] == [5 << 12, 5 << 12 | 1]
    ordinals.begin(6)
    assert ordinals.next(1.0) == 6 << 12


def test_those_of_one_machine_ask_the_store_nothing() -> None:
    questions = Questions()
    Ordinals(7).ask(questions)
    assert not questions


def test_a_batch_has_no_more_requests_than_places() -> None:
    assert max(batching.BATCH, batching.WAITING, mmsg.BATCH) <= 1 << PLACE_BITS


def test_a_batch_has_the_number_that_its_first_look_told(tmp_path: Path) -> None:
    server = Server(tmp_path / "store")
    registrar = Registrar(
        realm=REALM, keys=server.keys, policy=policy.parse(POLICY), random=urandom, ordinals=SequenceOrdinals()
    )
    request = Device(server).request()
    batch = registrar.read([request], server.now)
    assert batch.questions.number
    facts = server.store.look(batch.questions)
    facts.number = 7
    further = registrar.decide(batch, facts, server.now, server.wall)
    while further is not None:  # which Client IDs are free
        further = registrar.decide(batch, server.store.look(further), server.now, server.wall)
    begun = registrar._transactions.of_request(sha256(request).digest())
    assert begun is not None
    assert begun.ordinal == 7 << PLACE_BITS
    server.store.close()
