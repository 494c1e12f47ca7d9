"""Many uploads through the workers of the page, several at a time: does its memory grow, and is one mixed up?

    python -m benchmarks.page_soak [--uploads 200] [--visitors 8]

Each visitor has one video in progress. All videos differ: a clip of the sample corpus with another number of bytes
behind it, which players skip. A result must carry the SHA-256 of the video that its visitor gave, and its name. Printed
are the memory of the server after every tenth of the uploads, the files that it has open, and what is left on its disk.
"""

import io
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from benchmarks.command import command_line
from deepfake_detector.bundled_models import MODELS, RELEASED_DETECTOR
from deepfake_detector.corpora.sample_corpus import write_demonstration
from deepfake_detector.inference.prediction_task import PredictionSettings
from stages.params import App, parse
from web_app.detectors import read_detector
from web_app.uploads import open_upload_pool
from web_app.visitors import Visitors


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Soak:
    """Visitors that take the next video each, until there is none."""

    def __init__(self, visitors: Visitors, videos: Iterator[tuple[str, bytes]], total: int) -> None:
        self._visitors, self._videos, self._total = visitors, videos, total
        self._detector = read_detector(str(MODELS / RELEASED_DETECTOR))
        self._mutex = threading.Lock()
        self.done = self.mixed_up = self.without_verdict = 0

    def visit(self, token: str) -> None:
        while True:
            with self._mutex:
                video = next(self._videos, None)
            if video is None:
                return
            self.judge(token, *video)

    def judge(self, token: str, name: str, content: bytes) -> None:
        visitor = self._visitors.visitor(token)
        settings = PredictionSettings(self._detector.path, self._detector.sha256)
        self._visitors.submit(visitor, name, io.BytesIO(content), len(content), settings, self._detector)
        while visitor.pending:
            time.sleep(0.05)
        record = visitor.results[-1].record()
        is_mine = (record["filepath"], record.get("sha256")) == (name, sha256(content).hexdigest())
        with self._mutex:
            self.done += 1
            self.mixed_up += not is_mine
            self.without_verdict += record["verdict"] == "error"
            if self.done % max(1, self._total // 10) == 0:
                files = len(list(Path("/proc/self/fd").iterdir()))
                print(f"| {self.done} | {resident_megabytes():.0f} | {files} |", flush=True)


def run(app: App, total: int, visitors: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_demonstration(Path(folder, "demo"), seed=1)
        clips = [path.read_bytes() for path in sorted(Path(folder, "demo").glob("*.mp4"))]
    videos = ((f"video_{i}.mp4", clips[i % len(clips)] + bytes(i)) for i in range(total))
    pool = open_upload_pool(app)
    everybody = Visitors(app, pool)
    soak = Soak(everybody, videos, total)
    print("| uploads | memory of the server (MB) | open files |\n|---|---|---|", flush=True)
    start = time.perf_counter()
    threads = [threading.Thread(target=soak.visit, args=[f"visitor {number}"]) for number in range(visitors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    print(f"\n{soak.done} uploads by {visitors} visitors in {seconds:.0f} s: {soak.mixed_up} mixed up, ", end="")
    print(f"{soak.without_verdict} without a verdict, {len(list(pool.folder.glob('*/upload')))} left on disk")
    pool.close()


def main() -> None:
    options = command_line(__doc__)
    options.add_argument("--uploads", type=int, default=200)
    options.add_argument("--visitors", type=int, default=8)
    given = options.parse_args()
    run(parse("app", argv=[]).app, given.uploads, given.visitors)


if __name__ == "__main__":
    main()
