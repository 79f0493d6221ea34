"""The policy of a state directory, read again when its file has changed."""

from pathlib import Path
from threading import Lock

from dpe_server.policy import Policy, PolicyError, Vocabulary, load

_Standing = tuple[int, int, int]


class PolicyFile:
    """The policy in ``path``. Any thread may call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._standing: _Standing | None = None
        self._policy: Policy | PolicyError | None = None

    def read(self) -> Policy:
        """Return the policy as its file is now; PolicyError has every fault of it."""
        with self._lock:
            standing = self._now()
            if self._policy is None or standing != self._standing:
                try:
                    self._policy = load(self.path)
                except PolicyError as error:
                    self._policy = error
                self._standing = standing
            if isinstance(self._policy, PolicyError):
                raise self._policy.with_traceback(None)
            return self._policy

    def read_if_good(self) -> Policy | None:
        """Return the policy; None if its file has a fault, which ``health`` tells."""
        try:
            return self.read()
        except PolicyError:
            return None

    def vocabulary(self) -> Vocabulary:
        """Return the properties that it knows; if it has a fault, only those of the field."""
        policy = self.read_if_good()
        return Vocabulary() if policy is None else policy.vocabulary

    def _now(self) -> _Standing | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
