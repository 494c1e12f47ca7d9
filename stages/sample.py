"""Write the sample corpus: real clips, face-swapped clips and their labels CSV, from photographs in a Python package.

    python -m stages.sample

It shows that the pipeline works. It does not show how well a detector works on other videos. It is written only if
data.labels or infer.videos lies in its folder, sample.output: a corpus of your own does not need it.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from deepfake_detector.corpora.sample_corpus import (
    PEOPLE,
    Person,
    SampleClip,
    partner,
    sample_clips,
    write_clip,
    write_demonstration,
)
from deepfake_detector.corpora.sample_corpus.portable import portable_workers
from deepfake_detector.parallel_map import parallel_map
from stages.params import Params, Sample, fail, parse, say

LABELS, README, DEMONSTRATION = "labels.csv", "README.txt", "demo"  # beside the clips
NOT_NEEDED = "The sample corpus is not written: neither data.labels nor infer.videos lies in this folder.\n"


def main() -> None:
    params = parse("sample", __doc__ or "")
    folder = Path(params.sample.output)
    empty_folder(folder)
    if not is_needed(params):
        (folder / README).write_text(NOT_NEEDED, encoding="utf-8")
        say(f"{folder}: {NOT_NEEDED}", end="")
        return
    table = write_corpus(params.sample, folder)
    counts = table["label"].value_counts()
    say(f"{counts['real']} real and {counts['fake']} fake clips of {table['identity'].nunique()} people in {folder}")
    say("Faces: ORL Database of Faces, AT&T Laboratories Cambridge.")


def empty_folder(folder: Path) -> None:
    """Make the folder, or delete what an earlier run wrote there. Any other file ends the stage: it may be a corpus."""
    known = {LABELS, README, DEMONSTRATION} | {f"{clip.video_id}.mp4" for clip in sample_clips(seed=0)}
    foreign = sorted(path.name for path in folder.glob("*") if path.name not in known)
    if foreign:
        fail(f"sample.output = {folder} contains {foreign[0]}, which is not of the sample corpus; name another folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def is_needed(params: Params) -> bool:
    """Whether the labels CSV or a video of the infer stage lies in the folder of the sample corpus."""
    folder = Path(params.sample.output).resolve()
    videos = params.infer.videos
    paths = [params.data.labels, *([videos] if isinstance(videos, str) else videos)]
    return any(Path(path).resolve().is_relative_to(folder) for path in paths)


def write_corpus(settings: Sample, folder: Path) -> pd.DataFrame:
    """Write clips, labels CSV and demonstration clips to the empty folder. Returns the labels table."""
    pairs = [(person, partner(person)) for person in PEOPLE[::2]][: settings.pairs]
    people = {person for pair in pairs for person in pair}
    clips = [clip for clip in sample_clips(settings.seed) if clip.person in people]
    tasks = [partial(write_clips, [clip for clip in clips if clip.person in pair], folder) for pair in pairs]
    tasks.append(partial(write_demonstration, folder / DEMONSTRATION, settings.seed))
    with portable_workers():
        for _, outcome in parallel_map(run, tasks, settings.workers, "sample", "pair of people"):
            if isinstance(outcome, BaseException):
                raise RuntimeError(f"{folder}: not all clips could be written") from outcome
    table = pd.DataFrame([clip.row for clip in clips])
    table.to_csv(folder / LABELS, index=False, lineterminator="\n")
    return table


def run(task: Callable[[], None]) -> None:
    task()


def write_clips(clips: list[SampleClip], folder: Path) -> None:
    """Write the clips of one pair of people. Each person is loaded once."""
    people = {number: Person(number) for number in {clip.person for clip in clips}}
    for clip in clips:
        write_clip(clip, people, folder)


if __name__ == "__main__":
    main()
