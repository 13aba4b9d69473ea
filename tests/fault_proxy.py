"""An HTTP proxy between a job and its S3 store that misbehaves as a busy store and a bad network do.

Of every `DECK` requests a fixed number is answered with 503 SlowDown, cut off, or left without an answer; which ones is
drawn with the seed. So the shares are kept exactly, and even a short run meets every fault.
"""

import contextlib
import http.client
import itertools
import random
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

DECK = 100
SLOW_DOWN, CUT, STALL, NOTHING = "slow_down", "cut", "stall", ""

_HOP_BY_HOP = {"connection", "keep-alive", "expect", "transfer-encoding", "content-length"}


class FaultProxy:
    """A running proxy at `endpoint`; a context manager.

    Attributes:
        endpoint: its address.
        done: how often each fault was injected, and all requests under "requests".
    """

    def __init__(
        self,
        target: str,
        seed: int = 0,
        slow_down: int = 0,
        cut: int = 0,
        stall: int = 0,
        in_a_row: int = 0,
        answer: tuple[int, str] | None = None,
    ):
        """Start it.

        Args:
            target: endpoint of the store.
            seed: decides which requests are hit.
            slow_down, cut, stall: faults of each kind in every `DECK` requests.
            in_a_row: no more faults than these come one after the other; 0: any number.
            answer: HTTP status and S3 error code that every request gets instead.
        """
        self.target = urlsplit(target)
        self.answer = answer
        self.done: Counter[str] = Counter()
        self._deck = [SLOW_DOWN] * slow_down + [CUT] * cut + [STALL] * stall
        self._deck += [NOTHING] * (DECK - len(self._deck))
        self._in_a_row = in_a_row
        self._random = random.Random(seed)
        self._hand: list[str] = []
        self._lock = threading.Lock()
        self.ended = threading.Event()
        proxy = self

        class Handler(_Handler):
            faults = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def draw(self) -> tuple[str, float]:
        """The fault for the next request, and a number from 0 to 1 that says where in it."""
        with self._lock:
            if not self._hand:
                self._hand = self._dealt()
            fault = self._hand.pop()
            self.done["requests"] += 1
            if fault:
                self.done[fault] += 1
            return fault, self._random.random()

    def _dealt(self) -> list[str]:
        while True:
            hand = self._random.sample(self._deck, DECK)
            rows = (len(list(row)) for is_fault, row in itertools.groupby(hand, bool) if is_fault)
            # The last one that is drawn is none: so there are no more from one hand to the next either.
            if not self._in_a_row or (max(rows, default=0) <= self._in_a_row and not hand[0]):
                return hand

    def __enter__(self) -> "FaultProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()  # connections that are stalled end
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    faults: FaultProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        self.close_connection = True  # unless all goes well: the client may be gone by now
        with contextlib.suppress(OSError):
            self._forward()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    def _forward(self) -> None:
        fault, where = self.faults.draw()
        body = self._body()
        if self.faults.answer:
            self._answer(*self.faults.answer)
        elif fault == SLOW_DOWN:
            self._answer(503, "SlowDown")
        elif fault and body and where < 0.5:  # before the store has the whole request
            self._break_off(fault, b"")
        else:
            head, data = self._ask_store(body)
            if fault:
                # In the middle of its body; an answer without one does not come at all.
                self._break_off(fault, head + data[: int(len(data) * where)] if data else b"")
            else:
                self.wfile.write(head + data)
                self.close_connection = False

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        if self.command == "HEAD":
            text = b""
        head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(text)}\r\n\r\n"
        self.wfile.write(head.encode() + text)
        self.close_connection = False

    def _ask_store(self, body: bytes) -> tuple[bytes, bytes]:
        """Head and body of the answer."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        if body or "Content-Length" in self.headers:
            headers["Content-Length"] = str(len(body))
        target = self.faults.target
        with contextlib.closing(http.client.HTTPConnection(target.hostname, target.port, timeout=120)) as store:
            store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                store.putheader(name, value)
            store.endheaders(body)
            response = store.getresponse()
            data = response.read()
        lines = [f"HTTP/1.1 {response.status} {response.reason}"]
        lines += [f"{name}: {value}" for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP]
        lines.append(f"Content-Length: {response.getheader('Content-Length', len(data))}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1"), data

    def _break_off(self, fault: str, sent: bytes) -> None:
        self.wfile.write(sent)
        if fault == STALL:
            self.connection.settimeout(0.5)
            while not self.faults.ended.is_set():
                with contextlib.suppress(TimeoutError):
                    if not self.connection.recv(1):
                        break  # the client has given up
        self.connection.shutdown(socket.SHUT_RDWR)
