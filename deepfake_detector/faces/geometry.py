"""How faces are found and cropped: what a Geometry holds, and what its parts may be."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from deepfake_detector.faces.detectors import DETECTORS


def _known_detector(name: str) -> str:
    if name not in DETECTORS:
        raise ValueError(f"must be one of {', '.join(DETECTORS)}")
    return name


# What each part of a Geometry may be, in params.yaml, in a face index and in a detector file.
FrameCount = Annotated[int, Field(ge=1, le=100_000)] | Literal["keyframes"]
FrameRate = Annotated[float, Field(gt=0, le=1000)] | None
CropSize = Annotated[int, Field(ge=32, le=1024)]
Margin = Annotated[float, Field(ge=0, le=3)]
DetectorName = Annotated[str, AfterValidator(_known_detector)]
DetectorScore = Annotated[float, Field(ge=0, le=1)]
Alignment = Literal["landmarks", "box"]
CropFormat = Literal["jpg", "png"]
EyeDistance = Annotated[float, Field(ge=0, le=1000)]


@dataclass(frozen=True)
class Geometry:
    """How faces are found and cropped. A trained detector stores the geometry of its training crops.

    The fields are the keys of the same names in the section `extract` of params.yaml. Read from a file, they are
    checked by pydantic.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    frames: FrameCount
    size: CropSize
    margin: Margin
    detector: DetectorName
    threshold: DetectorScore
    detector_weights: str = "none"
    fps: FrameRate = None
    align: Alignment = "landmarks"
    format: CropFormat = "jpg"
    min_eye_distance: EyeDistance = 0.0
