"""What a link does to datagrams is as often as it was told, and the same for the same seed."""

from dpe_tools.faults import MOST_BITS, Copy, Faults, FaultyLink

DATAGRAM = bytes(range(80))


def carried(faults: Faults, seed: int = 1, count: int = 2000) -> list[list[Copy]]:
    link = FaultyLink(faults, seed)
    return [link.carry(DATAGRAM) for _ in range(count)]


def test_a_good_link_changes_nothing() -> None:
    assert carried(Faults()) == [[Copy(0.0, DATAGRAM)]] * 2000


def test_the_same_seed_does_the_same() -> None:
    bad = Faults(loss=0.2, duplication=0.3, reordering=0.3, corruption=0.1)
    assert carried(bad) == carried(bad)
    assert carried(bad) != carried(bad, 2)


def test_loss_and_duplication_are_as_often_as_told() -> None:
    counts = [len(copies) for copies in carried(Faults(loss=0.2, duplication=0.3))]
    assert 300 < counts.count(0) < 500
    assert 380 < counts.count(2) < 580
    assert {0, 1, 2} == set(counts)


def test_a_delay_is_as_long_as_told() -> None:
    delays = [copies[0].delay for copies in carried(Faults(reordering=0.5, hold=0.2))]
    assert 800 < delays.count(0.0) < 1200
    assert 0.18 < max(delays) <= 0.2


def test_damage_flips_bits_or_cuts() -> None:
    damaged = [copies[0].datagram for copies in carried(Faults(corruption=1))]
    assert DATAGRAM not in damaged
    cut = [datagram for datagram in damaged if len(datagram) < len(DATAGRAM)]
    assert 400 < len(cut) < 600
    assert all(DATAGRAM.startswith(datagram) for datagram in cut)
    assert min(map(len, cut)) == 0
    whole = int.from_bytes(DATAGRAM, "big")
    flipped = {(int.from_bytes(other, "big") ^ whole).bit_count() for other in damaged if len(other) == len(DATAGRAM)}
    assert flipped == set(range(1, MOST_BITS + 1))


def test_an_empty_datagram_cannot_be_damaged() -> None:
    assert FaultyLink(Faults(corruption=1)).carry(b"") == [Copy(0.0, b"")]
