"""``python -m dpe_server.exposition STATE FOLDER HOST PORT``. ``operation.exposing`` starts it.

It writes one line to standard output: a JSON object with the ``url`` of the metrics and its ``port``, or the ``errno``
that says why it cannot listen. It ends when standard input does.
"""

import json
import signal
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server

from dpe_server.exposition.collecting import Collector


def main() -> None:
    """Serve until standard input ends."""
    state, folder, host, port = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they are the server's; this process ends after it
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(Path(state), Path(folder)))
    try:
        httpd, _ = start_http_server(int(port), host, registry)
    except OSError as error:
        print(json.dumps({"errno": error.errno}), flush=True)
        return
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{httpd.server_port}/metrics"
    print(json.dumps({"url": url, "port": httpd.server_port}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
