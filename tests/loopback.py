"""A real HTTP server on loopback that behaves as badly as it is told to."""

import contextlib
import email.utils
import hashlib
import http.server
import re
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Page:
    """One file, and what goes wrong with it, request by request (the last one stays).

    Attributes:
        content: its bytes.
        faults: per request: ``None``; a status; ``("cut", n)``, the connection ends after n bytes;
            ``("stall", seconds)``, a pause in the middle; ``("corrupt", n)``, byte n is another;
            ``("length", n)``, n bytes more (or less) are announced; ``"plain"``, no ranges;
            ``"endless"``, no length is announced; ``"chunked"``; ``("chunked", n)``, cut after n
            bytes; ``("range", n)``, a range n bytes further on; ``"careless"``, no If-Range.
        headers: with every answer.
        etag: the validator; None: there is none.
        piece: bytes written at once.
        delay: seconds between pieces.
    """

    content: bytes = b""
    faults: list = field(default_factory=lambda: [None])
    headers: dict = field(default_factory=dict)
    etag: str | None = "auto"
    piece: int = 16384
    delay: float = 0.0
    requests: list = field(default_factory=list)

    @property
    def mark(self):
        """The ETag that is sent."""
        return f'"{hashlib.md5(self.content).hexdigest()}"' if self.etag == "auto" else self.etag


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the pages of its server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        """Says nothing."""

    def do_GET(self):
        """Serve a page, or what goes wrong with it."""
        with self.server.lock:
            self.server.busy += 1
            self.server.busiest = max(self.server.busiest, self.server.busy)
        try:
            self.answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.server.lock:
                self.server.busy -= 1

    def answer(self):
        page = self.server.pages.get(self.path)
        if page is None:
            self.send(404, b"no such file", {})
            return
        with self.server.lock:
            fault = page.faults[min(len(page.requests), len(page.faults) - 1)]
            page.requests.append(dict(self.headers))
        if isinstance(fault, int):
            self.send(fault, b"<html>no</html>", {"Content-Type": "text/html"} | page.headers)
            return
        kind, n = fault if isinstance(fault, tuple) else (fault, 0)
        headers = dict(page.headers)
        if page.mark:
            headers["ETag"] = page.mark
        content, status = page.content, 200
        if kind == "corrupt":
            content = content[:n] + bytes([content[n] ^ 255]) + content[n + 1 :]
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        held = self.headers.get("If-Range")
        if wanted and kind != "plain" and (held in (None, page.mark) or kind == "careless"):
            start = int(wanted[1]) + (n if kind == "range" else 0)
            if start >= len(content):
                headers["Content-Range"] = f"bytes */{len(content)}"
                self.send(416, b"", headers)
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content, status = content[start:], 206
        self.send(status, content, headers, kind, n, page)

    def send(self, status, content, headers, kind=None, n=0, page=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif kind != "endless":
            self.send_header("Content-Length", str(len(content) + (n if kind == "length" else 0)))
        self.end_headers()
        whole = len(content)
        if kind == "cut" or (kind == "chunked" and n):
            content = content[:n]
        size = page.piece if page else len(content) or 1
        for start in range(0, len(content), size):
            piece = content[start : start + size]
            framed = b"%x\r\n%s\r\n" % (len(piece), piece) if kind == "chunked" else piece
            self.wfile.write(framed)
            if kind == "stall" and start >= whole // 2:
                self.wfile.flush()
                time.sleep(n)
            if page and page.delay:
                time.sleep(page.delay)
        if kind == "chunked" and not n:
            self.wfile.write(b"0\r\n\r\n")
        if kind in ("cut", "length", "endless", "stall") or (kind == "chunked" and n):
            self.close_connection = True


@contextlib.contextmanager
def serving():
    """A server with ``pages`` (path -> Page), ``url``, and ``busiest``: most requests at once."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda request, address: None  # clients that hang up
    server.daemon_threads = True
    server.pages, server.lock, server.busy, server.busiest = {}, threading.Lock(), 0, 0
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def http_date(seconds):
    """A date ``seconds`` from now, as in Retry-After."""
    return email.utils.formatdate(time.time() + seconds, usegmt=True)
