"""The page. Start it with `make app`."""

import json
from pathlib import Path
from typing import Any

import streamlit as st

from deepfake_detector.inference.task import verdict_text
from deepfake_detector.training.detector_config import CheckpointError
from stages.params import Params, parse
from web_app.uploads import PendingUpload, Result, UploadPool, app_settings, failure, open_upload_pool, submit

VERDICTS = {
    "fake": (":material/warning:", "This detector finds signs of manipulation in a face."),
    "real": (
        ":material/check_circle:",
        "This detector finds too few signs of manipulation. There may be some that it does not know.",
    ),
    "uncertain": (":material/help:", "This detector cannot tell."),
    "no_face": (":material/person_off:", "There is nothing to judge."),
    "error": (":material/error:", "This file was not judged."),
}
CAUTION = (
    "**A score is evidence, not proof.** A detector errs, and it knows only the kinds of manipulation and of recording that it was "
    "trained on. Do not accuse anybody because of it: look at the faces and moments that it points to, and ask where the video "
    "comes from."
)
SAMPLE = (
    "**This is the sample detector.** It has seen nothing but grey photographs of 40 people, with faces swapped by three simple "
    "methods, and calls genuine recordings of other kinds fake. Use it to try this page, never to judge a real video; how to train "
    "on a real corpus stands in the README."
)
KEPT = 6  # results that a visitor sees
NO_DETECTOR = "There is no detector yet. Make one with the command below, then reload this page."


def main() -> None:
    st.set_page_config("Deepfake detector", page_icon=":material/search:", layout="centered")
    st.session_state.setdefault("cases", [])
    st.session_state.setdefault("results", [])
    st.session_state.setdefault("uploader", 0)
    st.session_state.setdefault("taken", set())
    params = read_params()
    st.title("Was a face in this video manipulated?")
    st.write("Give it a video: the detector looks at its faces and says what it finds, where, and how sure it is.")
    upload_pool()
    found = app_settings(params)
    if found is None:
        st.error(NO_DETECTOR, icon=":material/error:")
        st.code("make repro", language="console")
        return
    st.warning(CAUTION, icon=":material/balance:")
    if Path(params.data.labels) == Path("data/sample/labels.csv"):
        st.info(SAMPLE, icon=":material/info:")
    choose(params, can_heat=not found[0].endswith(".onnx"))
    if st.session_state.cases:
        watch()
    for result in reversed(st.session_state.results):
        show(result)
    st.caption(f"Detector: {found[0]}. What you upload is deleted as soon as it has been judged.")


@st.cache_resource
def read_params() -> Params:
    return parse("app", "", [])


@st.cache_resource
def upload_pool() -> UploadPool:
    return open_upload_pool(read_params().app)


def choose(params: Params, can_heat: bool) -> None:
    """The ways to give a video: drop or choose files, or take an example."""
    limits = params.app
    heatmap = can_heat and st.toggle("Show where in the faces the evidence lies (heat map; takes longer)")
    key = f"upload-{st.session_state.uploader}"  # another key empties it: the server lets go of the upload
    st.file_uploader(
        f"Choose videos or drop them here: at most {limits.megabytes} MB, {limits.seconds} seconds and "
        f"{limits.megapixels:g} megapixels each",
        accept_multiple_files=True,
        key=key,
        max_upload_size=limits.megabytes,
        on_change=lambda: take_uploads(params, key, heatmap),
    )
    clips = sorted(Path(params.data.videos, "infer").glob("*.mp4"))
    if clips:
        st.write("Or try one of the sample clips:")
        for column, clip in zip(st.columns(len(clips)), clips, strict=True):
            column.button(
                clip.stem.replace("_", " ").capitalize(),
                on_click=lambda clip=clip: take(params, clip.name, clip.read_bytes(), heatmap),
                width="stretch",
            )


def take_uploads(params: Params, key: str, heatmap: bool) -> None:
    for upload in st.session_state[key]:
        if upload.file_id not in st.session_state.taken:  # the browser may report one upload twice
            st.session_state.taken.add(upload.file_id)
            take(params, upload.name, upload.getvalue(), heatmap)
    st.session_state.uploader += 1


