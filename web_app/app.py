"""The page, as Streamlit runs it for each visitor. Start the server with `make app` or `python -m web_app`."""

import re
from pathlib import Path

import streamlit as st

from deepfake_detector.inference.prediction_task import PredictionSettings
from deepfake_detector.training.detector_config import CheckpointError
from stages.params import App
from web_app.detectors import Detector, offered_detectors, read_detector
from web_app.overview import await_result, show_overview
from web_app.results import escape_markdown
from web_app.samples import sample_clips
from web_app.service import Service, the_service

CAUTION = (
    "**A score is evidence, not proof.** A detector makes errors, and it knows only the kinds of manipulation and "
    "of recording that it was trained on. Do not accuse anybody because of it: look at the faces and moments that "
    "it points to, and ask where the video comes from."
)
# On a phone the field for uploads is in sight at once. Pictures of samples are of one size. Of a used uploader only the
# files remain that the browser refused.
STYLE = """<style>
[data-testid=stMainBlockContainer] { padding-top: 3.5rem }
.st-key-details { scroll-margin-top: 4rem }
.st-key-samples img { aspect-ratio: 1; object-fit: contain; background: #80808033 }
[data-testid=stMarkdownContainer] table { display: block; overflow-x: auto }
.st-key-uploaders > :not(:last-child):not(:has([aria-invalid=true])), .st-key-uploaders > :not(:last-child)
:is(label, [data-testid=stFileChip]:not([aria-invalid=true]), [aria-label="Add files"]) { display: none }
.st-key-uploaders [data-testid=stFileChip] [role=alert] { all: unset }
@media (max-width: 640px) { h1 { font-size: 1.7rem !important } }
</style>"""
SHOWN_NAMES = 5  # of the videos that a notice is about


def main() -> None:
    st.set_page_config("Deepfake detector", page_icon="🔍", layout="centered")
    st.session_state.setdefault("uploader", 0)
    st.session_state.setdefault("submitted", set())
    service = the_service()
    st.html(STYLE)
    st.title("Was a face in this video manipulated?")
    st.write("The detector scores the faces of a video and shows what it finds, where, and how certain it is.")
    uploads, links = st.container(), st.container()
    try:
        detector, heatmap = choose_detector(service.params.app)
    except CheckpointError as error:
        st.error(escape_markdown(str(error)), icon=":material/error:")
        return
    settings = PredictionSettings(detector.path, detector.sha256, overlay="heatmap" if heatmap else "boxes")
    with uploads:
        show_uploader(service, settings, detector)
    if service.params.app.links:
        with links:
            show_link_field(service, settings, detector)
    with st.container():  # always there, so that what follows keeps its place
        show_notices(service)
        if service.visitor().pending:
            show_progress(service)
    show_overview(service)
    show_samples(service, settings, detector)
    minutes = service.params.app.keep_minutes
    st.caption(
        "Uploads are deleted as soon as they have a verdict. Results are kept for this browser alone, and are deleted "
        f"{minutes} minutes after you last used the page, or when the server stops."
    )


def choose_detector(app: App) -> tuple[Detector, bool]:
    """The detector that answers, and whether heat maps are asked for. Raises CheckpointError."""
    detectors = offered_detectors(app.checkpoint)
    label = next(iter(detectors))
    with st.expander("Detector and options"):
        if len(detectors) > 1:
            label = st.radio("Detector", list(detectors), horizontal=True)
        detector = read_detector(detectors[label])
        st.caption(escape_markdown(f"What answers is the {detector.name}. {detector.about}"))
        has_gradients = Path(detector.path).suffix == ".safetensors"
        heatmap = has_gradients and st.toggle("Show where in the faces the evidence lies (heat map; takes longer)")
        if detector.error_rates:
            st.markdown(re.sub(r"^#+ ", "#### ", detector.error_rates, flags=re.MULTILINE))
    st.warning(CAUTION, icon=":material/balance:")
    return detector, heatmap


def show_uploader(service: Service, settings: PredictionSettings, detector: Detector) -> None:
    """An empty uploader, and the used ones: each says which files were too large, and may still get some."""
    app = service.params.app
    with st.container(key="uploaders"):
        for number in range(st.session_state.uploader + 1):
            st.file_uploader(
                f"Choose videos or drop them here: at most {app.megabytes} MB, {app.seconds} seconds and "
                f"{app.megapixels:g} megapixels each",
                accept_multiple_files=True,
                key=f"upload-{number}",
                max_upload_size=app.megabytes,
                on_change=submit_uploads,
                args=[service, f"upload-{number}", settings, detector],
            )


