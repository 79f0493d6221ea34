"""The last answer of each session: repeats get the same bytes, a few times, for a while."""

from dpe_server.session.answers import LIFE, REPEATS, TOTAL, Answers


def test_a_repeat_gets_the_same_bytes_a_few_times() -> None:
    answers = Answers()
    answers.keep(7, b"request", b"answer", 0.0)
    assert [answers.again(7, b"request", 1.0) for _ in range(REPEATS + 1)] == [b"answer"] * REPEATS + [None]


def test_another_request_is_no_repeat() -> None:
    answers = Answers()
    answers.keep(7, b"request", b"answer", 0.0)
    assert answers.again(7, b"another", 1.0) is None
    assert answers.again(8, b"request", 1.0) is None
    assert answers.again(7, b"request", 1.0) == b"answer"


def test_an_answer_is_kept_for_a_while() -> None:
    answers = Answers()
    answers.keep(7, b"request", b"answer", 10.0)
    assert answers.again(7, b"request", 10.0 + LIFE) == b"answer"
    assert answers.again(7, b"request", 10.1 + LIFE) is None


def test_a_session_has_one_answer() -> None:
    answers = Answers()
    answers.keep(7, b"first", b"1", 0.0)
    answers.keep(7, b"second", b"2", 0.0)
    assert len(answers) == 1
    assert answers.again(7, b"first", 1.0) is None
    assert answers.again(7, b"second", 1.0) == b"2"


def test_the_oldest_answer_goes_first() -> None:
    answers = Answers(total=2)
    answers.keep(1, b"first", b"1", 0.0)
    answers.keep(2, b"second", b"2", 0.0)
    answers.keep(1, b"third", b"3", 0.0)
    answers.keep(3, b"fourth", b"4", 0.0)
    assert len(answers) == 2
    assert answers.again(2, b"second", 1.0) is None
    assert answers.again(1, b"third", 1.0) == b"3"
    assert answers.again(3, b"fourth", 1.0) == b"4"


def test_the_session_that_was_answered_last_is_the_last_to_go() -> None:
    assert TOTAL == 131_072
    answers = Answers(total=3)
    for client_id in (7, 8, 7, 9, 10):
        answers.keep(client_id, b"request", b"answer", 0.0)
    assert [client_id for client_id in (7, 8, 9, 10) if answers.again(client_id, b"request", 1.0)] == [7, 9, 10]
