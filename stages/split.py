"""Divide the videos into train, val and test so that no person, donor or original is on two sides.

    python -m stages.split
    python -m stages.split --fold 3

Two videos belong together when they share a person, a face donor or an original; whatever is so connected stays together.
"""

import json
from pathlib import Path

import pandas as pd

from stages.corpora.identities import assign_folds, audit, identity_groups, partition
from stages.corpora.labels import LabelsError, read_labels
from stages.params import fail, parse


def main() -> None:
    params = parse("split", __doc__ or "")
    try:
        labels = read_labels(params.data.labels, params.data.videos)
    except LabelsError as error:
        fail(str(error))
    settings = params.split
    if settings.fold >= settings.folds:
        fail(f"split.fold = {settings.fold}: must be below split.folds = {settings.folds}")
    labels["group"] = identity_groups(labels)
    if labels["group"].nunique() < settings.folds:
        fail(f"{labels['group'].nunique()} separable groups of people are too few for split.folds = {settings.folds}")
    labels["fold"] = assign_folds(labels, settings.folds, settings.seed)
    labels["partition"] = partition(labels, settings.fold, settings.val, settings.seed)
    leaks = audit(labels)
    metrics = {
        "videos": {name: int((labels["partition"] == name).sum()) for name in ("train", "val", "test")},
        "fakes": {name: int(labels.loc[labels["partition"] == name, "label"].sum()) for name in ("train", "val", "test")},
        "groups": {name: int(labels.loc[labels["partition"] == name, "group"].nunique()) for name in ("train", "val", "test")},
        "leaks": {kind: len(pairs) for kind, pairs in leaks.items()},
    }
    if any(leaks.values()):
        fail("the split leaks:\n" + "\n".join(f"  {kind}: {pair}" for kind, pairs in leaks.items() for pair in pairs[:20]))
    labels[["video_id", "partition", "group", "fold"]].to_csv(params.data.splits, index=False, lineterminator="\n")
    Path("metrics").mkdir(exist_ok=True)
    Path("metrics/split.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(pd.DataFrame({key: metrics[key] for key in ("videos", "fakes", "groups")}).to_string())
    print("No person, donor or original is in two partitions.")


if __name__ == "__main__":
    main()
