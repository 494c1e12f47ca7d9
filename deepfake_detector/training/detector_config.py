"""What a detector file says of itself, whatever runs it; reading it needs no torch."""

from pydantic import BaseModel, ConfigDict

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.extraction import Geometry


class CheckpointError(Exception):
    """The file is no detector of this project; the message says why."""


class DetectorConfig(BaseModel):
    """How a detector was made and is to be used."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    backbone: str
    geometry: Geometry
    calibration: Calibration
    params: dict[str, dict[str, object]]  # sections of params.yaml that shaped it
    corpus: str  # fingerprint of the faces and splits that it was trained on
    seen: dict[
        str, list[str]
    ] = {}  # digests of the people, originals, ... of train and val: see deepfake_detector.corpora.leakage
    epoch: int  # whose weights these are
    val_auc: float  # video AUC on validation

    @property
    def temporal(self) -> str:
        """How a person's faces are seen together: `model.temporal`."""
        return str(self.params.get("model", {}).get("temporal", "mean"))