def submit_uploads(service: Service, key: str, settings: PredictionSettings, detector: Detector) -> None:
    visitor = service.visitor()
    context = st.runtime.scriptrunner.get_script_run_ctx()
    session = context.session_id if context else ""
    submitted = st.session_state.submitted  # the browser may report an upload twice
    uploads = [upload for upload in st.session_state[key] if upload.file_id not in submitted]
    if uploads:
        await_result(visitor)
    for upload in uploads:
        submitted.add(upload.file_id)
        arrival = service.incoming.take(session, upload.file_id)
        if not arrival:
            visitor.tell("They did not arrive whole. Upload them again.", [upload.name])
        elif not arrival.file:
            visitor.tell("The server has no space left for uploads. Try again later.", [upload.name])
        else:
            with arrival.file as content:
                content.seek(0)
                service.visitors.submit(visitor, upload.name, content, arrival.size, settings, detector)
    st.session_state.uploader += 1


def show_link_field(service: Service, settings: PredictionSettings, detector: Detector) -> None:
    with (
        st.form("link", clear_on_submit=True, border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        url = st.text_input("Or give the link of a video file", placeholder="https://", max_chars=2000)
        if st.form_submit_button("Fetch") and url.strip():
            visitor, size = service.visitor(), service.params.app.megabytes * 1_000_000
            await_result(visitor)
            service.visitors.submit(visitor, url.strip(), None, size, settings, detector, url.strip())


def show_notices(service: Service) -> None:
    """What was refused or deleted, until the visitor has read it."""
    notices = dict(service.visitor().notices)
    if not notices:
        return
    for reason, names in notices.items():
        shown = ", ".join(escape_markdown(name) for name in names[:SHOWN_NAMES])
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        count = "1 video" if len(names) == 1 else f"{len(names)} videos"
        st.error(f"**{count} without a result** ({shown}{more}): {escape_markdown(reason)}", icon=":material/block:")
    st.button("I have read this", on_click=lambda: service.visitor().notices.clear())


@st.fragment(run_every=0.7)
def show_progress(service: Service) -> None:
    """Show what is in progress, with bars. The whole page is drawn again when one is done."""
    visitor = service.visitor()
    pending = list(visitor.pending)
    shown = st.session_state.setdefault("pending", pending)
    places = service.pool.places()
    running = [upload for upload in pending if upload not in places]
    for upload in running:
        step, fraction = upload.progress()
        st.progress(fraction or 0.0, text=f"{escape_markdown(upload.name)}: {step}")
    waiting = [upload for upload in places if upload in pending]
    if waiting:
        lines = [f"- Place {places[upload]}: {escape_markdown(upload.name)}" for upload in waiting]
        of_others = f", among {len(places)} of all visitors" if len(places) > len(waiting) else ""
        st.markdown(f"**{len(waiting)} in the queue**{of_others}\n" + "\n".join(lines))
    if shown != pending:
        done = {result.folder for result in visitor.results}  # others were deleted
        for upload in shown:
            if upload not in pending and upload.folder in done:
                st.toast(f"{escape_markdown(upload.name)} is done.")
        st.session_state.pending = pending
        st.rerun()


def show_samples(service: Service, settings: PredictionSettings, detector: Detector) -> None:
    """A button for each sample clip, with a picture of it and what was done to it."""
    clips = sample_clips(Path(service.params.sample.output, "demo"))
    if not clips:
        return
    st.subheader("Or try a sample clip", anchor=False)

    def submit(path: Path) -> None:
        visitor = service.visitor()
        await_result(visitor)
        with path.open("rb") as content:
            service.visitors.submit(visitor, path.name, content, path.stat().st_size, settings, detector)

    with st.container(horizontal=True, key="samples"):
        for clip in clips:
            with st.container(width=160):
                if clip.thumbnail:
                    st.image(clip.thumbnail, alt=f"A frame of {clip.path.name}", width="stretch")
                st.button(clip.title, on_click=submit, args=[clip.path], width="stretch")
                st.caption(clip.what_was_done)


if __name__ == "__main__":  # not in the worker processes, which import this file, too
    main()
