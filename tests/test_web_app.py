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
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from streamlit.testing.v1 import AppTest

from deepfake_detector.bundled_models import MODELS, RELEASED_DETECTOR
from deepfake_detector.faces.video_file import VideoError
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.files import file_sha256, lock_file
from deepfake_detector.inference.prediction_task import PredictionTask
from stages.params import App
from tests.test_infer import write_clip_of
from web_app.detectors import read_detector
from web_app.http_headers import COOKIE
from web_app.results import evidence_text, title_of
from web_app.uploads import PREFIX, open_upload_pool
from web_app.worker import check_limits, write_thumbnail

ROOT = Path(__file__).parent.parent
LIMITS = App(
    checkpoint="checkpoints/best.onnx",
    device="cpu",
    megabytes=20,
    seconds=60,
    megapixels=8.3,
    timeout=300,
    memory=4,
    waiting=4,
    waiting_all=20,
    gigabytes=1,
    keep=5,
    keep_minutes=60,
    links=False,
    workers=2,
    address="localhost",
    port=8501,
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
def serving(project, uploads, *options):
    """The server of the page and its address; it keeps uploads below the folder `uploads`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "web_app", "--port", str(port), *options]
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
    sample_button(page).wait_for()
    return page


def sample_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Genuine", exact=True)


def upload(page: Page, *paths: Path) -> None:
    page.locator("input[type=file]").last.set_input_files([str(path) for path in paths])


def working(page: Page) -> Locator:
    """The lines that show a video in progress."""
    return page.get_by_text(re.compile("Starting|Detecting faces|Annotating the|Drawing the|in the queue"))


def verdict(page: Page, text: str = "") -> str:
    heading = page.locator(".st-key-details h3").filter(has_text=text)
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
    assert not list((project / "uploads").glob(f"{PREFIX}*/*/upload"))
    page.get_by_role("button", name="Delete all my results").click()
    expect(page.locator("video")).to_have_count(0, timeout=TIMEOUT)
    assert [path.name for path in (project / "uploads").glob(f"{PREFIX}*/*")] == ["lock"]
    page.close()


def test_each_file_that_is_no_video_gets_a_plain_answer(browser, address, project, faceless_clip, tmp_path):
    (tmp_path / "letter *to* [me].mp4").write_text("words")
    (tmp_path / "nothing.mp4").write_bytes(b"")
    page = visit(browser, address)
    upload(page, tmp_path / "letter *to* [me].mp4", tmp_path / "nothing.mp4", faceless_clip)
    page.get_by_role("heading", name="3 results").wait_for()
    expect(working(page)).to_have_count(0, timeout=TIMEOUT)
    page.get_by_text("No face found").first.wait_for()
    page.get_by_test_id("stStatusWidget").wait_for(state="hidden")
    text = page.locator("body").inner_text()
    assert "letter *to* [me].mp4 is no video, or it is damaged or incomplete" in text
    assert text.count("Not processed") >= 2
    page.get_by_role("button", name="nothing.mp4").click()
    assert "This file got no verdict." in page.locator(".st-key-details", has_text="nothing.mp4").inner_text()
    text = page.locator("body").inner_text()
    assert str(project) not in text and "Traceback" not in text
    page.close()


def test_page_fetches_nothing_from_other_hosts(browser, address):
    page = browser.new_page()
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(address)
    sample_button(page).click()
    verdict(page)
    page.wait_for_load_state("networkidle")
    page.close()
    assert len(urls) > 10
    assert not [url for url in urls if not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))]


def test_page_fits_a_phone_and_its_upload_field_is_in_sight_at_once(browser, address):
    page = visit(browser, address, width=360)
    field = page.get_by_test_id("stFileUploaderDropzone").bounding_box()
    assert field["y"] + field["height"] < 640
    sample_button(page).click()
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
    page.get_by_label("Scores of genuine.mp4 over time, as a chart").first.wait_for()
    page.get_by_text("Scored faces").click()
    page.get_by_text("Scores over time with the most extreme faces").click()
    page.get_by_role("img", name="Faces of genuine.mp4").wait_for()
    page.get_by_role("img", name="Scores of genuine.mp4 over time, with its most extreme faces").wait_for()
    assert all(name.strip() for name in page.locator("button:visible").evaluate_all(
        "buttons => buttons.map(b => b.getAttribute('aria-label') || b.innerText || b.title)"))  # fmt: skip
    assert page.locator("h1").count() == 1 and page.locator("html").get_attribute("lang") == "en"
    page.close()


def test_all_uploads_are_queued_with_their_places_and_their_results_survive_a_reload(browser, address, real_clip):
    page, other = visit(browser, address), visit(browser, address)
    copies = []
    for name in "abcd":
        copies.append(real_clip.with_name(f"{name}.mp4"))
        shutil.copy(real_clip, copies[-1])
    upload(page, *copies)
    page.get_by_text(re.compile("Place 1: [a-d].mp4")).wait_for()
    page.reload()  # in the middle of it
    page.get_by_role("heading", name="4 results").wait_for()
    page.reload()
    page.get_by_role("heading", name="4 results").wait_for()
    page.get_by_role("button", name="b.mp4", exact=True).click()
    page.locator(".st-key-details", has_text="b.mp4").wait_for()
    assert page.get_by_role("img", name=re.compile("A frame of [a-d].mp4")).count() == 4
    sample_button(other).click()
    verdict(other)
    assert "a.mp4" not in other.locator("body").inner_text()
    page.close()
    other.close()


def test_details_stay_while_more_is_done_and_come_into_sight_when_chosen(browser, address, real_clip):
    page = visit(browser, address)
    copies = [real_clip.with_name(f"{name}.mp4") for name in "pqrs"]
    for copy in copies:
        shutil.copy(real_clip, copy)
    upload(page, *copies)
    details = page.locator(".st-key-details")
    first = details.locator("p strong").first.inner_text()
    page.locator("video").evaluate("video => { video.isSame = true }")
    page.get_by_role("heading", name="4 results").wait_for()
    expect(working(page)).to_have_count(0, timeout=TIMEOUT)
    assert details.locator("p strong").first.inner_text() == first
    assert page.locator("video").evaluate("video => video.isSame")
    for other in (copy.name for copy in copies if copy.name != first):
        page.locator("h1").scroll_into_view_if_needed()
        page.get_by_role("button", name=other, exact=True).click()
        details.filter(has_text=other).wait_for()
        page.wait_for_function(
            "() => Math.abs(document.querySelector('.st-key-details').getBoundingClientRect().top - 64) < 10"
        )
    page.close()


def test_what_is_refused_is_said(browser, address, real_clip):
    page = visit(browser, address)
    copies = [real_clip.with_name(f"{number}.mp4") for number in range(LIMITS.waiting + 3)]
    for copy in copies:
        shutil.copy(real_clip, copy)
    upload(page, *copies)
    words = f"{LIMITS.waiting} videos of yours are in progress"
    notice = page.get_by_role("alert").filter(has_text=words)
    notice.wait_for()
    assert notice.get_by_text("3 videos without a result").count() == 1
    page.get_by_role("button", name="I have read this").click()
    expect(notice).to_have_count(0, timeout=TIMEOUT)
    page.close()


def test_file_that_the_browser_refuses_is_still_named_when_the_others_are_done(browser, address, real_clip, tmp_path):
    with (tmp_path / "large.mp4").open("wb") as large:
        large.truncate(LIMITS.megabytes * 1_000_000 + 1)
    page = visit(browser, address)
    upload(page, real_clip, tmp_path / "large.mp4")
    verdict(page)
    chips = page.get_by_test_id("stFileChips").inner_text()
    assert re.fullmatch(r"large.mp4\s.*\s+Error: File must be .* or smaller.", chips)
    page.get_by_role("button", name="Remove large.mp4").click()
    expect(page.get_by_text("large.mp4")).to_have_count(0, timeout=TIMEOUT)
    page.close()


def test_videos_that_are_dropped_while_others_are_taken_are_queued_too(browser, address, real_clip, tmp_path):
    for name in "xy":
        shutil.copy(real_clip, tmp_path / f"{name}.mp4")
    page = visit(browser, address)
    uploader = page.locator("input[type=file]").element_handle()
    uploader.set_input_files(str(tmp_path / "x.mp4"))
    working(page).wait_for()  # a new uploader is there by now
    uploader.set_input_files(str(tmp_path / "y.mp4"))
    page.get_by_role("heading", name="2 results").wait_for()
    page.close()


def test_moment_that_is_chosen_is_where_the_video_goes_on(browser, address, real_clip):
    page = visit(browser, address)
    upload(page, real_clip)
    verdict(page)
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
    assert page.evaluate("() => document.querySelector('video').currentTime") == 0
    points = page.locator(".st-key-details .mark-symbol path")  # of the scored faces
    click_point(points.last)
    page.wait_for_function("() => document.querySelector('video')?.currentTime >= 1")
    page.get_by_role("button", name=re.compile("^▶ 0:00")).first.click()
    page.wait_for_function("() => document.querySelector('video')?.currentTime < 1")
    click_point(points.last)
    page.wait_for_function("() => document.querySelector('video')?.currentTime >= 1")
    click_point(points.first)
    page.wait_for_function("() => document.querySelector('video')?.currentTime < 1")
    page.close()


def click_point(point: Locator) -> None:
    point.evaluate("e => e.scrollIntoView({block: 'center'})")
    point.page.wait_for_timeout(500)
    box = point.bounding_box()
    point.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_controls_of_the_player_do_not_cover_the_strip(browser, address):
    """The player is higher than its picture, by what the controls take."""
    page = visit(browser, address)
    sample_button(page).click()
    verdict(page)
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
    free = "v => v.clientHeight - v.clientWidth * v.videoHeight / v.videoWidth"
    assert page.locator("video").evaluate(free) == pytest.approx(64, abs=2)
    page.close()


def test_page_is_dark_where_the_browser_is(browser, address):
    background = {}
    for scheme in ("light", "dark"):
        page = browser.new_context(color_scheme=scheme).new_page()
        page.goto(address)
        sample_button(page).wait_for(timeout=TIMEOUT)
        color = page.locator("[data-testid=stApp]").evaluate("e => getComputedStyle(e).backgroundColor")
        background[scheme] = sum(int(part) for part in re.findall(r"\d+", color)[:3])
        page.context.close()
    assert background["light"] > 700 and background["dark"] < 120


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
    assert one.locator(".st-key-details").count() == 0
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
    lock_file(tmp_path / "lock").close()
    assert locked == [(tmp_path / "lock").stat().st_ino]
    with pytest.raises(OSError, match="another process"):
        lock_file(tmp_path / "lock")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"megabytes": 1}, "limit is 1 MB"),
        ({"seconds": 1}, r"lasts \d seconds; the limit is 1"),
    ],
)
def test_limits_are_checked_against_the_container(change, words, real_clip, tmp_path):
    clip = tmp_path / "upload"
    clip.write_bytes(real_clip.read_bytes() + b"\0" * (2_000_000 if "megabytes" in change else 0))
    task = PredictionTask(str(clip), "mine", "", settings=None)
    check_limits(task, LIMITS)
    with pytest.raises(VideoError, match=words):
        check_limits(task, LIMITS.model_copy(update=change))


def test_picture_beyond_the_limit_is_not_decoded_for_the_thumbnail_either(real_clip, tmp_path):
    """The header of a transport stream states the size of its first picture only."""
    small, large = (write_clip_of(tmp_path / f"{side}.ts", real_clip, side) for side in (288, 640))
    (tmp_path / "upload").write_bytes(small.read_bytes() + large.read_bytes() * 4)
    task = PredictionTask(str(tmp_path / "upload"), "mine", "", settings=None, max_pixels=320 * 320)
    write_thumbnail(tmp_path / "upload", check_limits(task, LIMITS), tmp_path / "thumbnail.jpg")
    assert not (tmp_path / "thumbnail.jpg").exists()
    with pytest.raises(VideoError, match=r"640 x 640 pixels; the limit is 0.1024 megapixels"):
        check_limits(replace(task, video=str(large)), LIMITS)


@pytest.mark.parametrize(
    "verdict, title, thresholds",
    [
        ("fake", "Flagged (fake probability 49 %, threshold 37 %)", (0.37, 0.3, 0.46)),
        ("real", "Not flagged (fake probability 55 %, threshold 60 %)", (0.6, 0.6, 0.6)),
        ("uncertain", "Uncertain (fake probability 45 %, between 30 % and 46 %)", (0.37, 0.3, 0.46)),
    ],
)
def test_probability_is_shown_with_its_thresholds(verdict, title, thresholds):
    threshold = dict(zip(("threshold", "low", "high"), thresholds, strict=True))
    record = {"verdict": verdict, "probability": int(title.split(" %")[0][-2:]) / 100, "person": 1, "people": [{}]}
    record |= {"threshold": threshold, "frames": 16, "frames_with_face": 16}
    record |= {"prior": 0.5, "suspicious_from": None, "faces_too_small": 0}
    assert title_of(record) == title
    text = evidence_text(record, "detector of mine").replace("\N{NO-BREAK SPACE}", " ")
    assert "The detector of mine gives a fake probability of" in text
    if verdict == "real":
        assert "The threshold is 60.0 %. " in text
    else:
        assert "The threshold is 37.0 %; between 30.0 % and 46.0 % the verdict is uncertain." in text


@pytest.fixture
def app_test(in_project, monkeypatch):
    """Runs the page once, in this process, with a service of its own."""
    monkeypatch.setattr("web_app.service._started", [])
    yield lambda: AppTest.from_file(str(ROOT / "web_app/app.py"), default_timeout=60).run()
    for service in _started():
        service.pool.close()


def _started():
    import web_app.service

    return web_app.service._started


@pytest.fixture
def waiting_page(app_test, in_project, monkeypatch, real_clip):
    """A page whose queue no worker serves, with a sample clip; its service; and a function that sets its clock."""
    monkeypatch.setattr("web_app.uploads.UploadPool._start_next", lambda _: None)
    monkeypatch.setattr(type(st.context), "cookies", {COOKIE: "a"})
    (in_project / "data/sample/demo").mkdir(parents=True)
    shutil.copy(real_clip, in_project / "data/sample/demo/genuine.mp4")
    page = app_test()
    (service,) = _started()
    return page, service, lambda now: monkeypatch.setattr(service.visitors, "_clock", lambda: now)


def button(page, label):
    return next(button for button in page.button if button.label == label)


def test_upload_from_a_tab_that_was_left_open_for_hours_is_queued(waiting_page):
    page, service, set_clock = waiting_page
    set_clock(time.monotonic() + 3 * 60 * service.params.app.keep_minutes)
    service.visitors.sweep()
    button(page, "Genuine").click().run()
    assert not page.exception and "Place 1: genuine" in " ".join(part.value for part in page.markdown)
    service.visitors.sweep()
    (upload,) = service.pool.places()
    assert Path(upload.task.video).is_file()
    service.pool.cancel(upload)
    assert not service.pool.places()


def test_whoever_watches_the_queue_is_not_away(waiting_page):
    """What draws itself again, without the rest of the page, is the progress."""
    page, service, set_clock = waiting_page
    button(page, "Genuine").click().run()
    visitor = service.visitors.visitor("a")
    set_clock(now := time.monotonic() + 3600)

    def progress():
        from web_app.app import show_progress
        from web_app.service import the_service

        show_progress(the_service())

    page = AppTest.from_function(progress).run()
    assert not page.exception and "Place 1" in page.markdown[0].value
    assert visitor.seen == now


def end(service, upload):
    """The upload in no worker ends as no video."""
    future = Future()
    future.set_exception(VideoError("no video"))
    with service.pool._mutex:
        service.pool._waiting.remove(upload)
    service.pool._on_result.pop(upload)(upload, upload.collect(future))


def test_details_stay_while_more_is_done_after_a_reload_too(waiting_page):
    page, service, _ = waiting_page
    for _ in range(3):
        button(page, "Genuine").click().run()
    first, second, third = service.pool.places()
    end(service, first)
    page = AppTest.from_file(str(ROOT / "web_app/app.py"), default_timeout=60).run()
    shown = page.session_state["selected"]
    assert shown.endswith(first.folder.name)
    for upload in (second, third):
        end(service, upload)
        page.run()
        assert not page.exception and page.session_state["selected"] == shown


def test_deleted_upload_is_not_called_done(waiting_page, monkeypatch):
    page, service, _ = waiting_page
    told = []
    monkeypatch.setattr("streamlit.toast", told.append)
    button(page, "Genuine").click().run()
    service.visitors.delete_all(service.visitors.visitor("a"))
    button(page, "Genuine").click().run()
    assert not page.exception and not told
    (upload,) = service.pool.places()
    end(service, upload)
    button(page, "Genuine").click().run()
    assert not page.exception and len(told) == 1


def test_page_offers_the_released_detector_first_and_says_what_answers(app_test, in_project, checkpoint):
    """The words change with the detector: what it was trained on, and how often it errs."""
    page = app_test()
    assert not page.exception and not page.radio
    (in_project / "checkpoints").mkdir()
    shutil.copy(checkpoint, in_project / "checkpoints")
    page.run()
    assert page.radio[0].options == ["Released detector", "Operator's detector"]
    assert page.radio[0].value == "Released detector" and "DFDC" in page.caption[0].value
    assert "AUC" not in page.caption[0].value  # its file has that of the network before its last layer was fitted anew
    assert "Operating points" in " ".join(part.value for part in page.markdown)
    page.radio[0].set_value("Operator's detector").run()
    assert not page.exception and "DFDC" not in page.caption[0].value
    assert "On its validation data its AUC is 0.500" in page.caption[0].value.replace("\\", "")
    assert file_sha256(checkpoint)[:12] in page.caption[0].value


def test_copy_of_the_released_detector_answers_as_the_released_one(in_project):
    (in_project / "mine.safetensors").write_bytes((MODELS / RELEASED_DETECTOR).read_bytes())
    assert read_detector("mine.safetensors").name.startswith("released detector")


def test_page_names_a_damaged_released_detector(app_test, monkeypatch, tmp_path):
    monkeypatch.setattr("deepfake_detector.bundled_models.MODELS", tmp_path)
    monkeypatch.setattr("web_app.detectors.MODELS", tmp_path)
    page = app_test()
    assert not page.exception and "git checkout models" in page.error[0].value.replace("\\", "")


def test_link_field_is_there_only_where_the_operator_switched_it_on(app_test, in_project):
    assert not app_test().text_input
    for service in _started():
        service.pool.close()
    _started().clear()
    params = (in_project / "params.yaml").read_text()
    (in_project / "params.yaml").write_text(params.replace("links: false", "links: true"))
    page = app_test()
    assert page.text_input[0].label == "Or give the link of a video file"
