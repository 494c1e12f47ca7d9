"""Small training data and settings that several test files share."""

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.training.detector_config import DetectorConfig
from deepfake_detector.training.trainer import Schedule

SCHEDULE = Schedule(
    epochs=3,
    lr=1e-3,
    layer_decay=1.0,
    trainable="all",
    weight_decay=0.01,
    warmup_fraction=0.1,
    ema_decay=0.9,
    patience=9,
    precision="float32",
)
MANIPULATIONS = {"blend": 0.3, "self_blend": 0.2}


def make_config(**changes) -> DetectorConfig:
    values = {
        "backbone": "resnet10t",
        "geometry": Geometry(4, 32, 0.5, "centerface", 0.5),
        "calibration": Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6),
        "params": {"train": {"seed": 1}},
        "corpus": "abc",
        "epoch": 1,
        "val_auc": 0.5,
    }
    return DetectorConfig(**values | changes)
