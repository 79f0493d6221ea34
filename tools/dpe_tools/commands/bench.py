"""`dpe bench`: benchmarks against named peers. They are in the package dpe_bench, which only a checkout has."""

from importlib.util import find_spec

import click

from dpe_coap.errors import LocalError
from dpe_tools.lazy import LazyGroup

BENCHMARKS = {
    "device": ("dpe_bench.device", "The device client beside other CoAP clients for MicroPython."),
    "server": ("dpe_bench.server", "The server's CoAP lane beside other CoAP servers."),
    "registrations": ("dpe_bench.registrations", "Complete registrations a second, in memory and durable."),
    "sessions": ("dpe_bench.sessions", "Reports of registered devices under OSCORE, durable."),
    "rows": ("dpe_bench.rows", "What a registration costs as the store grows."),
    "cluster": ("dpe_bench.cluster", "The store on PostgreSQL beside SQLite, and as it grows."),
    "web": ("dpe_bench.web", "What a thousand visitors of the page do to response times."),
    "pairs": ("dpe_bench.pairs", "What a request costs here and in another commit."),
}


class Benchmarks(LazyGroup):
    """The group of the benchmarks. Without a checkout it only shows its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click. Raises LocalError if the benchmarks are not installed."""
        wants_help = bool(args) and args[0] in ctx.help_option_names
        if not wants_help and find_spec("dpe_bench") is None:
            raise LocalError(
                "the benchmarks are not installed: they need a checkout",
                hint="unpack the source archive of this version, or clone the repository, and run ./tools/bench in it",
            )
        return super().parse_args(ctx, args)


@click.group(cls=Benchmarks, table=BENCHMARKS)
def bench() -> None:
    """Measure the client and the server side by side with named peers.

    This needs a checkout: the installed package has no benchmarks. Every answer is verified before it counts. Compare
    the ratios of one run, not the figures of two machines.
    """