def take(params: Params, name: str, content: bytes, heatmap: bool) -> None:
    cases: list[PendingUpload] = st.session_state.cases
    if len(cases) >= params.app.waiting:
        message = f"{params.app.waiting} videos of yours are being judged; give it again when one of them is done."
        keep(failure(name, message))
        return
    try:
        found = app_settings(params, heatmap)
        assert found is not None
        cases.append(submit(upload_pool(), name, content, found[1], params.infer.device, params.app))
    except (CheckpointError, OSError) as error:
        keep(failure(name, str(error)))


def keep(result: Result) -> None:
    """The newest results only: they are held in memory."""
    st.session_state.results = [*st.session_state.results, result][-KEPT:]


@st.fragment(run_every=0.7)
def watch() -> None:
    """What is under way, with bars; the whole page is drawn again when one is done."""
    cases: list[PendingUpload] = st.session_state.cases
    done = [case for case in cases if case.result]
    for case in done:
        cases.remove(case)
        keep(case.result)
        st.toast(f"{plain(case.name)}: {title_of(case.result.record)}")
    for case in cases:
        step, share = case.progress()
        text = f"{plain(case.name)}: {step}"
        if share is None:
            st.write(f":material/hourglass_top: {text}")
        else:
            st.progress(share, text=text)
    if done:
        st.rerun()


def show(result: Result) -> None:
    """Verdict first, then what it rests on."""
    record, files = result.record, result.files
    verdict = record["verdict"]
    icon, explanation = VERDICTS[verdict]
    probability = record.get("probability")
    title = title_of(record)
    with st.container(border=True):
        st.subheader(f"{icon} {title}", anchor=False)
        st.markdown(f"**{plain(result.name)}** — {explanation}")
        if probability is not None:
            people = len(record["people"])
            deciding = f" Of {people} people, person {record['person']} decides." if people > 1 else ""
            st.write(
                f"The probability of being fake is given as {probability:.1%}. {bounds(**record['threshold'])} "
                f"{record['frames']} frames were looked at, {record['frames_with_face']} of them show a face."
                + deciding
            )
        if record["message"]:
            st.caption(plain(record["message"]))
        if ".mp4" in files and probability is not None:
            st.markdown("#### Annotated video")
            st.video(files[".mp4"], alt=f"Annotated video of {result.name}: {title}")
            st.markdown("#### Score over time")
            if ".png" in files:
                st.image(
                    files[".png"], alt=f"Probability of being fake over time of {result.name}, with its extreme faces"
                )
        if ".faces.png" in files:
            with st.expander("All faces that were scored"):
                st.image(
                    files[".faces.png"],
                    alt=f"Faces of {result.name}, each with its time and its probability of being fake",
                )
        if probability is not None:
            stem = Path(result.name).stem
            left, right = st.columns(2)
            content = json.dumps(record, indent=2, ensure_ascii=False)
            left.download_button(
                "Download the scores (JSON)", content, f"{stem}.json", on_click="ignore", key=f"json-{id(result)}"
            )
            if ".mp4" in files:
                right.download_button(
                    "Download the annotated video",
                    files[".mp4"],
                    f"{stem}_annotated.mp4",
                    on_click="ignore",
                    key=f"video-{id(result)}",
                )


def title_of(record: dict[str, Any]) -> str:
    return verdict_text(record["verdict"], record.get("probability")).capitalize()


def bounds(threshold: float, low: float, high: float) -> str:
    """What probabilities of being fake mean to the verdict."""
    if low == high:
        return f"A video is flagged from {threshold:.1%} on."
    return f"A video is flagged from {high:.1%} on and not flagged below {low:.1%}; between these, it is left open."


def plain(text: str) -> str:
    """Text that Markdown leaves alone: a file's name is its owner's, not ours to interpret."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!|<>$~:" else c for c in text)


if __name__ == "__main__":  # not in the processes of the pool, which import this file too
    main()
