"""Finding a server: every address of its name, a slow or ignorant name service, and what is told at once."""

import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dpe_coap.errors import LocalError
from dpe_tools import probe, reach
from dpe_tools.exits import Exit, NoAnswer, status_of
from dpe_tools.load.network import Server
from dpe_tools.reach import Place
from dpe_tools.server_process import free_port
from tests.serving import needs_ipv6
from tests.tools.conftest import Invoke, Running

NAME = "dpe.example"
LONG = 3600.0
"""Seconds that no test waits for."""


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The names that the name service knows from now on, and their addresses."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        if known.get(host) == []:
            raise socket.gaierror(socket.EAI_NONAME, "x")
        return [found for address in known.get(host, [host]) for found in real(address, port, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.fixture
def silent() -> Iterator[Place]:
    """A place where somebody listens, and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        yield Place(socket.AF_INET, listening.getsockname())


@pytest.fixture
def nobody() -> Place:
    """A place where nobody listens."""
    return Place(socket.AF_INET, ("127.0.0.1", free_port()))


@pytest.fixture
def running(server: Running) -> Place:
    return Place(socket.AF_INET, server.process.address)


def test_every_address_of_a_name_is_found_once(names: dict[str, list[str]]) -> None:
    names[NAME] = ["::1", "127.0.0.1", "127.0.0.1"]
    assert list(map(str, reach.look_up(f"coap://{NAME}"))) == ["[::1]:5683", "127.0.0.1:5683"]


def test_a_slow_name_service_does_not_overrun_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[Any]:
        assert answered.wait(LONG)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(NoAnswer, match=f"the name service does not say where {NAME} is"):
        reach.look_up(f"coap://{NAME}", 0.01)
    answered.set()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), f"no address is known for the name {NAME}"),
        (UnicodeError("label too long"), f"no address is known for the name {NAME}"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), f"the name service does not say where {NAME} is"),
    ],
)
def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch, error: Exception, told: str) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[Any]:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(NoAnswer) as caught:
        reach.look_up(f"coap://{NAME}")
    assert str(caught.value) == told
    assert "running" not in caught.value.hint
    assert status_of(caught.value) == Exit.NO_ANSWER


def test_what_is_no_uri() -> None:
    with pytest.raises(LocalError, match="not a server's URI"):
        reach.look_up("http://127.0.0.1")


def test_the_address_that_answers_is_taken(nobody: Place, silent: Place, running: Place) -> None:
    assert reach.knock("coap://x", [nobody, silent, running], LONG) == running


def test_that_nobody_listens_is_told_at_once(nobody: Place) -> None:
    with pytest.raises(NoAnswer) as caught:
        reach.knock("coap://x", [nobody], LONG)
    assert str(caught.value) == f"no CoAP server answers at coap://x ({nobody}: nobody listens there)"
    assert caught.value.hint == "is it running (dpe serve STATE), and listening there?"


def test_silence_is_told_after_the_deadline(silent: Place, nobody: Place) -> None:
    with pytest.raises(NoAnswer) as caught:
        reach.knock("coap://x", [silent, nobody], 0.05)
    assert f"({silent}: no answer in 0.05 s; {nobody}: nobody listens there)" in str(caught.value)
    assert "Does UDP get through?" in caught.value.hint


def test_a_link_local_address_without_its_zone() -> None:
    place = Place(socket.AF_INET6, ("fe80::1", 5683, 0, 0))
    assert "needs its zone" in place.why(OSError(errno.EINVAL, "Invalid argument"))
    assert place.why(OSError(errno.ENETUNREACH, "x")) == "there is no way to it from here"


def test_a_zone_that_this_machine_does_not_have() -> None:
    with pytest.raises(NoAnswer, match="fe80::1 is of a link that this machine does not have: nolink0"):
        reach.look_up("coap://[fe80::1%nolink0]")


def test_a_zone_is_shown() -> None:
    name = socket.if_indextoname(1)
    assert str(Place(socket.AF_INET6, ("fe80::1", 5683, 0, 1))) == f"[fe80::1%{name}]:5683"


@needs_ipv6
def test_load_and_doctor_try_every_address(names: dict[str, list[str]], dpe: Invoke, server: Running) -> None:
    names[NAME] = ["::1", "127.0.0.1"]
    uri = f"coap://{NAME}:{server.process.address[1]}"
    assert Server.reached(uri).address == server.process.address
    assert b"dpe.register" in probe.discover(uri, reach.SECONDS).payload


def test_load_tells_that_a_name_has_no_address(names: dict[str, list[str]], dpe: Invoke, server: Running) -> None:
    names[NAME] = []
    result = dpe("load", server.state, "--server", f"coap://{NAME}", status=3)
    assert result.stderr.startswith(f"dpe: error: no address is known for the name {NAME}\n")
