"""`dpe serve`: the DPE Server in the foreground."""

from pathlib import Path

import click


@click.command()
@click.argument("state")
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    help="Listen here and not where config.toml says; may be given several times; port 0 is any free port.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    metavar="N",
    help="Serve with N processes on the same addresses and the same database; the default is 1.",
)
@click.option("--json-log", is_flag=True, help="Write the log as JSON lines.")
def serve(state: str, listen: tuple[str, ...], workers: int, json_log: bool) -> None:
    """Run the server of STATE until SIGTERM or Ctrl-C. SIGHUP reloads its policy and its keys.

    Prints `listening on coap://HOST:PORT` for each address once it answers there; the log goes to standard error.
    """
    from dpe_server.operation import app

    app.serve(Path(state), listen, workers=workers, json_log=json_log)
