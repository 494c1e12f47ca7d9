"""Take the pictures of the page for README, and with a folder those of all its states, to look at.

    python -m benchmarks.page_pictures                 # writes docs/page_start.png and docs/page_verdict.png
    python -m benchmarks.page_pictures /tmp/pictures   # each state in three widths, light and dark

It starts the page with params.yaml and the released detector, makes the demonstration clips, and drives Chromium.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.command import command_line
from deepfake_detector.corpora.sample_corpus import write_demonstration

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PHONE, TABLET, DESKTOP = 390, 768, 1280  # pixels
HEIGHTS = {PHONE: 844, TABLET: 1024, DESKTOP: 900}
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
TIMEOUT = 600_000  # milliseconds


@contextmanager
def page_server() -> Iterator[tuple[str, Path]]:
    """The address of a server of the page, and the folder of its sample clips."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "params.yaml", folder)
        shutil.copytree(ROOT / ".streamlit", Path(folder, ".streamlit"))
        clips = Path(folder, "data/sample/demo")
        write_demonstration(clips, seed=1)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": folder}
        command = [sys.executable, "-m", "web_app", "--port", str(port)]
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        try:
            wait_for(f"http://localhost:{port}/_stcore/health")
            yield f"http://localhost:{port}", clips
        finally:
            server.terminate()
            server.wait()


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"{url} does not answer")


def open_page(browser: Browser, address: str, width: int, scheme: Literal["light", "dark"]) -> Page:
    page = browser.new_context(
        viewport={"width": width, "height": HEIGHTS[width]}, color_scheme=scheme, device_scale_factor=1
    ).new_page()
    page.set_default_timeout(TIMEOUT)
    page.goto(address)
    page.get_by_role("button", name="Swapped", exact=True).wait_for()
    page.wait_for_timeout(1000)
    return page


def save(page: Page, target: Path, whole: bool = True) -> None:
    """A picture of what is in sight, or of the whole page, which scrolls inside its window."""
    size = page.viewport_size
    if whole and size:
        height = page.locator("[data-testid=stMainBlockContainer]").evaluate("e => Math.ceil(e.scrollHeight)")
        page.set_viewport_size({"width": size["width"], "height": height})
        page.wait_for_timeout(1500)
    page.screenshot(path=target)
    if size:
        page.set_viewport_size(size)
    print(target, flush=True)


def upload(page: Page, *paths: Path) -> None:
    page.locator("input[type=file]").last.set_input_files([str(path) for path in paths])


def wait_for_results(page: Page, text: str) -> None:
    page.get_by_role("heading", name=text, exact=True).wait_for()
    page.get_by_text("in the queue").wait_for(state="hidden")
    if page.locator("video").count():
        page.wait_for_function("() => document.querySelector('video').readyState >= 2")
    page.wait_for_timeout(6000)  # until the notes that come and go have gone


def picture_docs(browser: Browser, address: str, clips: Path) -> None:
    page = open_page(browser, address, DESKTOP, "light")
    save(page, DOCS / "page_start.png", whole=False)
    upload(page, clips / "genuine.mp4", clips / "swapped.mp4")
    wait_for_results(page, "2 results")
    page.get_by_role("button", name="swapped.mp4", exact=True).click()
    page.mouse.move(0, 0)
    page.set_viewport_size({"width": DESKTOP, "height": 2400})
    page.wait_for_timeout(2000)
    page.locator(".st-key-details").screenshot(path=DOCS / "page_verdict.png")


def picture_states(browser: Browser, address: str, clips: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for width in HEIGHTS:
        for scheme in SCHEMES:
            page = open_page(browser, address, width, scheme)
            name = f"{width}_{scheme}.png"
            save(page, folder / f"start_{name}", whole=False)
            (folder / "letter.mp4").write_text("words")
            upload(page, folder / "letter.mp4")
            wait_for_results(page, "1 result")
            save(page, folder / f"error_{name}")
            upload(page, *sorted(clips.glob("*.mp4")))
            page.get_by_text("in the queue").wait_for()
            page.wait_for_timeout(1500)
            save(page, folder / f"progress_{name}", whole=False)
            wait_for_results(page, "5 results")
            save(page, folder / f"results_{name}", whole=False)
            page.get_by_role("button", name="one_of_two_swapped.mp4", exact=True).click()
            page.wait_for_timeout(2000)
            save(page, folder / f"details_{name}")
            with page.expect_download() as download:
                page.get_by_role("button", name="Report").click()
            report = page.context.new_page()
            download.value.save_as(folder / "report.html")
            report.goto((folder / "report.html").as_uri())
            report.screenshot(path=folder / f"report_{name}", full_page=True)
            page.context.close()


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="for the pictures of all states")
    folder = parser.parse_args().folder
    with page_server() as (address, clips), sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        if folder:
            picture_states(browser, address, clips, folder)
        else:
            picture_docs(browser, address, clips)
        browser.close()


if __name__ == "__main__":
    main()
