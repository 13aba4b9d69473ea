"""HTTP servers on the loopback interface for tests: `class Mine(LocalServer)` with a handler that asks its `owner`."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class QuietHandler(BaseHTTPRequestHandler):
    """Answers each request with its own method `serve`, and prints nothing. `owner` is the `LocalServer`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: Any

    def _serve(self) -> None:
        self.serve()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    def answer(self, status: int, body: bytes = b"", kind: str = "application/octet-stream") -> None:
        """Send an answer; without its body to HEAD."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class LocalServer:
    """A running server at `endpoint`; a context manager."""

    def __init__(self, handler: type[QuietHandler]):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"owner": self}))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
