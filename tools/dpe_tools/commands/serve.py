"""`dpe serve`: the DPE Server in the foreground."""

from pathlib import Path

import click

from dpe_server.operation import signals


@click.command()
@click.argument("state")
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    help="Listen here instead of where config.toml says. May be given several times; port 0 takes any free port.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Run N processes that share the addresses and the database.",
)
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    help="Serve metrics for Prometheus over HTTP; with a port alone, on the loopback address.",
)
@click.option("--json-log", is_flag=True, help="Write the log as JSON lines.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least that is logged.",
)
@click.option(
    "--log-priorities/--no-log-priorities",
    default=None,
    help="Begin each line of the log with its priority, from <2> to <7>, as the journal and logger --prio-prefix read "
    "it.  [default: only for the journal]",
)
@click.option("--audit-peers", is_flag=True, help="Have the audit log say from which address and port a message came.")
@click.option(
    "--pcap",
    metavar="FILE",
    help="Write every datagram to FILE (pcapng, at most 1 GiB). It holds no secret, but shows who speaks when.",
)
def serve(
    state: str,
    listen: tuple[str, ...],
    workers: int,
    metrics: str | None,
    json_log: bool,
    log_level: str,
    log_priorities: bool | None,
    pcap: str | None,
    audit_peers: bool,
) -> None:
    """Run the server of STATE until SIGTERM or Ctrl-C. On SIGHUP it reads its policy and its keys again.

    It prints `listening on coap://HOST:PORT` for each address once it answers there; with `--json-log`, that is a line
    of the log. The log goes to standard error.
    """
    signals.hold()
    from dpe_server.operation import app

    capture = None if pcap is None else Path(pcap)
    app.serve(
        Path(state),
        listen,
        workers=workers,
        json_log=json_log,
        log_level=log_level,
        log_priorities=log_priorities,
        metrics=metrics,
        pcap=capture,
        audit_peers=audit_peers,
    )
