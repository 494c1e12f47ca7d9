"""Celeb-DF, versions 1 and 2 (Li et al. 2020).

    Celeb-real/id0_0000.mp4, YouTube-real/00000.mp4, Celeb-synthesis/id0_id1_0000.mp4 (id0's video with the face of id1)

`List_of_testing_videos.txt` names the official test videos, where 1 means real. All others are `train`.
"""

import re
from pathlib import Path

from deepfake_detector.corpora.adapters.listing import (
    CorpusError,
    Listing,
    read_lines,
    unexpected_folder,
)

TITLE = "Celeb-DF"
TEST_LIST = "List_of_testing_videos.txt"
SCHEME = re.compile(r"(?:Celeb-real/(id\d+)_\d+|YouTube-real/\d+|Celeb-synthesis/(id\d+)_(id\d+)_(\d+))\.mp4")
EXPECTED = "Celeb-real/id0_0000.mp4, YouTube-real/00000.mp4 or Celeb-synthesis/id0_id1_0000.mp4"


def read(root: Path) -> Listing:
    """Rows of the real videos, then of the fakes. Raises CorpusError."""
    listing = Listing()
    test_labels = _test_list(root)
    for path in listing.list_videos(root):
        match = SCHEME.fullmatch(path)
        if not match:
            listing.unlisted.append(path)
            continue
        row = _row(path, match)
        row["subset"] = ("test" if path in test_labels else "train") if test_labels else ""
        if path in test_labels and test_labels[path] != row["label"]:
            raise CorpusError(
                f"{root / TEST_LIST} says that {path} is {test_labels[path]}; its folder says {row['label']}"
            )
        listing.rows.append(row)
    if not listing.rows:
        raise unexpected_folder(root, TITLE, EXPECTED)
    listing.rows.sort(key=lambda row: row["label"] == "fake")
    originals = {row["video_id"] for row in listing.rows if row["label"] == "real"}
    for row in listing.rows:
        if row.get("source_video", "") not in originals:
            row["source_video"] = ""
    listing.missing = sorted(set(test_labels) - {row["filepath"] for row in listing.rows})
    if not test_labels:
        listing.notes.append(f"{TEST_LIST} is not here: the column subset is empty")
    return listing


def _row(path: str, match: re.Match[str]) -> dict[str, str]:
    person, target, donor, number = match.groups()
    row = {"video_id": path[:-4].replace("/", "_"), "filepath": path, "label": "fake" if target else "real"}
    row |= {"identity": target or person or "", "donor": donor or ""}
    if target:
        row |= {"source_video": f"Celeb-real_{target}_{number}", "method": "Celeb-synthesis"}
    return row


def _test_list(root: Path) -> dict[str, str]:
    """Path -> label of the official test videos; empty if there is no list."""
    path = root / TEST_LIST
    if not path.is_file():
        return {}
    result = {}
    for number, line in enumerate(read_lines(path), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in ("0", "1"):
            raise CorpusError(f"{path}, line {number}: {line!r} is not a label (1 real, 0 fake) and a path")
        result[words[1].replace("\\", "/")] = "real" if words[0] == "1" else "fake"
    return result
