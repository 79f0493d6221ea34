"""`./tools/cluster`: shows two nodes whose database loses its primary, and checks that nothing is lost with it."""

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import click

from dpe_tools.cli import boundary
from dpe_tools.cluster import group, nodes
from dpe_tools.cluster.cohort import Cohort
from dpe_tools.cluster.group import Group
from dpe_tools.cluster.instance import needed_programs
from dpe_tools.cluster.nodes import Node
from dpe_tools.load.ledger import Agreement, compare
from dpe_tools.load.plan import Plan, Talk
from dpe_tools.narrator import Narrator

_Result = TypeVar("_Result")

DEVICES = 200
AT_ONCE = 16
ACK_TIMEOUT = 500
"""Milliseconds, instead of CoAP's 2 s, so that the devices are back soon after the database."""
REPORTS = 3
"""A device's reports, one a second, until it begins anew."""
DEREGISTER = 0.1
"""The share of devices that deregister after their reports."""
LONGEST = 60.0
"""Seconds after which something has not happened."""
BEFORE, AFTER = 100, 400
"""How many answers the devices get before the primary is killed, and after the failover."""


class Show:
    """The scenes, in order."""

    def __init__(self, folder: Path, devices: int) -> None:
        self._folder = folder
        self._devices = devices
        self._narrator = Narrator()
        self._cleanup = ExitStack()

    def run(self) -> bool:
        """Play all scenes; return whether nothing was lost."""
        start = time.monotonic()
        self._narrator.say("Two DPE Servers, one PostgreSQL database, and the machine of its primary goes", "bold")
        self._narrator.say("Everything runs on this machine, in processes of its own, with throw-away keys.")
        with self._cleanup:
            database = self._database()
            servers = self._servers(database)
            plan = Plan(
                devices=range(self._devices), registrations=None, at_once=AT_ONCE,
                ack_timeout=ACK_TIMEOUT, backoff=ACK_TIMEOUT, talk=Talk(REPORTS, every=1.0, end=DEREGISTER),
            )  # fmt: skip
            cohort = self._cleanup.enter_context(Cohort(servers[0].state, [one.address for one in servers], plan))
            self._fleet(cohort, servers)
            self._failover(cohort, database)
            self._comes_back(cohort, database)
            self._rest(cohort, servers)
            found = compare(cohort.ledger, servers[1].state)
        self._tell(found, cohort, time.monotonic() - start)
        return found.holds

    def _database(self) -> Group:
        self._narrator.scene("1. A database: a primary, and two standbys of which one must have each commit")
        place = self._folder / "postgresql"
        place.mkdir()
        made = self._cleanup.enter_context(group.running(needed_programs(), place, standbys=2))
        ((version, waits),) = made.primary.sql(
            "SELECT current_setting('server_version'), current_setting('synchronous_standby_names')"
        )
        self._narrator.say(f"  PostgreSQL {version.split()[0]}: {made.primary.name} is the primary", "cyan")
        self._narrator.say(f"  synchronous_standby_names = '{waits}'", "cyan")
        self._check("both standbys follow it, and it waits for one of them", _quorum(made) == 2)
        self._narrator.tell_checks()
        return made

    def _servers(self, database: Group) -> list[Node]:
        self._narrator.scene("2. Two nodes: dpe init node1 --store URL, dpe init node2 --join node1, dpe serve")
        made = nodes.made(self._folder, database.url)
        self._cleanup.enter_context(nodes.serving(made))
        for node in made:
            self._narrator.say(f"  {node.name} on coap://{node.address[0]}:{node.address[1]}", "cyan")
        files = [(node.path / "keys.json").read_bytes() for node in made]
        self._check("both have the same keys, which are in no database", files[0] == files[1])
        self._narrator.tell_checks()
        return made

    def _fleet(self, cohort: Cohort, servers: list[Node]) -> None:
        self._narrator.scene(f"3. {self._devices} devices register, half of them at each node, and report")
        self._narrator.say(f"CoAP's ACK_TIMEOUT is {ACK_TIMEOUT / 1000:g} s here, not 2 s, to spare you the wait.")
        begun = cohort.work_until(lambda: cohort.whole().registered >= self._devices, LONGEST)
        self._check("each device is registered", begun)
        self._check("they report, too", cohort.work_until(lambda: cohort.whole().reported >= BEFORE, LONGEST))
        cohort.listen()
        self._narrator.tell_checks()

    def _failover(self, cohort: Cohort, database: Group) -> None:
        old = database.primary
        self._narrator.scene("4. In the middle of that, the primary is killed")
        start = time.monotonic()
        old.kill()
        self._at(start, f"{old.name} is dead (kill -9), and nobody says so")
        cohort.work(0.3)
        new = self._meanwhile(cohort, database.fail_over)
        self._at(start, f"{new.name} is promoted, as it has all that was acknowledged")
        self._check("the devices go on", cohort.work_until_done(1, LONGEST))
        self._at(start, "the first device is answered again")
        self._check("so do all others", cohort.work_until_done(AFTER, LONGEST))
        self._narrator.say(f"  the longest time without an answer to any device: {cohort.silence:.1f} s", "bold")
        self._narrator.tell_checks()

    def _comes_back(self, cohort: Cohort, database: Group) -> None:
        (old,) = database.lost
        before = cohort.done
        self._narrator.scene("5. The machine comes back, as a standby")
        cohort.listen()
        self._meanwhile(cohort, partial(database.rejoin, old))
        self._check(f"{old.name} has a copy of {database.primary.name}, and follows it", _quorum(database) == 2)
        self._check("the devices have gone on meanwhile", cohort.done > before)
        self._narrator.tell_checks()

    def _rest(self, cohort: Cohort, servers: list[Node]) -> None:
        self._narrator.scene("6. Each device is asked what it knows, and the database what it has")
        ended = cohort.finish(LONGEST)
        tally = cohort.tally
        self._narrator.say(f"  {tally.registered} registrations, {tally.reported} reports, {tally.ended} ends", "cyan")
        self._check("everything that was begun has succeeded", ended and not tally.failed and not tally.unreported)
        listed = [_client_ids(one) for one in servers]
        self._check("dpe sessions lists the same sessions at both nodes", listed[0] == listed[1] != [])

    def _tell(self, found: Agreement, cohort: Cohort, took: float) -> None:
        lost = found.missing + found.other_client_id + found.other_keys
        faults = {
            "every device that is registered has its session, with its Client ID and its keys": lost,
            "what each has reported last is there, and nothing that it has not reported": found.other_record,
            "no device has two sessions": found.two_sessions,
            "no session that has ended is back": found.not_ended,
        }
        for claim, count in faults.items():
            if count:
                self._narrator.say(f"  not so for {count}: {claim}", "bold red")
            else:
                self._check(claim, holds=True)
        self._narrator.tell_checks()
        self._narrator.say(f"\n{self._narrator.claims} checks, {took:.1f} s.")
        self._narrator.say(
            f"{cohort.tally.registered} registered, {lost} lost", "bold green" if found.holds else "bold red"
        )

    def _meanwhile(self, cohort: Cohort, act: Callable[[], _Result]) -> _Result:
        """Do something while the devices go on."""
        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(act)
            cohort.work_until(doing.done, 2 * LONGEST)
            return doing.result()

    def _at(self, start: float, what: str) -> None:
        self._narrator.say(f"  {time.monotonic() - start:6.3f} s ", "dim", end="")
        self._narrator.say(what, "cyan")

    def _check(self, claim: str, holds: bool) -> None:
        self._narrator.check(claim, holds)


def _client_ids(node: Node) -> list[str]:
    """Return what `dpe sessions` lists at a node."""
    return [one["client_id"] for one in json.loads(nodes.dpe("sessions", node.path, "--json"))]


def _quorum(database: Group) -> int:
    """Return how many standbys follow the primary of which it waits for one."""
    ((count,),) = database.primary.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'")
    return int(count)


@click.command()
@click.option("--devices", default=DEVICES, show_default=True, metavar="N", help="How many devices there are.")
def main(devices: int) -> None:
    """Show two nodes on a PostgreSQL database with standbys, kill its primary, and check that nothing is lost.

    It needs only this machine, Debian's package postgresql, and no rights. It leaves nothing behind.

    Exit status 1: something was lost, or was not as it is said.
    """
    signal.signal(signal.SIGTERM, _terminated)
    folder = Path(tempfile.mkdtemp(prefix="dpe-cluster-"))
    folder.chmod(0o711)
    try:
        with boundary():
            if not Show(folder, devices).run():
                sys.exit(1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _terminated(_number: int, _frame: object) -> NoReturn:
    """End as Ctrl-C does, so that everything is stopped and the folder removed."""
    sys.exit(143)


if __name__ == "__main__":
    main(prog_name="./tools/cluster")
