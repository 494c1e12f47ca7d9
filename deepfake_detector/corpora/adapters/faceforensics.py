"""FaceForensics++ (Rössler et al. 2019) with FaceShifter and DeepFakeDetection, in any of its compressions.

    original_sequences/<youtube|actors>/<c0|raw|c23|c40>/videos/033.mp4, 01__kitchen_still.mp4
    manipulated_sequences/<method>/<c0|raw|c23|c40>/videos/033_097.mp4, 01_02__meeting_serious__YVGY8LOK.mp4

The official lists (`train.json`, `val.json`, `test.json`: pairs of sequences; `conversion_dict.json`: sequence to upload) are
looked for in the folder itself, in `splits/` and in `dataset/`. A person is known by the number of a sequence or an actor; the
`donor` of a reenactment is the person whose movements drive it.
"""

import re
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path

from deepfake_detector.corpora.adapters.listing import CorpusError, Listing, first_file, read_json, refuse, videos_below

NAME = "faceforensics"
TITLE = "FaceForensics++"
LISTS = ("", "splits", "dataset", "dataset/splits")
ORIGINAL = re.compile(r"original_sequences/(youtube|actors)/(\w+)/videos/((\d+)(?:__\w+)?)\.mp4")
FAKE = re.compile(r"manipulated_sequences/(\w+)/(\w+)/videos/((\d+)_(\d+)(?:(__\w+)__\w{8})?)\.mp4")
QUALITIES = {"c0", "raw", "c23", "c40"}
METHODS = {"Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter", "DeepFakeDetection"}


def read(root: Path) -> Listing:
    """Rows of all originals, then of all fakes. Raises CorpusError."""
    subset, pairs = _official_pairs(root)
    upload = _uploads(root)
    listing = Listing()
    fakes = []
    masks = 0
    for path in videos_below(root):
        original, fake = ORIGINAL.fullmatch(path), FAKE.fullmatch(path)
        if original and original[2] in QUALITIES:
            source, quality, name, person = original.groups()
            listing.rows.append(
                {
                    "video_id": f"{source}_{quality}_{name}",
                    "filepath": path,
                    "label": "real",
                    "identity": person,
                    "quality": quality,
                    "subset": subset.get(person, "") if source == "youtube" else "",
                    "upload": upload.get(person, "") if source == "youtube" else "",
                }
            )
        elif fake and fake[1] in METHODS and fake[2] in QUALITIES:
            fakes.append((path, fake))
        elif "/masks/" in path:
            masks += 1
        else:
            listing.unlisted.append(path)
    originals = {row["video_id"] for row in listing.rows}
    for path, fake in fakes:
        method, quality, name, target, donor, scene = fake.groups()
        source, sequence = ("actors", target + (scene or "")) if method == "DeepFakeDetection" else ("youtube", target)
        candidates = [f"{source}_{other}_{sequence}" for other in (quality, *sorted(QUALITIES))]
        sides = {subset.get(target, ""), subset.get(donor, "")} if source == "youtube" else {""}
        listing.rows.append(
            {
                "video_id": f"{method}_{quality}_{name}",
                "filepath": path,
                "label": "fake",
                "identity": target,
                "donor": donor,
                "source_video": next((name for name in candidates if name in originals), ""),
                "method": method,
                "quality": quality,
                "subset": sides.pop() if len(sides) == 1 else "",
                "upload": upload.get(target, "") if source == "youtube" else "",
            }
        )
    if not listing.rows:
        raise refuse(
            root,
            TITLE,
            "original_sequences/youtube/c23/videos/000.mp4 or manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
        )
    listing.missing = _missing({row["filepath"] for row in listing.rows}, pairs)
    if masks:
        listing.notes.append(f"{masks} videos of masks left out")
    if not pairs:
        listing.notes.append("no official train.json, val.json and test.json here: column subset is empty")
    if not upload:
        listing.notes.append("no conversion_dict.json here: which sequences come from one upload is not known")
    return listing


def _official_pairs(root: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Partition of each sequence, and all pairs."""
    subset: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for name in ("train", "val", "test"):
        path = first_file([root / folder for folder in LISTS], f"{name}.json")
        if not path:
            continue
        content = read_json(path)
        if not isinstance(content, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in content):
            raise CorpusError(f'{path} is no list of pairs of sequences, such as [["071", "054"]]')
        pairs += [(str(a), str(b)) for a, b in content]
        side = dict.fromkeys((str(sequence) for pair in content for sequence in pair), name)
        if twice := sorted(subset.keys() & side.keys()):
            raise CorpusError(
                f"{path} lists {', '.join(twice[:10])}, which {subset[twice[0]]}.json lists, too: {len(twice)} in all"
            )
        subset |= side
    return subset, pairs


def _uploads(root: Path) -> dict[str, str]:
    """The upload of each sequence: the dictionary's values are an identifier of the upload and a number of the clip in it."""
    path = first_file([root / folder for folder in LISTS], "conversion_dict.json")
    if not path:
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(clip, str) and clip.split() for clip in content.values()):
        raise CorpusError(f'{path} is no table of sequences and their uploads, such as {{"000": "d8UXHC8T5G8 0"}}')
    return {sequence: clip.split()[0] for sequence, clip in content.items()}


def _missing(paths: set[str], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """What the pairs ask for in those folders that hold anything at all."""
    folders = sorted({path.rsplit("/", 1)[0] for path in paths})
    wanted = []
    for folder in folders:
        if "/actors/" in folder or "/DeepFakeDetection/" in folder:
            continue
        real = folder.startswith("original_sequences")
        names = [
            name for pair in pairs for name in (pair if real else ("_".join(order) for order in permutations(pair)))
        ]
        wanted += [f"{folder}/{name}.mp4" for name in names]
    return sorted(set(wanted) - paths)
