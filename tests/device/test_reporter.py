"""What is reported when: every condition, by a clock that the test sets."""

from dpe_device.reporter import Reporter
from dpe_device.values import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PMIN, PMAX, GT, LT, ST, BAND, EDGE, ROAMING = 0, 1, 2, 3, 4, 5, 6, 16
CHANGED, CONTENT, MALFORMED, TOO_LARGE = 0x44, 0x45, 0x80, 0x8D
ETAG = b"\1\2\3\4"
NEVER = 1 << 29  # ms; at least


def told(policies: "dict[Any, Any]", lifetime: "int | None" = None, etag: bytes = ETAG) -> bytes:
    """An answer of the server."""
    return encode({0: etag, 3: policies} if lifetime is None else {0: etag, 2: lifetime, 3: policies})


class Device:
    """A reporter and its clock, in s."""

    def __init__(self, policies: "dict[Any, Any] | None" = None) -> None:
        self.reporter = Reporter()
        self.now = 1000
        self.session = 1
        if policies is not None:
            self.reporter.take(told(policies))

    def made(self) -> "dict[Any, Any]":
        """The report that would be sent now."""
        report: dict[Any, Any] = decode(self.reporter.make(self.now * 1000, self.session))
        return report

    def reports(self, **values: "Any") -> "Any":
        """Set values, of properties 0 and so on by a, b..., and report if something is due: the properties."""
        for name, value in values.items():
            self.reporter.values[ord(name) - 97] = value
        due = self.reporter.due(self.now * 1000) <= self.now * 1000
        properties = self.made().get(1)
        assert due == (properties is not None)
        self.reporter.done(CHANGED, b"", None)
        return properties

    def wake(self) -> "int | None":
        """In how many s something is due, if nothing changes; None: never."""
        wait = self.reporter.due(self.now * 1000) - self.now * 1000
        return None if wait >= NEVER else wait // 1000


NO_NUMBERS = b"\xf9\x7e\0", b"\xf9\x7c\0", b"\xf9\xfc\0", b"\xfa\xff\xff\xff\xff", b"\xfb\x7f\xf0" + bytes(5) + b"\1"
"""NaN, the infinities, and NaN that can be said by 32 or 64 bits alone."""


def held(conditions: "dict[int, Any]", *values: "Any") -> "list[bool]":
    """Whether each value is reported, when the first one has been."""
    device = Device({0: conditions})
    found = []
    for value in values:
        found.append(device.reports(a=value) is not None)
        device.now += 1
    return found[1:]


def test_without_policies_all_is_reported_and_then_every_change() -> None:
    device = Device()
    device.reporter.values = {0: 87, "vendor/temp": 21.5, 1: "1.4.2"}
    assert device.made() == {1: {0: 87, 1: "1.4.2", "vendor/temp": 21.5}}
    assert device.reports() == {0: 87, 1: "1.4.2", "vendor/temp": 21.5}
    assert device.reports() is None
    assert device.made() == {}
    assert device.reports(a=86) == {0: 86}
    assert device.wake() is None


def test_with_policies_the_etag_goes_along_and_only_what_they_name() -> None:
    device = Device({0: {}})
    device.reporter.values = {0: 87, 1: "1.4.2"}
    assert device.made() == {0: ETAG, 1: {0: 87}}
    device.reports()
    assert device.made() == {0: ETAG}
    device = Device({})
    device.reporter.values = {0: 87}
    assert device.made() == {0: ETAG}


def test_what_was_not_answered_is_due_again_with_the_values_of_now() -> None:
    device = Device({0: {}, 1: {}})
    device.reporter.values = {0: 87, 1: "1.4.2"}
    assert device.made()[1] == {0: 87, 1: "1.4.2"}
    device.reporter.values[0] = 86
    assert device.made()[1] == {0: 86, 1: "1.4.2"}
    device.reporter.done(CHANGED, b"", None)
    assert device.reports() is None


def test_a_value_that_changes_while_it_is_under_way_is_due_again() -> None:
    device = Device({0: {}})
    device.reporter.values = {0: 87}
    device.made()
    device.reporter.values[0] = 86
    device.reporter.done(CHANGED, b"", None)
    assert device.reports() == {0: 86}


def test_a_new_session_knows_no_value() -> None:
    device = Device({0: {}})
    assert device.reports(a=1) == {0: 1}
    device.session = 2
    assert device.made() == {0: ETAG, 1: {0: 1}}


def test_a_property_that_is_gone_is_reported_as_null() -> None:
    device = Device({0: {GT: 5}})
    assert device.reports(a=1) == {0: 1}
    assert device.reports(a=None) == {0: None}
    assert device.reports() is None
    assert device.reports(a=1) == {0: 1}


def test_pmin_is_the_least_time_between_two_reports() -> None:
    device = Device({0: {PMIN: 10}})
    assert device.reports(a=1) == {0: 1}
    device.now += 9
    assert device.reports(a=2) is None
    assert device.wake() == 1
    device.now += 1
    assert device.reports(a=2) == {0: 2}
    assert device.wake() is None


