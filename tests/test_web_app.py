"""The web page in headless Chromium: with a mouse, with a keyboard alone, on a phone."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import types
import urllib.request
from concurrent.futures import Future
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from streamlit.testing.v1 import AppTest

from deepfake_detector.faces.video_file import VideoError
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.files import file_sha256
from deepfake_detector.inference.predict import predict_video
from deepfake_detector.inference.prediction_task import PredictionSettings, PredictionTask
from stages.params import App
from web_app.uploads import PREFIX, PendingUpload, Result, _lock, check_limits, open_upload_pool

ROOT = Path(__file__).parent.parent
LIMITS = App(
    checkpoint="checkpoints/best.onnx",
    device="cpu",
    megabytes=20,
    seconds=60,
    megapixels=8.3,
    timeout=300,
    memory=4,
    waiting=3,
    workers=2,
)
TIMEOUT = 120_000  # milliseconds, enough for a busy machine


@pytest.fixture(scope="module")
def project(tmp_path_factory, exported, real_clip):
    """A folder with a detector, a sample clip, and a folder for uploads."""
    folder = tmp_path_factory.mktemp("project")
    params = (ROOT / "params.yaml").read_text().split("\napp:")[0]
    (folder / "params.yaml").write_text(params + "\napp: " + LIMITS.model_dump_json() + "\n")
    for name in ("checkpoints", "data/sample/demo", "uploads"):
        (folder / name).mkdir(parents=True)
    shutil.copy(exported, folder / "checkpoints/best.onnx")
    shutil.copy(real_clip, folder / "data/sample/demo/genuine.mp4")
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
    page.set_default_timeout(TIMEOUT)
    page.goto(address)
    page.get_by_role("button", name="Genuine").wait_for()
    return page


def upload(page: Page, *paths: Path) -> None:
    page.locator("input[type=file]").set_input_files([str(path) for path in paths])


def working(page: Page) -> Locator:
    """The lines that show a video in progress."""
    return page.get_by_text(re.compile("Waiting|Detecting faces|Annotating the|Drawing the"))


def verdict(page: Page, text: str = "") -> str:
    heading = page.get_by_role("heading", level=3).filter(has_text=text).first
    heading.wait_for()
    return heading.inner_text()


def test_upload_gets_a_verdict_a_playing_video_and_downloads_and_is_deleted(browser, address, project, real_clip):
    page = visit(browser, address)
    assert "evidence, not proof" in page.locator("body").inner_text()
    upload(page, real_clip)
    assert re.search(r"(Flagged|Not flagged|Uncertain) \(fake probability [0-9.]+ %, .* [0-9.]+ %\)", verdict(page))
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
    assert record["filepath"] == real_clip.name and len(record["people"][0]["faces"]) == 16
    assert download.value.suggested_filename == f"{real_clip.stem}.json"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the annotated video").click()
    assert Path(download.value.path()).read_bytes()[4:8] == b"ftyp"
    assert [path.name for path in (project / "uploads").glob(f"{PREFIX}*/*")] == ["lock"]
    page.close()


def test_each_file_that_is_no_video_gets_a_plain_answer(browser, address, project, faceless_clip, tmp_path):
    (tmp_path / "letter *to* [me].mp4").write_text("words")
    (tmp_path / "nothing.mp4").write_bytes(b"")
    page = visit(browser, address)
    upload(page, tmp_path / "letter *to* [me].mp4", tmp_path / "nothing.mp4", faceless_clip)
    expect(page.get_by_role("heading", name="Not processed")).to_have_count(2, timeout=TIMEOUT)
    verdict(page, "No face found")
    expect(working(page)).to_have_count(0, timeout=TIMEOUT)
    assert page.get_by_role("heading", level=3).count() == 3
    text = page.locator("body").inner_text()
    assert "letter *to* [me].mp4 is no video, or it is damaged or incomplete" in text
    assert text.count("This file got no verdict.") == 2
    assert str(project) not in text and "Traceback" not in text
    page.close()


def test_page_fetches_nothing_from_other_hosts(browser, address):
    page = browser.new_page()
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(address)
    page.get_by_role("button", name="Genuine").click()
    verdict(page)
    page.wait_for_load_state("networkidle")
    page.close()
    assert len(urls) > 10
    assert not [url for url in urls if not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))]


def test_page_fits_a_phone(browser, address):
    page = visit(browser, address, width=360)
    page.get_by_role("button", name="Genuine").click()
    verdict(page)
    page.locator("video").wait_for()
    widths = page.evaluate(
        "() => [...document.querySelectorAll('button, video, img, h1, p')].map(e => e.getBoundingClientRect().right)"
    )
    assert len(widths) > 10 and max(widths) <= 360
    assert page.evaluate("() => document.scrollingElement.scrollWidth") <= 360
    page.close()


def test_keyboard_and_screen_reader_reach_everything(browser, address):
    page = visit(browser, address)
    reached = []
    while "Genuine" not in reached and len(reached) < 12:
        page.keyboard.press("Tab")
        focus = "(e => e.tagName === 'BUTTON' ? (e.getAttribute('aria-label') || e.innerText).trim() : e.tagName)"
        reached.append(page.evaluate(f"() => {focus}(document.activeElement)"))
    assert "Genuine" in reached and any("pload" in name for name in reached)
    page.keyboard.press("Enter")
    verdict(page)
    page.locator("video").wait_for()
    assert "Genuine" not in page.locator("video").get_attribute("aria-label")
    assert "genuine.mp4" in page.locator("video").get_attribute("aria-label")
    page.get_by_text("All scored faces").click()
    page.get_by_role("img", name="Faces of genuine.mp4").wait_for()
    page.get_by_role("img", name="Scores of genuine.mp4 over time").wait_for()
    assert all(name.strip() for name in page.locator("button:visible").evaluate_all(
        "buttons => buttons.map(b => b.getAttribute('aria-label') || b.innerText || b.title)"))  # fmt: skip
    assert page.locator("h1").count() == 1 and page.locator("html").get_attribute("lang") == "en"
    page.close()


@pytest.fixture(scope="module")
def slow_clip(tmp_path_factory):
    """Twenty-four seconds of noise in 1080p."""
    slow = tmp_path_factory.mktemp("slow") / "slow.mp4"
    noise = np.random.default_rng(1).integers(0, 255, (540, 960, 3), dtype=np.uint8)
    with VideoWriter(slow, Fraction(25), (1920, 1080), preset="ultrafast") as writer:
        for i in range(600):
            writer.write(np.tile(np.roll(noise, 8 * (i // 25), axis=1), (2, 2, 1)), i / 25)
    return slow


def test_slow_video_does_not_delay_another_visitor(browser, address, slow_clip, real_clip):
    one, two = visit(browser, address), visit(browser, address)
    upload(one, slow_clip)
    working(one).wait_for()
    upload(two, real_clip)
    verdict(two)
    assert working(one).count() == 1
    assert one.get_by_role("heading", level=3).count() == 0
    one.close()
    two.close()


def test_stopped_server_leaves_no_upload(browser, project, slow_clip, tmp_path):
    with serving(project, tmp_path) as (server, address):
        page = visit(browser, address)
        upload(page, slow_clip)
        page.get_by_text("Detecting faces").wait_for()
        assert len(list(tmp_path.glob(f"{PREFIX}*/*/upload"))) == 1
        server.terminate()
        server.wait(60)
        page.close()
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_uploads_of_a_killed_server_are_deleted_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    running = open_upload_pool(LIMITS)
    (tmp_path / f"{PREFIX}killed").mkdir()
    (tmp_path / f"{PREFIX}killed/upload").write_bytes(b"private")
    newest = open_upload_pool(LIMITS)
    assert set(tmp_path.iterdir()) == {running.folder, newest.folder}
    for upload_pool in (running, newest):
        upload_pool.close()
    assert not list(tmp_path.iterdir())


def test_lock_on_windows_is_that_of_msvcrt(tmp_path, monkeypatch):
    """msvcrt is replaced by a module that locks a file once."""
    locked = []

    def locking(handle, mode, length):
        if os.fstat(handle).st_ino in locked:
            raise OSError("another process holds it")
        locked.append(os.fstat(handle).st_ino)

    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    _lock(tmp_path).close()
    assert locked == [(tmp_path / "lock").stat().st_ino]
    with pytest.raises(OSError, match="another process"):
        _lock(tmp_path)


@pytest.mark.parametrize(
    "verdict, title, thresholds",
    [
        ("fake", "Flagged (fake probability 49 %, threshold 37 %)", (0.37, 0.3, 0.46)),
        ("real", "Not flagged (fake probability 55 %, threshold 60 %)", (0.6, 0.6, 0.6)),
        ("uncertain", "Uncertain (fake probability 45 %, between 30 % and 46 %)", (0.37, 0.3, 0.46)),
    ],
)
def test_page_shows_a_probability_with_its_thresholds(verdict, title, thresholds, in_project, checkpoint):
    (in_project / "checkpoints").mkdir()
    shutil.copy(checkpoint, in_project / "checkpoints")
    threshold = dict(zip(("threshold", "low", "high"), thresholds, strict=True))
    record = {
        "verdict": verdict,
        "probability": int(title.split(" %")[0][-2:]) / 100,
        "message": "",
        "person": 1,
        "people": [{}],
    }
    record |= {"threshold": threshold, "frames": 16, "frames_with_face": 16}
    record["settings"] = {"checkpoint_sha256": file_sha256(checkpoint)}
    record |= {"prior": 0.5, "suspicious_from": None, "faces_too_small": 0}
    app = AppTest.from_file(str(ROOT / "web_app/app.py"), default_timeout=60)
    app.session_state["results"] = [Result("mine.mp4", record, {})]
    app.run()
    assert not app.exception and title in app.subheader[0].value
    text = " ".join(part.value for part in app.markdown)
    assert "detector of your own" in text
    if verdict == "real":
        assert "The threshold is 60.0 %. " in text
    else:
        assert "The threshold is 37.0 %; between 30.0 % and 46.0 % the verdict is uncertain." in text


def test_page_offers_the_released_detector_first_and_says_what_answers(in_project, checkpoint):
    """The word below the title changes with the detector: what it was trained on."""
    page = AppTest.from_file(str(ROOT / "web_app/app.py"), default_timeout=60).run()
    assert not page.exception and page.radio[0].options == ["Released detector"]
    (in_project / "checkpoints").mkdir()
    shutil.copy(checkpoint, in_project / "checkpoints")
    page.run()
    assert page.radio[0].options == ["Released detector", "Your own detector"]
    assert page.radio[0].value == "Released detector" and "DFDC" in page.warning[0].value
    page.radio[0].set_value("Your own detector").run()
    assert not page.exception and "DFDC" not in page.warning[0].value


def test_page_names_a_damaged_released_detector(in_project, monkeypatch, tmp_path):
    monkeypatch.setattr("deepfake_detector.bundled_models.MODELS", tmp_path)
    page = AppTest.from_file(str(ROOT / "web_app/app.py"), default_timeout=60).run()
    assert not page.exception and "git checkout models" in page.error[0].value.replace("\\", "")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"megabytes": 1}, "limit is 1 MB"),
        ({"seconds": 1}, r"lasts \d seconds; the limit is 1"),
        ({"megapixels": 0.05}, "288 × 288 pixels"),
    ],
)
def test_limits_are_checked_against_the_container(change, words, real_clip, tmp_path):
    clip = tmp_path / "upload"
    clip.write_bytes(real_clip.read_bytes() + b"\0" * (2_000_000 if "megabytes" in change else 0))
    check_limits(clip, LIMITS)
    with pytest.raises(VideoError, match=words):
        check_limits(clip, LIMITS.model_copy(update=change))


def test_upload_whose_drawing_takes_too_long_keeps_its_verdict(real_clip, exported, tmp_path, monkeypatch):
    def wait_forever(*_, **__):
        raise SystemExit

    folder = tmp_path / "upload-1"
    folder.mkdir()
    shutil.copy(real_clip, folder / "upload")
    settings = PredictionSettings.with_checkpoint(str(exported))
    task = PredictionTask(str(folder / "upload"), "mine", str(folder / "results"), settings)
    monkeypatch.setattr("deepfake_detector.inference.overlay.annotate_video", wait_forever)
    with pytest.raises(SystemExit):
        predict_video(task)
    upload, future = PendingUpload("mine.mp4", folder, task), Future()
    future.set_exception(TimeoutError())
    upload.collect(future)
    record = upload.result.record
    assert record["verdict"] in ("real", "fake", "uncertain") and record["filepath"] == "mine.mp4"
    assert record["message"] == "the annotated video was not finished: it took too long"
    assert set(upload.result.files) == {".png"} and not folder.exists()


@pytest.mark.parametrize(
    "error, words", [(TimeoutError(), "took too long"), (VideoError("{path} is torn"), "mine.mp4 is torn")]
)
def test_upload_is_deleted_whatever_ends_its_prediction(error, words, tmp_path):
    folder = tmp_path / "upload-1"
    folder.mkdir()
    (folder / "upload").write_bytes(b"private")
    task = PredictionTask(str(folder / "upload"), "mine", str(folder / "results"), settings=None)
    error.args = tuple(str(text).replace("{path}", task.video) for text in error.args)
    upload, future = PendingUpload("mine.mp4", folder, task), Future()
    future.set_exception(error)
    upload.collect(future)
    assert upload.result.record["verdict"] == "error" and words in upload.result.record["message"]
    assert not folder.exists()
