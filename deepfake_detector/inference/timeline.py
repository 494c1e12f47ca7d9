"""A plot of one prediction: each person's score over time, and the faces with the lowest and the highest scores."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.extraction import Face
from deepfake_detector.faces.video_file import VideoInfo
from deepfake_detector.figures import empty_figure
from deepfake_detector.inference.prediction import PersonPrediction, Prediction, thresholds
from deepfake_detector.inference.prediction_task import CAUTION, verdict_text

LINE_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")  # Okabe & Ito 2008
CROPS = 8  # faces in a row


def draw_timeline(target: Path, info: VideoInfo, prediction: Prediction, calibration: Calibration) -> None:
    """Write a PNG, whatever the suffix. Without a face the plot says so."""
    with empty_figure(target, (9, 6.4)) as figure:
        if prediction.people:
            curves, lowest, highest = figure.subfigures(3, 1, height_ratios=[3, 1.1, 1.1])
            _draw_extremes(lowest, highest, prediction.people[0], calibration)
        else:
            curves = figure
        axes = curves.subplots()
        text = verdict_text(prediction.verdict, prediction.probability, thresholds(calibration))
        axes.set_title(text.capitalize(), fontsize=13, loc="left")
        _draw_curves(axes, info, prediction, calibration)
        if not prediction.people:
            axes.text(0.5, 0.5, text, fontsize=20, color="#666666", ha="center", va="center", transform=axes.transAxes)
        axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
        figure.supxlabel(CAUTION, fontsize=8, color="#666666")


def _draw_curves(axes: Axes, info: VideoInfo, prediction: Prediction, calibration: Calibration) -> None:
    """The score of each person over time with the most suspicious stretch, the threshold, and the uncertain band."""
    axes.set(xlabel="time (s)", ylabel="score (fake probability of a face)")
    axes.set(xlim=(0, max(info.times[-1], 1e-3)), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    if calibration.high > calibration.low:
        axes.axhspan(calibration.low, calibration.high, color="#999999", alpha=0.25, lw=0, label="uncertain")
    axes.axhline(calibration.threshold, color="black", ls="--", lw=1, label=f"threshold {calibration.threshold:.2f}")
    for i, person in enumerate(prediction.people):
        color = LINE_COLORS[i % len(LINE_COLORS)]
        times = np.array([face.time for face in person.faces])
        scores = calibration.face_probability(person.logits)
        if person.stretch:
            axes.axvspan(person.stretch.start, person.stretch.end, color=color, alpha=0.12, lw=0)
        for run in person.unbroken_runs(info, prediction.video.frames_wanted):
            label = f"person {person.track + 1}: {verdict_text(person.verdict)}" if run.start == 0 else None
            axes.plot(times[run], scores[run], "o-", color=color, ms=4, label=label, clip_on=False)


def _draw_extremes(lowest: SubFigure, highest: SubFigure, person: PersonPrediction, calibration: Calibration) -> None:
    """The faces of the most suspicious person with the lowest and the highest scores."""
    probabilities = calibration.face_probability(person.logits)
    order = np.argsort(person.logits, kind="stable")
    scored = [(float(probabilities[i]), person.faces[i]) for i in order]
    name = f"Person {person.track + 1}"
    _draw_crops(lowest, f"{name}, lowest scores", scored[:CROPS])
    _draw_crops(highest, f"{name}, highest scores", scored[::-1][:CROPS])


def _draw_crops(figure: SubFigure, title: str, scored: list[tuple[float, Face]]) -> None:
    for i, axes in enumerate(figure.subplots(1, CROPS)):
        axes.axis("off")
        if i < len(scored):
            probability, face = scored[i]
            axes.imshow(face.crop[..., ::-1])
            axes.set_title(f"{face.time:.1f} s: {probability:.2f}", fontsize=8)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
