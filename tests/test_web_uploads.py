"""What the page does with uploads: the way to the disk, the queue, the limits, and who sees which results."""

import asyncio
import io
import json
import shutil
import socket
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse
from starlette.routing import Route

from deepfake_detector.corpora.sample_corpus import DEMONSTRATION, write_demonstration
from deepfake_detector.faces.video_reader import VideoError
from deepfake_detector.inference.predict import predict_video
from deepfake_detector.inference.prediction_task import OutputError, PredictionSettings, PredictionTask
from tests.test_urls import make_server  # noqa: F401
from tests.test_web_app import LIMITS
from web_app.export import results_csv
from web_app.incoming import Incoming, StoreUploads
from web_app.samples import sample_clips
from web_app.uploads import PendingUpload, UploadPool
from web_app.visitors import Visitors
from web_app.worker import fetch, predict_upload, write_progress

DETECTOR = SimpleNamespace(sha256="0" * 64, name="detector")
SETTINGS = PredictionSettings("best.onnx", "0" * 64)


class FakePool:
    """Stands for the worker processes: its futures end when a test says so."""

    active = True

    def __init__(self):
        self.futures = []

    def schedule(self, function, arguments, timeout):
        future = Future()
        future.video = arguments[0].video
        self.futures.append(future)
        return future

    def stop(self): ...

    def join(self): ...


@pytest.fixture
def make_visitors(tmp_path):
    """Visitors with a pool of one worker, and a clock that a test sets."""

    def make(**limits):
        app, clock = LIMITS.model_copy(update=limits), SimpleNamespace(now=0.0)
        pool = UploadPool(FakePool(), 1, tmp_path, (tmp_path / "lock").open("w"), app)
        visitors = Visitors(app, pool, clock=lambda: clock.now)
        visitors.clock, visitors.pool = clock, pool
        return visitors

    return make


def submit(visitors, token, name, size=10):
    visitors.submit(visitors.visitor(token), name, io.BytesIO(b"x" * size), size, SETTINGS, DETECTOR)


def end_next(visitors, message="no video"):
    """The upload in the worker ends; its result is as large as its record."""
    next(future for future in visitors.pool.pool.futures if not future.done()).set_exception(VideoError(message))


def names(visitors, token):
    return [result.name for result in visitors.visitor(token).results]


def test_queue_is_fair_between_visitors(make_visitors):
    visitors = make_visitors(waiting=9)
    for name in ("a1", "a2", "a3"):
        submit(visitors, "a", name)
    submit(visitors, "b", "b1")
    assert [upload.name for upload in visitors.pool.places()] == ["b1", "a2", "a3"]  # a1 is in the worker
    assert list(visitors.pool.places().values()) == [1, 2, 3]
    for _ in range(4):
        end_next(visitors)
    assert names(visitors, "a") == ["a1", "a2", "a3"] and names(visitors, "b") == ["b1"]


def test_visitor_sees_nothing_of_another(make_visitors):
    visitors = make_visitors()
    submit(visitors, "a", "mine.mp4")
    end_next(visitors)
    assert names(visitors, "a") == ["mine.mp4"] and names(visitors, "b") == names(visitors, "") == []


@pytest.mark.parametrize(
    "limits, words",
    [
        ({"waiting": 2}, "2 videos of yours are in progress"),
        ({"waiting_all": 3}, "3 videos of all visitors are in progress"),
        ({"gigabytes": 25e-9}, "has no space left"),
    ],
)
def test_upload_beyond_a_limit_is_refused_with_a_reason(limits, words, make_visitors, tmp_path):
    visitors = make_visitors(**limits)
    submit(visitors, "b", "other.mp4", 1)
    for name in ("one.mp4", "two.mp4", "three.mp4"):
        submit(visitors, "a", name)
    ((reason, refused),) = visitors.visitor("a").notices.items()
    assert words in reason and refused == ["three.mp4"] and not visitors.visitor("b").notices
    assert len(list(tmp_path.glob("*/upload"))) == 3


def test_oldest_result_makes_room_and_its_visitor_is_told(make_visitors, tmp_path):
    visitors = make_visitors(keep=2)
    for name in ("one", "two", "three"):
        submit(visitors, "a", name)
        end_next(visitors)
    assert names(visitors, "a") == ["two", "three"] and len(list(tmp_path.glob("*/record.json"))) == 2
    ((reason, deleted),) = visitors.visitor("a").notices.items()
    assert "keeps the last 2" in reason and deleted == ["one"]


def test_results_are_deleted_when_their_visitor_was_away_and_the_visitor_is_told(make_visitors, tmp_path):
    visitors = make_visitors(keep_minutes=10)
    submit(visitors, "a", "one")
    end_next(visitors)
    visitors.clock.now = 599
    visitors.sweep()
    assert len(list(tmp_path.glob("*/record.json"))) == 1
    visitors.clock.now = 601
    visitors.sweep()
    assert not list(tmp_path.glob("*/record.json"))
    assert "away for more than 10 minutes" in next(iter(visitors.visitor("a").notices))
    visitors.clock.now = 2000
    visitors.sweep()
    assert not visitors.visitor("a").notices  # a new visitor by now


