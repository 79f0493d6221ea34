"""State directories of servers that share a store: the first one of a cluster, and further ones made from it.

Keys never enter the database. A further node gets them, the configuration and the policy from the state directory of
one that is there, over a way that the operator trusts.
"""

import os
import secrets
import tarfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from dpe_coap.errors import LocalError
from dpe_server.files import durable
from dpe_server.files.uris import uri_fault
from dpe_server.keys import file as key_file
from dpe_server.operation import beats, config, journal, state_dir
from dpe_server.operation.beats import Memory
from dpe_server.operation.config import ConfigError, realm_fault
from dpe_server.operation.state_dir import StateDir, check_access, new_keys, reported, text_of
from dpe_server.policy import DEFAULT_POLICY
from dpe_server.store.contract import Beat
from dpe_server.store.opening import copy_store, make_store, nodes_of, retire
from dpe_server.store.whole import Copied

COPIED = ("config.toml", "policy.toml", "keys.json", "beat.json")
"""What a further node has from another one's state directory."""
LARGEST = 64 << 20
"""The most bytes of such a file."""


class JoinError(LocalError):
    """There is nothing to make a further node from."""


def found(path: Path | str, realm: str, uri: str, store: str, *, node: str, one_machine: bool = False) -> StateDir:
    """Make the first state directory of a cluster, with fresh keys, and its store in the database ``store``.

    Raises a DpeError: then nothing is there that was not there before, but perhaps the database's tables.
    """
    for what, fault in (("the realm", realm_fault(realm)), ("the URI", uri_fault(uri))):
        if fault:
            raise ConfigError(fault, source=what)

    def fill(made: StateDir) -> None:
        journal.begin(made.journal_path)
        with closing(make_store(store, one_machine=one_machine)) as opened:
            nodes = nodes_of(opened)
            assert nodes is not None
            first = Beat(1, secrets.token_bytes(8))
            beats.remember(made.beat_path, Memory(first))
            nodes.bind(made.binding, node, first, int(time.time()))
            nodes.has(node, made.keys.fingerprints)

    text = config.template(realm, uri, store=store, node=node, one_machine=one_machine)
    return StateDir.make(path, text, DEFAULT_POLICY, key_file.text_of(new_keys()), fill)


def join(path: Path | str, files: Mapping[str, str], *, node: str, store: str | None = None) -> StateDir:
    """Make the state directory of one more node from the ``files`` (COPIED) of another; ``store`` is as it finds it.

    Raises a DpeError: then nothing has changed.
    """
    given = config.parse(files["config.toml"])
    if not given.store and store is None:
        raise JoinError(
            "the other server has its store in a file of its own, which no other can share",
            hint="copy it into PostgreSQL first: dpe store copy STATE --to URL",
        )
    values = {"node": node} if store is None else {"store": store, "node": node}

    def fill(made: StateDir) -> None:
        (made.path / "beat.json").write_text(files["beat.json"], encoding="utf-8")
        beats.verify(made)
        with closing(made.open_store()) as opened:
            nodes = nodes_of(opened)
            assert nodes is not None
            journal.begin(made.journal_path, opened.measures())
            last = beats.remembered(made.beat_path).last
            beats.remember(made.beat_path, Memory(opened.beat(last, secrets.token_bytes(8))))
            if not nodes.enter(node, int(time.time()), made.keys.fingerprints):
                raise JoinError(f"there is a node {node} already", hint="give this one another name with --node NAME")

    return StateDir.make(
        path, config.changed(files["config.toml"], values), files["policy.toml"], files["keys.json"], fill
    )


def files_of(directory: Path) -> dict[str, str]:
    """Read what a further node needs from a state directory, or from a copy of these files; JoinError among others."""
    if not directory.is_dir():
        raise JoinError(f"{directory}: there is no such directory", hint="give another node's state directory, or -")
    for name in COPIED:
        if not (directory / name).exists():
            raise _missing(name)
    check_access(directory)
    return {name: text_of(directory / name) for name in COPIED}


def files_in(archive: BinaryIO) -> dict[str, str]:
    """Read what a further node needs from a tar archive; JoinError."""
    found: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=archive, mode="r|*") as members:
            for member in members:
                name = Path(member.name).name
                file = members.extractfile(member) if name in COPIED and member.size <= LARGEST else None
                if file is not None:
                    found[name] = file.read().decode("utf-8-sig")
    except (tarfile.TarError, OSError, EOFError, ValueError):
        raise JoinError("standard input has no whole tar archive", hint="see: dpe init --help") from None
    for name in COPIED:
        if name not in found:
            raise _missing(name)
    return found


def _missing(name: str) -> JoinError:
    return JoinError(
        f"there is no {name}", hint=f"a further node is made from four files of another one: {', '.join(COPIED)}"
    )


def copy(opened: StateDir, store: str, *, node: str, one_machine: bool = False) -> Copied:
    """Copy the SQLite store of a state directory into the database ``store``, and have config.toml say so.

    The server must be stopped. What it remembers of its store, it finds in the copy. Raises a DpeError: then it goes on
    with the store that it had.
    """
    if opened.config.store:
        raise JoinError("its store is in PostgreSQL already", hint=f"dpe init STATE --join {opened.path}")
    path = opened.path / "config.toml"
    values = {"store": store, "node": node, **({"durability": config.ONE_MACHINE} if one_machine else {})}
    text = config.changed(text_of(path), values, str(path))
    with opened.lock():
        if path.is_symlink() or path.stat().st_uid != os.geteuid():
            raise JoinError(
                f"{path} is not this server's own to change", hint="put a copy of it there that belongs to its user"
            )
        beats.verify(opened)
        with closing(opened.make_store()) as current:  # its schema is the newest then
            beats.begin_journal(opened, current)
            beats.Beats(opened, current, secrets.token_bytes).beat()  # which is in the copy, too
        copied = copy_store(opened.store_url, store, opened.binding, node, int(time.time()), one_machine=one_machine)
        with reported(path):
            durable.replace(path, text)
            retire(opened.store_url, state_dir.COPIED)
    return copied
