"""Write a detector as an ONNX network, which needs no torch and starts and runs faster on a CPU.

    python -m stages.export
    python -m stages.export --int8 true --output checkpoints/int8.onnx
    python -m stages.infer clips/ --checkpoint checkpoints/best.onnx

The network takes crops as they are stored (uint8 RGB, any number at once), and its metadata holds calibration,
threshold and crop geometry. The file is written only if its probabilities agree with PyTorch's on the photographs of
the sample corpus and on noise. With --int8 true the network is then quantised; this alone needs a corpus, whose
training faces give the ranges of activations.
"""

import tempfile
from collections.abc import Hashable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from deepfake_detector.corpora.face_table import load_face_table
from deepfake_detector.corpora.labels import LabelsError
from deepfake_detector.corpora.sample_corpus import PEOPLE
from deepfake_detector.corpora.sample_corpus.people import ZOOM, photographs
from deepfake_detector.evaluation.aggregation import aggregate_videos
from deepfake_detector.evaluation.metrics import roc_auc
from deepfake_detector.faces.alignment import align_face
from deepfake_detector.faces.archive import ArchiveError, read_table_crops
from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.extraction import FaceIndexError
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.sampling import evenly_spread
from deepfake_detector.files import atomic_path, delete_partial_files
from deepfake_detector.inference.backends import OnnxBackend, TorchBackend
from deepfake_detector.inference.onnx_export import TOLERANCE, export_onnx, largest_difference, quantize_onnx
from deepfake_detector.training.batching import track_ids
from deepfake_detector.training.detector_config import CheckpointError, DetectorConfig
from stages.evaluate import check_geometry
from stages.params import Data, Export, fail, parse, say

NOISE_CROPS = 16  # they reach activations that no photograph reaches


def main() -> None:
    params = parse("export", __doc__ or "")
    settings, output = params.export, Path(params.export.output)
    try:
        backend = TorchBackend(settings.checkpoint, "cpu")
    except CheckpointError as error:
        fail(str(error))
    faces = read_corpus(params.data, backend.config) if settings.int8 else None
    with tempfile.TemporaryDirectory() as folder, atomic_path(output) as part:
        exact = part if faces is None else Path(folder) / "float32.onnx"
        export_onnx(backend, settings.checkpoint, exact)
        check_agreement(backend, OnnxBackend(exact, "cpu"), settings)
        if faces is not None:
            try:
                quantize_onnx(exact, part, training_crops(faces, params.data, settings.crops))
                print_auc_change(exact, part, faces, Path(params.data.faces))
            except ArchiveError as error:
                fail(str(error))
    delete_partial_files(output)
    say(f"wrote {output}")


def check_agreement(backend: TorchBackend, exported: OnnxBackend, settings: Export) -> None:
    """End the program if the exported network gives other probabilities than the checkpoint."""
    crops, people = comparison_crops(backend.config.geometry, settings.crops)
    difference = largest_difference(backend, exported, crops, people)
    say(f"largest difference of probabilities on {len(crops)} crops: {difference:.1e}, allowed {TOLERANCE:.0e}")
    if not difference <= TOLERANCE:  # also true for nan
        fail(f"the ONNX network of {settings.checkpoint} differs from PyTorch; use the checkpoint itself")


def comparison_crops(geometry: Geometry, photos: int) -> tuple[list[np.ndarray], list[Hashable]]:
    """Faces of at most `photos` photographs of the sample corpus, then seeded noise; and the person of each.

    The crops are uint8 BGR of the size that `geometry` gives. The default face detector serves for any checkpoint: it
    only decides where the crop is cut.
    """
    detector = create_face_detector("centerface", 0.5)
    photographed = [(person, photo) for person in PEOPLE for photo in photographs(person)]
    crops: list[np.ndarray] = []
    people: list[Hashable] = []
    for person, photo in (photographed[i] for i in evenly_spread(len(photographed), photos)):
        image = cv2.cvtColor(cv2.resize(photo, None, fx=ZOOM, fy=ZOOM), cv2.COLOR_GRAY2BGR)
        for face in detector.detect(image):
            crops.append(align_face(image, face.landmarks, geometry.size, geometry.margin))
            people.append(person)
    shape = (NOISE_CROPS, geometry.size, geometry.size, 3)
    crops += list(np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8))
    return crops, people + ["noise"] * NOISE_CROPS


def read_corpus(data: Data, config: DetectorConfig) -> pd.DataFrame:
    """The face table of the corpus; ends the program where it has no training face, or its faces are cut otherwise."""
    try:
        faces = load_face_table(data.index, data.labels, data.videos, data.splits)
        check_geometry(config, data.index)
    except (LabelsError, FaceIndexError) as error:
        fail(f"export.int8 = true needs the training faces of a corpus: {error}")
    if not (faces["partition"] == "train").any():
        fail(f"export.int8 = true needs training faces, and {data.splits} puts no video with a face into train")
    return faces


def training_crops(faces: pd.DataFrame, data: Data, count: int) -> list[np.ndarray]:
    """At most `count` training faces, spread evenly over the corpus."""
    training = faces[faces["partition"] == "train"]
    return list(read_table_crops(training.iloc[evenly_spread(len(training), count)], Path(data.faces)))


def print_auc_change(exact: Path, quantized: Path, faces: pd.DataFrame, folder: Path) -> None:
    """Print what INT8 costs in AUC on the validation videos."""
    validation = faces[faces["partition"] == "val"].reset_index(drop=True)
    if validation["label"].nunique() < 2:
        say("no validation videos of both labels: what INT8 costs in AUC is not known")
        return
    crops = list(read_table_crops(validation, folder))
    people = track_ids(validation)
    before, after = (
        video_and_frame_auc(validation, OnnxBackend(path, "cpu").score(crops, people)) for path in (exact, quantized)
    )
    for level, a, b in zip(("video", "face"), before, after, strict=True):
        say(f"validation {level} AUC {a:.4f} in float32, {b:.4f} in INT8: difference {b - a:+.4f}")


def video_and_frame_auc(faces: pd.DataFrame, logits: np.ndarray) -> tuple[float, float]:
    """AUC of videos, aggregated by the mean logit, and AUC of single faces."""
    videos = aggregate_videos(faces.assign(logit=logits))
    labels = faces.drop_duplicates("video_id").set_index("video_id")["label"]
    return roc_auc(labels.loc[videos.index], videos["logit"]), roc_auc(faces["label"], logits)


if __name__ == "__main__":
    main()
