"""Has the database itself write down what commits do to its rows, and finds there what must not be.

It is a trigger in a schema of its own, which the standbys have as they have everything.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from math import inf
from typing import Protocol

from tests.assurance.failover.eavesdropper import Request


class Server(Protocol):
    """A server of the database."""

    def sql(self, statement: str) -> list[list[str]]:
        """Execute a statement; return its rows as text."""


_MAKE = """
CREATE SCHEMA noted;
CREATE TABLE noted.act (
    seq bigserial PRIMARY KEY, device bytea, client_id int8, ordinal int8, mark int8,
    at float8 DEFAULT extract(epoch FROM clock_timestamp())
);
CREATE FUNCTION noted.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.client_id IS NOT NULL THEN
            INSERT INTO noted.act (device, client_id, ordinal, mark) VALUES (OLD.device, OLD.client_id, NULL, NULL);
        END IF;
    ELSIF TG_OP = 'UPDATE' AND OLD.client_id = NEW.client_id AND OLD.ordinal = NEW.ordinal THEN
        IF NEW.mark IS DISTINCT FROM OLD.mark THEN
            INSERT INTO noted.act (device, client_id, ordinal, mark) VALUES (NEW.device, NEW.client_id, NULL, NEW.mark);
        END IF;
    ELSE
        IF TG_OP = 'UPDATE' AND OLD.client_id IS NOT NULL THEN
            INSERT INTO noted.act (device, client_id, ordinal, mark) VALUES (OLD.device, OLD.client_id, NULL, NULL);
        END IF;
        IF NEW.client_id IS NOT NULL THEN
            INSERT INTO noted.act (device, client_id, ordinal, mark)
                VALUES (NEW.device, NEW.client_id, NEW.ordinal, NULL);
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON device FOR EACH ROW EXECUTE FUNCTION noted.note();
"""
"""An act: a session begins (it has an ordinal), accepts a request (it has a mark), or ends (it has neither)."""


def begin(primary: Server) -> None:
    """Begin to write down."""
    primary.sql(_MAKE)


class Record:
    """All that was written down until now, and what is wrong with it."""

    def __init__(self, primary: Server) -> None:
        self._holder: dict[int, str] = {}
        """The device of each Client ID that a live session has."""
        self._ordinal: dict[str, int] = {}
        self._marks: dict[int, list[int]] = defaultdict(list)
        self._times: dict[int, list[float]] = defaultdict(list)
        """Of each mark, when it was set."""
        self._ended: dict[int, float] = {}
        self.faults: list[str] = []
        acts = primary.sql("SELECT device, client_id, ordinal, mark, at FROM noted.act ORDER BY seq")
        for device, client_id, ordinal, mark, at in acts:
            begins, number = int(ordinal) if ordinal else None, int(mark) if mark else None
            self._act(device, int(client_id), begins, number, float(at))

    @property
    def accepted(self) -> int:
        """How many requests were accepted."""
        return sum(map(len, self._marks.values()))

    @property
    def sessions(self) -> int:
        """How many sessions have begun."""
        return len(self._holder) + len(self._ended)

    def _act(self, device: str, client_id: int, ordinal: int | None, mark: int | None, at: float) -> None:
        name = f"{client_id:014x}"
        marks = self._marks[client_id]
        if ordinal is not None:
            if client_id in self._holder:
                self.faults.append(f"{name}: two devices have this Client ID")
            if client_id in self._ended:
                self.faults.append(f"{name}: its keys are back, after its end")
            if ordinal <= self._ordinal.get(device, 0):
                self.faults.append(f"{name}: an older registration has come after a newer one")
            self._ordinal[device] = ordinal
            self._holder[client_id] = device
        elif self._holder.get(client_id) != device:
            self.faults.append(f"{name}: it changes, though it is no session of the device")
        elif mark is None:
            del self._holder[client_id]
            self._ended[client_id] = at
        else:
            if marks and mark <= marks[-1]:
                twice = "again" if mark in marks else f"after {marks[-1]}"
                self.faults.append(f"{name}: number {mark} is accepted {twice}")
            marks.append(mark)
            self._times[client_id].append(at)

    def check(self, answered: Mapping[Request, float]) -> None:
        """See that what was answered was accepted before: ``answered`` has the time of the first answer to each.

        One commit may accept several requests of a session, and then the last one's number is written down; or the end
        of the session, if that was requested.
        """
        for (client_id, number), heard in answered.items():
            place = bisect_left(self._marks[client_id], number)
            known = self._times[client_id][place:] or [self._ended.get(client_id, inf)]
            if known[0] > heard:
                self.faults.append(f"{client_id:014x}: number {number} was answered, and is lost")
