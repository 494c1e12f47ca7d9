"""The metadata of a detector file, the same for every backend. Reading it needs no torch."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from deepfake_detector.bundled_models import BundledModelError, check_if_bundled
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.training import TEMPORAL_HEADS


class CheckpointError(Exception):
    """The file is no detector of this project; the message says why."""


class DeviceError(Exception):
    """The device is not available; the message says what is."""


class DetectorConfig(BaseModel):
    """How a detector was made and how to use it. A stranger may have written it, so that every field has limits."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    description: str = Field(default="", max_length=10_000)  # for people: what it was trained on
    version: str = Field(default="", max_length=50)  # of this project, which trained it
    backbone: str = Field(max_length=200)  # name of the timm model
    geometry: Geometry  # how to sample frames and crop faces
    calibration: Calibration
    params: dict[str, dict[str, object]]  # the sections of params.yaml that shaped it
    corpus: str = Field(max_length=64)  # fingerprint of the faces and splits that it was trained on
    # Digests of the people, originals and so on in train and val: corpora.leakage.
    seen: dict[str, list[Annotated[str, Field(max_length=64)]]] = {}
    epoch: int = Field(ge=0, le=1_000_000)  # whose weights these are, from 1
    val_auc: float = Field(ge=0, le=1)  # video AUC on validation

    @property
    def temporal(self) -> str:
        """How the frames of a person are combined: `model.temporal`."""
        return str(self.params.get("model", {}).get("temporal", "mean"))

    @model_validator(mode="after")
    def _names_what_exists(self) -> Self:
        from deepfake_detector.evaluation.aggregation import AGGREGATORS  # here: scipy takes a while to import

        known = {
            "params.model.temporal": (self.temporal, ("mean", *TEMPORAL_HEADS)),
            "calibration.aggregation": (self.calibration.aggregation, tuple(AGGREGATORS)),
        }
        for field, (name, names) in known.items():
            if name not in names:
                raise ValueError(f"{field} = {name!r} is unknown; known are {', '.join(names)}")
        weights = PurePosixPath(self.geometry.detector_weights)
        if weights.is_absolute() or ".." in weights.parts:
            raise ValueError(f"geometry.detector_weights = {str(weights)!r} must be a file in models/")
        if not self.calibration.low <= self.calibration.threshold <= self.calibration.high:
            raise ValueError("calibration.threshold must lie between calibration.low and calibration.high")
        return self


def parse_config(text: str, path: Path | str, advice: str) -> DetectorConfig:
    """The configuration in the metadata `text` of the file `path`. Raises CheckpointError, with `advice`."""
    try:
        return DetectorConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        problem = f"{field}: {first['msg']}" if field else first["msg"]
        raise CheckpointError(f"{path} does not fit this version ({problem}); {advice}") from error


def check_logits(logits: np.ndarray, count: int, path: Path | str) -> np.ndarray:
    """`logits` if they are `count` finite numbers. Raises CheckpointError: then the detector is damaged, no video."""
    if logits.shape != (count,):
        raise CheckpointError(f"{path} is no detector: it gives an array {logits.shape} for {count} faces")
    if not np.isfinite(logits).all():
        raise CheckpointError(f"{path} is damaged: it gives a face a logit that is no finite number")
    return logits


def read_safetensors_config(path: Path | str) -> DetectorConfig:
    """The configuration in the metadata of a .safetensors detector. Raises CheckpointError.

    The released detector is refused if its content is not what the project ships.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path} does not exist; train a detector (dvc repro train) or name another checkpoint")
    try:
        check_if_bundled(path)
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
    except BundledModelError as error:
        raise CheckpointError(str(error)) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is no safetensors file: {error}") from error
    if "detector" not in metadata:
        raise CheckpointError(f"{path} has weights but no detector metadata; only a file of the train stage serves")
    return parse_config(metadata["detector"], path, "train it again, or use the version that made it")
