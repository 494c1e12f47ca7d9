"""Does the recipe find a manipulation that it never saw? On a second corpus, made of other people's colour photographs.

    python -m benchmarks.held_out PHOTOS.zip WORK            # writes docs/held_out.md

Each photograph becomes a short clip, as it is and altered in four ways, through the same camera and encoder. Two
recipes train on the people and fakes of three ways, for equally many steps, twice each. They are tested on other people
and the fourth way: an hour or two on two cores, a training on each. What is in WORK already is not made again.

Both recipes start from ImageNet weights: from random ones, a network needs many times the steps to see any of this.
`advised` is the default recipe with blends in four of five fakes instead of two, half of them self-blended.

The four ways share no code with deepfake_detector/training/blending.py. But `feathered` and `poisson` also put another
face in along a seam. Blends alone cannot teach `lowres` and above all `expression`, in which nobody is swapped.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from benchmarks.command import command_line
from benchmarks.recipe import PLAIN, QUICK
from benchmarks.trainings import Tree, on_each_core, read_params, read_test_videos, run_stages
from deepfake_detector.corpora.sample_corpus import transform
from deepfake_detector.evaluation.intervals import interval
from deepfake_detector.evaluation.significance import paired_auc_difference
from deepfake_detector.faces.alignment import fit_similarity, landmark_template
from deepfake_detector.faces.archive import decode_crop
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.parallel_map import parallel_map

SIDE, FRAMES, RATE = 256, 4, 25
SHARES = {"train": 0.66, "val": 0.14, "test": 0.2}  # of the pairs of people
RECIPES = {
    "plain": PLAIN,
    "advised": QUICK | {"train.manipulations.blend": "0.4", "train.manipulations.self_blend": "0.4"},
}
SEEDS = (1, 2)  # of training
FIXED = {"extract.frames": 2, "extract.size": 128, "train.epochs": 4}
DRAWS = 2000  # of groups of test people, for the intervals
OUTPUT = Path("docs/held_out.md")

Image = np.ndarray  # float32 BGR (SIDE, SIDE, 3)
Points = np.ndarray  # right eye, left eye, nose, right and left corner of the mouth: (5, 2), pixels


def ellipse(centre: Points, axes: tuple[float, float], points: Points) -> np.ndarray:
    """A filled ellipse that leans like the face: float32 0/1 (SIDE, SIDE)."""
    across = points[1] - points[0]
    mask = np.zeros((SIDE, SIDE), np.uint8)
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    cv2.ellipse(mask, tuple(centre.round().astype(int).tolist()), tuple(round(a) for a in axes), angle, 0, 360, 1, -1)
    return mask.astype(np.float32)


def inner_face(points: Points, wide: float) -> np.ndarray:
    eyes = float(np.linalg.norm(points[1] - points[0]))
    return ellipse(0.4 * points[:2].mean(0) + 0.6 * points[3:].mean(0), (eyes * 0.85 * wide, eyes * 1.1 * wide), points)


def in_light_of(face: Image, head: Image, mask: np.ndarray) -> Image:
    """`face` with the mean and spread of `head` in each channel of Lab, within `mask` (Reinhard et al. 2001)."""
    one, two = (
        cv2.cvtColor(np.clip(image / 255, 0, 1).astype(np.float32), cv2.COLOR_BGR2Lab) for image in (face, head)
    )
    inside = mask > 0
    gain = np.clip(two[inside].std(0) / np.maximum(one[inside].std(0), 1e-3), 0.5, 2)
    return cv2.cvtColor((one - one[inside].mean(0)) * gain + two[inside].mean(0), cv2.COLOR_Lab2BGR) * 255


def feathered(head: Image, points: Points, face: Image, rng: np.random.Generator) -> Image:
    """Another person's face in the light of the head, its edge feathered."""
    mask = inner_face(points, rng.uniform(0.9, 1.05))
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(2, 5))[..., None]
    return head + soft * (in_light_of(face, head, mask) - head)


def poisson(head: Image, points: Points, face: Image, rng: np.random.Generator) -> Image:
    """Another person's face, joined by its gradients (Pérez et al. 2003)."""
    mask = inner_face(points, rng.uniform(0.85, 1)).astype(np.uint8) * 255
    x, y, width, height = cv2.boundingRect(mask)
    source, target = (np.clip(image, 0, 255).astype(np.uint8) for image in (face, head))
    return cv2.seamlessClone(source, target, mask, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE).astype(
        np.float32
    )


def lowres(head: Image, points: Points, face: Image, rng: np.random.Generator) -> Image:
    """Another person's face as a small autoencoder would give it: smoothed, from few pixels, under a wide soft mask."""
    small = cv2.resize(face, None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA)
    small = cv2.bilateralFilter(small, 5, 20, 2)
    face = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    mask = inner_face(points, rng.uniform(0.85, 1))
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(5, 9))[..., None]
    return head + soft * (in_light_of(face, head, mask) - head)