def test_name_of_an_upload_does_not_turn_the_text_around_it(make_visitors):
    visitors = make_visitors(waiting=1)
    for _ in range(2):
        submit(visitors, "a", "a\u202efdp.mp4")
    end_next(visitors)
    assert names(visitors, "a") == [r"a\u202efdp.mp4"]
    assert list(visitors.visitor("a").notices.values()) == [[r"a\u202efdp.mp4"]]


def test_deleting_everything_ends_what_is_in_progress(make_visitors, tmp_path):
    visitors = make_visitors()
    for name in ("done", "running", "waiting"):
        submit(visitors, "a", name)
    end_next(visitors)
    visitors.delete_all(visitors.visitor("a"))
    assert not visitors.visitor("a").pending and names(visitors, "a") == []
    assert [path.name for path in tmp_path.iterdir()] == ["lock"] and visitors.free_bytes() == 1e9


def test_what_a_worker_wrote_after_its_upload_was_cancelled_is_deleted(make_visitors, tmp_path):
    visitors = make_visitors()
    for name in ("done", "running", "waiting"):
        submit(visitors, "a", name)
    end_next(visitors)
    folder = visitors.visitor("a").pending[0].folder
    others = {path for path in tmp_path.iterdir() if path != folder}
    visitors.pool.cancel(visitors.visitor("a").pending[0])
    write_progress(folder, "detecting faces", 0.0)
    visitors.sweep()
    assert set(tmp_path.iterdir()) == others


def test_upload_ends_even_where_the_disk_is_full(make_visitors, monkeypatch):
    """Timed out while it was drawn, and its record cannot be written."""

    def full(*_):
        raise OutputError("results cannot be written: No space left on device")

    monkeypatch.setattr("web_app.uploads.give_up_pictures", full)
    visitors = make_visitors()
    submit(visitors, "a", "one.mp4")
    submit(visitors, "a", "two.mp4")
    end_next(visitors)
    monkeypatch.setattr("web_app.uploads.write_json", lambda *_: Path("/dev/full").write_text("x" * 9999))
    end_next(visitors)
    visitor = visitors.visitor("a")
    assert names(visitors, "a") == ["one.mp4", "two.mp4"] and not visitor.pending
    assert {result.overview["verdict"] for result in visitor.results} == {"error"}
    assert len(results_csv(visitor.results).splitlines()) == 2


def exchange(incoming, content, free=10**9, name="a b.mp4", method="PUT", chunk=65536):
    """What the application behind `StoreUploads` gets of an upload: its answer as JSON."""

    async def inner(request):
        form = await request.form()
        file = next(value for value in form.values() if isinstance(value, UploadFile))
        return JSONResponse({"name": file.filename, "size": file.size})

    app = StoreUploads(
        Starlette(routes=[Route("/_stcore/upload_file/{s}/{f}", inner, methods=["PUT"])]), incoming, lambda: free
    )
    body = b'--xyz\r\nContent-Disposition: form-data; name="f"; filename="%b"\r\n\r\n' % name.encode()
    body += content + b"\r\n--xyz--\r\n"
    chunks = [body[i : i + chunk] for i in range(0, len(body), chunk)]
    answers = []

    async def receive():
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message):
        answers.append(message)

    headers = [(b"content-type", b"multipart/form-data; boundary=xyz")]
    scope = {"type": "http", "method": method, "path": "/_stcore/upload_file/session/file", "headers": headers}
    scope |= {"query_string": b"", "root_path": "", "http_version": "1.1", "scheme": "http", "server": ("h", 1)}
    asyncio.run(app(scope, receive, send))
    assert answers[0]["status"] == 200
    return json.loads(answers[1]["body"])


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_upload_goes_to_disk_and_streamlit_gets_its_name_alone(size):
    incoming, content = Incoming(), b"v" * size
    assert exchange(incoming, content) == {"name": "a b.mp4", "size": 0}
    assert incoming.bytes == size
    arrival = incoming.take("session", "file")
    assert arrival.file._rolled  # on disk
    arrival.file.seek(0)
    assert arrival.file.read() == content and arrival.size == size
    arrival.close()
    assert incoming.bytes == 0 and incoming.take("session", "file") is None


def test_upload_keeps_its_name_however_the_network_cuts_it():
    assert exchange(Incoming(), b"v" * 9000, chunk=10) == {"name": "a b.mp4", "size": 0}


def test_upload_for_which_there_is_no_space_is_told_from_one_that_never_came():
    incoming = Incoming()
    assert exchange(incoming, b"v" * 300_000, free=-1) == {"name": "a b.mp4", "size": 0}
    assert incoming.bytes == 0
    assert incoming.take("session", "file").file is None and incoming.take("session", "file") is None


