"""The client on MicroPython against `dpe serve` over a bad link: the short form of `many_registrations`."""

from pathlib import Path

from tests.simulation.many_registrations import run


def test_many_registrations(micropython: str, tmp_path: Path) -> None:
    report = run(200, 1, micropython, tmp_path)
    assert report.faults == [], f"\n{report}"
    assert report.datagrams["lost"] > 100
    assert report.failures.total() > 0, "no attempt failed: the link is too good to show anything"
