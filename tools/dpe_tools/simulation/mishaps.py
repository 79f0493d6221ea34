"""What goes wrong at a moment drawn by chance. A new mishap is a function here and a line in one of the two tables.

What may go wrong at any time is not a mishap but a probability: a field of ``Trouble``, read where it strikes.
"""

from collections.abc import Callable
from functools import partial

from dpe_tools.simulation.database import BROKEN, UNREADABLE, UNSURE
from dpe_tools.simulation.eavesdroppers import KeyHolder
from dpe_tools.simulation.host import Host
from dpe_tools.simulation.impostors import impersonate
from dpe_tools.simulation.machine import WAKE
from dpe_tools.simulation.scene import Scene
from dpe_tools.simulation.trouble import Trouble, terms
from dpe_tools.simulation.world import HOUR, SECOND
from dpe_tools.voice import Method

POINTS = ("await", "send", "write", "before the commit", "after the commit")
YEARS = 3 * 365 * 86400.0

Mishap = Callable[[Scene], None]


def plan(scene: Scene) -> None:
    """Draw what happens when."""
    world, trouble = scene.world, scene.trouble
    chance, lasts = world.random, trouble.lasts
    drawn = (*DRAWN, *OF_SESSIONS) if trouble.reports else DRAWN
    for _ in range(trouble.mishaps):
        world.after(chance.randrange(lasts), partial(chance.choice(drawn), scene))
    for host in scene.hosts:
        if host.nodes[0] is host:
            host.database.plan(partial(_revoke, scene))
    for count, mishap in COUNTED:
        for _ in range(count(trouble)):
            world.after(chance.randrange(lasts), partial(mishap, scene))


def power_cut(scene: Scene) -> None:
    """Take the power from a board."""
    scene.world.random.choice(scene.boards).off()


def register_anew(scene: Scene) -> None:
    """Let the application of a board ask for a new registration."""
    scene.world.random.choice(scene.boards).restart()


def register_all_anew(scene: Scene) -> None:
    """Let the applications of all boards ask for a new registration at the same moment."""
    for board in scene.boards:
        board.restart()


def rebind(scene: Scene) -> None:
    """Let a NAT lose its entry for a board; the address may be another board's from now on."""
    world = scene.world
    board = world.random.choice(scene.boards)
    before, fresh = board.address, (board.address[0], world.random.randint(10_000, 60_000))
    board.move(fresh)
    other = world.random.choice(scene.boards)
    if other is not board and world.chance(0.5):
        other.move(before)


def flood(scene: Scene) -> None:
    """Let the attacker flood a server."""
    scene.attacker.flood()


def hoard(scene: Scene) -> None:
    """Let the holder of a key register as often as it can."""
    host, world = _one(scene), scene.world
    KeyHolder(world, host.address, scene.attacker.insider).begin(world.random.choice((30, 120)))


def crash(scene: Scene) -> None:
    """Let a server's next process that comes to a certain point end there."""
    host = _one(scene)
    host.condition.crash_at = scene.world.random.choice(POINTS)


def shut_down(scene: Scene) -> None:
    """Restart a server gracefully."""
    _one(scene).restart()


def break_disk(scene: Scene) -> None:
    """Let the disk of a server be full, or unreadable, for a while."""
    _break(scene, scene.world.random.choice((BROKEN, BROKEN, UNREADABLE)))


def _break(scene: Scene, how: str) -> None:
    host, world = _one(scene), scene.world
    host.condition.disk = how
    world.note(f"the store of {host.address[0]} is {host.condition.disk}")

    def mend() -> None:
        host.condition.disk = ""

    world.after(world.random.randint(1, 300) * SECOND, mend)


def slow_down(scene: Scene) -> None:
    """Let a server be slow for a while."""
    host, world = _one(scene), scene.world
    host.condition.commits, host.condition.wakes = (500, 60_000), world.random.choice((1, 2000))
    world.note(f"{host.address[0]} turns slow")

    def recover() -> None:
        host.condition.commits, host.condition.wakes = None, WAKE

    world.after(world.random.randint(1, 300) * SECOND, recover)


