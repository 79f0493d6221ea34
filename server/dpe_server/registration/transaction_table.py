"""The bounded table of transactions, in memory only.

A transaction stays for its whole life of 300 s, so that resent messages get the same bytes. When a device has four and
another one comes, the one with the oldest handle makes room: recordings of earlier REQUESTs push out no newer one. When
all devices together have more than the table holds, the oldest goes first.

A server remembers a million transactions. So each is kept as one byte string, in maps of nothing but byte strings and
numbers: whatever their number, the garbage collector has nothing to visit. One takes some 600 bytes, its entries in the
maps included.
"""

from collections.abc import Callable, Iterable
from math import inf
from struct import Struct

from dpe_coap.messages import Version
from dpe_coap.numbers import Status
from dpe_server.policy import Terms
from dpe_server.registration.containers import SIZE_TH1, Map, MultiMap, Queue
from dpe_server.registration.transactions import TRANSITIONS, Event, Offer, State, Transaction

PER_DEVICE = 4
TOTAL = 1 << 20
"""The most transactions remembered, in some 600 MB."""

REMOVED_AT_ONCE = 1_024
"""The most transactions that one ``expire`` removes: more than a batch can add, and a few milliseconds of work."""

NOBODYS = 256
"""Transactions of nobody: enough to be as scattered in memory as those of devices."""


