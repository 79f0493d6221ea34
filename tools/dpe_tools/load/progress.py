"""The progress of a load."""

from dpe_tools.load.tally import Tally
from dpe_tools.progress import ProgressLine


class Progress(ProgressLine):
    """Shows a tally as it grows, while the ``with`` block runs. ``title`` says what is being done."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def __call__(self, tally: Tally) -> None:
        """Show the counts so far."""
        self.show(self._line(tally), tally.seconds)

    def _line(self, tally: Tally) -> str:
        rate = tally.registered / tally.seconds if tally.seconds else 0
        reports = f"{tally.reported} reports, " if tally.reports else ""
        states = ", ".join(f"{state} {count}" for state, count in sorted(tally.under_way.items())) or "none"
        return (
            f"{self._title}: {tally.seconds:.0f} s, {tally.registered} REGISTERED ({rate:.0f}/s), {reports}"
            f"{tally.failed.total()} failed; under way: {states}; sent again {tally.retransmissions}; "
            f"p50 {tally.registration.percentile(50) / 1000:.1f} ms, "
            f"p99 {tally.registration.percentile(99) / 1000:.1f} ms"
        )
