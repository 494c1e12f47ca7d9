"""Uploads on their way: streamed to disk, and kept there until the page takes them or its visitor leaves.

Streamlit itself would hold every upload in memory, also one that no script asks for.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UPLOAD_PATH = re.compile(r"/_stcore/upload_file/([^/]+)/([^/]+)$")
BOUNDARY = "upload"  # in EMPTY_FORM
EMPTY_FORM = (
    b'--upload\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n\r\n--upload--\r\n"
)
FILE_NAME = re.compile(rb'filename="([^"\r\n]*)"')
START = 4096  # bytes of a form in which the name of its file stands


@dataclass(frozen=True)
class Arrival:
    """An upload that is complete. Its `file` is a temporary one without a name; None if there was no space for it."""

    file: IO[bytes] | None
    size: int  # bytes

    def close(self) -> None:
        if self.file:
            self.file.close()


class Incoming:
    """Uploads that no page has taken yet, by Streamlit's session and file."""

    def __init__(self) -> None:
        self._arrivals: dict[tuple[str, str], Arrival] = {}
        self._arriving = 0  # bytes
        self._mutex = threading.Lock()

    @property
    def bytes(self) -> int:
        """Bytes on disk, those of uploads on their way included."""
        with self._mutex:
            return self._arriving + sum(arrival.size for arrival in self._arrivals.values() if arrival.file)

    def grow(self, count: int) -> None:
        """Count bytes of an upload on its way; a negative number when it is there, or given up."""
        with self._mutex:
            self._arriving += count

    def add(self, session: str, file_id: str, arrival: Arrival) -> None:
        self.drop(session, file_id)
        with self._mutex:
            self._arrivals[session, file_id] = arrival

    def take(self, session: str, file_id: str) -> Arrival | None:
        """An upload, which the caller closes; None if there is none. It can be taken once."""
        with self._mutex:
            return self._arrivals.pop((session, file_id), None)

    def drop(self, session: str, file_id: str) -> None:
        if arrival := self.take(session, file_id):
            arrival.close()

    def sweep(self, is_active: Callable[[str], bool]) -> None:
        """Delete what belongs to sessions that have ended."""
        with self._mutex:
            ended = [key for key in self._arrivals if not is_active(key[0])]
        for session, file_id in ended:
            self.drop(session, file_id)


class StoreUploads:
    """ASGI middleware that stores uploads in `incoming`, and hands on to Streamlit their names with no content.

    Streamlit checks the request, its size and its session before it asks for the first byte.
    """

    def __init__(self, app: ASGIApp, incoming: Incoming, free_bytes: Callable[[], int]) -> None:
        self._app, self._incoming, self._free_bytes = app, incoming, free_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = UPLOAD_PATH.search(scope["path"]) if scope["type"] == "http" else None
        if not match or scope["method"] not in ("PUT", "DELETE"):
            await self._app(scope, receive, send)
        elif scope["method"] == "DELETE":
            self._incoming.drop(match[1], match[2])
            await self._app(scope, receive, send)
        else:
            form_type = (b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode())
            headers = [form_type, *(header for header in scope["headers"] if header[0].lower() != b"content-type")]
            body = _Body(self._incoming, self._free_bytes, Request(scope, receive), match[1], match[2])
            await self._app({**scope, "headers": headers}, body.receive, send)


class _FullError(Exception):
    pass


class _Body:
    """The body of an upload, for Streamlit: at the first request for it the upload is stored."""

    def __init__(
        self, incoming: Incoming, free_bytes: Callable[[], int], request: Request, session: str, file_id: str
    ) -> None:
        self._incoming, self._free_bytes, self._request = incoming, free_bytes, request
        self._key = session, file_id
        self._is_read, self._counted = False, 0
        self._start = b""  # of the body, with the name of the file

    async def receive(self) -> Message:
        if self._is_read:
            return await self._request.receive()
        self._is_read = True
        try:
            body = await self._store()
        finally:
            self._incoming.grow(-self._counted)
        return {"type": "http.request", "body": body, "more_body": False}

    async def _store(self) -> bytes:
        """Store the upload, and return a form with its name and no content; nothing if it is not one file."""
        try:
            form = await Request(self._request.scope, self._counted_receive).form()
        except _FullError:
            while (await self._request.receive()).get("more_body"):
                pass
            self._incoming.add(*self._key, Arrival(None, 0))
        else:
            uploads = [value for value in form.values() if isinstance(value, UploadFile)]
            if len(uploads) != 1:
                await form.close()
                return b""
            file: Any = uploads[0].file
            file.rollover()  # to disk, however small it is
            self._incoming.add(*self._key, Arrival(file, uploads[0].size or 0))
        name = FILE_NAME.search(self._start)
        return EMPTY_FORM % (name[1] if name else b"")

    async def _counted_receive(self) -> Message:
        message = await self._request.receive()
        body = message.get("body", b"")
        self._start += body[: START - len(self._start)]
        self._counted += len(body)
        self._incoming.grow(len(body))
        if self._free_bytes() < 0 and message.get("more_body"):
            raise _FullError
        return message
