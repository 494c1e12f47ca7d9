"""Split the videos into train, val and test so that no person, donor, original or upload is in two of them.

    python -m stages.split
    python -m stages.split --fold 3
    python -m stages.split --strategy repair

Two videos are linked if they share a person, a face donor, an original or an upload, or if their faces show that one is
a copy of the other. Videos that are linked, directly or through others, form a group, and a group stays together. If
one group holds most of the corpus, people are separated instead, and the fakes that join two partitions are excluded.
The folder data.split_report lists the links found in the faces, excluded videos, moved videos and leaks.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake_detector.corpora import LINK_KINDS, PARTITIONS
from deepfake_detector.corpora.face_table import VISUAL_LINKS, read_splits
from deepfake_detector.corpora.identity_graph import Links, links
from deepfake_detector.corpora.labels import LabelsError, read_labels
from deepfake_detector.corpora.leakage import count_leaks, find_leaks
from deepfake_detector.corpora.plots import plot_split
from deepfake_detector.corpora.split_strategies import SplitAssignment, SplitError, assign_splits, moved_videos
from deepfake_detector.corpora.visual_links import VISUAL_LINK_COLUMNS, VisualLinksError, find_visual_links
from deepfake_detector.faces.archive import ArchiveError
from deepfake_detector.faces.extraction import FaceIndexError, read_geometry
from deepfake_detector.files import atomic_path, delete_partial_files
from deepfake_detector.foreign_text import spreadsheet_cell, terminal_text
from stages.params import Data, Split, fail, parse, say

METRICS = "split.json"
TABLES = (VISUAL_LINKS, "excluded.csv", "leaks.csv", "moved.csv")  # in the folder of the split report
SHOWN = 20  # rows of a table that a message lists


def main() -> None:
    params = parse("split", __doc__ or "")
    data, settings = params.data, params.split
    if settings.fold >= settings.folds:
        fail(f"split.fold = {settings.fold}: must be below split.folds = {settings.folds}")
    report = Path(data.split_report)
    empty_report(report)
    try:
        listed = read_labels(data.labels, data.videos)
        labels = listed.sort_values(["label", "video_id"], ignore_index=True)  # the order of the rows shall not matter
        previous = read_previous_splits(settings)
        visual = compare_faces(labels, data, settings)
        all_links = links(labels, visual)
        assignment = assign(labels, all_links, settings, previous)
    except (LabelsError, FaceIndexError, ArchiveError, VisualLinksError, SplitError, ImportError) as error:
        fail(str(error))
    splits = assignment.table
    leaks = find_leaks(splits.set_index("video_id")["partition"], all_links)
    moved = moved_videos(labels, assignment) if settings.strategy == "repair" else pd.DataFrame(columns=["video_id"])
    excluded = splits.loc[assignment.side < 0, ["video_id"]].assign(reason=assignment.reason[assignment.side < 0])
    write_csv(pd.DataFrame(columns=VISUAL_LINK_COLUMNS) if visual is None else visual, report / VISUAL_LINKS)
    write_spreadsheet(excluded, report / "excluded.csv")
    write_spreadsheet(leaks, report / "leaks.csv")
    write_spreadsheet(moved, report / "moved.csv")
    counts = leak_counts(leaks, all_links, compared_kinds(visual, settings))
    metrics = summarize(labels, splits, counts, len(moved))
    with atomic_path(Path(data.metrics) / METRICS) as part:
        part.write_text(json.dumps(metrics, indent=2) + "\n")
    plot = Path(data.plots) / "split/partitions.png"
    plot_split(plot, labels.assign(partition=splits["partition"]), counts)
    forbidden = leaks[~leaks["kind"].isin(settings.allow_leaks)]
    if len(forbidden):
        fail(leak_message(forbidden, report))
    write_csv(splits.set_index("video_id").loc[listed["video_id"]].reset_index(), Path(data.splits))
    delete_partial_files(data.splits, Path(data.metrics) / METRICS, plot, *(report / name for name in TABLES))
    print_summary(metrics, excluded, moved, leaks, report)


def empty_report(folder: Path) -> None:
    """Make the folder, and delete what an earlier run wrote there."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*(folder / name for name in TABLES), *folder.glob("people_[0-9][0-9].jpg")]:
        path.unlink(missing_ok=True)


def compare_faces(labels: pd.DataFrame, data: Data, settings: Split) -> pd.DataFrame | None:
    """Links that the extracted faces show; None if there are no faces. Raises VisualLinksError, FaceIndexError."""
    visual = None
    if Path(data.index).is_file():
        geometry = read_geometry(data.index)
        if settings.identities == "faces" and geometry.align == "box":
            raise VisualLinksError(
                f"split.identities = faces needs faces aligned by landmarks, and those of {data.index} are cut by "
                "their boxes; set extract.align to landmarks and extract the faces again"
            )
        visual = find_visual_links(
            labels,
            index=data.index,
            faces=data.faces,
            near_duplicate=settings.near_duplicate,
            same_face=settings.same_face if settings.identities == "faces" else None,
            margin=geometry.margin,
            workers=settings.workers,
            report=Path(data.split_report),
        )
    if visual is None:
        lacking = f"{data.index} has no face of these videos"
        if settings.identities == "faces":
            raise VisualLinksError(f"split.identities = faces: {lacking}; run the extract stage first")
        say(f"{lacking}: near-duplicates are not searched for")
    return visual


