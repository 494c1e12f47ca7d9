"""What the page shows of a result: the verdict first, then what it rests on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from deepfake_detector.inference.prediction_task import verdict_text
from web_app.score_chart import jump_time, show_scores
from web_app.uploads import Result

CONTROLS = 64  # pixels that the controls of a player take, below the picture


@dataclass(frozen=True)
class VerdictStyle:
    """How a verdict is shown: its color of Streamlit, and what it means."""

    color: str
    icon: str
    word: str
    meaning: str


VERDICTS = {
    "fake": VerdictStyle(
        "red", ":material/warning:", "Flagged", "This detector finds signs of manipulation in a face."
    ),
    "real": VerdictStyle(
        "blue",
        ":material/check_circle:",
        "Not flagged",
        "This detector finds too few signs of manipulation. There may be some that it does not know.",
    ),
    "uncertain": VerdictStyle("orange", ":material/help:", "Uncertain", "This detector cannot decide."),
    "no_face": VerdictStyle(
        "gray", ":material/person_off:", "No face found", "There is no face that the detector could score."
    ),
    "error": VerdictStyle("gray", ":material/error:", "Not processed", "This file got no verdict."),
}


def show_result(result: Result) -> None:
    try:
        record = result.record()
    except OSError:
        st.info("This result was deleted meanwhile.")
        return
    verdict = VERDICTS[record["verdict"]]
    with st.container(border=True, key="details"):
        st.subheader(f"{verdict.icon} {title_of(record)}", anchor=False)
        st.markdown(f"**{escape_markdown(result.name)}**: {verdict.meaning}")
        if record.get("probability") is not None:
            st.write(evidence_text(record, result.detector.name))
        if record["message"]:
            st.caption(escape_markdown(record["message"]))
        if record.get("probability") is not None:
            show_pictures(result, record)
            show_downloads(result, record)


def evidence_text(record: dict[str, Any], detector: str) -> str:
    """What a verdict rests on: detector, thresholds, frames, people."""
    sentences = [
        f"The {escape_markdown(detector)} gives a fake probability of "
        f"{percentage(record['probability'])}, if {percentage(record['prior'])} of all videos were fakes.",
        threshold_text(**record["threshold"]),
        f"The detector searched {record['frames']} frames and found a face in {record['frames_with_face']}.",
    ]
    if len(record["people"]) > 1:
        sentences.append(
            f"The video shows {len(record['people'])} people; person {record['person']} is the most suspicious. With "
            "each further person a false alarm is more likely, so that one suspicious person among several counts less."
        )
    if record["suspicious_from"] is not None:
        sentences.append(f"The most suspicious stretch is {stretch_text(record)}.")
    if record["faces_too_small"]:
        sentences.append(f"{record['faces_too_small']} faces are too small to be scored.")
    return " ".join(sentences)


def threshold_text(threshold: float, low: float, high: float) -> str:
    """What the probability is compared with."""
    text = f"The threshold is {percentage(threshold)}"
    if low == high:
        return f"{text}."
    return f"{text}; between {percentage(low)} and {percentage(high)} the verdict is uncertain."


def stretch_text(record: dict[str, Any]) -> str:
    """Where the most suspicious stretch is, and its part in the probability, which may be the smaller one."""
    stretch = f"from {record['suspicious_from']:.1f} to {record['suspicious_to']:.1f} seconds"
    return f"{stretch}; with no sign elsewhere, the video would have {percentage(record['suspicious_probability'])}"


def percentage(fraction: float) -> str:
    return f"{100 * fraction:.1f}\N{NO-BREAK SPACE}%"


def show_pictures(result: Result, record: dict[str, Any]) -> None:
    if video := result.picture(".mp4"):
        st.markdown("#### Annotated video")
        start, jumps = jump_time(result)
        with st.container(key=f"video-{jumps}"):  # a new key starts the player anew, at the time of the jump
            st.html(player_style(result.facts().get("annotated", [])))
            alt = f"Annotated video of {result.name}: {title_of(record)}"
            st.video(video, start_time=int(start), autoplay=jumps > 0, muted=jumps > 0, alt=alt)
    st.markdown("#### Scores over time")
    show_scores(result, record)
    if timeline := result.picture(".png"):
        with st.expander("Scores over time with the most extreme faces, as a picture"):
            st.image(timeline, alt=f"Scores of {result.name} over time, with its most extreme faces")
    if faces := result.picture(".faces.png"):
        with st.expander("Scored faces"):
            st.image(faces, alt=f"Faces of {result.name}, each with its time and its score")


def player_style(size: list[int]) -> str:
    """Style of the player for a video with this width and height: its controls get a place of their own below it.

    They would cover the strip at the bottom of the picture otherwise. A high video does not leave the screen.
    """
    if not size:
        return ""
    ratio = size[0] / size[1]
    width = f"min(100cqw, 75vh * {ratio:.4f})"
    return (
        "<style>.st-key-details{container-type:inline-size} .st-key-details video{"
        f"width:{width}; height:calc({width} / {ratio:.4f} + {CONTROLS}px);"
        "object-fit:contain; object-position:top; background:#202020; aspect-ratio:auto}</style>"
    )


def show_downloads(result: Result, record: dict[str, Any]) -> None:
    stem = Path(result.name).stem
    with st.container(horizontal=True):
        content = json.dumps(record, indent=2, ensure_ascii=False)
        st.download_button("Download the scores (JSON)", content, f"{stem}.json", on_click="ignore")
        if video := result.picture(".mp4"):
            name = f"{stem}_annotated.mp4"
            st.download_button("Download the annotated video", video.read_bytes, name, on_click="ignore")


def title_of(record: dict[str, Any]) -> str:
    return verdict_text(record["verdict"], record.get("probability"), record.get("threshold")).capitalize()


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is: names of files come from visitors."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!|<>$~:" else c for c in text)
