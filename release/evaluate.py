"""The figures of a detector for its model card: people never seen, and sources that training left out.

    cd release && PYTHONPATH=.. python -m release.evaluate

Measures the published detector, and beside it those that `compared` in sources.yaml names. Writes figures.md.
Intervals are of 95 % over groups of people.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from deepfake_detector.evaluation.intervals import format_interval
from deepfake_detector.evaluation.tables import Resampling
from deepfake_detector.files import atomic_path
from deepfake_detector.training.detector_config import CheckpointError
from release.publish import OPERATING_POINTS, PUBLISHED
from release.scores import score_corpus, score_left_out, score_partition
from release.sources import read_sources
from stages.evaluate import open_detector
from stages.params import Params, fail, parse

FIGURES = Path("figures.md")


def score_all(checkpoint: str, params: Params) -> tuple[pd.DataFrame, float]:
    """What a detector says of all that it was not trained on, with `probability`; and its threshold."""
    score, config = open_detector(checkpoint, params.evaluate.batch_size)
    tables = [score_partition("test", score, params), score_left_out(score, params)]
    tables += [score_corpus(name, score, config, params) for name in params.evaluate.corpora]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(probability=config.calibration.probability(table["logit"])), config.calibration.threshold


def families(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every set of images or videos to give the AUC of: fakes of a kind with the genuine ones beside them."""
    for what, part in table.groupby("what", sort=False):
        fakes = part[part["label"] == 1]
        if fakes.empty:
            continue
        yield f"{what}: all", part
        genuine = part[part["label"] == 0]
        if what.startswith("test"):
            genuine = genuine[genuine["source"] == "dfdc"]
        for method, some in fakes.groupby("method", sort=False):
            yield f"{what}: {method or 'unnamed'}", pd.concat([some, genuine])


def genuine_sets(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every set of genuine images or videos to give the false alarms of."""
    genuine = table[table["label"] == 0]
    for (what, source, quality), part in genuine.groupby(["what", "source", "quality"], sort=False):
        yield " ".join(word for word in (what + ":", source, quality) if word), part


def fake_sets(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every set of fakes to give the number of those that are flagged."""
    for (what, method), part in table[table["label"] == 1].groupby(["what", "method"], sort=False):
        yield f"{what}: {method or 'unnamed'}", part


def write_figures(scored: dict[str, tuple[pd.DataFrame, dict[str, float]]], resampling: Resampling) -> str:
    """Three tables in Markdown: AUC by family of fakes; and at the operating points false alarms by source, and hits.

    Args:
        scored: by name of the detector, what it says and its operating points.
    """
    names = list(scored)
    lines = [f"| AUC | genuine | fake | {' | '.join(names)} |", "|---|" + "---|" * (2 + len(names))]
    for rows in zip(*(families(table) for table, _ in scored.values()), strict=True):
        summaries = [resampling.summary(part, 0.5) for _, part in rows]
        cells = [format_interval(summary, "auc") for summary in summaries]
        lines.append(f"| {rows[0][0]} | {summaries[0]['real']} | {summaries[0]['fake']} | {' | '.join(cells)} |")
    for head, sets in (("genuine ones flagged", genuine_sets), ("fakes flagged", fake_sets)):
        lines += ["", *_count_flagged(scored, head, sets)]
    return "\n".join(lines) + "\n"


def _count_flagged(
    scored: dict[str, tuple[pd.DataFrame, dict[str, float]]],
    head: str,
    sets: Callable[[pd.DataFrame], Iterator[tuple[str, pd.DataFrame]]],
) -> Iterator[str]:
    """The lines of a table: how many of each of the `sets` are flagged at each operating point."""
    points = [(name, point) for name, (_, thresholds) in scored.items() for point in thresholds]
    yield f"| {head} | of | {' | '.join(f'{name}, {point}' for name, point in points)} |"
    yield "|---|" + "---|" * (1 + len(points))
    for rows in zip(*(sets(table) for table, _ in scored.values()), strict=True):
        parts = dict(zip(scored, (part for _, part in rows), strict=True))
        flagged = [int((parts[name]["probability"] >= scored[name][1][point]).sum()) for name, point in points]
        yield f"| {rows[0][0]} | {len(rows[0][1])} | {' | '.join(map(str, flagged))} |"


def main() -> None:
    params = parse("evaluate", __doc__ or "")
    try:
        table, _ = score_all(str(PUBLISHED), params)
        scored = {"released": (table, json.loads(OPERATING_POINTS.read_text()))}
        for name, checkpoint in read_sources().compared.items():
            table, threshold = score_all(checkpoint, params)
            scored[name] = table, {"own threshold": threshold}
    except CheckpointError as error:
        fail(str(error))
    with atomic_path(FIGURES) as path:
        path.write_text(write_figures(scored, Resampling(params.evaluate.bootstrap, params.evaluate.seed)))
    print(FIGURES.read_text())


if __name__ == "__main__":
    main()
