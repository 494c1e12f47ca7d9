"""Divide the videos into train, val and test so that no person, donor, original or upload is on two sides.

    python -m stages.split
    python -m stages.split --fold 3
    python -m stages.split --strategy repair

Two videos belong together when they share a person, a face donor, an original or an upload, or are copies of each other by
their faces; whatever is so connected stays together. Where that is most of the corpus, people are kept apart instead, and the
fakes that join two sides are excluded. What was found, excluded, moved or allowed to leak is listed in split_report/ beside the
splits CSV.
"""

import json
from pathlib import Path

import pandas as pd

from deepfake_detector.corpora.face_table import split_report_folder
from deepfake_detector.corpora.identity_graph import links
from deepfake_detector.corpora.labels import labels_or_fail
from deepfake_detector.corpora.leakage import SIDES, count_leaks, find_leaks
from deepfake_detector.corpora.plots import plot_split
from deepfake_detector.corpora.split_strategies import SplitAssignment, SplitError, moved_videos
from deepfake_detector.corpora.visual_links import COLUMNS, find_visual_links
from stages.params import KINDS, Split, fail, parse

PICTURE = Path("plots/split/partitions.png")


def main() -> None:
    params = parse("split", __doc__ or "")
    settings = params.split
    if settings.fold >= settings.folds:
        fail(f"split.fold = {settings.fold}: must be below split.folds = {settings.folds}")
    given = labels_or_fail(params.data)
    labels = given.sort_values(["label", "video_id"], ignore_index=True)  # the order of the rows decides nothing
    report = empty_report(split_report_folder(params.data))
    found = find_visual_links(labels, params, report)
    kinds = links(labels, found)
    binding = {kind: tokens for kind, tokens in kinds.items() if kind not in settings.allow_leaks}
    try:
        division = SplitAssignment(labels, binding, settings, read_previous_splits(settings))
    except SplitError as error:
        fail(str(error))
    splits = division.table
    crossing = find_leaks(splits.set_index("video_id")["partition"], kinds)
    looked_for = (
        set() if found is None else {"near_duplicate"} | ({"embedding"} if settings.identities == "faces" else set())
    )
    told = {kind for kind, tokens in kinds.items() if len(tokens)} | looked_for
    counts = {kind: pairs if kind in told else None for kind, pairs in count_leaks(crossing, KINDS).items()}
    write(pd.DataFrame(columns=COLUMNS) if found is None else found, report / "found.csv")
    excluded = splits.loc[splits["partition"] == "excluded", ["video_id"]].assign(
        reason=division.reason[division.side < 0]
    )
    write(excluded, report / "excluded.csv")
    write(crossing, report / "leaks.csv")
    changed = moved_videos(labels, division) if settings.strategy == "repair" else pd.DataFrame(columns=["video_id"])
    write(changed, report / "moved.csv")
    labels["partition"] = splits["partition"]
    metrics = summarise(labels, splits, counts, len(changed))
    Path("metrics").mkdir(exist_ok=True)
    Path("metrics/split.json").write_text(json.dumps(metrics, indent=2) + "\n")
    plot_split(PICTURE, labels, counts)
    forbidden = crossing[~crossing["kind"].isin(settings.allow_leaks)]
    if len(forbidden):
        fail(leak_message(forbidden))
    write(splits.set_index("video_id").loc[given["video_id"]].reset_index(), Path(params.data.splits))
    print_summary(metrics, excluded, changed, crossing)


def empty_report(folder: Path) -> Path:
    """The folder without what an earlier run wrote there."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*folder.glob("*.csv"), *folder.glob("people_*.jpg")]:
        path.unlink()
    return folder


def read_previous_splits(settings: Split) -> pd.DataFrame | None:
    if settings.keep == "none":
        return None
    if settings.strategy != "grouped":
        fail(f"split.keep = {settings.keep!r}: goes with split.strategy = grouped only, which is {settings.strategy}")
    try:
        kept = pd.read_csv(
            settings.keep, dtype={"video_id": str}, usecols=["video_id", "partition", "fold"], keep_default_na=False
        )
        inside = kept["partition"].eq("excluded") | kept["fold"].between(0, settings.folds - 1)
    except (OSError, ValueError, TypeError) as error:
        fail(f"split.keep = {settings.keep!r} is no splits CSV: {error}")
    if not inside.all() or kept["video_id"].duplicated().any():
        fail(
            f"split.keep = {settings.keep!r}: its folds must be those of split.folds = {settings.folds}, and each video once"
        )
    return kept


def write(table: pd.DataFrame, path: Path) -> None:
    """The table as CSV, whole or not at all."""
    part = path.with_name(path.name + ".part")
    table.to_csv(part, index=False, lineterminator="\n")
    part.replace(path)


def leak_message(crossing: pd.DataFrame) -> str:
    shown = "\n".join(
        f"  {row.kind} {row.token!r}: {row.pairs} pair(s), such as {row.example}" for row in crossing[:20].itertuples()
    )
    more = f"\n  and {len(crossing) - 20} more" if len(crossing) > 20 else ""
    kinds = ", ".join(sorted(set(crossing["kind"])))
    return (
        f"the split leaks: {len(crossing)} ties cross partitions, all in split_report/leaks.csv:\n{shown}{more}\n"
        f"No splits CSV was written. split.strategy: repair moves them; split.allow_leaks: [{kinds}] in params.yaml accepts them"
    )


def summarise(
    labels: pd.DataFrame, splits: pd.DataFrame, crossing: dict[str, int | None], changed: int
) -> dict[str, object]:
    inside = {name: labels[labels["partition"] == name] for name in (*SIDES, "excluded")}
    return {
        "videos": {name: len(rows) for name, rows in inside.items()},
        "fakes": {name: int(rows["label"].sum()) for name, rows in inside.items()},
        "groups": {name: int(splits.loc[splits["partition"] == name, "group"].nunique()) for name in SIDES},
        "excluded_fakes": round(float(inside["excluded"]["label"].sum() / max(1, labels["label"].sum())), 6),
        "moved": changed,
        "leaks": crossing,
    }


def print_summary(metrics: dict, excluded: pd.DataFrame, changed: pd.DataFrame, crossing: pd.DataFrame) -> None:
    table = pd.DataFrame({key: metrics[key] for key in ("videos", "fakes", "groups")}).fillna(0).astype(int)
    print(table.to_string())
    for reason, count in excluded["reason"].value_counts().items():
        print(f"excluded: {count} videos, each of which {reason}")
    if len({0, metrics["fakes"]["test"], metrics["videos"]["test"]}) < 3:
        kind = "fakes" if metrics["fakes"]["test"] else "real videos"
        print(f"WARNING: test has {kind} only: how well a detector tells them apart cannot be measured there")
    if len(excluded):
        print(f"excluded in all: {metrics['excluded_fakes']:.1%} of the fakes; see split_report/excluded.csv")
    for row in changed.head(20).itertuples():
        print(f"moved: {row.video_id} from {row.official} to {row.partition}")
    if len(changed) > 20:
        print(f"moved: {len(changed)} videos in all; see split_report/moved.csv")
    for kind, count in metrics["leaks"].items():
        print(
            f"{kind}: "
            + ("not known for this corpus" if count is None else f"{count} pairs of videos across partitions")
        )
    if len(crossing):
        print("These leaks are allowed by split.allow_leaks: what is measured on this split is too good.")


if __name__ == "__main__":
    main()