class Transactions:
    """The transactions by TH1, Client ID and device. ``random`` gives cryptographically strong bytes.

    It returns copies, which ``move`` writes back. Only a transaction that awaits its commit is the same object each
    time.
    """

    _HEAD = Struct(">BBQd16sI")
    _OFFER = Struct(">Q7sBBBBI32s32sB")
    _KEYS = Struct(">B17x16s4xQ")
    """From both: state, device and, if there is an offer, Client ID."""

    def __init__(self, random: Callable[[int], bytes], *, total: int = TOTAL, nobodys: int = NOBODYS) -> None:
        self._total = total
        self._count = 0
        self._now = float("-inf")
        self._records = Map[bytes]()
        self._by_client_id = MultiMap[int]()
        self._by_device = MultiMap[bytes]()
        self._by_age = Queue(self._has)
        self._committing: dict[bytes, Transaction] = {}
        self._terms: list[Terms] = []
        self._terms_numbers: dict[Terms, int] = {}
        self._nobodys_count = nobodys  # len() would be one call more where no Client ID is found
        self._nobodys = [random(SIZE_TH1) for _ in range(nobodys)]
        for th1 in self._nobodys:  # found by no Client ID and no device
            self._records.part(th1)[th1] = self._pack(_nobodys(th1, random))

    def __len__(self) -> int:
        """How many transactions there are."""
        return self._count

    def of_request(self, th1: bytes) -> Transaction | None:
        """Return the transaction that a REQUEST with this TH1 began."""
        record = self._records.part(th1).get(th1)
        if record is None:
            return None
        found = self._committing.get(th1) or self._unpack(th1, record)
        return found if found.ends > self._now else None

    def of_client_id(self, client_id: int) -> list[Transaction]:
        """Return the transactions in which this Client ID was offered.

        If there is none, return one that no SUCCESS fits, so that the work and the time are the same.
        """
        return self._all(self._by_client_id.get(client_id) or (self._nobodys[client_id % self._nobodys_count],))

    def of_device(self, device: bytes) -> list[Transaction]:
        """Return the transactions of one device, the oldest first."""
        return self._all(self._by_device.get(device))

    def established_before(self, transaction: Transaction) -> list[Transaction]:
        """Return its device's established transactions whose ordinals are lower, the oldest first."""
        th1s = self._by_device.get(transaction.device)
        if len(th1s) < 2:
            return []
        others = [th1 for th1 in th1s if th1 != transaction.th1]
        established = [th1 for th1 in others if self._records.part(th1)[th1][0] == State.ESTABLISHED]
        return [one for one in self._all(established) if one.ordinal < transaction.ordinal]

    def is_reserved(self, client_id: int) -> bool:
        """Say whether a transaction that may still be confirmed holds this Client ID."""
        th1s = self._by_client_id.get(client_id)
        return any(self._records.part(th1)[th1][0] == State.PENDING or th1 in self._committing for th1 in th1s)

    def offered_after(self, ends: float) -> list[bytes]:
        """Return the TH1s of the transactions that may still be confirmed, and whose life ends later than ``ends``."""
        return [th1 for th1 in self._by_age.after(ends) if self.is_pending(th1)]

    def is_pending(self, th1: bytes) -> bool:
        """Say whether the transaction with this TH1 may still be confirmed."""
        record = self._records.part(th1).get(th1)
        return record is not None and record[0] == State.PENDING and th1 not in self._committing

    def add(self, transaction: Transaction) -> None:
        """Take in a new transaction. If its device has ``PER_DEVICE``, one of them makes room.

        This is the one with the oldest handle, and of several with the same handle the one that came first. One that
        awaits its commit stays. The new one is always taken in: if its handle is older still, the device may have lost
        what it had stored. If all devices together have too many, the oldest makes room.
        """
        th1 = transaction.th1
        part = self._records.part(th1)
        if th1 in part:  # its life is over, but it is not removed yet
            self._remove(th1)
        part[th1] = self._pack(transaction)
        if transaction.offer is not None:
            self._by_client_id.add(transaction.offer.client_id, th1)
        a_piece = self._by_age.append(th1, transaction.ends)
        self._count += 1
        excess = self._by_device.add(transaction.device, th1) - PER_DEVICE
        if excess > 0:
            *mine, _ = self._by_device.get(transaction.device)
            idle = [one for one in mine if one not in self._committing]  # the others still need their Client ID
            for one in sorted(idle, key=self._freshness)[:excess]:
                self._remove(one)
        while self._count > self._total and (oldest := self._by_age.first()):
            self._end(*oldest)
        if a_piece and len(self._by_age) > 2 * (self._count + Queue.PIECE):  # one device has made many, and has few
            self._by_age.sift()

    def move(self, transaction: Transaction, event: Event, *, th3: bytes | None = None) -> None:
        """Move a transaction to its next state, and record that unless it was evicted meanwhile.

        ``th3`` (32 bytes) belongs to the SUCCESS that has come. Raises KeyError if TRANSITIONS has no such step.
        """
        transaction.state = TRANSITIONS[transaction.state, event]
        if th3 is not None:
            transaction.th3 = th3
        th1 = transaction.th1
        if not self._has(th1, transaction.ends):
            return
        if transaction.state == State.COMMITTING:
            self._committing[th1] = transaction
        else:
            self._committing.pop(th1, None)
            self._records.part(th1)[th1] = self._pack(transaction)

    def remove(self, transaction: Transaction) -> None:
        """Forget a transaction, if it is still there."""
        if self._has(transaction.th1, transaction.ends):
            self._remove(transaction.th1)

    def expire(self, now: float) -> None:
        """From now on return no transaction whose life is over. Only some are removed now: a million take seconds."""
        self._now = now
        for _ in range(REMOVED_AT_ONCE):
            oldest = self._by_age.first()
            if oldest is None or oldest[1] > now:
                break
            self._end(*oldest)

    def _end(self, th1: bytes, ends: float) -> None:
        """Remove the head of the queue, and the transaction that it stands for if that is still there."""
        self._by_age.pop()
        if self._has(th1, ends):
            self._remove(th1)

    def _has(self, th1: bytes, ends: float) -> bool:
        """Say whether this very transaction is still there: its REQUEST may have begun another one meanwhile."""
        record = self._records.part(th1).get(th1)
        return record is not None and self._HEAD.unpack_from(record)[3] == ends

    def _freshness(self, th1: bytes) -> int:
        return int(self._HEAD.unpack_from(self._records.part(th1)[th1])[5])

    def _remove(self, th1: bytes) -> None:
        record = self._records.part(th1).pop(th1)
        self._committing.pop(th1, None)
        state, device, client_id = self._KEYS.unpack_from(record)
        self._by_device.discard(device, th1)
        if state != State.ANSWERED:
            self._by_client_id.discard(client_id, th1)
        self._count -= 1

    def _all(self, th1s: Iterable[bytes]) -> list[Transaction]:
        return [t for t in map(self.of_request, th1s) if t is not None]

    def _pack(self, transaction: Transaction) -> bytes:
        head = self._HEAD.pack(
            transaction.state,
            transaction.status,
            transaction.ordinal,
            transaction.ends,
            transaction.device,
            transaction.freshness,
        )
        offer = transaction.offer
        if offer is None:
            return head + transaction.response
        imei, firmware = offer.imei, (offer.firmware or "").encode()
        if transaction.state != State.PENDING:  # the session has them, if there is one
            imei, firmware = b"", b""
        terms = self._terms_numbers.setdefault(offer.terms, len(self._terms))
        if terms == len(self._terms):
            self._terms.append(offer.terms)
        rest = self._OFFER.pack(
            offer.client_id,
            imei,
            *offer.version,
            offer.suite,
            offer.epoch,
            terms,
            offer.prk3,
            transaction.th3,
            len(firmware),
        )
        return head + rest + firmware + transaction.response

    def _unpack(self, th1: bytes, record: bytes) -> Transaction:
        state, code, ordinal, ends, device, fresh = self._HEAD.unpack_from(record)
        at = self._HEAD.size
        if state == State.ANSWERED:
            return Transaction(th1, device, fresh, ordinal, ends, _STATUSES[code], record[at:])
        client_id, imei, major, minor, suite, epoch, terms, prk3, th3, size = self._OFFER.unpack_from(record, at)
        at += self._OFFER.size
        firmware = record[at : at + size].decode() or None
        # Arguments by position, in the order of the fields: by name they take a third longer.
        offer = Offer(client_id, imei, Version(major, minor), firmware, suite, epoch, self._terms[terms], prk3)
        response = record[at + size :]
        return Transaction(th1, device, fresh, ordinal, ends, _STATUSES[code], response, offer, _STATES[state], th3)


def _nobodys(th1: bytes, random: Callable[[int], bytes]) -> Transaction:
    """Return a transaction that no SUCCESS fits."""
    offer = Offer(
        client_id=0,
        imei=bytes(7),
        version=Version(0, 0),
        firmware=None,
        suite=1,
        epoch=0,
        terms=Terms("", None),
        prk3=random(32),
    )
    return Transaction(
        th1=th1,
        device=bytes(16),
        freshness=0,
        ordinal=0,
        ends=inf,
        status=Status.OK,
        response=bytes(72),
        offer=offer,
        state=State.SUPERSEDED,
        th3=random(32),
    )


_STATES = tuple(State)
_STATUSES = {int(status): status for status in Status}