def test_pmax_is_the_longest_time_between_two_reports() -> None:
    device = Device({0: {PMAX: 60, GT: 100}})
    assert device.reports(a=1) == {0: 1}
    assert device.wake() == 60
    device.now += 59
    assert device.reports(a=2) is None
    device.now += 1
    assert device.reports() == {0: 2}
    assert device.wake() == 60


def test_pmin_and_pmax_together() -> None:
    device = Device({0: {PMIN: 10, PMAX: 60}})
    device.reports(a=1)
    device.reporter.values[0] = 2
    assert device.wake() == 10
    device.reporter.values[0] = 1
    assert device.wake() == 60


def test_gt_is_to_cross_a_limit_either_way() -> None:
    assert held({GT: 5}, 4, 5, 6, 7, 6, 5, 4) == [False, True, False, False, True, False]
    assert held({GT: 5.5}, 4, 5, 6) == [False, True]


def test_lt_is_to_cross_a_limit_either_way() -> None:
    assert held({LT: 5}, 6, 5, 4, 3, 4, 5, 6) == [False, True, False, False, True, False]
    assert held({LT: -90}, -80, -95, -100, -80) == [True, False, True]


def test_gt_and_lt_together() -> None:
    assert held({GT: 10, LT: 5}, 7, 8, 11, 12, 8, 4, 3, 7) == [False, True, False, True, True, False, True]


def test_st_is_a_step_since_the_last_report() -> None:
    assert held({ST: 5}, 50, 52, 54, 55, 51, 50, 44.5) == [False, False, True, False, True, True]
    assert held({ST: 0.5}, 21.0, 21.25, 21.5, 21.0) == [False, True, True]


def test_one_condition_is_enough() -> None:
    assert held({ST: 50, GT: 5}, 4, 6, 40, 60) == [True, False, True]


def test_band_is_every_change_inside_or_outside() -> None:
    cases: tuple[tuple[dict[int, Any], tuple[int, ...], list[bool]], ...] = (
        ({LT: 5}, (0, 4, 5, 5, 6, 3), [False, True, False, True, False]),  # from 5 up
        ({GT: 5}, (9, 6, 5, 4, 4, 7), [False, True, True, False, False]),  # up to 5
        ({GT: 5, LT: 10}, (0, 4, 5, 7, 10, 11, 10), [False, True, True, True, False, False]),
        ({GT: 10, LT: 5}, (7, 5, 4, 10, 11, 8), [False, True, False, True, False]),
    )
    for conditions, values, expected in cases:
        conditions[BAND] = True
        assert held(conditions, *values) == expected, conditions


def test_band_that_is_false_is_none() -> None:
    assert held({GT: 5, BAND: False}, 4, 6, 7) == [True, False]


def test_edge_is_the_change_to_a_value() -> None:
    assert held({EDGE: True}, False, True, True, False, True) == [True, False, False, False]
    assert held({EDGE: False}, True, False, False) == [True, False]


def test_roaming_false_is_nothing_while_roaming() -> None:
    device = Device({0: {ROAMING: False}, 1: {ROAMING: True}, 2: {}})
    device.reporter.roaming = True
    assert device.reports(a=1, b=1, c=1) == {1: 1, 2: 1}
    assert device.reports(a=2) is None
    device.reporter.roaming = False
    assert device.reports() == {0: 2}


def test_what_cannot_be_evaluated_is_ignored() -> None:
    assert held({GT: 5}, "1.4.2", "1.4.3", "1.4.3") == [True, False]
    assert held({ST: 5}, "a", "b") == [True]
    assert held({99: 1}, 1, 2, 2) == [True, False]
    assert held({99: 1, GT: 5}, 1, 2, 6) == [False, True]


def test_all_that_is_due_goes_into_one_message() -> None:
    device = Device({n: {PMAX: 60 + n} for n in range(6)})
    device.reporter.values = {n: n for n in range(6)}
    assert device.reports() == {n: n for n in range(6)}
    device.now += 62
    assert device.reports() == {0: 0, 1: 1, 2: 2}


def test_what_does_not_fit_is_due_at_once_in_the_next() -> None:
    device = Device()
    values: dict[Any, Any] = {n: bytes(200) for n in range(9)}
    device.reporter.values = dict(values)
    seen: dict[Any, Any] = {}
    for _ in range(3):
        report = device.made()
        assert len(encode(report)) <= 1024
        assert device.reporter.due(device.now * 1000) <= device.now * 1000
        device.reporter.done(CHANGED, b"", None)
        seen.update(report[1])
    assert seen == values
    assert device.reports() is None
    device = Device()
    device.reporter.values = dict.fromkeys(range(100), 0)
    assert len(device.reports()) == 64
    assert len(device.reports()) == 36


