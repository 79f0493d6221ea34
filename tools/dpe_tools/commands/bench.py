"""`dpe bench`: benchmarks against named peers."""

import click

from dpe_tools.lazy import LazyGroup

BENCHMARKS = {
    "device": ("dpe_bench.device", "The device client beside other CoAP clients for MicroPython."),
    "server": ("dpe_bench.server", "The server's CoAP lane beside other CoAP servers."),
    "registrations": ("dpe_bench.registrations", "Complete registrations a second, in memory and durable."),
    "rows": ("dpe_bench.rows", "What a registration costs as the store grows."),
}


@click.group(cls=LazyGroup, table=BENCHMARKS)
def bench() -> None:
    """Measure side by side with named peers.

    Every answer is verified before it counts. Compare the ratios of one run, not figures of two machines.
    """
