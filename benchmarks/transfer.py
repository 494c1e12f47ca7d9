"""Train on one corpus, test on each: a matrix of video AUC over several seeds.

    python -m benchmarks.transfer WORK
    python -m benchmarks.transfer WORK --seeds 1 2 3 4 5

The corpora are those of evaluate.corpora, all other settings those of params.yaml. Each corpus is extracted and split
once. A detector is tested on the test partition of its own corpus and on all videos of each other one. With a single
corpus the table is mean and standard deviation over seeds. What is in WORK already is not made again. Writes
WORK/transfer.md.
"""

import itertools
import json
from pathlib import Path
from typing import Any

from benchmarks.command import command_line
from benchmarks.crossval import mean_and_sd
from benchmarks.trainings import Tree, on_each_core, read_params, run_stages


def prepare(work: Path, corpora: dict[str, dict[str, str]]) -> dict[str, Tree]:
    """Extract and split every corpus in `work`; for each the params that train on it and test on all others."""
    folder = (work / "corpora").resolve()
    for corpus in corpora.values():
        corpus |= {part: str(Path(corpus[part]).resolve()) for part in ("videos", "labels")}
    prepared = {}
    for name, corpus in corpora.items():
        made = {"faces": "faces", "index": "faces.parquet", "extract_report": "extract_report.csv"}
        made |= {"splits": "splits.csv", "split_report": "split_report"}
        places = {key: str(folder / name / place) for key, place in made.items()} | {"corpora": str(folder)}
        places |= {part: corpus[part] for part in ("videos", "labels")}
        others = {other: corpora[other] for other in corpora if other != name}
        prepared[name] = read_params(
            {f"data.{key}": place for key, place in places.items()} | {"evaluate.corpora": others}
        )
        run_stages(folder / name, prepared[name], "extract", "split")
    return prepared


def measure(folder: Path, params: Tree, seed: int) -> dict[str, Any]:
    """`reports/metrics.json` of a training in `folder`."""
    run_stages(folder, read_params({"train.seed": seed}, params), "train", "evaluate")
    metrics: dict[str, Any] = json.loads((folder / params["data"]["reports"] / "metrics.json").read_text())
    return metrics


def matrix(metrics: dict[tuple[str, int], dict[str, Any]], names: list[str], seeds: list[int]) -> list[str]:
    """The table in Markdown: a row for each corpus trained on, a column for each tested on."""
    lines = [f"| trained on | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for name in names:
        cells = []
        for other in names:
            each = [metrics[name, seed] for seed in seeds]
            aucs = [row["test"]["video"]["auc"] if other == name else row["corpora"][other]["auc"] for row in each]
            cells.append(mean_and_sd(aucs) if None not in aucs else "–")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("work", type=Path, help="folder that keeps faces and trainings")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    corpora = read_params({})["evaluate"]["corpora"]
    if not corpora:
        parser.error("evaluate.corpora in params.yaml names no corpus")
    prepared = prepare(args.work, corpora)
    cells = list(itertools.product(corpora, args.seeds))
    metrics = on_each_core(lambda cell: measure(args.work / f"{cell[0]}-{cell[1]}", prepared[cell[0]], cell[1]), cells)
    lines = [f"Video AUC, mean ± sd over {len(args.seeds)} seeds:", "", *matrix(metrics, list(corpora), args.seeds)]
    (args.work / "transfer.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
