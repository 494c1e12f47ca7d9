"""The clips of the sample corpus: which there are, and how each is rendered and written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deepfake_detector.corpora.sample_corpus.camera import Camera
from deepfake_detector.corpora.sample_corpus.face_swap import SWAPS, FaceSwap
from deepfake_detector.corpora.sample_corpus.head_motion import matching_poses
from deepfake_detector.corpora.sample_corpus.people import Person, photographs, widen
from deepfake_detector.corpora.sample_corpus.portable import write_gray_video

PEOPLE = range(1, 41)
POSES = 5  # photographs in one clip; the two clips of a person show all ten
RATE = 25  # frames per second
QUANTISERS = (18, 27)  # of H.264; the upper end is excluded


@dataclass(frozen=True)
class SampleClip:
    """The recipe of one clip, and its row of the labels CSV."""

    video_id: str
    person: int
    take: int  # 0 or 1: which five photographs
    camera: int  # seed of the camera: a fake has that of its original
    seed: int  # seed of the encoder and the swap
    donor: int | None = None
    method: str = ""  # one of SWAPS, or empty for a real clip

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
    """The video_id of a real clip."""
    return f"s{person:02d}_{'ab'[take]}"


def partner(person: int) -> int:
    """The one person with whom `person` (1-40) is swapped, in both directions."""
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


def poses_of(take: int) -> list[int]:
    """The photographs of a take, by position in the order of a Person."""
    return list(range(take * POSES, (take + 1) * POSES))


def render_frames(clip: SampleClip, people: dict[int, Person]) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of a clip, uint8 gray (SIZE, SIZE), with their times in seconds.

    `people` holds the person and the donor of the clip by number.
    """
    camera = Camera(np.random.default_rng(clip.camera))
    target = people[clip.person]
    poses = poses_of(clip.take)
    head = target.head_motion(poses)
    swap = face = None
    if clip.donor is not None:
        donor = people[clip.donor]
        face = donor.head_motion(matching_poses(np.array(target.landmarks)[poses], np.array(donor.landmarks)))
        swap = FaceSwap(clip.method, np.random.default_rng([clip.seed, 1]))
    total = round(camera.seconds * RATE)
    for i in range(total):
        moment = i / (total - 1)
        image, points, pose = head.at(moment)
        if swap and face:
            image = swap(image, points, *face.at(moment)[:2])
        yield camera.view(image, pose, i / RATE), i / RATE


def write_clip(clip: SampleClip, people: dict[int, Person], folder: Path) -> None:
    """Write a clip to `folder` as `<video_id>.mp4`. The same clip gives the same bytes."""
    quantiser = int(np.random.default_rng([clip.seed, 2]).integers(*QUANTISERS))
    frames = (image for image, _ in render_frames(clip, people))
    write_gray_video(folder / f"{clip.video_id}.mp4", frames, RATE, quantiser)


# What each clip of the demonstration shows, by its name.
DEMONSTRATION = {
    "genuine": "Genuine: one person, as recorded.",
    "swapped": "Fake: the face was replaced by that of another person.",
    "one_of_two_swapped": "Fake: of two people, the one on the right has another person's face.",
    "nobody": "Genuine: an empty background.",
}


def write_demonstration(folder: Path, seed: int) -> None:
    """Write four clips without labels, to run the detector on.

    They show one person, a swapped person, two people of whom one is swapped, and nobody. The people are in the
    labelled corpus too, so these clips demonstrate inference and measure nothing.
    """
    folder.mkdir(parents=True)
    one, two = 9, 20  # the released detector tells these apart: see the tests
    people = {number: Person(number) for number in (one, two, partner(one), partner(two))}
    real = SampleClip("genuine", one, 0, seed * 100_000 + 900, seed * 100_000 + 900)
    fake = SampleClip("swapped", two, 0, seed * 100_000 + 901, seed * 100_000 + 901, partner(two), "feathered")
    for clip in (real, fake):
        write_clip(clip, people, folder)
    both = zip(render_frames(real, people), render_frames(fake, people), strict=False)
    write_gray_video(folder / "one_of_two_swapped.mp4", (np.hstack([a, b]) for (a, _), (b, _) in both), RATE, 23)
    camera = Camera(np.random.default_rng([seed, 902]))
    backdrop = cv2.GaussianBlur(widen(photographs(one)[0]), (0, 0), 40).astype(np.float32)
    empty = (camera.view(backdrop, np.eye(2, 3), i / RATE) for i in range(2 * RATE))
    write_gray_video(folder / "nobody.mp4", empty, RATE, 23)
