"""What a detector file says of itself, whatever runs it; reading it needs no torch."""

from pydantic import BaseModel, ConfigDict

from stages.faces.extraction import Geometry
from stages.scoring.calibrate import Calibration


class DetectorConfig(BaseModel):
    """How a detector was made and is to be used."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    backbone: str
    geometry: Geometry
    calibration: Calibration
    params: dict[str, dict[str, object]]  # sections of params.yaml that shaped it
    corpus: str  # fingerprint of the faces and splits that it was trained on
    seen: dict[str, list[str]] = {}  # digests of the people, originals, ... of train and val: see stages.corpora.audit
    epoch: int  # whose weights these are
    val_auc: float  # video AUC on validation

    @property
    def temporal(self) -> str:
        """How a person's faces are seen together: `model.temporal`."""
        return str(self.params.get("model", {}).get("temporal", "mean"))
