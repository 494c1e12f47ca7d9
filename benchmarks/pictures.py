"""The pictures of README: a frame of a judged video, and the web page before and after an upload.

    python -m benchmarks.pictures

The released detector judges two clips of the sample corpus. Needs Chromium. Writes docs/annotated.png,
docs/page_start.png and docs/page_verdict.png.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import suppress
from pathlib import Path
from time import sleep

import cv2
from playwright.sync_api import sync_playwright

from deepfake_detector.faces.video_reader import probe, read_frames

DOCS, DEMO_FOLDER = Path("docs"), Path("data/sample/demo")
ADDRESS = "http://localhost:8501"
WIDTH, HEIGHT = 900, 1480  # of a screenshot, pixels
TIMEOUT = 600_000  # milliseconds until the page has a verdict


def annotated(clip: Path) -> None:
    """A frame from the middle of the annotated video of `clip`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stages.infer", str(clip), "--checkpoint", "released", "--output", folder]
        subprocess.run([*command, "--timeline", "false"], check=True)
        video = f"{folder}/{clip.stem}.mp4"
        (frame,) = read_frames(video, [probe(video).frames // 2])
        cv2.imwrite(str(DOCS / "annotated.png"), frame.image)


def page(clip: Path) -> None:
    """The web page as a visitor finds it, and with the verdict on `clip`."""
    server = subprocess.Popen(["make", "app"], start_new_session=True)
    try:
        wait_for_server()
        with sync_playwright() as playwright:
            program = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            view = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            view.set_default_timeout(TIMEOUT)
            view.goto(ADDRESS)
            view.get_by_text("evidence, not proof").first.wait_for()
            view.wait_for_timeout(3000)
            view.screenshot(path=str(DOCS / "page_start.png"))
            view.locator("input[type=file]").set_input_files(str(clip))
            verdict = view.get_by_role("heading").filter(has_text="fake probability").first
            verdict.wait_for()
            view.wait_for_timeout(3000)
            verdict.evaluate("heading => heading.scrollIntoView()")
            view.wait_for_timeout(1000)
            view.screenshot(path=str(DOCS / "page_verdict.png"))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def wait_for_server() -> None:
    for _ in range(600):
        with suppress(OSError):
            urllib.request.urlopen(f"{ADDRESS}/_stcore/health").close()
            return
        sleep(0.5)
    raise SystemExit("the page does not start; see what make app prints")


def main() -> None:
    if not DEMO_FOLDER.is_dir():
        raise SystemExit(f"{DEMO_FOLDER} is not here: run make repro, or python -m stages.sample")
    annotated(DEMO_FOLDER / "one_of_two_swapped.mp4")
    page(DEMO_FOLDER / "swapped.mp4")


if __name__ == "__main__":
    main()
