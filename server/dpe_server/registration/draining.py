"""The end of a server's work: it begins no registration any more, and finishes those that it has begun."""

from dpe_server.handling.reply import busy
from dpe_server.registration.transaction_table import Transactions
from dpe_server.registration.transactions import LIFE

DRAIN = 5.0
"""Seconds for which it waits at most: a device confirms at once, and asks again after 2 s if that was lost."""
COME_AGAIN = 2
"""Seconds after which whoever asks is to come again: to another server, or to the next start of this one."""


class Draining:
    """What ``transactions`` have offered within the last DRAIN seconds, and is not confirmed yet."""

    reply = busy(COME_AGAIN)
    """To a new REQUEST."""

    def __init__(self, transactions: Transactions, now: float) -> None:
        self._transactions = transactions
        self._awaited = transactions.offered_after(now + LIFE - DRAIN)

    def awaits(self) -> bool:
        """Say whether a device may still confirm."""
        self._awaited = [th1 for th1 in self._awaited if self._transactions.is_pending(th1)]
        return bool(self._awaited)
