"""The way of a registration to the network: every address of a name is tried, and silence is told."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dpe_device.registration import REGISTERED, Registration
from dpe_tools import credentials, reach
from dpe_tools.client import Client
from dpe_tools.exits import NoAnswer
from dpe_tools.reach import Place
from dpe_tools.server_process import free_port
from dpe_tools.stage import Memory
from tests.tools.conftest import Running

URI = "coap://dpe.example"
LONG = 3600.0
"""Seconds that no test waits for."""


class Notes:
    """What happened."""

    def __init__(self) -> None:
        self.way: list[str] = []
        self.news: list[str] = []

    def sent(self, datagram: bytes, place: str) -> None:
        self.way.append(f"-> {place}")

    def received(self, datagram: bytes, place: str) -> None:
        self.way.append(f"<- {place}")

    def told(self, news: str) -> None:
        self.news.append(news)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def running(server: Running) -> Place:
    return Place(socket.AF_INET, server.process.address)


@pytest.fixture
def nobody() -> Place:
    return Place(socket.AF_INET, ("127.0.0.1", free_port()))


@pytest.fixture
def silent() -> Iterator[Place]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        yield Place(socket.AF_INET, listening.getsockname())


@pytest.fixture
def lead(monkeypatch: pytest.MonkeyPatch, credential: Path, notes: Notes) -> Callable[..., Client]:
    """Make a client whose server's name leads to the places given, or raises one of them."""

    def lead(
        *found: Place | NoAnswer, deadline: float = LONG, patience: float = LONG, ack_timeout: int = 20_000
    ) -> Client:
        def look_up(uri: str, *_: object) -> list[Place]:
            assert uri == URI
            if isinstance(found[0], NoAnswer):
                raise found[0]
            return [place for place in found if isinstance(place, Place)]

        monkeypatch.setattr(reach, "look_up", look_up)
        known = credentials.for_device(credentials.load(str(credential))) | {"server": URI}
        return Client(
            Registration(known, Memory(), os.urandom, ack_timeout=ack_timeout), notes, deadline, patience=patience
        )

    return lead


def test_the_next_address_is_tried_at_once_where_nobody_listens(
    lead: Callable[..., Client], notes: Notes, nobody: Place, running: Place
) -> None:
    assert lead(nobody, running).run().state == REGISTERED
    assert notes.way == [f"-> {nobody}", *[f"-> {running}", f"<- {running}"] * 2]
    assert notes.news == []


def test_the_next_address_is_tried_again_and_again_while_there_is_silence(
    lead: Callable[..., Client], notes: Notes, silent: Place, running: Place
) -> None:
    assert lead(silent, running, ack_timeout=20).run().state == REGISTERED
    assert notes.way[:2] == [f"-> {silent}", f"-> {running}"]
    assert {step for step in notes.way if step.startswith("<-")} == {f"<- {running}"}


def test_an_address_without_a_way_to_it_is_passed_over(
    lead: Callable[..., Client], notes: Notes, running: Place
) -> None:
    nowhere = Place(socket.AF_INET6, ("fe80::1", 5683, 0, 0))  # without its zone
    assert lead(nowhere, running).run().state == REGISTERED
    assert notes.way == [f"-> {running}", f"<- {running}"] * 2  # what was not sent is not shown
    assert notes.news == []


def test_that_nobody_listens_anywhere_is_told_at_once(lead: Callable[..., Client], notes: Notes, nobody: Place) -> None:
    client = lead(nobody, deadline=0.1)
    assert client.run().state != REGISTERED
    assert notes.news[0] == f"{nobody}: nobody listens there"
    assert client.failures == {nobody: "nobody listens there"}


def test_silence_is_told_once(lead: Callable[..., Client], notes: Notes, silent: Place) -> None:
    client = lead(silent, deadline=0.2, patience=0.05)
    assert client.run().state != REGISTERED
    assert notes.news == [f"no answer from {URI} yet; trying for 0.2 s"]
    assert client.failures == {silent: "no answer"}


def test_without_an_address_nothing_is_sent(lead: Callable[..., Client], notes: Notes) -> None:
    client = lead(NoAnswer("no such name"), deadline=0.1)
    assert client.run().state != REGISTERED
    assert notes.way == []
    assert set(notes.news) == {"no such name"}
    assert str(client.nowhere) == "no such name"


def test_the_name_service_gets_what_is_left_of_the_time(
    lead: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def look_up(uri: str, seconds: float, *_: object) -> list[Place]:
        asked.append(seconds)
        raise NoAnswer("no such name")

    client = lead(NoAnswer(""), deadline=0.1)
    monkeypatch.setattr(reach, "look_up", look_up)
    client.run()
    assert asked
    assert max(asked) <= 0.1
