"""An S3 store that lists as many keys as wanted and has none of them: pages of a listing, made up when asked for."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_KEY = (
    "<Contents><Key>videos/{:09d}.mp4</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>1000000</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)


class ManyKeys:
    """A running store with ``videos/000000000.mp4`` and so on in every bucket; a context manager.

    Attributes:
        endpoint: its address.
        signed: for each request so far, whether it was signed.
    """

    def __init__(self, n_keys: int):
        self.signed: list[bool] = []
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                store.signed.append("Authorization" in self.headers)
                asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                start = int(asked.get("continuation-token", 0))
                end = min(n_keys, start + int(asked.get("max-keys", 1000)))
                more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < n_keys else ""
                answer = (
                    f"<ListBucketResult><IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}"
                    f"{''.join(map(_KEY.format, range(start, end)))}</ListBucketResult>"
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_HEAD(self) -> None:
                store.signed.append("Authorization" in self.headers)
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> "ManyKeys":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
