"""The state directory: everything of one server that outlives it. Made with mode 0700, its files with 0600.

config.toml and policy.toml are an operator's to edit; all others are the server's.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dpe_coap.errors import LocalError
from dpe_coap.keys import KEY_SIZE
from dpe_server.files import durable
from dpe_server.files.uris import uri_fault
from dpe_server.keys import file as key_file
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import FIRST_GENERATION, LAST_GENERATION, KeyKind, KeyRing, fingerprint
from dpe_server.operation import config as config_file
from dpe_server.operation import journal, locking, permissions
from dpe_server.operation.access import NAME as ACCESS
from dpe_server.operation.access import AccessFile
from dpe_server.operation.audit_file import Limits
from dpe_server.operation.config import Config, ConfigError, realm_fault
from dpe_server.operation.locking import locked
from dpe_server.policy import DEFAULT_POLICY
from dpe_server.store.contract import Store
from dpe_server.store.nodes import Binding
from dpe_server.store.opening import file_names, make_store, open_store

_FILES = ("config.toml", "policy.toml", "keys.json")
_STORE = "dpe.sqlite"
COPIED = ".copied"
"""What is added to the name of a SQLite store that was copied into a database, and is used no more."""
_BEAT = "beat.json"
_EDITED = ("config.toml", "policy.toml")
"""What operators write, and the server only reads."""
_SECRET = ("keys.json", *file_names(_STORE), f"{_STORE}{COPIED}", ACCESS)
_WRITTEN = ("audit.jsonl", "serve.lock", "metrics.json", journal.NAME, _BEAT)
"""What the server writes, without secrets."""
_LOOK = 0.5
"""Seconds that a command may hold the lock while it looks whether a server does."""
_ON_EVERY_VOLUME = "lost+found"
"""What a new file system has in it."""


class StateDirError(LocalError):
    """The state directory is not as it must be, or is in use."""


@dataclass(frozen=True, slots=True)
class StateDir:
    """An open state directory. It does not follow later changes of its files: open it again."""

    path: Path
    config: Config
    keys: KeyRing

    @classmethod
    def create(cls, path: Path | str, realm: str, uri: str) -> "StateDir":
        """Make a new state directory with fresh keys; StateDirError rather than touch what is there already."""
        for what, fault in (("the realm", realm_fault(realm)), ("the URI", uri_fault(uri))):
            if fault:
                raise ConfigError(fault, source=what)

        def fill(made: StateDir) -> None:
            journal.begin(made.journal_path)
            make_store(made.store_url).close()

        return cls.make(path, config_file.template(realm, uri), DEFAULT_POLICY, key_file.text_of(new_keys()), fill)

    @classmethod
    def make(
        cls, path: Path | str, config: str, policy: str, keys: str, fill: Callable[["StateDir"], None]
    ) -> "StateDir":
        """Make a new state directory with these texts; ``fill`` adds the rest. What was begun is undone if it fails."""
        path = Path(path)
        with ExitStack() as undo, reported(path):
            if path.exists() and not path.is_dir():
                raise StateDirError(f"{path} is there already and is not a directory", hint="choose another path")
            permissions.check_way(path)
            if not path.exists():
                path.mkdir(mode=0o700)
                undo.callback(path.rmdir)
            if any(file.name != _ON_EVERY_VOLUME for file in path.iterdir()):
                raise StateDirError(
                    f"{path} is not empty", hint="choose another path, or serve from it if it is a state directory"
                )
            if path.stat().st_uid == os.geteuid():
                path.chmod(0o700)
            check_access(path)
            for name, text in (("config.toml", config), ("policy.toml", policy), ("keys.json", keys)):
                durable.write_new(path / name, text)
                undo.callback((path / name).unlink)
            for name in (journal.NAME, _BEAT, _STORE):
                undo.callback((path / name).unlink, missing_ok=True)
            fill(cls.open(path, without_store=True))
            durable.sync_directory(path)
            undo.pop_all()
        return cls.open(path)

    @classmethod
    def open(cls, path: Path | str, *, without_store: bool = False) -> "StateDir":
        """Read the configuration and the keys. The SQLite store's file may be missing if ``without_store``.

        Raises StateDirError, PermissionsError, ConfigError among others, when a file is missing, is open to others or
        is not as it must be. The policy and the store are not opened here.
        """
        path = Path(path)
        with reported(path):
            if not path.is_dir():
                raise StateDirError(f"{path}: there is no such directory", hint=f"make one with: dpe init {path}")
            for name in _FILES:  # before its mode is judged: another folder, such as /tmp, may be as it is
                _need(path, name)
            check_access(path)
            config = config_file.parse(text_of(path / "config.toml"), str(path / "config.toml"))
            if not config.store and not without_store:
                _need(path, _STORE)
            return cls(path, config, _read_keys(path))

    @property
    def at_rest(self) -> AtRest:
        """What hashes and seals the store's values; a new one at each access."""
        return AtRest(self.keys.at_rest, secrets.token_bytes)

    @property
    def policy_path(self) -> Path:
        """The policy (TOML)."""
        return self.path / "policy.toml"

    @property
    def store_url(self) -> str:
        """The store, for ``opening``. Never to be shown."""
        return self.config.store or f"sqlite:{self.store_path}"

    @property
    def store_path(self) -> Path:
        """The SQLite store's main file."""
        return self.path / _STORE

    @property
    def one_machine(self) -> bool:
        """Whether a shared store may be without a synchronous standby."""
        return self.config.durability == config_file.ONE_MACHINE

    @property
    def binding(self) -> Binding:
        """To whom a shared store must belong."""
        rings = ("master", self.keys.master), ("handle", self.keys.handle)
        keys = {(kind, number): fingerprint(key) for kind, ring in rings for number, key in ring.items()}
        return Binding(self.config.realm, fingerprint(self.keys.at_rest), keys)

    def open_store(self, *, any_keys: bool = False) -> Store:
        """Open the store as it is; StoreError or LocalError, among others if it belongs to another cluster.

        With ``any_keys``, only the realm and the at-rest key must be the cluster's.
        """
        binding = self.binding._replace(generations={}) if any_keys else self.binding
        return open_store(self.store_url, one_machine=self.one_machine, binding=binding)

    def make_store(self) -> Store:
        """Open the store, which is made or brought to the newest schema if need be. See ``open_store``."""
        return make_store(self.store_url, one_machine=self.one_machine, binding=self.binding)

    @property
    def journal_path(self) -> Path:
        """The operators' journal (JSON lines), for ``journal.enact``."""
        return self.path / journal.NAME

    @property
    def beat_path(self) -> Path:
        """The last beat that this server remembers (JSON)."""
        return self.path / _BEAT

    @property
    def access(self) -> AccessFile:
        """The access tokens of the HTTP API. With a shared store, each node has its own."""
        return AccessFile(self.path)

    @property
    def audit_path(self) -> Path:
        """The audit log (JSON lines)."""
        return self.path / "audit.jsonl"

    @property
    def audit_limits(self) -> Limits:
        """How much room the audit log may take."""
        config = self.config
        return Limits(config.audit_megabytes << 20, config.audit_files, config.audit_least_free)

    def rotate(self, kind: KeyKind) -> int:
        """Add the next generation of the master or the handle key, durably, and return its number (2 to 255).

        A running server takes it up when it reloads.
        """
        added = 0

        def rotated(keys: KeyRing) -> KeyRing:
            nonlocal added
            ring = {"master": keys.master, "handle": keys.handle}[kind]
            added = max(ring) + 1
            if added > LAST_GENERATION:
                raise StateDirError(
                    f"there is no {kind} key after generation {LAST_GENERATION}",
                    hint="make a new state directory with dpe init, and provision the devices for it",
                )
            return keys.having(kind, added, _new_key())

        self.change_keys(rotated)
        return added

    def change_keys(self, change: Callable[[KeyRing], KeyRing]) -> None:
        """Have ``change`` make other keys of those in keys.json, durably."""
        # Two changes at once would lose one.
        with reported(self.path / "keys.json"), locked(self.path, os.O_RDONLY, patience=locking.PATIENCE):
            durable.replace(self.path / "keys.json", key_file.text_of(change(_read_keys(self.path))))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for one server; StateDirError names the process that has it already."""
        path = self.path / "serve.lock"
        with ExitStack() as held:
            with reported(path):
                try:
                    descriptor = held.enter_context(locked(path, os.O_RDWR | os.O_CREAT, patience=_LOOK))
                except BlockingIOError:
                    pid = locking.holder(path)
                    raise StateDirError(
                        f"{self.path} is in use by another server"
                        + (" of another container or machine" if pid is None else f" (process {pid})"),
                        hint="stop the other server" if pid is None else f"stop it with: kill {pid}",
                    ) from None
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                held.callback(_empty, descriptor)
            yield


def _empty(descriptor: int) -> None:
    """Empty a file, if its file system still allows that: what it says has no use any more, but does no harm."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)


