"""What happens to faces between a camera and a detector: framing, light, scaling, blur, noise, compression.

With OpenCV and PyAV on the stored crops, at a tenth of the time of a training step; every draw comes from the
generator given.
"""

from fractions import Fraction
from functools import lru_cache

import av
import cv2
import numpy as np

from deepfake_detector.distortions import add_noise, gaussian_blur, jpeg, lower_resolution

GREY = 0.1  # how often colour is taken away
RESCALE, BLUR, NOISE, JPEG, H264, ERASE = 0.2, 0.2, 0.2, 0.35, 0.05, 0.1  # how often each happens

LEVELS = np.linspace(0, 1, 256, dtype=np.float32)  # of brightness


def mirror(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`crop`, uint8 BGR (size, size, 3), or its mirror image, equally often."""
    return cv2.flip(crop, 1) if rng.random() < 0.5 else crop


def augment(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A variant of `crop`, uint8 BGR (size, size, 3), as another camera or another upload would have given it."""
    crop = reframe(mirror(crop, rng), rng)
    crop = relight(crop, rng)
    if rng.random() < RESCALE:
        crop = lower_resolution(crop, round(crop.shape[0] * rng.uniform(0.5, 1)))
    if rng.random() < BLUR:
        crop = gaussian_blur(crop, rng.uniform(0.2, 1.2))
    if rng.random() < NOISE:
        noise = rng.standard_normal(crop.shape[:2], np.float32) * np.float32(rng.uniform(1, 6))
        crop = add_noise(crop, noise)
    if rng.random() < JPEG:
        crop = jpeg(crop, int(rng.integers(40, 101)))
    if rng.random() < H264:
        crop = reencode(crop, qp=int(rng.integers(23, 41)))
    if rng.random() < ERASE:
        crop = erase(crop, rng)
    return crop


def reframe(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turned, scaled, stretched and shifted a little; what comes from outside is reflected."""
    size = crop.shape[0]
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-6, 6), rng.uniform(0.95, 1.15))
    matrix[0] *= rng.uniform(0.93, 1.07)
    matrix[:, 2] += rng.uniform(-0.04, 0.04, 2) * size
    return cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def relight(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another exposure, contrast, gamma and colour, sometimes none.

    What is grey stays grey, or its tint would give it away.
    """
    levels = LEVELS ** rng.uniform(0.8, 1.25)
    levels = (levels - 0.5) * rng.uniform(0.7, 1.3) + 0.5 + rng.uniform(-0.12, 0.12)
    levels = levels * np.exp(rng.uniform(-0.5, 0.4))
    crop = cv2.LUT(crop, np.clip(levels * 255, 0, 255).astype(np.uint8))
    grey = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < GREY:
        return grey
    colour = np.diag(rng.uniform(0.7, 1.3, 3).astype(np.float32))  # of each channel, what sets it apart from grey
    return cv2.add(grey, cv2.transform(cv2.subtract(crop, grey, dtype=cv2.CV_16S), colour), dtype=cv2.CV_8U)


def reencode(crop: np.ndarray, qp: int) -> np.ndarray:
    """`crop`, uint8 BGR, after H.264 as a key frame with quantiser `qp` (0-51); an odd last row or column stays."""
    height, width = (side // 2 * 2 for side in crop.shape[:2])
    even = np.ascontiguousarray(crop[:height, :width])
    packets = _encoder(width, height, qp).encode(av.VideoFrame.from_ndarray(even, format="bgr24"))
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    result = crop.copy()
    result[:height, :width] = frames[0].to_ndarray(format="bgr24")
    return result


@lru_cache(maxsize=64)
def _encoder(width: int, height: int, qp: int) -> av.VideoCodecContext:
    """An encoder that gives each frame at once as a key frame, whatever came before it.

    It stays open: to open one takes twenty times as long as to encode a crop.
    """
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuv420p", Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"qp": str(qp), "preset": "ultrafast", "tune": "zerolatency", "x264-params": "keyint=1"}
    return encoder


def erase(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grey rectangle over up to a tenth of the crop (Zhong et al. 2017)."""
    size = crop.shape[0]
    wide, tall = rng.integers(size // 8, size // 3, 2)
    left, top = rng.integers(0, size - wide), rng.integers(0, size - tall)
    crop = crop.copy()
    crop[top : top + tall, left : left + wide] = 128
    return crop
