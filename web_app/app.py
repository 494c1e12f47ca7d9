"""The page. Start it with `make app`."""

from pathlib import Path

import streamlit as st

from deepfake_detector.bundled_models import MODELS, RELEASED_DETECTOR
from deepfake_detector.inference.backends import read_config
from deepfake_detector.inference.prediction_task import PredictionSettings
from deepfake_detector.training.detector_config import CheckpointError
from stages.params import App, Params, parse
from web_app.results import escape_markdown, show_result, title_of
from web_app.uploads import PendingUpload, Result, UploadPool, failure, open_upload_pool, submit

CAUTION = (
    "**A score is evidence, not proof.** A detector makes errors, and it knows only the kinds of manipulation and "
    "of recording that it was trained on. Do not accuse anybody because of it: look at the faces and moments that "
    "it points to, and ask where the video comes from."
)
MAX_RESULTS = 6  # results that a visitor sees


def main() -> None:
    st.set_page_config("Deepfake detector", page_icon="🔍", layout="centered")
    st.session_state.setdefault("uploads", [])
    st.session_state.setdefault("results", [])
    st.session_state.setdefault("uploader", 0)
    st.session_state.setdefault("submitted", set())
    params = read_params()
    st.title("Was a face in this video manipulated?")
    st.write("Upload a video: the detector scores its faces and shows what it finds, where, and how certain it is.")
    upload_pool()
    checkpoint = choose_detector(params)
    try:
        description = read_description(
            checkpoint, Path(checkpoint).stat().st_mtime_ns if Path(checkpoint).is_file() else 0
        )
    except CheckpointError as error:
        st.error(escape_markdown(str(error)), icon=":material/error:")
        return
    about = f"\n\nThis detector was {escape_markdown(description)}." if description else ""
    st.warning(CAUTION + about, icon=":material/balance:")
    show_inputs(params, checkpoint)
    if st.session_state.uploads:
        show_progress()
    for result in reversed(st.session_state.results):
        show_result(result)
    st.caption("Uploads are deleted as soon as they have a verdict.")


@st.cache_resource
def read_params() -> Params:
    return parse("app", "", [])


def choose_detector(params: Params) -> str:
    """The file of the detector that answers: the released one, unless the visitor chooses `app.checkpoint`."""
    detectors = {"Released detector": str(MODELS / RELEASED_DETECTOR)}
    if Path(params.app.checkpoint).is_file():
        detectors["Your own detector"] = params.app.checkpoint
    captions = [Path(file).name for file in detectors.values()]
    return detectors[st.radio("Detector", list(detectors), horizontal=True, captions=captions)]


@st.cache_data(show_spinner=False)
def read_description(checkpoint: str, modified: int) -> str:
    """What the detector was trained on. `modified` makes a new file read again."""
    return read_config(checkpoint).description


@st.cache_resource
def upload_pool() -> UploadPool:
    return open_upload_pool(read_params().app)


def show_inputs(params: Params, checkpoint: str) -> None:
    """The inputs: an uploader for files, and a button for each sample clip."""
    app = params.app
    has_gradients = Path(checkpoint).suffix == ".safetensors"
    heatmap = has_gradients and st.toggle("Show where in the faces the evidence lies (heat map; takes longer)")
    key = f"upload-{st.session_state.uploader}"  # a new key empties the uploader, and the server frees the upload
    st.file_uploader(
        f"Choose videos or drop them here: at most {app.megabytes} MB, {app.seconds} seconds and "
        f"{app.megapixels:g} megapixels each",
        accept_multiple_files=True,
        key=key,
        max_upload_size=app.megabytes,
        on_change=lambda: submit_uploads(app, key, checkpoint, heatmap),
    )
    clips = sorted(Path(params.sample.output, "demo").glob("*.mp4"))
    if clips:
        st.write("Or try one of the sample clips, whose names say what was done to them:")
        for column, clip in zip(st.columns(len(clips)), clips, strict=True):
            column.button(
                clip.stem.replace("_", " ").capitalize(),
                on_click=lambda clip=clip: submit_video(app, clip.name, clip.read_bytes(), checkpoint, heatmap),
                width="stretch",
            )


def submit_uploads(app: App, key: str, checkpoint: str, heatmap: bool) -> None:
    for upload in st.session_state[key]:
        if upload.file_id not in st.session_state.submitted:  # the browser may report an upload twice
            st.session_state.submitted.add(upload.file_id)
            submit_video(app, upload.name, upload.getvalue(), checkpoint, heatmap)
    st.session_state.uploader += 1


def submit_video(app: App, name: str, content: bytes, checkpoint: str, heatmap: bool) -> None:
    uploads: list[PendingUpload] = st.session_state.uploads
    if len(uploads) >= app.waiting:
        add_result(failure(name, f"{app.waiting} videos of yours are in progress; try again when one of them is done."))
        return
    try:
        overlay = "heatmap" if heatmap else "boxes"
        settings = PredictionSettings.with_checkpoint(checkpoint, overlay=overlay)
        uploads.append(submit(upload_pool(), name, content, settings, app))
    except (CheckpointError, OSError) as error:
        add_result(failure(name, str(error)))


def add_result(result: Result) -> None:
    """Keep the newest results only: they are held in memory."""
    st.session_state.results = [*st.session_state.results, result][-MAX_RESULTS:]


@st.fragment(run_every=0.7)
def show_progress() -> None:
    """Show the uploads in progress, with bars. The whole page is drawn again when one is done."""
    uploads: list[PendingUpload] = st.session_state.uploads
    done = [(upload, upload.result) for upload in uploads if upload.result]
    for upload, result in done:
        uploads.remove(upload)
        add_result(result)
        st.toast(f"{escape_markdown(upload.name)}: {title_of(result.record)}")
    for upload in uploads:
        step, fraction = upload.progress()
        text = f"{escape_markdown(upload.name)}: {step}"
        if fraction is None:
            st.write(f":material/hourglass_top: {text}")
        else:
            st.progress(fraction, text=text)
    if done:
        st.rerun()


if __name__ == "__main__":  # not in the worker processes, which import this file, too
    main()
