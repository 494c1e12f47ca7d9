"""DeeperForensics-1.0 (Jiang et al. 2020).

    manipulated_videos/<end_to_end|end_to_end_level_1|...|reenact_postprocess>/000_M101.mp4 (target sequence, actor's face)
    source_videos/<actor>/.../M101_light_down_neutral_camera_front.mp4
    lists/splits/train.txt, val.txt, test.txt: names of manipulated videos

The targets are sequences of FaceForensics++, which are no part of it: its authors mean those, at c23, as the real videos.
"""

import re
from pathlib import Path

from deepfake_detector.corpora.adapters.listing import Listing, read_lines, refuse, videos_below

NAME = "deeperforensics"
TITLE = "DeeperForensics-1.0"
FAKE = re.compile(r"manipulated_videos/(end_to_end|reenact_postprocess)(?:_(\w+))?/((\d{3})_([MW]\d{3}))\.mp4")
SOURCE = re.compile(r"source_videos/.*?(([MW]\d{3})_\w+)\.mp4")


def read(root: Path) -> Listing:
    """Rows of the source videos, then of the fakes. Raises CorpusError."""
    lists = {name: root / "lists" / "splits" / f"{name}.txt" for name in ("train", "val", "test")}
    subset = {
        Path(line.strip()).name: name for name, path in lists.items() if path.is_file() for line in read_lines(path)
    }
    listing = Listing()
    sources, fakes = [], []
    for path in videos_below(root):
        if match := FAKE.fullmatch(path):
            fakes.append((path, match))
        elif match := SOURCE.fullmatch(path):
            sources.append((path, match))
        else:
            listing.unlisted.append(path)
    sides: dict[str, set[str]] = {}
    for name, side in subset.items():
        sides.setdefault(Path(name).stem.split("_")[-1], set()).add(side)
    for path, match in sources:
        name, actor = match.groups()
        its = sides.get(actor, set())
        row = {"video_id": name, "filepath": path, "label": "real", "identity": actor}
        listing.rows.append(row | {"subset": next(iter(its)) if len(its) == 1 else ""})
    for path, match in fakes:
        method, quality, name, target, actor = match.groups()
        row = {
            "video_id": f"{Path(path).parent.name}_{name}",
            "filepath": path,
            "label": "fake",
            "identity": target,
            "donor": actor,
        }
        listing.rows.append(row | {"method": method, "quality": quality or "", "subset": subset.get(f"{name}.mp4", "")})
    if not fakes:
        raise refuse(root, TITLE, "manipulated_videos/end_to_end/000_M101.mp4")
    there = {Path(path).name for path, _ in fakes}
    listing.missing = sorted(name for name in subset if name and name not in there)
    listing.notes.append(
        "the real videos that go with these fakes are the sequences of FaceForensics++ at c23 (same numbers, column identity); "
        "source videos are studio recordings of the donors, which a detector tells from YouTube videos by their studio"
    )
    if not subset:
        listing.notes.append("no lists/splits/train.txt, val.txt, test.txt here: column subset is empty")
    return listing
