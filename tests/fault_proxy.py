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
from urllib.parse import urlsplit

from local_http import LocalServer, QuietHandler

DECK = 100
SLOW_DOWN, CUT, STALL, NOTHING = "slow_down", "cut", "stall", ""

_HOP_BY_HOP = {"connection", "keep-alive", "expect", "transfer-encoding", "content-length"}


class FaultProxy(LocalServer):
    """A running proxy; `done` says how often each fault was injected, and all requests under "requests".

    Args:
        target: endpoint of the store.
        seed: decides which requests are hit.
        slow_down, cut, stall: faults of each kind in every `DECK` requests.
        in_a_row: no more faults than these come one after the other; 0: any number.
        answer: HTTP status and S3 error code that every request gets instead.
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
        super().__init__(_Handler)

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

    def passed_on(self, request: QuietHandler, body: bytes, answer: bytes) -> None:
        """Called with each request that went to the store, and the bodies of both."""

    def __exit__(self, *_: object) -> None:
        self.ended.set()  # connections that are stalled end
        super().__exit__()


class _Handler(QuietHandler):
    owner: FaultProxy

    def serve(self) -> None:
        self.close_connection = True  # unless all goes well: the client may be gone by now
        with contextlib.suppress(OSError):
            self._forward()

    def _forward(self) -> None:
        fault, where = self.owner.draw()
        body = self._body()
        if self.owner.answer:
            self._refuse(*self.owner.answer)
        elif fault == SLOW_DOWN:
            self._refuse(503, "SlowDown")
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

    def _refuse(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.answer(status, b"" if self.command == "HEAD" else text, "application/xml")
        self.close_connection = False

    def _ask_store(self, body: bytes) -> tuple[bytes, bytes]:
        """Head and body of the answer."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        if body or "Content-Length" in self.headers:
            headers["Content-Length"] = str(len(body))
        target = self.owner.target
        with contextlib.closing(http.client.HTTPConnection(target.hostname, target.port, timeout=120)) as store:
            store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                store.putheader(name, value)
            store.endheaders(body)
            response = store.getresponse()
            data = response.read()
        self.owner.passed_on(self, body, data)
        lines = [f"HTTP/1.1 {response.status} {response.reason}"]
        lines += [f"{name}: {value}" for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP]
        lines.append(f"Content-Length: {response.getheader('Content-Length', len(data))}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1"), data

    def _break_off(self, fault: str, sent: bytes) -> None:
        self.wfile.write(sent)
        if fault == STALL:
            self.connection.settimeout(0.5)
            while not self.owner.ended.is_set():
                with contextlib.suppress(TimeoutError):
                    if not self.connection.recv(1):
                        break  # the client has given up
        self.connection.shutdown(socket.SHUT_RDWR)
