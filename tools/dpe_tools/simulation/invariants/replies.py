"""The SUCCESS of a live session gets its CONFIRM, always the same, and never before the commit."""

from hashlib import sha256

from dpe_coap.binding import Code
from dpe_coap.numbers import Status
from dpe_tools.simulation.events import SuccessAnswered, SuccessRead
from dpe_tools.simulation.invariants.durable import Durable
from dpe_tools.simulation.invariants.made import Messages
from dpe_tools.simulation.invariants.names import AFTER_COMMIT, SAME_REPLY
from dpe_tools.simulation.world import World


class Replies:
    """Looks at the answer to each SUCCESS."""

    def __init__(self, world: World, messages: Messages, durable: Durable) -> None:
        self._fail = world.fail
        self._messages = messages
        self._durable = durable
        self._lived: set[tuple[str, int, bytes]] = set()
        """Each SUCCESS whose session lived when it was read: process, batch and SHA-256."""
        world.on(SuccessRead, self._read)
        world.on(SuccessAnswered, self._answered)

    def _read(self, event: SuccessRead) -> None:
        name = sha256(event.success).digest()
        if self._durable.lives(event.process, name, event.wall):
            self._lived.add((event.process, event.batch, name))

    def _answered(self, event: SuccessAnswered) -> None:
        name, reply = sha256(event.success).digest(), event.reply
        if event.confirm:
            self._confirmed(event, name)
        if (event.process, event.batch, name) not in self._lived or reply.code == Code.SERVICE_UNAVAILABLE:
            return
        if self._durable.lives(event.process, name, event.wall) and reply.payload != self._durable.ever[name].confirm:
            self._fail(SAME_REPLY, "no CONFIRM to the SUCCESS of a live session")

    def _confirmed(self, event: SuccessAnswered, name: bytes) -> None:
        made = self._messages.successes.get(event.success)
        if made is None:
            return
        status = status_of(event.confirm)
        if status == Status.OK:
            durable = self._durable.ever.get(name)
            if durable is None:
                self._fail(AFTER_COMMIT, "it has not been made durable")
            elif durable.confirm != event.confirm:
                self._fail(SAME_REPLY, "another CONFIRM to the same SUCCESS")
        elif status == Status.RELEASED and made.status == Status.OK:
            self._fail(SAME_REPLY, "released, though the device has not declined")


def status_of(confirm: bytes) -> int:
    """Return the status in a CONFIRM."""
    return confirm[4] if confirm[4] < 24 else confirm[5]  # a3 00 04 04 status
