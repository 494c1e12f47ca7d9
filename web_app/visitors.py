"""Who sees what: the uploads and results of each visitor, and the limits of one and of all."""

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from deepfake_detector.foreign_text import terminal_text
from deepfake_detector.inference.prediction_task import PredictionSettings
from stages.params import App
from web_app.detectors import Detector
from web_app.uploads import PendingUpload, Result, UploadPool, new_upload


@dataclass(eq=False)
class Visitor:
    """`results` has the newest last. `notices` has what was refused or deleted: a reason to the names of videos."""

    key: str
    pending: list[PendingUpload] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    notices: dict[str, list[str]] = field(default_factory=dict)
    seen: float = field(default_factory=time.monotonic)

    def tell(self, reason: str, names: Collection[str]) -> None:
        if names:
            self.notices.setdefault(reason, []).extend(names)


class Visitors:
    """All visitors of the server. A visitor is whoever shows the same secret token.

    Tokens are not kept, only their hashes. Results are deleted `app.keep_minutes` after their visitor last used the
    page, and beyond `app.keep` of one visitor the oldest. Whoever loses one is told.
    """

    def __init__(
        self,
        app: App,
        pool: UploadPool,
        arriving_bytes: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`arriving_bytes` is what uploads take that no visitor has yet."""
        self._app, self._pool, self._arriving_bytes, self._clock = app, pool, arriving_bytes, clock
        self._visitors: dict[str, Visitor] = {}
        self._mutex = threading.RLock()

    def visitor(self, token: str) -> Visitor:
        key = hashlib.sha256(token.encode()).hexdigest()
        with self._mutex:
            visitor = self._visitors.setdefault(key, Visitor(key))
            visitor.seen = self._clock()
            return visitor

    def submit(
        self,
        visitor: Visitor,
        name: str,
        content: IO[bytes] | None,
        size: int,
        settings: PredictionSettings,
        detector: Detector,
        url: str = "",
    ) -> None:
        """Queue a video of `size` bytes: `content`, or what is at `url`. A notice says so if it is refused."""
        name = terminal_text(name)  # its characters may turn the text around it
        try:
            with self._mutex:
                if reason := self._refusal(visitor, size):
                    visitor.tell(reason, [name])
                    return
                upload = new_upload(self._pool, visitor.key, name, size, settings, detector, self._app, url)
                visitor.pending.append(upload)
            if content:
                upload.store(content)
        except OSError as error:
            with self._mutex:
                visitor.pending = [other for other in visitor.pending if other.folder.exists()]
                visitor.tell(f"The server could not store it: {error.strerror}.", [name])
            return
        self._pool.put(upload, self._finish)

    def _refusal(self, visitor: Visitor, size: int) -> str:
        app = self._app
        if len(visitor.pending) >= app.waiting:
            return f"{app.waiting} videos of yours are in progress, which is the limit. Try again when some are done."
        if sum(len(other.pending) for other in self._visitors.values()) >= app.waiting_all:
            return f"{app.waiting_all} videos of all visitors are in progress, which is the limit. Try again later."
        if self.free_bytes() < size:
            return (
                f"The server keeps {app.gigabytes:g} GB of videos and results of all visitors, and has no space left. "
                "Delete results of yours, or try again later."
            )
        return ""

    def free_bytes(self) -> int:
        """Bytes that the uploads and results of all visitors may still take."""
        with self._mutex:
            visitors = self._visitors.values()
            used = sum(upload.size for visitor in visitors for upload in visitor.pending)
            used += sum(result.size for visitor in visitors for result in visitor.results)
        return int(self._app.gigabytes * 1e9) - used - self._arriving_bytes()

    def _finish(self, upload: PendingUpload, result: Result | None) -> None:
        with self._mutex:
            visitor = self._visitors[upload.owner]
            visitor.pending.remove(upload)
            if result:
                visitor.results.append(result)
            surplus = visitor.results[: -self._app.keep]
            reason = f"Their results were deleted: the page keeps the last {self._app.keep} of a visitor."
            visitor.tell(reason, self._delete(visitor, surplus))

    def delete_all(self, visitor: Visitor) -> None:
        """Delete the results of a visitor, and end what is in progress."""
        with self._mutex:
            self._delete(visitor, list(visitor.results))
            visitor.notices.clear()
            pending = list(visitor.pending)
        for upload in pending:
            self._pool.cancel(upload)

    def sweep(self) -> None:
        """Delete results whose visitors left `app.keep_minutes` ago, and later these visitors.

        Folders that belong to nobody are deleted, too: a worker may write for a moment after its upload was cancelled.
        """
        limit = 60 * self._app.keep_minutes
        with self._mutex:
            for visitor in list(self._visitors.values()):
                idle = self._clock() - visitor.seen
                if idle > limit:
                    reason = (
                        f"Their results were deleted: you were away for more than {self._app.keep_minutes} minutes."
                    )
                    visitor.tell(reason, self._delete(visitor, list(visitor.results)))
                if idle > 2 * limit and not visitor.pending:
                    del self._visitors[visitor.key]
            visitors = self._visitors.values()
            kept = {upload.folder for visitor in visitors for upload in visitor.pending}
            kept |= {result.folder for visitor in visitors for result in visitor.results}
            for folder in self._pool.folder.glob("*"):
                if folder.is_dir() and folder not in kept:
                    shutil.rmtree(folder, ignore_errors=True)

    def _delete(self, visitor: Visitor, results: list[Result]) -> list[str]:
        for result in results:
            visitor.results.remove(result)
            with suppress(OSError):
                shutil.rmtree(result.folder)
        return [result.name for result in results]
