"""Web servers of this machine that answer in ways in which no server should."""

import gzip
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote

SLOW_SECONDS = 5
SILENT_SECONDS = 90  # longer than a client should wait


class _Handler(http.server.BaseHTTPRequestHandler):
    """The first word of the path says how to answer."""

    content = b""

    def do_GET(self) -> None:
        kind, _, rest = self.path[1:].partition("/")
        answer = getattr(self, f"answer_{kind.partition('.')[0].partition('?')[0]}", self.answer_file)
        with suppress(OSError):  # the client has enough
            answer(rest)

    do_HEAD = do_GET

    def answer_file(self, rest: str) -> None:
        self.reply(200, self.content)

    def answer_status(self, rest: str) -> None:
        self.reply(int(rest[:3]), b"no")

    def answer_empty(self, rest: str) -> None:
        self.reply(200, b"")

    def answer_to(self, rest: str) -> None:
        self.reply(302, b"", Location=unquote(rest))

    def answer_loop(self, rest: str) -> None:
        self.reply(302, b"", Location=self.path)

    def answer_nowhere(self, rest: str) -> None:
        self.reply(302, b"")

    def answer_short(self, rest: str) -> None:
        self.reply(200, self.content[:100], **{"Content-Length": "5000"})

    def answer_long(self, rest: str) -> None:
        self.reply(200, self.content, **{"Content-Length": "10"})

    def answer_negative(self, rest: str) -> None:
        self.reply(200, self.content, **{"Content-Length": "-1"})

    def answer_huge(self, rest: str) -> None:
        self.reply(200, self.content, **{"Content-Length": str(10**30)})

    def answer_words(self, rest: str) -> None:
        self.reply(200, self.content, **{"Content-Length": "many"})

    def answer_range(self, rest: str) -> None:
        self.reply(206, self.content[:50], **{"Content-Range": f"bytes 0-49/{10**15}", "Accept-Ranges": "bytes"})

    def answer_garbage(self, rest: str) -> None:
        self.wfile.write(b"\xff\xfe no HTTP\r\n\r\n")

    def answer_header(self, rest: str) -> None:
        self.reply(200, b"", **{"X-Long": "x" * 100_000})

    def answer_headers(self, rest: str) -> None:
        self.reply(200, b"", **{f"X-{i}": "x" for i in range(20_000)})

    def answer_coding(self, rest: str) -> None:
        self.reply(200, b"no gzip", **{"Content-Encoding": rest.partition(".")[0] or "gzip"})

    def answer_chunk(self, rest: str) -> None:
        self.reply(200, b"zzz\r\nno chunk", **{"Transfer-Encoding": "chunked"})

    def answer_gone(self, rest: str) -> None:
        self.connection.close()

    def answer_silent(self, rest: str) -> None:
        self.server.ending.wait(SILENT_SECONDS)  # type: ignore[attr-defined]

    def answer_slow(self, rest: str) -> None:
        self.send_response(200)
        self.end_headers()
        for start in range(0, len(self.content), len(self.content) // (4 * SLOW_SECONDS) + 1):
            self.wfile.write(self.content[start : start + len(self.content) // (4 * SLOW_SECONDS) + 1])
            time.sleep(0.25)

    def answer_endless(self, rest: str) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(2000):
            self.wfile.write(bytes(1 << 20))

    def answer_bomb(self, rest: str) -> None:
        self.reply(200, gzip.compress(bytes(100_000_000)), **{"Content-Encoding": "gzip"})

    def answer_list(self, rest: str) -> None:
        self.reply(200, b'<a href="b.mp4">b</a> <a href="/etc/passwd">a</a> <a href="//127.0.0.2/x.mp4">n</a>')

    def answer_links(self, rest: str) -> None:
        self.reply(200, b"".join(b'<a href="%d/">x</a>' % i for i in range(3)))

    def reply(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass


@contextmanager
def serving(content: bytes, host: str = "127.0.0.1") -> Iterator[str]:
    """Host and port of a server whose files all have this content; it ends with the block."""
    server = _Server((host, 0), type("Handler", (_Handler,), {"content": content}))
    server.ending = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.ending.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
