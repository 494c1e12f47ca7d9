"""How well faces replace the names of people in a split: the sample corpus without its column identity.

    python -m benchmarks.identities

Needs the faces of the sample corpus (make repro) and requirements-faces.txt. It compares the real clips that face
embeddings link, and the groups of videos that follow, with those of the labels, over pairs of videos; and it counts the
pairs of videos that leak in each fold, by all labels.
"""

import sys
import tempfile

import numpy as np
import pandas as pd

from benchmarks.command import command_line, need
from deepfake_detector.corpora.identity_graph import identity_groups, links
from deepfake_detector.corpora.labels import read_labels
from deepfake_detector.corpora.leakage import find_leaks
from stages.params import Params, parse
from stages.split import assign, compare_faces


def pairs(groups: np.ndarray) -> np.ndarray:
    """Whether two videos are in one group, bool, for each pair."""
    same: np.ndarray = (groups[:, None] == groups[None, :])[np.triu_indices(len(groups), 1)]
    return same


def row(name: str, found: np.ndarray, true: np.ndarray) -> str:
    """A row of the table: precision and recall over pairs, and the number of groups."""
    found_pairs, true_pairs = pairs(found), pairs(true)
    both = int((found_pairs & true_pairs).sum())
    precision, recall = both / max(1, found_pairs.sum()), both / true_pairs.sum()
    return f"| {name} | {precision:.3f} | {recall:.3f} | {len(set(found))} of {len(set(true))} |"


def leaks_of_folds(labels: pd.DataFrame, known: pd.DataFrame, visual: pd.DataFrame, params: Params) -> list[int]:
    """Pairs of videos across partitions, for each fold of a split that knows only the columns of `known`."""
    counts = []
    for fold in range(params.split.folds):
        settings = params.split.model_copy(update={"fold": fold})
        splits = assign(known, links(known, visual), settings, None).table
        counts.append(int(find_leaks(splits.set_index("video_id")["partition"], links(labels))["pairs"].sum()))
    return counts


def main() -> None:
    command_line(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        params = parse("split", argv=["--identities", "faces", "--data.split_report", folder])
        need(params.data.labels, params.data.index)
        labels = read_labels(params.data.labels, params.data.videos)
        labels = labels.sort_values(["label", "video_id"], ignore_index=True)
        try:
            visual = compare_faces(labels, params.data, params.split)
        except ImportError as error:
            sys.exit(str(error))
    assert visual is not None
    unnamed = labels.drop(columns="identity")
    alone = unnamed.drop(columns=["donor", "source_video"])
    real = labels["label"].to_numpy() == 0
    print("| | precision | recall | groups |\n|---|---|---|---|")
    embedded = identity_groups(alone, visual[visual["kind"] == "embedding"])
    people = pd.factorize(labels["identity"])[0]
    print(row("real clips linked by embeddings, against those of one person", embedded[real], people[real]))
    for name, known in (
        ("groups without the column identity, against those of all labels", unnamed),
        ("groups without the columns of donors and originals, too", alone),
    ):
        print(row(name, identity_groups(known, visual), identity_groups(labels)))
    print("\n| pairs of videos that leak, by all labels | in each fold |\n|---|---|")
    for name, known in (("without the column identity", unnamed), ("without donors and originals, too", alone)):
        print(f"| {name} | {', '.join(map(str, leaks_of_folds(labels, known, visual, params)))} |")


if __name__ == "__main__":
    main()
