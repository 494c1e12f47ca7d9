"""What a worker process does with one upload: fetch it if it is a link, check it, describe it, predict it."""

import json
import shutil
from pathlib import Path
from typing import Any

from deepfake_detector.faces.remote import UrlLimits
from deepfake_detector.faces.video_file import VideoError, VideoInfo, probe
from deepfake_detector.files import atomic_path
from deepfake_detector.inference.prediction_task import PredictionTask
from stages.params import App

FACTS, THUMBNAIL, PROGRESS = "facts.json", "thumbnail.jpg", "progress.json"  # in the folder of an upload
THUMBNAIL_SIDE = 320  # pixels of the longer side
LINK_SCHEMES = ("http", "https")

# A step of `predict_video`: the words on the page, and where it starts and ends on the progress bar.
STEPS = {
    "drawing the timeline": ("Drawing the timeline", 0.0, 0.1),
    "annotating the video": ("Annotating the video", 0.1, 1.0),
}


def predict_upload(task: PredictionTask, app: App, url: str = "") -> dict[str, Any]:
    """Predict the upload at `task.video`, where the content of `url` is stored first, if one is given.

    What is known of the file goes to FACTS beside it, and a picture of it to THUMBNAIL.

    Raises VideoError for a file that is no video or exceeds the limits, and for a URL that cannot be fetched.
    """
    video = Path(task.video)
    if url:
        write_progress(video.parent, "fetching", 0.0)
        fetch(url, video, app)
    write_progress(video.parent, "detecting faces", 0.0)
    from web_app.file_facts import container_facts, content_facts

    facts = content_facts(video)
    write_json(video.parent / FACTS, facts)
    info = check_limits(task, app)
    facts |= container_facts(video, info)
    write_json(video.parent / FACTS, facts)
    write_thumbnail(video, info, video.parent / THUMBNAIL)
    from deepfake_detector.inference.predict import predict_video

    Path(task.output).mkdir()
    record = predict_video(task, lambda step, fraction: write_progress(video.parent, step, fraction))
    if (annotated := task.result_path(".mp4")).is_file():
        drawn = probe(annotated)
        write_json(video.parent / FACTS, facts | {"annotated": [drawn.width, drawn.height]})
    return record


def fetch(url: str, target: Path, app: App) -> None:
    """Store the video at `url`, which must lead to public addresses only. Raises VideoError, in words for a visitor."""
    from deepfake_detector.faces.sources import local_file

    if not url.lower().startswith(tuple(f"{scheme}://" for scheme in LINK_SCHEMES)):  # a path: a file of the server
        raise VideoError(f"{url} is no link; a link starts with https:// or http://")
    try:
        with local_file(url, UrlLimits(LINK_SCHEMES, app.megabytes, public_only=True)) as path:
            shutil.copyfile(path, target)
    except VideoError as error:  # visitors set no key
        key, limit = f"infer.url_megabytes = {app.megabytes} allows", f"the limit of {app.megabytes} MB"
        raise VideoError(str(error).replace(key, limit)) from error
    except OSError as error:
        raise VideoError("The server could not store it. Try again later.") from error


def check_limits(task: PredictionTask, app: App) -> VideoInfo:
    """Check size and length as the container gives them, before anything is decoded. Raises VideoError."""
    size = Path(task.video).stat().st_size
    if size > app.megabytes * 1_000_000:
        raise VideoError(f"The file has {size / 1e6:.0f} MB; the limit is {app.megabytes} MB.")
    info = probe(task.video, task.max_pixels)
    if info.times[-1] > app.seconds:
        seconds = f"{info.times[-1]:.0f} seconds"
        raise VideoError(f"The video lasts {seconds}; the limit is {app.seconds}. Cut out the part in question.")
    return info


def write_thumbnail(video: Path, info: VideoInfo, target: Path) -> None:
    """Write the frame in the middle as a small JPEG; nothing where it does not decode."""
    import cv2

    from deepfake_detector.faces.video_reader import read_frames

    for frame in read_frames(video, [info.frames // 2], info):
        height, width = frame.image.shape[:2]
        scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
        target.write_bytes(cv2.imencode(".jpg", small)[1].tobytes())


def read_progress(folder: Path) -> tuple[str, float | None]:
    """The current step of an upload in words and the fraction that is done, 0 to 1; None where it is not known."""
    try:
        step, fraction = json.loads((folder / PROGRESS).read_text())
    except FileNotFoundError:
        return "Starting", None
    if step not in STEPS:
        return "Fetching the video" if step == "fetching" else "Detecting faces", None
    words, start, end = STEPS[step]
    return words, start + fraction * (end - start)


def write_progress(folder: Path, step: str, fraction: float) -> None:
    write_json(folder / PROGRESS, [step, fraction])


def write_json(path: Path, value: object) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
