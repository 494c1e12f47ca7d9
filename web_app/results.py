"""What the page shows of a result: the verdict first, then what it rests on."""

import json
from pathlib import Path
from typing import Any

import streamlit as st

from deepfake_detector.bundled_models import RELEASED_DETECTOR, SHA256
from deepfake_detector.inference.prediction_task import verdict_text
from web_app.uploads import Result

# The icon of a verdict and what it means.
VERDICTS = {
    "fake": (":material/warning:", "This detector finds signs of manipulation in a face."),
    "real": (
        ":material/check_circle:",
        "This detector finds too few signs of manipulation. There may be some that it does not know.",
    ),
    "uncertain": (":material/help:", "This detector cannot decide."),
    "no_face": (":material/person_off:", "There is no face that the detector could score."),
    "error": (":material/error:", "This file got no verdict."),
}


def show_result(result: Result) -> None:
    record = result.record
    icon, explanation = VERDICTS[record["verdict"]]
    with st.container(border=True):
        st.subheader(f"{icon} {title_of(record)}", anchor=False)
        st.markdown(f"**{escape_markdown(result.name)}**: {explanation}")
        if record.get("probability") is not None:
            st.write(evidence_text(record))
        if record["message"]:
            st.caption(escape_markdown(record["message"]))
        if record.get("probability") is not None:
            show_pictures(result)
            show_downloads(result)


def evidence_text(record: dict[str, Any]) -> str:
    """What a verdict rests on: detector, thresholds, frames, people."""
    released = record["settings"]["checkpoint_sha256"] == SHA256[RELEASED_DETECTOR]
    sentences = [
        f"The {'released detector' if released else 'detector of your own'} gives a fake probability of "
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
        sentences.append(
            f"The most suspicious stretch is from {record['suspicious_from']:.1f} to {record['suspicious_to']:.1f} "
            f"seconds: {percentage(record['suspicious_probability'])}."
        )
    if record["faces_too_small"]:
        sentences.append(f"{record['faces_too_small']} faces are too small to be scored.")
    return " ".join(sentences)


def threshold_text(threshold: float, low: float, high: float) -> str:
    """What the probability is compared with."""
    text = f"The threshold is {percentage(threshold)}"
    if low == high:
        return f"{text}."
    return f"{text}; between {percentage(low)} and {percentage(high)} the verdict is uncertain."


def percentage(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def show_pictures(result: Result) -> None:
    if ".mp4" in result.files:
        st.markdown("#### Annotated video")
        st.video(result.files[".mp4"], alt=f"Annotated video of {result.name}: {title_of(result.record)}")
    if ".png" in result.files:
        st.markdown("#### Scores over time")
        st.image(result.files[".png"], alt=f"Scores of {result.name} over time, with its most extreme faces")
    if ".faces.png" in result.files:
        with st.expander("All scored faces"):
            st.image(result.files[".faces.png"], alt=f"Faces of {result.name}, each with its time and its score")


def show_downloads(result: Result) -> None:
    stem = Path(result.name).stem
    left, right = st.columns(2)
    content = json.dumps(result.record, indent=2, ensure_ascii=False)
    left.download_button(
        "Download the scores (JSON)", content, f"{stem}.json", on_click="ignore", key=f"json-{id(result)}"
    )
    if ".mp4" in result.files:
        right.download_button(
            "Download the annotated video",
            result.files[".mp4"],
            f"{stem}_annotated.mp4",
            on_click="ignore",
            key=f"video-{id(result)}",
        )


def title_of(record: dict[str, Any]) -> str:
    return verdict_text(record["verdict"], record.get("probability"), record.get("threshold")).capitalize()


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is: names of files come from visitors."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!|<>$~:" else c for c in text)
