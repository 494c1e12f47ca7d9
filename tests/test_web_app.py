"""The web page in headless Chromium, as somebody uses it: with a mouse, with a keyboard alone, on a phone."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import Future
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from streamlit.testing.v1 import AppTest

from deepfake_detector.faces.video_reader import VideoError
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.inference.task import PredictionTask
from stages.params import App
from web_app.uploads import PREFIX, PendingUpload, Result, check_limits, open_upload_pool

ROOT = Path(__file__).parent.parent
LIMITS = App(megabytes=20, seconds=60, megapixels=8.3, timeout=300, waiting=3, workers=2)
PATIENCE = 120_000  # milliseconds that a busy machine is given


@pytest.fixture(scope="module")
def project(tmp_path_factory, exported, real_clip):
    """A folder with a detector, a sample clip, and a place for uploads that can be looked into."""
    folder = tmp_path_factory.mktemp("project")
    params = (ROOT / "params.yaml").read_text().split("\napp:")[0]
    (folder / "params.yaml").write_text(params + "\napp: " + LIMITS.model_dump_json() + "\n")
    for name in ("checkpoints", "data/sample/infer", "uploads"):
        (folder / name).mkdir(parents=True)
    shutil.copy(exported, folder / "checkpoints/detector.onnx")
    shutil.copy(real_clip, folder / "data/sample/infer/one_person.mp4")
    shutil.copytree(ROOT / ".streamlit", folder / ".streamlit")
    return folder


@contextmanager
def serving(project, uploads):
    """The server of the page and its address; it keeps uploads below the folder `uploads`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "web_app/app.py"), "--server.port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(uploads)}
    with (uploads / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://localhost:{port}/_stcore/health").close()
                break
            except OSError:
                assert server.poll() is None, (uploads / "log").read_text()
                time.sleep(0.1)
        yield server, f"http://localhost:{port}"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def address(project):
    with serving(project, project / "uploads") as (_, address):
        yield address


@pytest.fixture(scope="module")
def browser():
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        pytest.skip("the page is tested in Chromium, which is not here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def visit(browser: Browser, address: str, width: int = 1200) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.get_by_role("button", name="One person").wait_for()
    return page


def upload(page: Page, *paths: Path) -> None:
    page.locator("input[type=file]").set_input_files([str(path) for path in paths])


def working(page: Page) -> Locator:
    """What says that a video is under way."""
    return page.get_by_text(re.compile("Waiting for its turn|Looking for faces|Drawing the"))


def verdict(page: Page, text: str = "") -> str:
    heading = page.get_by_role("heading", level=3).filter(has_text=text).first
    heading.wait_for()
    return heading.inner_text()


def test_upload_gets_a_verdict_a_playing_video_and_downloads_and_is_deleted(browser, address, project, real_clip):
    page = visit(browser, address)
    assert "evidence, not proof" in page.locator("body").inner_text()
    upload(page, real_clip)
    assert re.search("(Flagged|Not flagged|Uncertain): [0-9]+% fake", verdict(page))
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
    page.evaluate(
        "async () => { const video = document.querySelector('video'); video.muted = true; await video.play() }"
    )
    page.wait_for_function("() => document.querySelector('video').currentTime > 0.2")
    assert (
        page.evaluate("() => [document.querySelector('video').videoWidth, document.querySelector('video').error]")[0]
        == 288
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the scores").click()
    record = json.loads(Path(download.value.path()).read_text())
    assert record["filepath"] == real_clip.name and len(record["people"][0]["faces"]) == 4
    assert download.value.suggested_filename == f"{real_clip.stem}.json"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the annotated video").click()
    assert Path(download.value.path()).read_bytes()[4:8] == b"ftyp"
    assert not list((project / "uploads").glob(f"{PREFIX}*/*"))
    page.close()


def test_files_that_are_no_videos_get_a_friendly_answer_each(browser, address, project, faceless_clip, tmp_path):
    (tmp_path / "letter *to* [me].mp4").write_text("words")
    (tmp_path / "nothing.mp4").write_bytes(b"")
    page = visit(browser, address)
    upload(page, tmp_path / "letter *to* [me].mp4", tmp_path / "nothing.mp4", faceless_clip)
    expect(page.get_by_role("heading", name="Not judged")).to_have_count(2, timeout=PATIENCE)
    verdict(page, "No face found")
    expect(working(page)).to_have_count(0, timeout=PATIENCE)
    assert page.get_by_role("heading", level=3).count() == 3
    text = page.locator("body").inner_text()
    assert "letter *to* [me].mp4 cannot be opened as a video: Invalid data" in text
    assert text.count("This file was not judged.") == 2
    assert str(project) not in text and "Traceback" not in text
    page.close()


def test_page_fits_a_phone(browser, address):
    page = visit(browser, address, width=360)
    page.get_by_role("button", name="One person").click()
    verdict(page)
    page.locator("video").wait_for()
    widths = page.evaluate(
        "() => [...document.querySelectorAll('button, video, img, h1, p')].map(e => e.getBoundingClientRect().right)"
    )
    assert len(widths) > 10 and max(widths) <= 360
    assert page.evaluate("() => document.scrollingElement.scrollWidth") <= 360
    page.close()


def test_keyboard_and_screen_reader_get_everything(browser, address):
    page = visit(browser, address)
    reached = []
    while "One person" not in reached and len(reached) < 12:
        page.keyboard.press("Tab")
        focus = "(e => e.tagName === 'BUTTON' ? (e.getAttribute('aria-label') || e.innerText).trim() : e.tagName)"
        reached.append(page.evaluate(f"() => {focus}(document.activeElement)"))
    assert "One person" in reached and any("pload" in name for name in reached)
    page.keyboard.press("Enter")
    verdict(page)
    page.locator("video").wait_for()
    assert "One person" not in page.locator("video").get_attribute("aria-label")
    assert "one_person.mp4" in page.locator("video").get_attribute("aria-label")
    page.get_by_text("All faces that were scored").click()
    page.get_by_role("img", name="Faces of one_person.mp4").wait_for()
    page.get_by_role("img", name="Probability of being fake over time of one_person.mp4").wait_for()
    assert all(name.strip() for name in page.locator("button:visible").evaluate_all(
        "buttons => buttons.map(b => b.getAttribute('aria-label') || b.innerText || b.title)"))  # fmt: skip
    assert page.locator("h1").count() == 1 and page.locator("html").get_attribute("lang") == "en"
    page.close()


@pytest.fixture(scope="module")
def slow_clip(tmp_path_factory):
    """Eight seconds of noise in 1080p."""
    slow = tmp_path_factory.mktemp("slow") / "slow.mp4"
    noise = np.random.default_rng(1).integers(0, 255, (540, 960, 3), dtype=np.uint8)
    with VideoWriter(slow, Fraction(25), (1920, 1080), preset="ultrafast") as writer:
        for i in range(200):
            writer.write(np.tile(np.roll(noise, 8 * (i // 25), axis=1), (2, 2, 1)), i / 25)
    return slow


def test_a_slow_video_does_not_hold_up_another_visitor(browser, address, slow_clip, real_clip):
    one, two = visit(browser, address), visit(browser, address)
    upload(one, slow_clip)
    working(one).wait_for()
    upload(two, real_clip)
    verdict(two)
    assert working(one).count() == 1
    assert one.get_by_role("heading", level=3).count() == 0
    one.close()
    two.close()


def test_a_server_that_is_stopped_leaves_no_upload(browser, project, slow_clip, tmp_path):
    with serving(project, tmp_path) as (server, address):
        page = visit(browser, address)
        upload(page, slow_clip)
        page.get_by_text("Looking for faces").wait_for()
        assert len(list(tmp_path.glob(f"{PREFIX}*/*/upload"))) == 1
        server.terminate()
        server.wait(60)
        page.close()
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_what_a_killed_server_left_is_deleted_by_the_next_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    living = open_upload_pool(LIMITS)
    (tmp_path / f"{PREFIX}killed").mkdir()
    (tmp_path / f"{PREFIX}killed/upload").write_bytes(b"private")
    newest = open_upload_pool(LIMITS)
    assert set(tmp_path.iterdir()) == {living.folder, newest.folder}
    for workshop in (living, newest):
        workshop.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "kind, title, bounds",
    [
        ("fake", "Flagged: 49% fake", (0.37, 0.3, 0.46)),
        ("real", "Not flagged: 55% fake", (0.6, 0.6, 0.6)),
        ("uncertain", "Uncertain: 45% fake", (0.37, 0.3, 0.46)),
    ],
)
def test_each_verdict_agrees_with_its_probability_and_bounds(kind, title, bounds, in_project, exported):
    (in_project / "checkpoints").mkdir()
    shutil.copy(exported, in_project / "checkpoints/detector.onnx")
    threshold = dict(zip(("threshold", "low", "high"), bounds, strict=True))
    record = {"verdict": kind, "probability": int(title[-8:-6]) / 100, "message": "", "person": 1, "people": [{}]}
    record |= {"threshold": threshold, "frames": 16, "frames_with_face": 16}
    app = AppTest.from_file(str(ROOT / "web_app/app.py"), default_timeout=60)
    app.session_state["results"] = [Result("mine.mp4", record, {})]
    app.run()
    assert not app.exception and title in app.subheader[0].value
    text = " ".join(part.value for part in app.markdown)
    if kind == "real":
        assert "A video is flagged from 60.0% on." in text
    else:
        assert "from 46.0% on and not flagged below 30.0%; between these, it is left open" in text


def test_without_a_detector_the_page_says_how_to_make_one(in_project):
    app = AppTest.from_file(str(ROOT / "web_app/app.py"), default_timeout=60).run()
    assert not app.exception and "no detector yet" in app.error[0].value and app.code[0].value == "make repro"


@pytest.mark.parametrize(
    "change, words",
    [
        ({"megabytes": 1}, "at most 1 MB"),
        ({"seconds": 1}, r"lasts \d seconds; at most 1"),
        ({"megapixels": 0.05}, "288 × 288 pixels"),
    ],
)
def test_limits_are_those_of_the_container_itself(change, words, real_clip, tmp_path):
    clip = tmp_path / "upload"
    clip.write_bytes(real_clip.read_bytes() + b"\0" * (2_000_000 if "megabytes" in change else 0))
    check_limits(clip, LIMITS)
    with pytest.raises(VideoError, match=words):
        check_limits(clip, LIMITS.model_copy(update=change))


@pytest.mark.parametrize(
    "error, words", [(TimeoutError(), "took too long"), (VideoError("{place} is torn"), "mine.mp4 is torn")]
)
def test_whatever_ends_judging_the_upload_is_deleted(error, words, tmp_path):
    folder = tmp_path / "upload-1"
    folder.mkdir()
    (folder / "upload").write_bytes(b"private")
    job = PredictionTask(str(folder / "upload"), "mine", str(folder / "results"), settings=None)
    error.args = tuple(str(text).replace("{place}", job.place) for text in error.args)
    case, future = PendingUpload("mine.mp4", folder, job), Future()
    future.set_exception(error)
    case.collect(future)
    assert case.result.record["verdict"] == "error" and words in case.result.record["message"]
    assert not folder.exists()