def check_access(path: Path) -> None:
    """Check who may use a state directory; PermissionsError says what is wrong."""
    written = [*_WRITTEN, *(file.name for file in path.glob("loaded-*.json"))]
    permissions.check(path, secret=_SECRET, edited=_EDITED, written=written)


def new_keys() -> KeyRing:
    """Draw the first generation of all keys."""
    return KeyRing({FIRST_GENERATION: _new_key()}, {FIRST_GENERATION: _new_key()}, _new_key())


def _need(path: Path, name: str) -> None:
    if not os.path.lexists(path / name):
        raise StateDirError(
            f"{path} is not a state directory: it has no {name}",
            hint="give the path of one made with dpe init, or restore the file from a backup",
        )


def _new_key() -> bytes:
    return secrets.token_bytes(KEY_SIZE)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn what the file system says into a StateDirError."""
    try:
        yield
    except OSError as error:
        raise StateDirError(
            f"{error.filename or path}: {error.strerror}", hint="check the path, and who owns it and may use it"
        ) from None


def _read_keys(directory: Path) -> KeyRing:
    path = directory / "keys.json"
    return key_file.parse(text_of(path), str(path))


def text_of(path: Path) -> str:
    """Read a file of a state directory; StateDirError if it is no text."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin a text with a byte order mark
    except UnicodeDecodeError:
        raise StateDirError(f"{path}: not UTF-8 text", hint="save it as UTF-8, or restore it from a backup") from None
