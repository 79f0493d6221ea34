"""What stands between a store and PostgreSQL, and cuts a connection at a chosen moment."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

SOCKET = ".s.PGSQL.5432"
CANCEL = (80877102).to_bytes(4, "big")
"""What a request to cancel says instead of a version of the protocol."""
READY = b"Z\0\0\0\5"
"""The server is done with a statement; one more byte says whether a transaction is open."""


LONG = 30.0
"""Seconds after which a server does not answer any more."""


class Cut(Enum):
    """What becomes of a connection on which the marked bytes come."""

    BEFORE = "before"
    """It is cut, and the server does not get them."""
    AFTER = "after"
    """It is cut when the server is done; its answer is lost."""
    HOLD = "hold"
    """The server does not get them before ``Proxy.let_go``."""


class Proxy:
    """Passes on what comes on a Unix socket in ``folder`` to the one in ``server``."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder = folder
        self.connections = 0
        self.cancelled = 0
        """Requests to cancel that came."""
        self.held = threading.Event()
        """Set when marked bytes are held."""
        self.done = threading.Event()
        """Set when the server is done with what it got after all."""
        self._server = str(server / SOCKET)
        self._mark, self._cut = b"", Cut.BEFORE
        self._let_go = threading.Event()
        self._stopped = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET))
        self._listener.listen()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def cut(self, mark: bytes, cut: Cut) -> None:
        """Do that to the next connection on which ``mark`` comes."""
        self._mark, self._cut = mark, cut

    def let_go(self) -> None:
        """Let the server have what was held, though nobody waits for the answer any more."""
        self._let_go.set()

    def stop(self) -> None:
        self._stopped = True
        self._let_go.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._stopped:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(client,)))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with (
            suppress(ConnectionError),  # either end may go while the other one speaks
            client,
            socket.socket(socket.AF_UNIX) as server,
            selectors.DefaultSelector() as ready,
        ):
            server.settimeout(LONG)
            server.connect(self._server)
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            first = True
            while not self._stopped:
                for key, _ in ready.select(0.05):
                    assert isinstance(key.fileobj, socket.socket)
                    try:
                        data = key.fileobj.recv(1 << 20)
                    except OSError:
                        return
                    if not data:
                        return
                    if first and data[4:8] == CANCEL:
                        self.cancelled += 1
                    first = False
                    if key.fileobj is client and self._mark and self._mark in data:
                        self._marked(data, server)
                        return
                    key.data.sendall(data)

    def _marked(self, data: bytes, server: socket.socket) -> None:
        cut, self._mark = self._cut, b""
        if cut is Cut.BEFORE:
            return
        if cut is Cut.HOLD:
            self.held.set()
            self._let_go.wait()
            if self._stopped:
                return
        server.sendall(data)
        answer = b""
        while answer[-6:-1] != READY:
            got = server.recv(1 << 20)
            if not got:
                break
            answer += got
        self.done.set()


@contextmanager
def proxy(folder: Path, server: Path) -> Iterator[Proxy]:
    """Run a proxy."""
    made = Proxy(folder, server)
    try:
        yield made
    finally:
        made.stop()
