"""The application of a board in its session: what it reports, and what it asks of the device's session otherwise."""

from collections.abc import Callable
from typing import Any

from dpe_device.registration import IDLE
from dpe_device.reporter import Reporter
from dpe_device.session import READY, Session
from dpe_tools.simulation.world import World
from dpe_tools.voice import Method, given

PROPERTIES = (0, 2, 4, 9, "mood", "a property with a long name")
MANY = 24
"""So many large properties are more than a server keeps."""
LARGE = 200
"""Bytes of the value of each."""


class Ears(Reporter):
    """The device's own reporter. It may run out of memory or power, and tells what was answered."""

    def __init__(self, strike: Callable[[], None], answered: Callable[[int, bytes], None]) -> None:
        super().__init__()
        self._strike = strike
        self._answered = answered

    def make(self, now: int, session: int) -> bytes:
        """See ``Reporter.make``."""
        self._strike()
        return super().make(now, session)

    def done(self, code: int, answer: bytes, lifetime: int | None) -> int | None:
        """See ``Reporter.done``."""
        self._answered(code, answer)
        self._strike()
        return super().done(code, answer, lifetime)


class Application:
    """What a board measures, which outlives a boot, and its reporter, which does not.

    ``strike`` may raise; ``answered`` gets the code and the payload of each response that the device believes.
    """

    def __init__(self, world: World, strike: Callable[[], None], answered: Callable[[int, bytes], None]) -> None:
        self._world = world
        self._strike = strike
        self._answered = answered
        self._measured: dict[Any, Any] = {0: 100, "mood": "calm"}
        self._reporter = Ears(strike, answered)

    def boot(self, *arguments: Any, **options: Any) -> Session:
        """Return a session as after a boot; the arguments are those of ``Registration``."""
        self._reporter = Ears(self._strike, self._answered)
        self._reporter.values.update(self._measured)
        return given(Session(*arguments, **options), self._reporter)

    def wish(self, session: Session, now: int) -> int | None:
        """Ask the session for what is due, as ``dpe_device.device`` does; return when to step it again (ms)."""
        later: int | None = session.due
        if session.state != READY:
            return later
        due = self._reporter.due(now)
        if due <= now:
            session.want(Method.REPORT)
            later = session.due
        return due if later is None else min(due, later)

    def is_told(self, session: Session, now: int) -> bool:
        """Whether all that is due has been reported, and the server has answered."""
        is_due = session.due is not None and session.due <= now
        return session.state == READY and not is_due and self._reporter.due(now) > now

    def change(self) -> None:
        """Measure something else: one value, or seldom more than a server keeps."""
        chance = self._world.random
        changed: dict[Any, Any]
        if chance.random() < 0.04:
            changed = {f"p{number}": chance.randbytes(LARGE) for number in range(MANY)}
        else:
            value = chance.choice((None, True, chance.randrange(200), chance.random(), "x" * chance.randrange(40)))
            changed = {chance.choice(PROPERTIES): value}
        self._measured |= changed
        self._reporter.values.update(changed)

    def ask(self, session: Session, method: Method) -> None:
        """Ask for the policies, or deregister."""
        if session.state != IDLE:
            session.want(method)
