"""A picture of one judgement: each person's score over time, with the least and the most suspicious crops."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.video_reader import VideoInfo
from deepfake_detector.inference.prediction import Prediction
from deepfake_detector.inference.task import verdict_text

matplotlib.use("Agg")
LINES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
CROPS = 8  # of either kind
NOTE = "A score is evidence, not proof."


def draw_timeline(path: Path, info: VideoInfo, judgement: Prediction, calibration: Calibration) -> None:
    """Write a PNG, whatever the suffix. Without a face it says so."""
    figure = plt.figure(figsize=(9, 6.4), layout="constrained")
    curve, least, most = (
        figure.subfigures(3, 1, height_ratios=[3, 1.1, 1.1]) if judgement.people else (figure, None, None)
    )
    axes = curve.subplots()
    said = verdict_text(judgement.verdict, judgement.probability)
    axes.set_title(said.capitalize(), fontsize=13, loc="left")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set(
        xlabel="time (s)", ylabel="probability of being fake", ylim=(-0.02, 1.02), xlim=(0, max(info.times[-1], 1e-3))
    )
    if calibration.high > calibration.low:
        axes.axhspan(calibration.low, calibration.high, color="#999999", alpha=0.25, lw=0, label="uncertain")
    axes.axhline(calibration.threshold, color="black", ls="--", lw=1, label=f"threshold {calibration.threshold:.0%}")
    for i, person in enumerate(judgement.people):
        label = f"person {person.track + 1}, {verdict_text(person.verdict, person.probability)}"
        times, scores = np.array([face.time for face in person.faces]), calibration.probability(person.logits)
        for part in person.unbroken_runs(info.frames / judgement.video.frames_wanted):
            named = label if part.start == 0 else None
            axes.plot(times[part], scores[part], "o-", color=LINES[i % len(LINES)], ms=4, label=named, clip_on=False)
    if not judgement.people:
        axes.text(0.5, 0.5, said, fontsize=20, color="#666666", ha="center", va="center", transform=axes.transAxes)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    figure.supxlabel(NOTE, fontsize=8, color="#666666")
    if least is not None and most is not None:
        scored = [
            (logit, face)
            for person in judgement.people[:1]
            for logit, face in zip(person.logits, person.faces, strict=True)
        ]
        scored.sort(key=lambda pair: float(pair[0]))
        _crops(least, "least suspicious", scored[:CROPS], calibration)
        _crops(most, "most suspicious", scored[::-1][:CROPS], calibration)
    figure.savefig(path, format="png", dpi=100, metadata={"Software": None})
    plt.close(figure)


def _crops(figure: plt.Figure, title: str, scored: list, calibration: Calibration) -> None:
    for axes, pair in zip(figure.subplots(1, CROPS), scored + [None] * (CROPS - len(scored)), strict=True):
        axes.axis("off")
        if pair:
            axes.imshow(pair[1].crop[..., ::-1])
            axes.set_title(f"{pair[1].time:.1f} s: {float(calibration.probability(pair[0])):.0%}", fontsize=8)
    figure.suptitle(f"Deciding person, {title}", fontsize=9, x=0.01, ha="left")