def test_the_largest_report_has_1024_bytes_at_most() -> None:
    device = Device({n: {} for n in range(64)})
    device.reporter.values = {n: bytes(13) for n in range(64)}
    size = len(device.reporter.make(0, 1))
    assert size < 1024
    for n in range(1024 - size):
        device.reporter.values[n] = bytes(14)
    assert len(device.reporter.make(0, 1)) == 1024
    device.reporter.values[63] = bytes(14)
    assert len(device.reporter.make(0, 1)) < 1024


def test_what_the_server_refuses_is_dropped_and_told() -> None:
    device = Device()
    device.reporter.values = {0: 87, 1: "1.4.2"}
    device.made()
    assert device.reporter.done(TOO_LARGE, b"", 60) == 60
    assert device.reporter.dropped == {0: TOO_LARGE, 1: TOO_LARGE}
    assert device.reporter.code == TOO_LARGE
    assert device.reporter.values == {}
    assert device.reports() is None
    assert device.reports(a=87) == {0: 87}  # handed over again


def test_a_newer_value_is_not_dropped_with_the_one_that_was_refused() -> None:
    device = Device()
    device.reporter.values = {0: 87, 1: "1.4.2"}
    device.made()
    device.reporter.values[0] = 86
    device.reporter.done(MALFORMED, b"", None)
    assert device.reporter.dropped == {1: MALFORMED}
    assert device.reports() == {0: 86}


def test_what_is_no_value_or_no_property_is_dropped_and_told_and_the_rest_is_sent() -> None:
    bad: list[tuple[Any, Any]] = [
        (1, float("nan")),
        (2, [1]),
        (3, "x" * 257),
        (4, 1 << 63),
        (65536, 1),
        (-1, 1),
        ("x" * 33, 1),
        (b"x", 1),
        (None, 1),
        (1.5, 1),
    ]
    for name, value in bad:
        device = Device()
        device.reporter.values = {0: 87, name: value}
        assert device.reports() == {0: 87}
        assert device.reporter.dropped == {name: 0}
    device = Device()
    good: dict[Any, Any] = {65535: -(1 << 63), "x" * 32: "x" * 256, "\u00fc": b"x" * 256, 24: 0.1}
    device.reporter.values = good.copy()
    assert device.reports() == good


def test_an_answer_replaces_the_policies_and_tells_the_lifetime() -> None:
    device = Device()
    device.reports(a=1, b=1)
    answer = told({1: {}}, 3600)
    assert device.reporter.done(CHANGED, answer, None) == 3600
    assert device.reporter.answer == answer
    assert device.reports(a=2, b=2) == {1: 2}
    assert device.made() == {0: ETAG}
    assert device.reporter.done(CONTENT, told({}, None, b"wxyz"), 3600) is None
    assert device.reports(b=3) is None
    assert device.made() == {0: b"wxyz"}


def test_an_answer_that_cannot_be_read_is_told_and_counts_as_done() -> None:
    good = told({0: {}}, 3600)
    answers = [
        b"\xff",
        b"\xa0",
        good[:-1],
        good + b"\0",
        encode({0: ETAG}),
        encode({0: ETAG, 3: {0: 1}}),
        encode({0: "etag", 3: {}}),
        encode({0: 1, 3: {}}),
        b"\xa2\0\x80\3\xa0",
        encode({0: ETAG, 3: b""}),
        encode({0: ETAG, 3: {0: {1: "x"}}}),
        encode({0: ETAG, 3: {0: {16: None}}}),
        encode({0: ETAG, 2: 1.5, 3: {}}),
        encode({0: ETAG, 2: "60", 3: {}}),
        encode(1),
        encode({3: {}}),
    ]
    answers += [good[:-1] + b"\xa1\1" + number for number in NO_NUMBERS]  # as pmax
    for bad in answers:
        device = Device({0: {}, 1: {}})
        device.reporter.values = {0: 1, 1: 2}
        device.made()
        assert device.reporter.done(CHANGED, bad, 60) == 60
        assert device.reporter.dropped == {None: CHANGED}
        assert device.reports() is None  # the server has these
        assert device.reports(b=3) == {1: 3}  # and the old policies stay
        assert device.made() == {0: ETAG}


def test_an_answer_larger_than_the_memory_is_told_and_counts_as_done() -> None:
    device = Device({0: {}})

    def take(answer: bytes) -> None:
        raise MemoryError

    setattr(device.reporter, "take", take)  # noqa: B010  # no type checker likes it
    device.reporter.values = {0: 1}
    device.made()
    assert device.reporter.done(CHANGED, told({}), 60) == 60
    assert device.reporter.dropped == {None: CHANGED}
    assert device.reports() is None


def test_an_answer_that_was_kept_need_not_come_again() -> None:
    device = Device()
    device.made()
    device.reporter.done(CHANGED, told({0: {GT: 5}}, 60), None)
    woken = Device()
    assert woken.reporter.take(device.reporter.answer) == 60
    assert woken.reports(a=1, b=2) == {0: 1}
    assert woken.made() == {0: ETAG}
