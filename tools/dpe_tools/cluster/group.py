"""A primary and its synchronous standbys, and what an operator's failover does; no other tool is needed here.

Before a standby becomes the primary, no standby follows the old one any more. So whatever the old one does after that,
if it only hung, it cannot acknowledge. Of several standbys, the one that has received most is promoted.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from dpe_coap.errors import LocalError
from dpe_tools.cluster.instance import DATABASE, LOOK, READY_SECONDS, USER, Instance, own

NAMES = ("db1", "db2", "db3")
SETTINGS = {
    # By name: with *, a base backup under way would count as a standby.
    "synchronous_standby_names": f"ANY 1 ({', '.join(NAMES)})",
    "max_connections": "60",
    "max_wal_size": "512MB",
    "wal_keep_size": "256MB",
    # How often a standby that has lost its primary asks for it, or for another one; usually every 5 s.
    "wal_retrieve_retry_interval": "200ms",
}


class Group:
    """Instances that are there in folders of their own; ``primary`` is one that runs, and the others follow it."""

    def __init__(self, members: list[Instance]) -> None:
        self.members = members
        self.primary = members[0]
        self.lost: list[Instance] = []
        """Those that were the primary, and are no standby yet."""

    @property
    def standbys(self) -> list[Instance]:
        """Those that follow the primary."""
        return [member for member in self.members if member is not self.primary and member not in self.lost]

    @property
    def url(self) -> str:
        """The URL of the database, whoever is the primary."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Return the URL of one of its databases."""
        hosts = ",".join(quote(str(member.folder), safe="") for member in self.members)
        return f"postgresql://{USER}@/{database}?host={hosts}"

    def fail_over(self) -> Instance:
        """Make a standby the primary, whatever has become of the old one; return the new one."""
        for standby in self.standbys:
            standby.set("primary_conninfo", "")
        for standby in self.standbys:
            _until(partial(_follows_nobody, standby), f"{standby.name} goes on following")
        chosen = max(self.standbys, key=_received)
        chosen.promote()
        self.lost.append(self.primary)
        self.primary = chosen
        for standby in self.standbys:
            standby.set("primary_conninfo", f"host={chosen.folder} user={USER}")
        return chosen

    def rejoin(self, instance: Instance) -> None:
        """Make one that was the primary a standby of the new one; what it runs of the old one is ended."""
        instance.kill()
        instance.copy(self.primary)
        instance.start()
        self.lost.remove(instance)
        self.await_standbys()

    def await_standbys(self) -> None:
        """Return when the acknowledgement of each standby counts."""
        names = {standby.name for standby in self.standbys}
        following = "SELECT application_name FROM pg_stat_replication WHERE sync_state = 'quorum'"
        _until(
            lambda: names <= {name for (name,) in self.primary.sql(following)},
            f"not all of {', '.join(sorted(names))} follow",
        )


@contextmanager
def running(
    programs: Path, folder: Path, *, standbys: int, settings: Mapping[str, str] | None = None, segment: int = 1
) -> Iterator[Group]:
    """Make a primary with so many standbys in ``folder``, and run them; leave nothing of them running.

    ``segment`` is as for ``Instance.make``.
    """
    with ExitStack() as cleanup:
        members = []
        own(folder)
        for name in NAMES[: 1 + standbys]:
            place = folder / name
            place.mkdir(mode=0o700)
            own(place)
            members.append(cleanup.enter_context(Instance(programs, place, {**SETTINGS, **(settings or {})})))
        group = Group(members)
        group.primary.make(segment=segment)
        group.primary.start()
        for standby in group.standbys:
            standby.copy(group.primary)
            standby.start()
        group.await_standbys()
        yield group


def _follows_nobody(standby: Instance) -> bool:
    return standby.sql("SELECT 1 FROM pg_stat_wal_receiver") == []


def _received(standby: Instance) -> int:
    ((received,),) = standby.sql("SELECT pg_wal_lsn_diff(coalesce(pg_last_wal_receive_lsn(), '0/0'), '0/0')")
    return int(received)


def _until(holds: Callable[[], bool], fault: str) -> None:
    end = time.monotonic() + READY_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise LocalError(f"PostgreSQL does not do as it is told: {fault}")
        time.sleep(LOOK)
