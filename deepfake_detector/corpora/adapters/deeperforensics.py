"""DeeperForensics-1.0 (Jiang et al. 2020).

    manipulated_videos/<end_to_end|end_to_end_level_1|...|reenact_postprocess>/000_M101.mp4 (target, actor's face)
    source_videos/<actor>/.../M101_light_down_neutral_camera_front.mp4
    lists/splits/train.txt, val.txt, test.txt: names of manipulated videos

The targets are sequences of FaceForensics++. The corpus does not contain them: its authors use them, at c23, as the
real videos.
"""

import re
from pathlib import Path

from deepfake_detector.corpora import PARTITIONS
from deepfake_detector.corpora.adapters.listing import Listing, read_lines, unexpected_folder

TITLE = "DeeperForensics-1.0"
FAKE = re.compile(r"manipulated_videos/(end_to_end|reenact_postprocess)(?:_(\w+))?/((\d{3})_([MW]\d{3}))\.mp4")
SOURCE = re.compile(r"source_videos/.*?(([MW]\d{3})_\w+)\.mp4")


def read(root: Path) -> Listing:
    """Rows of the source videos, then of the fakes. Raises CorpusError."""
    subset = _subsets(root)
    listing = Listing()
    fakes = []
    actor_subsets: dict[str, set[str]] = {}
    for name, side in subset.items():
        actor_subsets.setdefault(Path(name).stem.split("_")[-1], set()).add(side)
    for path in listing.list_videos(root):
        if match := FAKE.fullmatch(path):
            fakes.append(_fake_row(path, match, subset))
        elif match := SOURCE.fullmatch(path):
            name, actor = match.groups()
            sides = actor_subsets.get(actor, set())
            row = {"video_id": name, "filepath": path, "label": "real", "identity": actor}
            listing.rows.append(row | {"subset": next(iter(sides)) if len(sides) == 1 else ""})
        else:
            listing.unlisted.append(path)
    if not fakes:
        raise unexpected_folder(root, TITLE, "manipulated_videos/end_to_end/000_M101.mp4")
    listing.rows += fakes
    present = {Path(row["filepath"]).name for row in fakes}
    listing.missing = sorted(name for name in subset if name and name not in present)
    listing.notes.append(
        "the real videos that go with these fakes are the sequences of FaceForensics++ at c23 (same numbers, column "
        "identity); source videos are studio recordings of the donors, and their studio tells them from the fakes"
    )
    if not subset:
        listing.notes.append("lists/splits/train.txt, val.txt and test.txt are not here: the column subset is empty")
    return listing


def _subsets(root: Path) -> dict[str, str]:
    """File name of a manipulated video -> its official partition."""
    lists = {name: root / "lists" / "splits" / f"{name}.txt" for name in PARTITIONS}
    return {
        Path(line.strip()).name: name for name, path in lists.items() if path.is_file() for line in read_lines(path)
    }


def _fake_row(path: str, match: re.Match[str], subset: dict[str, str]) -> dict[str, str]:
    method, quality, name, target, actor = match.groups()
    return {
        "video_id": f"{Path(path).parent.name}_{name}",
        "filepath": path,
        "label": "fake",
        "identity": target,
        "donor": actor,
        "method": method,
        "quality": quality or "",
        "subset": subset.get(f"{name}.mp4", ""),
    }
