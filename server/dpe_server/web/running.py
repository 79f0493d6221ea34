"""Runs the page until SIGTERM or Ctrl-C. On SIGHUP it prints a new login link."""

import asyncio
import ipaddress
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import structlog
import uvicorn

from dpe_coap.errors import LocalError
from dpe_server.files import logs
from dpe_server.net.udp import listen_error, parsed_address
from dpe_server.operation.process_memory import keep_private
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.policies import PolicyFile
from dpe_server.web.app import build
from dpe_server.web.door import Door, Role
from dpe_server.web.findings import Findings
from dpe_server.web.sampling import Sampler
from dpe_server.web.site import Site
from dpe_server.web.stores import Stores

PORT = 8064
"""Where the page is if no port is named."""
GRACE = 3
"""Seconds that requests have to end when the process ends."""
BACKLOG = 1_024
CONNECTIONS = 2_000
"""The most connections; further ones are answered 503."""

_log = structlog.get_logger(__name__)


def run(
    state: Path,
    bind: str,
    *,
    metrics: str | None = None,
    capture: Path | None = None,
    origin: str | None = None,
    read_only: bool = False,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve the page of ``state`` at ``bind`` (``HOST:PORT``, ``HOST`` or ``PORT``) until a signal ends it.

    ``tell`` is given each login link. Raises ListenError if nobody can listen there; DpeError if ``state`` is no state
    directory or its store cannot be opened.
    """
    logs.configure(as_json=False)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    keep_private()
    _raise_limit()
    origins = () if origin is None else (checked_origin(origin),)
    if metrics is not None:
        checked_origin(metrics, path=True)
    opened = StateDir.open(state)
    opened.open_store().close()
    with _listening(bind) as (listener, host):
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        site = Site(
            state=state,
            realm=opened.config.realm,
            door=Door(Role.READER if read_only else Role.OPERATOR),
            stores=Stores(state),
            policy=PolicyFile(opened.policy_path),
            sampler=Sampler(state, opened.audit_path, metrics),
            findings=Findings(state),
            metrics=metrics,
            capture=capture,
            origins=origins,
            secure=any(one.startswith("https:") for one in origins),
        )
        if not site.secure and not _is_loopback(host):
            _log.warning(
                "the page is not on the loopback address, and not encrypted",
                hint="put a proxy before it that has a certificate, and name it by --origin https://HOST",
            )
        address = origins[0] if origins else f"http://{_reachable(shown)}:{port}"

        def link() -> None:
            tell(f"{address}/login?secret={site.door.new_link()}")

        _Server(site, link).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says where to come in once it answers, and ends its streams when it is to end."""

    def __init__(self, site: Site, link: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                build(site),
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=GRACE,
                timeout_keep_alive=15,
                limit_concurrency=CONNECTIONS,
                h11_max_incomplete_event_size=16_384,
            )
        )
        self._site = site
        self._link = link

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._link)
        self._link()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Obey SIGINT and SIGTERM: to be ended by one is no fault, as uvicorn's own way would have it."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._site.ending.set()
        super().handle_exit(sig, frame)


@contextmanager
def _listening(bind: str) -> Iterator[tuple[socket.socket, str]]:
    """Listen, and give the socket and the host as it was named."""
    host, port = parsed_address(f"127.0.0.1:{bind}" if bind.isdigit() else bind, PORT)
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise listen_error(bind, error, "--bind") from None
    try:
        yield listener, host
    finally:
        listener.close()


def _raise_limit() -> None:
    """Allow this process as many open files as its connections need, if the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 200
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def checked_origin(url: str, *, path: bool = False) -> str:
    """Return a URL of http or https without a last slash; LocalError if it is none, or has more than a host and a port.

    With ``path``, it may have a path.
    """
    parts = urlsplit(url)
    fine = parts.scheme in ("http", "https") and parts.hostname and not parts.username and not parts.fragment
    if not fine or (not path and (parts.path.strip("/") or parts.query)):
        raise LocalError(f"not such a URL: {url[:80]!r}", hint="write it as in https://dpe.example")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reachable(host: str) -> str:
    """Return where one can come in on this machine if it listens on all addresses."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
