"""Fairness in a flood: when more comes than can be decided, sources and subjects with few datagrams come first.

A full batch means that the socket has a backlog. Of such a batch each source gets a few datagrams decided now, and each
subject that messages name, such as a device, gets one in a second. The rest waits, in a queue about as long as the
socket's own, until a batch is not full. So a source that floods gets what the others leave, and so does a flood from
many sources that repeats what few devices have sent. Many devices behind one address get all of a server that nobody
else wants. Nothing is remembered of any source.
"""

from collections import deque
from collections.abc import Sequence

from dpe_server.coap.subjects import Crowds, Subjects, SubjectSizes

SHARE = 1
"""Datagrams of one source in a full batch that are decided now: a device has one under way."""
WAITING = 8_192
"""The most datagrams that wait; more are lost like any other datagram."""
LONGEST = 1_280
"""Bytes. A CoAP message is shorter (RFC 7252 section 4.6); a longer datagram does not wait, but is lost."""


class Fairness:
    """The scheduler of one socket. A full batch has ``full`` datagrams.

    ``source`` is the part of an endpoint that names the source. ``subjects`` says how messages name their subjects,
    and ``crowds`` which of these names count as one.
    """

    def __init__(self, full: int, source: slice, *, subjects: SubjectSizes, crowds: Crowds) -> None:
        self._full = full
        self._source = source
        self._subjects = Subjects(subjects, crowds)
        self._datagrams: deque[bytes] = deque()  # two queues: the garbage collector would visit pairs
        self._endpoints: deque[bytes] = deque()

    def __len__(self) -> int:
        """How many datagrams wait."""
        return len(self._datagrams)

    def take(
        self, datagrams: Sequence[bytes], endpoints: Sequence[bytes], now: float
    ) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return what is to be decided now that this batch has come (``now`` in monotonic seconds)."""
        if len(datagrams) >= self._full:
            self._subjects.set_time(now)
            return self._share(datagrams, endpoints)
        if not self._datagrams:
            return datagrams, endpoints
        room = min(self._full - len(datagrams), len(self._datagrams))
        return (
            [*(self._datagrams.popleft() for _ in range(room)), *datagrams],
            [*(self._endpoints.popleft() for _ in range(room)), *endpoints],
        )

    def _share(self, datagrams: Sequence[bytes], endpoints: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        source = self._source
        sources = [endpoint[source] for endpoint in endpoints]
        share = SHARE if sources.count(sources[0]) < len(sources) else 0  # a single source keeps its order
        counts = dict.fromkeys(sources, 0)
        is_new = self._subjects.is_new
        now: list[bytes] = []
        askers: list[bytes] = []
        room = WAITING - len(self._datagrams)
        for who, datagram, endpoint in zip(sources, datagrams, endpoints, strict=True):
            count = counts[who]
            if count < share and is_new(datagram):
                counts[who] = count + 1
                now.append(datagram)
                askers.append(endpoint)
            elif room > 0 and len(datagram) <= LONGEST:
                room -= 1
                self._datagrams.append(datagram)
                self._endpoints.append(endpoint)
        return now, askers
