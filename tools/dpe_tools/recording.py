"""Records datagrams for Wireshark: a capture, and beside it a profile with the keys of the sessions in it.

The profile is a folder: the sessions' OSCORE contexts (RFC 8613), which ports are CoAP, the dissector of DPE-1, and the
credentials that `dpe inspect --pcap` checks security tokens with, if they are known.
"""

import shlex
import time
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Self

import click

from dpe_coap.binding import DEFAULT_PORT
from dpe_coap.errors import LocalError
from dpe_server.net.pcapng import Capture, CaptureError, End, Packet
from dpe_server.operation.credential import Credential
from dpe_tools import files
from dpe_tools.oscore_files import Context, wireshark

option = click.option(
    "--pcap",
    metavar="FILE",
    help="Record every datagram in FILE (pcapng), and what Wireshark needs to decrypt it in the folder FILE.profile.",
)
"""The option of the commands that speak as a device."""
SUFFIX = ".profile"
DISSECTOR = "dpe1.lua"


def dissector() -> str:
    """Return Wireshark's dissector of DPE-1, in Lua."""
    return resources.files("dpe_tools").joinpath("wireshark", DISSECTOR).read_text("utf-8")


class Recording:
    """Writes ``path`` while the ``with`` block runs, and then the profile. Several threads may use it."""

    def __init__(self, path: str) -> None:
        """Begin the capture; LocalError if it, or the profile's folder, cannot be made."""
        self._path = path
        self._profile = Path(path + SUFFIX)
        self._capture = Capture(path, "dpe")
        self._ports: set[int] = set()
        self._contexts: dict[bytes, Context] = {}
        self._credentials: list[Credential] = []
        try:
            self._profile.mkdir(mode=0o700, exist_ok=True)
            self._profile.chmod(0o700)
        except OSError as error:
            self._capture.close()
            raise LocalError(f"cannot make the folder {self._profile}: {error.strerror}") from None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Write the profile and say on standard error how to look at it all. What failed has a capture, too."""
        self._capture.close()
        self._write("oscore_contexts", "".join(map(wireshark, self._contexts.values())))
        self._write(
            "decode_as_entries",
            "".join(f"decode_as_entry: udp.port,{port},(none),CoAP\n" for port in sorted(self._ports)),
        )
        self._write(DISSECTOR, dissector())
        for stale in self._profile.glob("device-*.json"):
            stale.unlink()
        for number, one in enumerate(self._credentials, 1):
            self._write(f"device-{number}.json", one.to_json() + "\n")
        path, profile = shlex.quote(self._path), shlex.quote(str(self._profile))
        click.echo(f"captured in {path}; the keys are in {profile}, for you only. Look at it with:", err=True)
        click.echo(
            f"  WIRESHARK_CONFIG_DIR={profile} wireshark -X lua_script:{profile}/{DISSECTOR} {path}",
            err=True,
        )

    def _write(self, name: str, text: str) -> None:
        files.write_private(str(self._profile / name), text.encode())

    def passed(self, source: End, server: End, datagram: bytes, *, answer: bool = False, comment: str = "") -> None:
        """Record a datagram from a client to the server, or the other way if it is an ``answer``."""
        if self._capture.closed:
            return
        if server.port != DEFAULT_PORT:
            self._ports.add(server.port)
        ends = (server, source) if answer else (source, server)
        try:
            self._capture.write([Packet(*ends, datagram, comment=comment)], time.time_ns() // 1000)
        except CaptureError as error:
            click.echo(f"dpe: {error}", err=True)

    def device(self, credential: Credential) -> None:
        """Keep a device's credential in the profile."""
        self._credentials.append(credential)

    def session(self, client_id: bytes | None, keys: tuple[bytes, bytes] | None) -> None:
        """Keep the keys of a session: OSCORE's master secret and salt, as the device client has them."""
        if client_id is not None and keys is not None:
            self._contexts[client_id] = Context(bytes(client_id), *map(bytes, keys))