def set_clock(scene: Scene) -> None:
    """Let the wall clock of a server jump."""
    jump = scene.world.random.choice((-YEARS, -HOUR / 1000, -1.0, 60.0, YEARS))
    _one(scene).set_clock(abs(jump) if scene.storage_was_lost else jump)


def reload(scene: Scene) -> None:
    """Give a server another policy."""
    _one(scene).reload(terms(scene.world.random))


def revoke(scene: Scene) -> None:
    """Revoke a device at all servers, or do nothing."""
    if scene.world.chance(0.5):
        _revoke(scene, scene.world.random.choice(scene.boards).device)


def _revoke(scene: Scene, device: bytes) -> None:
    for host in scene.hosts:
        host.revoke(device)


def prune(scene: Scene) -> None:
    """Let a server end the sessions that are over, and forget those that ended long ago."""
    host = _one(scene)
    for process in host.processes[:1]:
        if process.is_alive:
            process.prune(int(host.wall()))


def measure(scene: Scene) -> None:
    """Let what a board reports change."""
    scene.world.random.choice(scene.boards).change()


def ask(scene: Scene) -> None:
    """Let a board ask for its policies."""
    scene.world.random.choice(scene.boards).ask(Method.GET)


def deregister(scene: Scene) -> None:
    """Let a board end its session, and register anew some time later."""
    world = scene.world
    board = world.random.choice(scene.boards)
    board.ask(Method.END)
    _later(scene, 600, lambda: board.restart() if board.has_given_up else None)


def lose_storage(scene: Scene) -> None:
    """Erase what a board has stored, or put back what was there before the last write."""
    board = scene.world.random.choice(scene.boards)
    # A weak board's counters must not begin again; and with an older handle, what a server makes must be fresher.
    if not board.weak and not any(host.clock_is_behind for host in scene.hosts):
        scene.storage_was_lost = True
        scene.world.random.choice((board.erase, board.roll_back))()


def end_session(scene: Scene) -> None:
    """Let an operator end the session of a device."""
    _one(scene).end(scene.world.random.choice(scene.boards).device)


def be_unsure(scene: Scene) -> None:
    """Let the disk of a server say for a while that it has not written what it has."""
    _break(scene, UNSURE)


def restore(scene: Scene) -> None:
    """Put a copy of a server's database back some time later, by the book or without a word to the server."""
    host, world = _one(scene), scene.world
    if not host.database.remote:  # its operators have other tools
        _later(scene, 900, partial(host.restore, host.back_up(), says_so=world.chance(0.5)))


def _later(scene: Scene, most: int, action: Callable[[], object]) -> None:
    """Do something up to ``most`` seconds later, but before the trouble is over."""
    world = scene.world
    world.after(min(world.random.randint(1, most) * SECOND, scene.trouble.lasts - 1 - world.now), action)


def _one(scene: Scene) -> Host:
    return scene.world.random.choice(scene.hosts)


DRAWN: tuple[Mishap, ...] = (
    power_cut,
    crash,
    crash,
    shut_down,
    break_disk,
    slow_down,
    impersonate,
    set_clock,
    reload,
    revoke,
    prune,
)
"""``Trouble.mishaps`` of these happen. A mishap that stands here twice is drawn twice as often."""

OF_SESSIONS: tuple[Mishap, ...] = (
    ask,
    deregister,
    deregister,
    lose_storage,
    end_session,
    be_unsure,
    restore,
    restore,
)
"""Those that are drawn too, if boards report."""

COUNTED: tuple[tuple[Callable[[Trouble], int], Mishap], ...] = (
    (lambda trouble: trouble.restarts, register_anew),
    (lambda trouble: trouble.rebindings, rebind),
    (lambda trouble: trouble.floods, flood),
    (lambda trouble: trouble.hoards, hoard),
    (lambda trouble: trouble.reports * trouble.boards, measure),
    (lambda trouble: 2 * (trouble.reports > 0 and trouble.workers > 1), register_all_anew),
)
"""Each of these happens as often as its own field of ``Trouble`` says."""