def assign(labels: pd.DataFrame, all_links: Links, settings: Split, previous: pd.DataFrame | None) -> SplitAssignment:
    """The partitions. Links of kinds that may leak do not bind. Raises SplitError."""
    binding = {kind: tokens for kind, tokens in all_links.items() if kind not in settings.allow_leaks}
    if "person" in settings.allow_leaks and "donor" in binding:  # whose face is in no other video binds nothing then
        donors = labels.get("donor", pd.Series(dtype=str))
        binding["donor"] = binding["donor"][binding["donor"].isin(donors)]
    return assign_splits(
        labels,
        binding,
        strategy=settings.strategy,
        seed=settings.seed,
        folds=settings.folds,
        fold=settings.fold,
        val_fraction=settings.val_fraction,
        max_group_share=settings.max_group_share,
        previous=previous,
        val_methods=settings.val_methods,
    )


def read_previous_splits(settings: Split) -> pd.DataFrame | None:
    """The earlier splits table `video_id,partition,fold`, or None. Raises SplitError if it does not fit."""
    key = f"split.previous_splits = {settings.previous_splits!r}"
    if settings.previous_splits == "none":
        return None
    if settings.strategy != "grouped":
        raise SplitError(f"{key}: needs split.strategy = grouped; it is {settings.strategy}")
    try:
        previous = read_splits(settings.previous_splits, ["fold"])
    except LabelsError as error:
        raise SplitError(f"{key} is not a splits CSV: {error}") from error
    valid = previous["partition"].eq("excluded") | previous["fold"].between(0, settings.folds - 1)
    if not valid.all():
        raise SplitError(f"{key}: its folds must be those of split.folds = {settings.folds}")
    return previous[["video_id", "partition", "fold"]]


def compared_kinds(visual: pd.DataFrame | None, settings: Split) -> set[str]:
    """Kinds of links that were searched for in the faces."""
    if visual is None:
        return set()
    return {"near_duplicate", "embedding"} if settings.identities == "faces" else {"near_duplicate"}


def leak_counts(leaks: pd.DataFrame, all_links: Links, compared: set[str]) -> dict[str, int | None]:
    """Pairs of videos across partitions by kind of link; None where the corpus has no links of that kind."""
    known = {kind for kind, tokens in all_links.items() if len(tokens)} | compared
    return {kind: pairs if kind in known else None for kind, pairs in count_leaks(leaks, LINK_KINDS).items()}


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table that the pipeline reads again: every name stays as it is."""
    with atomic_path(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def write_spreadsheet(table: pd.DataFrame, path: Path) -> None:
    """Write a table for people, in which no spreadsheet finds a formula."""
    write_csv(table.map(spreadsheet_cell), path)


def leak_message(leaks: pd.DataFrame, report: Path) -> str:
    lines = [f"  {row.kind} {row.token!r}: {row.pairs} pair(s), such as {row.example}" for row in leaks.itertuples()]
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    kinds = ", ".join(sorted(set(leaks["kind"])))
    return "\n".join(
        [
            f"the split leaks: {len(leaks)} links cross partitions, all listed in {report / 'leaks.csv'}:",
            *lines[:SHOWN],
            *more,
            "No splits CSV was written. In params.yaml, split.strategy: repair moves the videos; "
            f"split.allow_leaks: [{kinds}] accepts the leaks",
        ]
    )


def summarize(labels: pd.DataFrame, splits: pd.DataFrame, leaks: dict[str, int | None], moved: int) -> dict[str, Any]:
    """The content of split.json."""
    partition, fake = splits["partition"], labels["label"]
    names = (*PARTITIONS, "excluded")
    return {
        "videos": {name: int((partition == name).sum()) for name in names},
        "fakes": {name: int(fake[partition == name].sum()) for name in names},
        "groups": {name: int(splits.loc[partition == name, "group"].nunique()) for name in PARTITIONS},
        "excluded_fakes": round(float(fake[partition == "excluded"].sum() / max(1, fake.sum())), 6),
        "moved": moved,
        "leaks": leaks,
    }


def print_summary(
    metrics: dict[str, Any], excluded: pd.DataFrame, moved: pd.DataFrame, leaks: pd.DataFrame, report: Path
) -> None:
    table = pd.DataFrame({key: metrics[key] for key in ("videos", "fakes", "groups")}).fillna(0).astype(int)
    say(table.to_string())
    for reason, count in excluded["reason"].value_counts().items():
        say(terminal_text(f"excluded: {count} videos, each of which {reason}"))
    if len({0, metrics["fakes"]["test"], metrics["videos"]["test"]}) < 3:
        kind = "fakes" if metrics["fakes"]["test"] else "real videos"
        say(f"WARNING: test has only {kind}: a detector cannot be measured on it")
    if len(excluded):
        say(f"excluded in total: {metrics['excluded_fakes']:.1%} of the fakes; see {report / 'excluded.csv'}")
    for row in moved.head(SHOWN).itertuples():
        say(f"moved: {terminal_text(row.video_id)} from {row.official} to {row.partition}")
    if len(moved) > SHOWN:
        say(f"moved: {len(moved)} videos in total; see {report / 'moved.csv'}")
    for kind, count in metrics["leaks"].items():
        pairs = "not known for this corpus" if count is None else f"{count} pairs of videos across partitions"
        say(f"{kind}: {pairs}")
    if len(leaks):
        say("split.allow_leaks accepts these leaks: metrics of this split are too optimistic.")


if __name__ == "__main__":
    main()
