"""Deepfake Detection Challenge (Dolhansky et al. 2020): any number of its parts, and the preview.

    dfdc_train_part_0/metadata.json: {"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}, ...}
    dataset.json (preview):
        {"method_A/1_2_A_000.mp4": {"label": "fake", "set": "train", "target_id": 1, "swapped_id": 2}, ...}

The full corpus does not name the people on screen; the preview does.
"""

from pathlib import Path
from typing import Any

from deepfake_detector.corpora.adapters.listing import (
    CorpusError,
    Listing,
    read_json,
    unexpected_folder,
)

TITLE = "DFDC"
EXPECTED = "metadata.json with its videos, in this folder or in dfdc_train_part_0, ...; or dataset.json"
SUBSETS = {"train": "train", "validation": "val", "val": "val", "test": "test"}


def read(root: Path) -> Listing:
    """Rows in the order of the metadata files. Raises CorpusError."""
    listing = Listing()
    present = set(listing.list_videos(root))
    lists = sorted(path for depth in ("", "*/", "*/*/") for path in root.glob(f"{depth}metadata.json"))
    preview = root / "dataset.json"
    for path in [preview] if preview.is_file() else lists:
        content = read_json(path)
        if not isinstance(content, dict):
            raise CorpusError(f"{path} must map videos to entries, such as {{'a.mp4': {{'label': 'FAKE', ...}}}}")
        folder = path.parent.relative_to(root)
        for name, entry in content.items():
            file = (folder / name).as_posix()
            if file in present:
                listing.rows.append(_row(path, name, file, entry))
            else:
                listing.missing.append(file)
    if not listing.rows:
        raise unexpected_folder(root, TITLE, EXPECTED)
    originals = {row["video_id"] for row in listing.rows if row["label"] == "real"}
    absent = sum(row.get("source_video", "") not in originals | {""} for row in listing.rows)
    if absent:
        listing.notes.append(f"the originals of {absent} fakes are not here; fakes of one original stay together")
    listing.unlisted = sorted(present - {row["filepath"] for row in listing.rows})
    return listing


def _row(path: Path, name: str, file: str, entry: Any) -> dict[str, str]:
    if not isinstance(entry, dict):
        raise CorpusError(f"{path}: the entry of {name} is {entry!r}; it must be like {{'label': 'FAKE', ...}}")
    label = str(entry.get("label", {"0": "real", "1": "fake"}.get(str(entry.get("is_fake")), ""))).lower()
    if label not in ("real", "fake"):
        raise CorpusError(f"{path}: the label of {name} is {entry.get('label')!r}; it must be REAL or FAKE")
    row = {"video_id": Path(name).with_suffix("").as_posix().replace("/", "_"), "filepath": file, "label": label}
    row["subset"] = SUBSETS.get(str(entry.get("split", entry.get("set", ""))).lower(), "")
    row["identity"], row["donor"] = (str(entry.get(key) or "") for key in ("target_id", "swapped_id"))
    if label == "fake":
        row["source_video"] = Path(str(entry.get("original") or "")).stem
        row["method"] = name.split("/")[0] if "/" in name else ""
    return row
