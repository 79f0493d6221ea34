"""The benchmarks' questions for discovery: every answer is judged, and none is taken for that of another question."""

import threading
from collections.abc import Iterable

import pytest

from dpe_bench.discovering import Discovering
from dpe_coap.errors import LocalError
from tests.tools.bench.peer import Peer, ReceivedRequest

CONTENT, NOT_FOUND = 0x45, 0x84
LINK = b'</dpe/register>;rt="dpe.register";if="dpe-1";ct=60'


def asked(answers: Iterable[tuple[int, bytes]], *, stray: bytes = b"") -> tuple[list[float], int]:
    """Answer so many questions, each after a ``stray`` one; return the times and the number of questions."""
    left = list(answers)
    done = threading.Event()

    def answer(request: ReceivedRequest) -> Iterable[bytes]:
        if not left:
            return []
        code, payload = left.pop(0)
        if not left:
            done.set()
        right = request.reply(payload, kind=0x50, code=code)
        return [request.reply(b"", kind=0x50, code=NOT_FOUND, coap_token=stray), right] if stray else [right]

    with Peer(answer) as peer:
        with Discovering(peer.port) as discovering:
            assert done.wait(20)
        return discovering.times, len(peer.seen)


def test_right_answers_are_timed() -> None:
    times, questions = asked([(CONTENT, LINK)] * 3)
    assert len(times) == questions >= 3
    assert min(times) > 0


def test_an_answer_to_another_question_is_passed_over() -> None:
    times, questions = asked([(CONTENT, LINK)] * 2, stray=b"xy")
    assert len(times) == questions


@pytest.mark.parametrize("wrong", [(NOT_FOUND, b""), (CONTENT, b"</other>"), (CONTENT, b"")])
def test_a_wrong_answer_is_told(wrong: tuple[int, bytes]) -> None:
    with pytest.raises(LocalError, match="answered wrongly"):
        asked([(CONTENT, LINK), wrong])
