"""`dpe web`: a live page for operators, in a process of its own."""

from importlib.util import find_spec
from pathlib import Path

import click

from dpe_coap.errors import LocalError

NEEDED = ("fastapi", "starlette", "uvicorn", "jinja2", "multipart", "prometheus_client")
BIND = "127.0.0.1:8064"


@click.command()
@click.argument("state")
@click.option(
    "--bind",
    default=BIND,
    show_default=True,
    metavar="HOST:PORT",
    help="Where the page is; with a port alone, on the loopback address. Port 0 takes any free port.",
)
@click.option(
    "--metrics",
    metavar="URL",
    help="The metrics of the server of STATE, for rates and latency.  [default: where a running server says]",
)
@click.option(
    "--pcap",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What `dpe serve --pcap` writes: shows the bytes of a device's last registration.",
)
@click.option("--origin", metavar="URL", help="Where a proxy before it is reached, such as https://dpe.example.")
@click.option("--read-only", is_flag=True, help="Who comes in may look, and not act.")
def web(state: str, bind: str, metrics: str | None, pcap: Path | None, origin: str | None, read_only: bool) -> None:
    """Show what the server of STATE does, on a page for a browser, until SIGTERM or Ctrl-C.

    It prints a login link, which is valid once and for ten minutes; on SIGHUP it prints another one. The server neither
    waits for this process nor ends with it, and need not run.
    """
    if any(find_spec(name) is None for name in NEEDED):
        raise LocalError("what serves the page is not installed", hint="pip install 'dpe-coap[web]'")
    from dpe_server.web import rendering, running

    if not (rendering.STATIC / "vendor").is_dir():
        raise LocalError(
            "what the page has from npm is not there", hint="in a checkout, take it with: tools/web-assets"
        )

    running.run(
        Path(state),
        bind,
        metrics=metrics,
        capture=pcap,
        origin=origin,
        read_only=read_only,
        tell=lambda link: click.echo(f"come in at {link}"),
    )
