"""Fakes of genuine images by an autoencoder. They have the traces of generated pictures, but no other person in them.

    cd release && PYTHONPATH=.. python -m release.reconstruct

Reads the genuine images of the archives in `sources.genuine`, passes some of them through the autoencoder
`sources.autoencoder` (TAEF2 by madebyollin, MIT, as .safetensors), and writes an archive like the others:
`sources.reconstructed`. Each image is scaled first, and its code is disturbed a little or not. The whole image is
replaced, or only the inner face. Without an autoencoder the archive stays empty.
"""

import csv
import io
import zipfile

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import relu
from tqdm import tqdm

from deepfake_detector.faces.sampling import evenly_spread
from deepfake_detector.files import atomic_path
from release.sources import Image, Sources, read_manifest, read_sources

BATCH = 16
SIDES = (112, 168, 224)  # of the image that the autoencoder sees, in pixels
NOISE = (0, 0, 0.1, 0.2, 0.35)  # standard deviations of what is added to the code
WHOLE = 0.6  # share of the images that are replaced as a whole


class Residual(nn.Module):
    """Three convolutions around a shortcut; at the smallest size with a branch of 1 × 1 convolutions before them."""

    def __init__(self, channels: int, pooled: bool) -> None:
        super().__init__()
        three = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(three[0], nn.ReLU(), three[1], nn.ReLU(), three[2])
        self.pool: nn.Module | None = None
        if pooled:
            wide = nn.Conv2d(channels, 4 * channels, 1, bias=False)
            narrow = nn.Conv2d(4 * channels, channels, 1, bias=False)
            self.pool = nn.Sequential(wide, nn.GroupNorm(4, 4 * channels), nn.ReLU(), narrow)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.pool is None else x + self.pool(x)
        return relu(self.conv(x) + x)


class Squash(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x / 3) * 3


def load_autoencoder(path: str) -> nn.ModuleDict:
    """TAEF2: `encoder` takes RGB 0 to 1 to 32 channels at an eighth of the size, `decoder` takes them back."""

    def conv(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)

    def three(pooled: bool = False) -> list[nn.Module]:
        return [Residual(64, pooled) for _ in range(3)]

    def halve() -> nn.Module:
        return conv(64, 64, stride=2, bias=False)

    def double() -> list[nn.Module]:
        return [nn.Upsample(scale_factor=2), conv(64, 64, bias=False)]

    encoder = [conv(3, 64), Residual(64, False), halve(), *three(), halve(), *three(), halve(), *three(True)]
    decoder = [Squash(), conv(32, 64), nn.ReLU(), *three(True), *double(), *three(), *double(), *three(), *double()]
    network = nn.ModuleDict(
        {
            "encoder": nn.Sequential(*encoder, conv(64, 32)),
            "decoder": nn.Sequential(*decoder, Residual(64, False), conv(64, 3)),
        }
    )
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return network.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def reconstruct(images: list[np.ndarray], side: int, noise: float, network: nn.ModuleDict) -> list[np.ndarray]:
    """Images, uint8 BGR of any size, after the autoencoder at `side` pixels, in their own sizes."""
    small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)[..., ::-1] / 255.0 for image in images]
    batch = torch.from_numpy(np.stack(small)).float().permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        code = network["encoder"](batch)
        result = network["decoder"](code + torch.randn_like(code) * noise)
    pixels = (result.float().clamp(0, 1).permute(0, 2, 3, 1).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    return [
        cv2.resize(picture, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        for picture, image in zip(pixels, images, strict=True)
    ]


def inner_face(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A soft mask of the middle of a tight face image: float32 (height, width, 1), 0 to 1."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    centre = (width * rng.uniform(0.46, 0.54), height * rng.uniform(0.48, 0.6))
    axes = (2 * width * rng.uniform(0.28, 0.4), 2 * height * rng.uniform(0.3, 0.42))
    cv2.ellipse(mask, (centre, axes, rng.uniform(-10, 10)), 1, -1)
    return cv2.GaussianBlur(mask, (0, 0), width * rng.uniform(0.01, 0.06))[..., None]


def choose(sources: Sources) -> list[Image]:
    images = [image for path in sources.genuine for image in read_manifest(path, sources.limit)]
    genuine = [image for image in images if image.label == "real"]
    return [genuine[i] for i in evenly_spread(len(genuine), sources.reconstructions)]


def main() -> None:
    sources = read_sources()
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    chosen = choose(sources) if sources.autoencoder != "none" else []
    network = load_autoencoder(sources.autoencoder) if chosen else nn.ModuleDict()
    archives = {path: zipfile.ZipFile(path) for path in sources.genuine}
    manifest = io.StringIO()
    table = csv.writer(manifest, lineterminator="\n")
    table.writerow(["file", "label", "original", "method", "source"])
    with atomic_path(sources.reconstructed) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as target:
        for start in tqdm(range(0, len(chosen), BATCH), "reconstruct", unit=f"{BATCH} images"):
            group = chosen[start : start + BATCH]
            data = (np.frombuffer(archives[image.archive].read(image.file), np.uint8) for image in group)
            images = [cv2.imdecode(file, cv2.IMREAD_COLOR) for file in data]
            results = reconstruct(images, int(rng.choice(SIDES)), float(rng.choice(NOISE)), network)
            for image, before, after in zip(group, images, results, strict=True):
                if rng.random() >= WHOLE:
                    mask = inner_face(before, rng)
                    after = (after * mask + before * (1 - mask)).round().astype(np.uint8)
                name = f"{image.video_id}.jpg"
                jpeg = cv2.imencode(".jpg", after, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
                target.writestr(zipfile.ZipInfo(name), jpeg)
                table.writerow([name, "fake", image.video_id, "reconstruction", image.source])
        target.writestr(zipfile.ZipInfo("manifest.csv"), manifest.getvalue())
    print(f"{sources.reconstructed}: {len(chosen)} reconstructions")


if __name__ == "__main__":
    main()