def expression(head: Image, points: Points, face: Image, rng: np.random.Generator) -> Image:
    """The own mouth in another shape, drawn anew from fewer pixels, as reenactment does; `face` is not used."""
    mouth, width = points[3:].mean(0), float(np.linalg.norm(points[4] - points[3]))
    soft = cv2.GaussianBlur(ellipse(mouth, (width * 0.75, width * 0.55), points), (0, 0), width * 0.12)[..., None]
    wide, tall = 1 + rng.choice([-1, 1], 2) * rng.uniform(0.1, 0.25, 2)
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1).astype(np.float32)
    there = grid + soft * ((grid - mouth) * (1 / np.array([wide, tall]) - 1)).astype(np.float32)
    warped = cv2.remap(head, there.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    small = cv2.resize(warped, None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA)
    return head + soft * (cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) - head)


METHODS = {method.__name__: method for method in (feathered, poisson, lowres, expression)}


@dataclass(frozen=True)
class Clip:
    """A photograph and the other person of its pair, with their landmarks, and what is to be made of them."""

    path: Path
    head: Image
    points: Points
    face: Image
    face_points: Points
    method: str  # "" for a genuine clip
    camera: int  # seed of the camera, that of the genuine clip in each of its fakes
    seed: int


def write(clip: Clip) -> None:
    """The clip as H.264: hand-held motion, light, noise and quality are drawn alike for genuine and altered ones."""
    rng, camera = np.random.default_rng([clip.seed, 0]), np.random.default_rng([clip.camera, 1])
    image = clip.head
    if clip.method:
        onto = fit_similarity(clip.face_points, clip.points)
        face = cv2.warpAffine(clip.face, onto, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        image = METHODS[clip.method](image, clip.points, face, rng)
    gain, noise, reach = camera.uniform(0.85, 1.1), camera.uniform(0.5, 2), camera.uniform(-4, 4, 3)
    crf = int(rng.integers(18, 27))
    with VideoWriter(clip.path, Fraction(RATE), (SIDE, SIDE), crf, "veryfast") as writer:
        for i in range(FRAMES):
            x, y, turn = reach * (i / FRAMES)
            matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turn, 1.02)
            matrix[:, 2] += (x, y)
            seen = cv2.warpAffine(
                image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
            seen = seen * gain + camera.standard_normal(seen.shape, np.float32) * noise
            writer.write(np.clip(seen, 0, 255).round().astype(np.uint8), i / RATE)


def portraits(photos: Path) -> Iterator[tuple[str, Image, Points]]:
    """Name, picture and landmarks of every photograph that shows one large face."""
    detector = CenterFace(threshold=0.5)
    with zipfile.ZipFile(photos) as archive:
        for name in sorted(
            member for member in archive.namelist() if member.startswith("real/") and member.endswith(".jpg")
        ):
            image = cv2.resize(decode_crop(archive.read(name)), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            found = detector.detect(image)
            if len(found) == 1 and found.boxes[0, 2] - found.boxes[0, 0] > SIDE / 4:
                yield Path(name).stem, image.astype(np.float32), found[0].landmarks


def looks(image: Image, points: Points) -> np.ndarray:
    """What a swap should not change too much: the turn of the head, the colour of the skin and how the light falls."""
    upright = cv2.warpAffine(
        image, fit_similarity(points, landmark_template(SIDE, 0)), (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101
    )
    skin = cv2.resize(
        cv2.cvtColor(upright[64:224, 48:208] / 255, cv2.COLOR_BGR2Lab), (2, 2), interpolation=cv2.INTER_AREA
    )
    turn = transform(points, fit_similarity(points, landmark_template(SIDE, 0))) - landmark_template(SIDE, 0)
    return np.concatenate([turn.ravel(), skin.ravel()])


def couples(people: list[tuple[str, Image, Points]]) -> list[list[int]]:
    """Everybody with the one left who looks most alike, each once."""
    all_looks = np.array([looks(image, points) for _, image, points in people])
    apart = np.linalg.norm(all_looks[:, None] - all_looks[None], axis=2)
    apart[np.tril_indices(len(people))] = np.inf
    result: list[list[int]] = []
    while np.isfinite(apart.min()):
        pair = [int(i) for i in np.unravel_index(apart.argmin(), apart.shape)]
        apart[pair], apart[:, pair] = np.inf, np.inf
        result.append(pair)
    return [result[i] for i in np.random.default_rng(1).permutation(len(result))]


def make_corpus(photos: Path, folder: Path) -> None:
    """Clips and labels.csv with the partition of each in `subset`; people are swapped within pairs only."""
    folder.mkdir(parents=True, exist_ok=True)
    people = list(portraits(photos))
    pairs = couples(people)
    ends = np.cumsum([share * len(pairs) for share in SHARES.values()])
    rows: list[dict[str, str]] = []
    clips: list[Clip] = []
    for number, pair in enumerate(pairs):
        subset = list(SHARES)[int(np.searchsorted(ends, number, side="right").clip(0, 2))]
        for one, other in (pair, pair[::-1]):
            (person, head, points), (donor, face, face_points) = people[one], people[other]
            for method in ("", *METHODS):
                name = f"{person}_{method}" if method else person
                row = {"video_id": name, "filepath": f"{name}.mp4", "label": "fake" if method else "real"}
                row |= {
                    "identity": person,
                    "donor": donor if method not in ("", "expression") else "",
                    "method": method,
                }
                rows.append(row | {"source_video": person if method else "", "subset": subset, "group": str(number)})
                clips.append(Clip(folder / f"{name}.mp4", head, points, face, face_points, method, one, len(clips)))
    for at, outcome in parallel_map(write, clips, 0, "clips", "clip"):
        if isinstance(outcome, BaseException):
            raise RuntimeError(f"{clips[at].path} could not be made") from outcome
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)


def test_scores(work: Path, params: Tree, recipe: str, method: str, seed: int) -> pd.DataFrame:
    """The scored test videos (see read_test_videos) of a training without `method`."""
    folder = work / f"{recipe}-{method}-{seed}"
    labels = pd.read_csv(work / "clips/labels.csv", dtype=str, keep_default_na=False)
    elsewhere = ((labels["method"] == method) != (labels["subset"] == "test")) & (labels["label"] == "fake")
    splits = labels[["video_id", "group"]].assign(partition=labels["subset"].mask(elsewhere, "excluded"), fold=-1)
    folder.mkdir(exist_ok=True)
    splits.to_csv(folder / "splits.csv", index=False)
    run_stages(
        folder,
        read_params({"data.splits": "splits.csv", "train.seed": seed, **RECIPES[recipe]}, params),
        "train",
        "evaluate",
    )
    return read_test_videos(folder)


def gain(plain: pd.DataFrame, advised: pd.DataFrame) -> np.ndarray:
    """How much higher the AUC of `advised` is, on the data and then for each draw of groups of people."""
    pairs = plain.merge(advised[["video_id", "logit"]], on="video_id", suffixes=("_1", "_2"))
    return paired_auc_difference(pairs, "logit_1", "logit_2", DRAWS, 1)


def table(scores: dict[tuple[str, str, int], pd.DataFrame]) -> Iterator[str]:
    """Of every way left out and all together, the rows in Markdown."""
    aucs = {cell: float(roc_auc_score(videos["label"], videos["logit"])) for cell, videos in scores.items()}
    gains = {
        m: np.mean([gain(*(scores[recipe, m, seed] for recipe in RECIPES)) for seed in SEEDS], axis=0) for m in METHODS
    }
    groups = next(iter(scores.values()))["group"].nunique()
    yield "| left out | " + " | ".join(RECIPES) + " | gain |"
    yield "|---|" + "---|" * (len(RECIPES) + 1)
    for name, methods in ({method: [method] for method in METHODS} | {"mean": list(METHODS)}).items():
        each = {
            recipe: [mean(aucs[recipe, method, seed] for method in methods) for seed in SEEDS] for recipe in RECIPES
        }
        cells = [f"{mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})" for values in each.values()]
        change = np.mean([gains[method] for method in methods], axis=0)
        low, high = interval(change, groups)
        yield f"| {name} | {' | '.join(cells)} | {change[0]:+.3f} ({low:+.3f} to {high:+.3f}) |"


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("photos", type=Path, help="a zip with real/*.jpg, each of another person")
    parser.add_argument("work", type=Path, help="folder for all that is made on the way")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    if not (work / "clips/labels.csv").is_file():
        make_corpus(arguments.photos, work / "clips")
    places = {
        "videos": "clips",
        "labels": "clips/labels.csv",
        "faces": "faces",
        "index": "faces.parquet",
        "extract_report": "report.csv",
    }
    params = read_params(
        {f"data.{key}": str(work / place) for key, place in places.items()}
        | FIXED
        | {"extract.cache": str(work / "cache")}
    )
    run_stages(work, params, "extract")
    cells = [(recipe, method, seed) for seed in SEEDS for method in METHODS for recipe in RECIPES]
    scores = on_each_core(lambda cell: test_scores(work, params, *cell), cells)
    lines = [
        "# A manipulation never seen in training",
        "",
        "`python -m benchmarks.held_out PHOTOS.zip WORK` writes this page.",
        "",
        "\n\n".join((__doc__ or "").strip().split("\n\n")[2:]),
        "",
        "Video AUC on test people, mean of trainings (and each); gain with its 95 % interval over groups of people:",
    ]
    lines += ["", *table(scores)]
    OUTPUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