def test_uploads_of_a_session_that_ended_are_deleted():
    incoming = Incoming()
    exchange(incoming, b"v" * 100)
    incoming.sweep(lambda session: session == "session")
    assert incoming.bytes == 100
    incoming.sweep(lambda session: False)
    assert incoming.bytes == 0


def test_link_to_a_private_address_or_a_file_of_the_server_is_refused(tmp_path):
    """A server on this machine listens, and nobody connects to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.mp4"
        for private in (url, url.replace("127.0.0.1", "localhost")):
            with pytest.raises(VideoError, match="no public address") as refused:
                fetch(private, tmp_path / "upload", LIMITS)
            assert "localhost" not in private or "127.0.0.1" not in str(refused.value)
        others = ("ftp://localhost/a.mp4", "s3://bucket/a.mp4", f"simplecache::{url}")
        for other in ("/etc/passwd", "etc/passwd", "file:///etc/passwd", "local:///etc/passwd", *others):
            with pytest.raises(VideoError, match="is no link; a link starts with"):
                fetch(other, tmp_path / "upload", LIMITS)
        with pytest.raises(TimeoutError):
            server.accept()
    assert not (tmp_path / "upload").exists()


def test_link_that_cannot_be_stored_is_refused_in_words_for_a_visitor(make_server, monkeypatch, tmp_path):  # noqa: F811
    """The key of the params and the folders of the server are the operator's business."""
    monkeypatch.setattr("deepfake_detector.faces.remote.is_private", lambda _: False)
    app, folder = LIMITS.model_copy(update={"megabytes": 3}), make_server().url
    with pytest.raises(VideoError) as refused:
        fetch(f"{folder}/endless/a.mp4", tmp_path / "upload", app)
    assert str(refused.value) == f"{folder}/endless/a.mp4 is larger than the limit of 3 MB"
    for full in ("shutil.copyfile", "tempfile.TemporaryFile"):
        with monkeypatch.context() as patch, pytest.raises(VideoError) as refused:
            patch.setattr(full, lambda *_: Path("/dev/full").write_text("x" * 9999))
            fetch(f"{folder}/a.mp4", tmp_path / "upload", app)
        assert str(refused.value) == "The server could not store it. Try again later."


def test_worker_leaves_facts_a_thumbnail_and_a_record(real_clip, exported, tmp_path):
    shutil.copy(real_clip, tmp_path / "upload")
    settings = PredictionSettings.with_checkpoint(str(exported), overlay="none", timeline=False)
    task = PredictionTask(str(tmp_path / "upload"), "mine", str(tmp_path / "results"), settings)
    record = predict_upload(task, LIMITS)
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["sha256"] == record["sha256"] and facts["codec"] == "h264" and facts["c2pa"] is False
    assert facts["bytes"] == real_clip.stat().st_size and (facts["width"], facts["height"]) == (288, 288)
    assert (tmp_path / "thumbnail.jpg").read_bytes()[:2] == b"\xff\xd8"


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
    upload, future = PendingUpload("mine.mp4", "me", folder, task, DETECTOR, 10), Future()
    future.set_exception(TimeoutError())
    result = upload.collect(future)
    record = result.record()
    assert record["verdict"] in ("real", "fake", "uncertain") and record["filepath"] == "mine.mp4"
    assert record["message"] == "the annotated video was not finished: it took too long"
    assert result.picture(".png") and not result.picture(".mp4") and not (folder / "upload").exists()


@pytest.mark.parametrize(
    "error, words", [(TimeoutError(), "took too long"), (VideoError("{path} is torn"), "mine.mp4 is torn")]
)
def test_upload_is_deleted_whatever_ends_its_prediction(error, words, tmp_path):
    folder = tmp_path / "upload-1"
    folder.mkdir()
    (folder / "upload").write_bytes(b"private")
    task = PredictionTask(str(folder / "upload"), "mine", str(folder / "results"), settings=None)
    error.args = tuple(str(text).replace("{path}", task.video) for text in error.args)
    upload, future = PendingUpload("mine.mp4", "me", folder, task, DETECTOR, 10), Future()
    future.set_exception(error)
    result = upload.collect(future)
    assert result.overview["verdict"] == "error" and words in result.record()["message"]
    assert [path.name for path in folder.iterdir()] == ["record.json"]


def test_each_sample_clip_has_a_picture_and_says_what_was_done(tmp_path):
    write_demonstration(tmp_path / "demo", seed=1)
    clips = sample_clips(tmp_path / "demo")
    assert {clip.path.stem for clip in clips} == set(DEMONSTRATION) and len(clips) == 4
    assert all(clip.thumbnail[:2] == b"\xff\xd8" for clip in clips)
    for clip in clips:
        assert clip.what_was_done.startswith("Fake: " if "swapped" in clip.path.stem else "Genuine: ")
