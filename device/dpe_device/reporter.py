"""What of a device's properties is to be reported when: the server's policies and a clock in, reports out. No socket.

The conditions are those of draft-ietf-core-conditional-attributes, pmin, pmax, gt, lt, st, band and edge, and roaming.
None of these is left out. Others are ignored, and so is what cannot be evaluated, such as a limit for a text.
"""

from .values import decode, encode

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Any, Conditions, Property, Value

_SESSION_LABEL_POLICY_ETAG = const(0)
_SESSION_LABEL_PROPERTIES = const(1)
_SESSION_LABEL_LIFETIME = const(2)
_SESSION_LABEL_POLICIES = const(3)

_ATTRIBUTE_PMIN = const(0)
_ATTRIBUTE_PMAX = const(1)
_ATTRIBUTE_GT = const(2)
_ATTRIBUTE_LT = const(3)
_ATTRIBUTE_ST = const(4)
_ATTRIBUTE_BAND = const(5)
_ATTRIBUTE_EDGE = const(6)
_LIMITS = const(1)  # _ATTRIBUTE_GT and _ATTRIBUTE_LT without their last bit
_ATTRIBUTE_ROAMING = const(16)
_LONG = const(1 << 29)  # s, longer than a device is in use
_FAR = const(1 << 29)  # ms

_BAD_REQUEST = const(0x80)  # the least code of an error
_ROOM = const(1014)  # bytes of a message for properties and values: 1,024 without the rest
_MOST = const(64)

# A property's encoding begins as a number of two bytes at most, or as a text, of which the size is such a number.
_TEXT = const(0x60)
_TWO_BYTES = const(0x19)
_LONGEST = const(34)


class Reporter:
    """What a `Session` reports of `values`, a dict that the application fills and changes: property to value.

    A property is a number of 0 to 65535 or a name of 1 to 32 bytes of UTF-8. `roaming` is set by the application. Until
    the server has told its policies, all is reported, at first and at every change.

    `dropped` is for the application to read and clear: properties that will not be reported, and are no longer in
    `values`, with the code of the server's refusal (0x80 to 0xBF), or 0 for what is no value. Under None it says that
    the server's answer could not be read or kept; then the old policies stay. `code` is that of the last protected
    response, `answer` what the server has told last: kept and taken with `take` after a deep sleep, it need not come
    again.
    """

    code: "int | None" = None
    roaming = False
    answer = _etag = b""
    _session: "int | None" = None
    _policies: "dict[Property, Conditions] | None" = None

    def __init__(self) -> None:
        self.values: "dict[Property, Value]" = {}
        self.dropped: "dict[Property | None, int]" = {}
        self._sent: "dict[Property, Value]" = {}
        self._reported: "dict[Property, tuple[Value, int]]" = {}  # the last values that the server has, and since when

    def due(self, now: int) -> int:
        """Return when something is due, as things are now: in ms, long ago or far away."""
        self._due = []
        first = now + _FAR
        for name, value in self.values.items():
            conditions = {} if self._policies is None else self._policies.get(name)
            if conditions is None or self.roaming > conditions.get(_ATTRIBUTE_ROAMING, True):
                continue
            at = now
            if name in self._reported:
                last, at = self._reported[name]
                wait = conditions.get(_ATTRIBUTE_PMAX, _LONG)
                if _holds(conditions, value, last):
                    wait = min(wait, conditions.get(_ATTRIBUTE_PMIN, 0))
                at += wait * 1000
            if at <= now:
                self._due.append(name)
            first = min(first, at)
        return first

    def make(self, now: int, session: int) -> bytes:
        """Return a report of all that is due. What does not fit into one message stays due."""
        if session != self._session:
            self._session = session
            self._reported = {}
        self.due(now)
        self._made_at = now
        sent: "dict[Property, Value]"
        self._sent = sent = {}
        room = _ROOM
        for name in self._due:
            value = self.values[name]
            try:
                key = encode(name)
                if key[0] % _TEXT > _TWO_BYTES or len(key) > _LONGEST:
                    raise ValueError
                room -= len(key + encode(value))
            except (ValueError, TypeError, OverflowError):
                self._drop(name, 0)
            else:
                if room < 0 or len(sent) == _MOST:
                    break
                sent[name] = value
        report: "Any" = {}
        if sent:
            report[_SESSION_LABEL_PROPERTIES] = sent
        if self._etag:
            report[_SESSION_LABEL_POLICY_ETAG] = self._etag
        return encode(report)

    def done(self, code: int, answer: bytes, lifetime: "int | None") -> "int | None":
        """Take what the server answered; return the session's lifetime as it is then, in s."""
        self.code = code
        if code < _BAD_REQUEST:
            for name in self._sent:
                self._reported[name] = self._sent[name], self._made_at
            if answer:
                try:
                    lifetime = self.take(answer)
                except Exception:  # whatever is wrong with it; or there is no memory for it
                    self.dropped[None] = code
        else:
            for name in self._sent:
                if self._sent[name] == self.values.get(name, self):  # else there is a new one
                    self._drop(name, code)
        self._sent = {}
        return lifetime

    def _drop(self, name: "Property", code: int) -> None:
        self.dropped[name] = code
        del self.values[name]

    def take(self, answer: bytes) -> "int | None":
        """Take the policies of a dpe-answer, in CBOR; return the session's lifetime in s. Errors as `values.decode`."""
        told = decode(answer)
        policies = told[_SESSION_LABEL_POLICIES]
        for conditions in policies.values():
            sum(conditions.values())  # fails unless all are numbers: a wrong answer changes nothing
        told.get(_SESSION_LABEL_LIFETIME, 0) | 0  # fails unless it is a whole number
        self._etag = told[_SESSION_LABEL_POLICY_ETAG] + b""  # fails unless it is bytes
        self._policies = policies
        self.answer = answer
        return told.get(_SESSION_LABEL_LIFETIME)  # type: ignore[no-any-return]


def _holds(conditions: "Conditions", value: "Any", last: "Any") -> bool:
    # Whether there is a reason to report, whatever the time. Without one of these conditions, every change is one.
    plain = True
    changed: bool = value != last
    for attribute, setting in conditions.items():
        try:
            if attribute == _ATTRIBUTE_ST:
                holds = abs(value - last) >= setting
            elif attribute == _ATTRIBUTE_EDGE:
                holds = changed and value is setting
            elif attribute >> 1 != _LIMITS:
                continue
            elif conditions.get(_ATTRIBUTE_BAND):
                gt = conditions.get(_ATTRIBUTE_GT)
                lt = conditions.get(_ATTRIBUTE_LT)
                if gt is None:
                    holds = value >= lt
                elif lt is None:
                    holds = value <= gt
                elif gt > lt:
                    holds = value < lt or value > gt
                else:
                    holds = gt <= value <= lt
                holds = holds and changed
            else:
                holds = (value > setting) != (last > setting)
                if attribute == _ATTRIBUTE_LT:
                    holds = (value < setting) != (last < setting)
        except TypeError:
            continue
        if holds:
            return True
        plain = False
    return plain and changed
