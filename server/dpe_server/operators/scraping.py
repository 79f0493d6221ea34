"""The metrics of a running server, as one reads them.

``dpe serve --metrics`` serves them, and notes in the state directory where. Reading them needs the extra ``metrics``.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import OK, HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from urllib.parse import urlsplit

from dpe_coap.errors import DpeError, LocalError
from dpe_server.operation import loaded
from dpe_server.operation.state_dir import StateDir

SECONDS = 3.0
"""How long to wait for the metrics."""
LARGEST = 4 << 20
"""Bytes. The most that a reading may be."""
_PIECE = 1 << 16

Labels = tuple[str, ...]


class NoMetricsError(DpeError):
    """No server runs, it serves no metrics, or nobody answers where they are."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The metrics of one moment."""

    at: float
    """Monotonic time in seconds."""
    values: Mapping[str, Mapping[Labels, float]]
    """By name of a sample, its values by the values of its labels, in the order of the labels' names."""

    def one(self, name: str, *labels: str) -> float | None:
        """Return a value; None if the server does not tell it, or does not know it."""
        return self.values.get(name, {}).get(labels)

    def each(self, name: str) -> Mapping[Labels, float]:
        """Return all values of a sample."""
        return self.values.get(name, {})


def url_of(state: Path) -> str:
    """Return where the metrics of the server of a state directory are; NoMetricsError, or another DpeError."""
    opened = StateDir.open(state)
    url = loaded.metrics(opened)
    if url is not None:
        return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    if loaded.is_running(opened):
        raise NoMetricsError("the server serves no metrics", hint="start it with: dpe serve STATE --metrics 9464")
    raise NoMetricsError(f"no server runs on {state}", hint="start it with: dpe serve STATE --metrics 9464")


def read(url: str, seconds: float = SECONDS) -> Reading:
    """Read the metrics at ``url`` (http or https), within ``seconds``.

    Raises NoMetricsError if nobody answers there in time, LocalError if what answers is no DPE Server, or the library
    is not installed.
    """
    if find_spec("prometheus_client") is None:
        raise LocalError("what reads metrics is not installed", hint="pip install 'dpe-coap[metrics]'")
    from prometheus_client.parser import text_string_to_metric_families

    text = _fetch(url, time.monotonic() + seconds, seconds)
    values: dict[str, dict[Labels, float]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if isfinite(sample.value):
                    labels = tuple(sample.labels[name] for name in sorted(sample.labels))
                    values.setdefault(sample.name, {})[labels] = sample.value
    except (ValueError, KeyError, IndexError) as error:
        raise LocalError(f"what {url} answers are no metrics: {error}", hint="another program has the port") from None
    if "dpe_processes" not in values:
        raise LocalError(f"{url} has no metrics of a DPE Server", hint="another program has the port")
    return Reading(time.monotonic(), values)


def _fetch(url: str, until: float, seconds: float) -> str:
    """Get a page. Unlike urllib, no proxy is asked and no redirection is followed."""
    try:
        parts = urlsplit(url)
        kind = {"http": HTTPConnection, "https": HTTPSConnection}[parts.scheme]
        connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    except (ValueError, KeyError, HTTPException):
        raise LocalError(f"not the URL of metrics: {url}", hint="write http://HOST:PORT/metrics") from None
    with closing(connection):
        try:
            connection.request("GET", parts.path or "/metrics", headers={"Accept": "text/plain"})
            with connection.getresponse() as answer:
                return _body(url, answer, until)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "strerror", None) or (
                f"no answer in {seconds:g} s" if isinstance(error, TimeoutError) else "no HTTP"
            )
            raise NoMetricsError(f"no metrics at {url}: {reason}", hint="is the server still running?") from None


def _body(url: str, answer: HTTPResponse, until: float) -> str:
    if answer.status != OK:
        raise LocalError(f"{url} answers with the status {answer.status}", hint="is it the URL of the metrics?")
    body = bytearray()
    while piece := answer.read1(_PIECE):
        body += piece
        if len(body) > LARGEST:
            raise LocalError(f"{url} has more than {LARGEST} bytes", hint="is it the URL of the metrics?")
        if time.monotonic() > until:
            raise TimeoutError
    return body.decode("utf-8", "replace")
