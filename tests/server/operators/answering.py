"""A web server that answers as it is told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

METRICS = """\
dpe_of_no_use NaN
# HELP dpe_processes Processes that serve.
# TYPE dpe_processes gauge
dpe_processes 2.0
# HELP dpe_responses_total RESPONSEs, by status and deciding rule.
# TYPE dpe_responses_total counter
dpe_responses_total{status="ok",rule="say \\"a\\""} 3.0
"""


class _Server(HTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A body that cannot be made leaves whoever asked without an answer."""


@contextmanager
def answering(body: bytes | Callable[[], bytes], status: int = 200) -> Iterator[str]:
    """A web server that answers anything so; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = body if isinstance(body, bytes) else body()
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics"
        finally:
            server.shutdown()
            thread.join()
