"""The labelled images that the released detector learns from: zip archives, each with a manifest.csv."""

import csv
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import yaml

SOURCES = Path("sources.yaml")
LEFT_OUT = Path("data/left_out.csv")  # labels of the images in `left_out`
LEFT_OUT_FACES = Path("data/left_out_faces.parquet")


@dataclass(frozen=True)
class Sources:
    """sources.yaml."""

    genuine: list[str]  # archives that reconstructions are made of
    autoencoder: str  # weights of TAEF2; none: no reconstructions
    reconstructions: int  # how many
    reconstructed: str  # their archive
    archives: list[str]  # all archives to train on
    left_out: list[str]  # sources that are never trained on, to measure others by
    variants: int  # re-encoded ones of each face
    sizes: tuple[float, float]  # of the re-encoded image, as a share of its own
    quantisers: tuple[int, int]  # of H.264
    compared: dict[str, str]  # other detectors to measure beside the released one: name to file
    limit: int  # images of each archive, spread evenly; 0: all


@dataclass(frozen=True)
class Image:
    """A row of a manifest."""

    archive: str
    file: str
    video_id: str
    label: str
    source_video: str  # video_id of the original, or empty
    method: str
    source: str
    original: str  # the name that a fake and its original share, or that of the file

    @property
    def subset(self) -> str:
        """train, or for 8 % of the originals val or test. The start weights were trained without these, too."""
        part = int(hashlib.sha256(self.original.encode()).hexdigest()[:8], 16) % 1000
        return "val" if part < 30 else "test" if part < 80 else "train"

    @property
    def seed(self) -> list[int]:
        """The same for a fake and its original."""
        return list(hashlib.sha256((self.source_video or self.video_id).encode()).digest()[:8])


def read_sources() -> Sources:
    return Sources(**yaml.safe_load(SOURCES.read_text(encoding="utf-8")))


def read_manifest(path: str, limit: int) -> list[Image]:
    """The images of an archive. `original` names the genuine image of that original here, or a video_id elsewhere."""
    archive_name = Path(path).stem
    with zipfile.ZipFile(path) as archive, archive.open("manifest.csv") as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8")))

    def video_id(file: str) -> str:
        return f"{archive_name}_{Path(file).with_suffix('').as_posix().replace('/', '_')}"

    genuine = {row["original"]: video_id(row["file"]) for row in rows if row["label"] == "real" and row["original"]}
    step = max(1, len(rows) // limit) if limit else 1
    images = []
    for row in rows[::step]:
        original = genuine.get(row["original"], row["original"]) if row["label"] == "fake" else ""
        name = video_id(row["file"])
        own_name = row["original"] or row["file"]
        images.append(Image(path, row["file"], name, row["label"], original, row["method"], row["source"], own_name))
    return images
