"""A picture of one judgement: each person's score over time, with the least and the most suspicious crops."""

from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt

from stages.scoring.annotate import words
from stages.scoring.calibrate import Calibration
from stages.scoring.judgement import Judgement

matplotlib.use("Agg")
LINES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
CROPS = 8  # of either kind
NOTE = "A score is evidence, not proof."


def draw_timeline(path: Path, name: str, judgement: Judgement, calibration: Calibration) -> None:
    """Write a PNG, whatever the suffix. Without a face it holds the verdict alone."""
    figure = plt.figure(figsize=(9, 6.4), layout="constrained")
    curve, least, most = figure.subfigures(3, 1, height_ratios=[3, 1.1, 1.1]) if judgement.people else (figure, None, None)
    axes = curve.subplots()
    said = words(judgement.verdict, judgement.people[0].probability) if judgement.people else judgement.verdict.replace("_", " ")
    axes.set_title(f"{name}: {said}", fontsize=13, loc="left")
    axes.set(xlabel="time (s)", ylabel="probability of being fake", ylim=(-0.02, 1.02))
    axes.axhspan(calibration.low, calibration.high, color="#999999", alpha=0.25, lw=0, label="uncertain")
    axes.axhline(calibration.threshold, color="black", ls="--", lw=1, label=f"threshold {calibration.threshold:.2f}")
    for i, person in enumerate(judgement.people):
        times = [face.time for face in person.faces]
        label = f"person {person.track + 1}: {words(person.verdict, person.probability)}"
        axes.plot(times, calibration.probability(person.logits), "o-", color=LINES[i % len(LINES)], ms=4, label=label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc="best")
    figure.supxlabel(NOTE, fontsize=8, color="#666666")
    if least is not None and most is not None:
        scored = [(logit, face) for person in judgement.people[:1] for logit, face in zip(person.logits, person.faces, strict=True)]
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
