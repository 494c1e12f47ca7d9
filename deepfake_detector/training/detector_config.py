"""The metadata of a detector file, the same for every backend. Reading it needs no torch."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open

from deepfake_detector.bundled_models import BundledModelError, check_if_bundled
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.extraction import Geometry


class CheckpointError(Exception):
    """The file is no detector of this project; the message says why."""


class DeviceError(Exception):
    """The device is not available; the message says what is."""


class DetectorConfig(BaseModel):
    """How a detector was made and how to use it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    description: str = ""  # for people: what it was trained on
    backbone: str  # name of the timm model
    geometry: Geometry  # how to sample frames and crop faces
    calibration: Calibration
    params: dict[str, dict[str, object]]  # the sections of params.yaml that shaped it
    corpus: str  # fingerprint of the faces and splits that it was trained on
    seen: dict[str, list[str]] = {}  # digests of the people, originals and so on in train and val: corpora.leakage
    epoch: int  # whose weights these are, from 1
    val_auc: float  # video AUC on validation

    @property
    def temporal(self) -> str:
        """How the frames of a person are combined: `model.temporal`."""
        return str(self.params.get("model", {}).get("temporal", "mean"))


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
    try:
        return DetectorConfig.model_validate_json(metadata["detector"])
    except ValidationError as error:
        raise CheckpointError(f"{path} does not fit this version: {error}") from error
