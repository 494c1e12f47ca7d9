"""FaceForensics++ (Rössler et al. 2019) with FaceShifter and DeepFakeDetection, in any of its compressions.

    original_sequences/<youtube|actors>/<c0|raw|c23|c40>/videos/033.mp4, 01__kitchen_still.mp4
    manipulated_sequences/<method>/<c0|raw|c23|c40>/videos/033_097.mp4, 01_02__meeting_serious__YVGY8LOK.mp4

The official lists are `train.json`, `val.json` and `test.json` (pairs of sequences) and `conversion_dict.json`
(sequence to upload), in the folder itself, in `splits/` or in `dataset/`. A person is named by the number of a sequence
or an actor. The `donor` of a reenactment is the person whose movements drive it.
"""

import re
from itertools import permutations
from pathlib import Path

from deepfake_detector.corpora import PARTITIONS
from deepfake_detector.corpora.adapters.listing import (
    CorpusError,
    Listing,
    first_file,
    read_json,
    unexpected_folder,
)

TITLE = "FaceForensics++"
LISTS = ("", "splits", "dataset", "dataset/splits")
ORIGINAL = re.compile(r"original_sequences/(youtube|actors)/(\w+)/videos/((\d+)(?:__\w+)?)\.mp4")
FAKE = re.compile(r"manipulated_sequences/(\w+)/(\w+)/videos/((\d+)_(\d+)(?:(__\w+)__\w{8})?)\.mp4")
QUALITIES = {"c0", "raw", "c23", "c40"}
METHODS = {"Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter", "DeepFakeDetection"}
EXPECTED = "original_sequences/youtube/c23/videos/000.mp4 or manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"


def read(root: Path) -> Listing:
    """Rows of all originals, then of all fakes. Raises CorpusError."""
    subset, pairs = _official_pairs(root)
    upload = _uploads(root)
    listing = Listing()
    fakes = []
    masks = 0
    for path in listing.list_videos(root):
        original, fake = ORIGINAL.fullmatch(path), FAKE.fullmatch(path)
        if original and original[2] in QUALITIES:
            listing.rows.append(_original_row(original, subset, upload))
        elif fake and fake[1] in METHODS and fake[2] in QUALITIES:
            fakes.append(fake)
        elif "/masks/" in path:
            masks += 1
        else:
            listing.unlisted.append(path)
    originals = {row["video_id"] for row in listing.rows}
    listing.rows += [_fake_row(fake, subset, upload, originals) for fake in fakes]
    if not listing.rows:
        raise unexpected_folder(root, TITLE, EXPECTED)
    listing.missing = _missing({row["filepath"] for row in listing.rows}, pairs)
    if masks:
        listing.notes.append(f"{masks} videos of masks left out")
    if not pairs:
        listing.notes.append("train.json, val.json and test.json are not here: the column subset is empty")
    if not upload:
        listing.notes.append("conversion_dict.json is not here: sequences of one upload are not known")
    return listing


def _original_row(match: re.Match[str], subset: dict[str, str], upload: dict[str, str]) -> dict[str, str]:
    source, quality, name, person = match.groups()
    youtube = source == "youtube"
    return {
        "video_id": f"{source}_{quality}_{name}",
        "filepath": match[0],
        "label": "real",
        "identity": person,
        "quality": quality,
        "subset": subset.get(person, "") if youtube else "",
        "upload": upload.get(person, "") if youtube else "",
    }


def _fake_row(
    match: re.Match[str], subset: dict[str, str], upload: dict[str, str], originals: set[str]
) -> dict[str, str]:
    """The original is the one of the same quality, or of any other if there is none."""
    method, quality, name, target, donor, scene = match.groups()
    youtube = method != "DeepFakeDetection"
    original = f"youtube_{{}}_{target}" if youtube else f"actors_{{}}_{target}{scene or ''}"
    candidates = [original.format(other) for other in (quality, *sorted(QUALITIES))]
    sides = {subset.get(target, ""), subset.get(donor, "")} if youtube else {""}
    return {
        "video_id": f"{method}_{quality}_{name}",
        "filepath": match[0],
        "label": "fake",
        "identity": target,
        "donor": donor,
        "source_video": next((name for name in candidates if name in originals), ""),
        "method": method,
        "quality": quality,
        "subset": sides.pop() if len(sides) == 1 else "",
        "upload": upload.get(target, "") if youtube else "",
    }


def _official_pairs(root: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Sequence -> official partition, and all pairs of sequences."""
    subset: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for name in PARTITIONS:
        path = first_file([root / folder for folder in LISTS], f"{name}.json")
        if not path:
            continue
        content = read_json(path)
        if not isinstance(content, list) or not all(
            isinstance(pair, list) and [*map(type, pair)] == [str, str] for pair in content
        ):
            raise CorpusError(f'{path} must be a list of pairs of sequences, such as [["071", "054"]]')
        pairs += [(a, b) for a, b in content]
        listed = dict.fromkeys((sequence for pair in content for sequence in pair), name)
        if twice := sorted(subset.keys() & listed.keys()):
            raise CorpusError(
                f"{path} lists {', '.join(twice[:10])}; {subset[twice[0]]}.json lists it, too ({len(twice)} in total)"
            )
        subset |= listed
    return subset, pairs


def _uploads(root: Path) -> dict[str, str]:
    """Sequence -> upload. A value of the dictionary is the identifier of an upload and the number of the clip in it."""
    path = first_file([root / folder for folder in LISTS], "conversion_dict.json")
    if not path:
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(clip, str) and clip.split() for clip in content.values()):
        raise CorpusError(f'{path} must map sequences to uploads, such as {{"000": "d8UXHC8T5G8 0"}}')
    return {sequence: clip.split()[0] for sequence, clip in content.items()}


def _missing(paths: set[str], pairs: list[tuple[str, str]]) -> list[str]:
    """Files that the pairs name and that are not there, in folders that hold any of the corpus."""
    expected: set[str] = set()
    for folder in {path.rsplit("/", 1)[0] for path in paths}:
        if "/actors/" in folder or "/DeepFakeDetection/" in folder:
            continue
        if folder.startswith("original_sequences"):
            names = [sequence for pair in pairs for sequence in pair]
        else:
            names = ["_".join(order) for pair in pairs for order in permutations(pair)]
        expected |= {f"{folder}/{name}.mp4" for name in names}
    return sorted(expected - paths)
