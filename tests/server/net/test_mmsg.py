"""What recvmmsg and sendmmsg may say, from a stand-in for the C library; test_udp.py has the real one."""

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from dpe_server.net import mmsg, packet_info
from dpe_server.net.mmsg import BATCH, Mmsg

pytestmark = pytest.mark.skipif(not mmsg.AVAILABLE, reason="this machine has no recvmmsg")


class Library:
    """Says what the test wants, in order: a count, or an error of this number."""

    def __init__(self, *results: int | OSError) -> None:
        self.results = list(results)
        self.asked: list[int] = []

    def recvmmsg(self, descriptor: int, headers: Any, count: int, flags: int, timeout: Any) -> int:
        return self._next(count)

    def sendmmsg(self, descriptor: int, headers: Any, count: int, flags: int) -> int:
        return self._next(count)

    def _next(self, count: int) -> int:
        self.asked.append(count)
        result = self.results.pop(0)
        if isinstance(result, OSError):
            mmsg._ffi.errno = result.errno
            return -1
        return result


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        yield bound


def send(bound: socket.socket, monkeypatch: pytest.MonkeyPatch, count: int, *results: int | OSError) -> list[int]:
    """Send so many datagrams; return how many were still to be sent in each call."""
    library = Library(*results)
    monkeypatch.setattr(mmsg, "_libc", library)
    Mmsg(bound.fileno(), socket.AF_INET).send([b"datagram"] * count, [bytes(48)] * count)
    assert library.results == []
    return library.asked


def test_what_the_kernel_leaves_is_sent_in_the_next_call(bound: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(bound, monkeypatch, 10, 4, 5, 1) == [10, 6, 1]


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOBUFS])
def test_when_the_kernel_is_full_the_rest_is_lost(
    bound: socket.socket, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    assert send(bound, monkeypatch, 10, 4, OSError(number, "")) == [10, 6]


def test_one_that_cannot_be_sent_is_lost_alone(bound: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(bound, monkeypatch, 10, OSError(errno.EINVAL, ""), 3, OSError(errno.EMSGSIZE, ""), 5) == [10, 9, 6, 5]


def test_more_than_a_batch_is_sent_in_several(bound: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.EAGAIN, "")
    assert send(bound, monkeypatch, 2 * BATCH + 1, BATCH, full, 1) == [BATCH, BATCH, 1]
    assert send(bound, monkeypatch, 0) == []


@pytest.mark.parametrize("result", [0, OSError(errno.EAGAIN, ""), OSError(errno.ECONNREFUSED, "")])
def test_nothing_to_receive_is_no_datagram(
    bound: socket.socket, monkeypatch: pytest.MonkeyPatch, result: int | OSError
) -> None:
    library = Library(result)
    monkeypatch.setattr(mmsg, "_libc", library)
    assert Mmsg(bound.fileno(), socket.AF_INET).receive() == ([], [])
    assert library.asked == [BATCH]


def test_a_full_batch_is_received_in_one_call(bound: socket.socket) -> None:
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    bound.setblocking(False)
    packet_info.enable(bound)
    bound.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(2):
            sent = [number.to_bytes(2, "big") + bytes(number * 5 % 1_200) for number in range(BATCH // 2)]
            for datagram in sent:
                sender.sendto(datagram, bound.getsockname())
            io = Mmsg(bound.fileno(), socket.AF_INET)
            datagrams, endpoints = io.receive()
            assert datagrams == sent
            assert len(set(endpoints)) == 1
            assert io.receive() == ([], [])
