"""Align the faces of labelled images, with re-encoded variants of each, as the train stage takes them.

    cd release && PYTHONPATH=.. python -m release.faces

Reads the zip archives in `sources.archives`, each with images and a manifest.csv (file,label,original,method,source).
Writes the outputs of the extract stage: archives, index, report, and a labels CSV. The settings are in sources.yaml.

Every face is stored as it is, and after H.264 at random sizes and quantisers, because videos are compressed that way
and images are not. A fake and its original get the same sizes and quantisers.
"""

import json
import zipfile
from dataclasses import asdict
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd

from deepfake_detector.faces.alignment import align_face
from deepfake_detector.faces.archive import encode_crop, write_archive
from deepfake_detector.faces.detections import Detection
from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.extraction import Face, index_rows, write_index
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.files import atomic_path
from deepfake_detector.parallel_map import parallel_map
from release.sources import LEFT_OUT, LEFT_OUT_FACES, Image, Sources, read_manifest, read_sources
from stages.params import fail, parse

CHUNK = 64  # images in a task
PADDING = 56  # pixels of reflection around a tight crop, or detectors miss its face
OFF_CENTRE = 0.35  # share of the image's side that the face may be off its middle


@lru_cache(maxsize=4)
def open_archive(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def align_images(images: list[Image], geometry: Geometry, sources: Sources, folder: Path) -> list[dict[str, Any]]:
    """Write the archives of some images; their rows of the report and of the index."""
    detector = create_face_detector(geometry.detector, geometry.threshold, geometry.detector_weights)
    results: list[dict[str, Any]] = []
    for image in images:
        data = np.frombuffer(open_archive(image.archive).read(image.file), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if picture is None:
            results.append({"status": "unreadable", "index": []})
            continue
        padded = cv2.copyMakeBorder(picture, *[PADDING] * 4, cv2.BORDER_REFLECT_101)
        face = central_face(list(detector.detect(padded)), padded.shape[0], padded.shape[1])
        if face is None:
            results.append({"status": "no_face", "index": []})
            continue
        crops = [align_face(padded, face.landmarks, geometry.size, geometry.margin)]
        rng = np.random.default_rng(image.seed)
        for _ in range(sources.variants):
            encoded, scale = reencode(padded, rng.uniform(*sources.sizes), int(rng.integers(*sources.quantisers)))
            crops.append(align_face(encoded, face.landmarks * scale, geometry.size, geometry.margin))
        faces = [Face(0, i, float(i), face, encode_crop(crop)) for i, crop in enumerate(crops)]
        write_archive(folder / f"{image.video_id}.zip", [(face.member, face.data) for face in faces])
        results.append({"status": "ok", "index": index_rows(faces)})
    return results


def central_face(faces: list[Detection], height: int, width: int) -> Detection | None:
    """The large face nearest to the middle of the image, or None."""

    def distance(face: Detection) -> float:
        centre = (face.box[:2] + face.box[2:]) / 2
        return float(np.abs(centre - (width / 2, height / 2)).sum() - (face.box[2] - face.box[0]) / 2)

    best = min(faces, key=distance, default=None)
    if best is None:
        return None
    off = np.abs((best.box[:2] + best.box[2:]) / 2 - (width / 2, height / 2)).sum()
    return best if off <= OFF_CENTRE * max(height, width) else None


def reencode(image: np.ndarray, scale: float, qp: int) -> tuple[np.ndarray, np.ndarray]:
    """`image`, uint8 BGR, scaled and after H.264 as a picture that follows others; and its scale in x and y."""
    size = tuple(max(32, round(side * scale / 2) * 2) for side in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = *size, "yuv420p", Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"qp": str(qp), "preset": "veryfast", "tune": "zerolatency"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    moved = [np.roll(small, (0, shift), (0, 1)) for shift in (-1, 0)]  # the second is predicted from the first
    packets = [p for frame in moved for p in encoder.encode(av.VideoFrame.from_ndarray(frame, format="bgr24"))]
    packets += encoder.encode(None)
    decoded = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    return decoded[-1].to_ndarray(format="bgr24"), np.array(size) / image.shape[1::-1]


def main() -> None:
    params = parse("extract", __doc__ or "")
    settings, data = params.extract, params.data
    sources = read_sources()
    geometry = Geometry(**settings.model_dump(include=set(Geometry.__dataclass_fields__)))
    images = [image for archive in sources.archives for image in read_manifest(archive, sources.limit)]
    chunks = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
    folder = Path(data.faces)
    folder.mkdir(parents=True, exist_ok=True)
    work = partial(align_images, geometry=geometry, sources=sources, folder=folder)
    results: list[list[dict[str, Any]]] = [[] for _ in chunks]
    for position, outcome in parallel_map(work, chunks, settings.workers, "align faces", f"{CHUNK} images"):
        if isinstance(outcome, BaseException):
            fail(f"images from {chunks[position][0].file} on cannot be read: {outcome!r}")
        results[position] = outcome
    flat = [result for chunk in results for result in chunk]
    index = Path(data.index)
    rows = [(image, row) for image, result in zip(images, flat, strict=True) for row in result["index"]]
    genuine = [(image, row) for image, row in rows if row[1] == 0 and image.label == "real"]
    tables = ((index, rows), (index.with_name("genuine_faces.parquet"), genuine), (LEFT_OUT_FACES, rows))
    for target, part in tables:
        kept = [pair for pair in part if (pair[0].source in sources.left_out) == (target == LEFT_OUT_FACES)]
        with atomic_path(target) as path:
            write_index(path, [[image.video_id, *row] for image, row in kept], geometry)
    labels = pd.DataFrame.from_records([asdict(image) for image in images]).rename(columns={"file": "filepath"})
    labels["filepath"] = labels.pop("archive") + "/" + labels["filepath"]
    subsets = {image.video_id: image.subset for image in images if image.label == "real"}
    labels["subset"] = [subsets.get(image.source_video, image.subset) for image in images]
    labels = labels.drop(columns="original")
    labels["source_video"] = labels["source_video"].where(labels["source_video"].isin(labels["video_id"]), "")
    left_out = labels["source"].isin(sources.left_out)
    for target, table in ((Path(data.labels), labels[~left_out]), (LEFT_OUT, labels[left_out])):
        with atomic_path(target) as path:
            table.to_csv(path, index=False, lineterminator="\n")
    report = labels[["video_id"]].assign(status=[result["status"] for result in flat], reason="", frames_wanted=1)
    with atomic_path(data.extract_report) as path:
        report.to_csv(path, index=False, lineterminator="\n")
    counts = report["status"].value_counts().to_dict()
    with atomic_path(Path(data.metrics) / "extract.json") as path:
        path.write_text(json.dumps({"images": len(images), **counts}, indent=2) + "\n")
    print(", ".join(f"{count} {status}" for status, count in counts.items()))


if __name__ == "__main__":
    main()
