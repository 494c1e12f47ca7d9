"""Distortions of a face crop that recording and sharing cause: compression, blur, noise, light and lost resolution.

Crops are uint8 BGR (height, width, 3) and keep shape and dtype. The functions do not change their argument.
"""

import cv2
import numpy as np


def jpeg(crop: np.ndarray, quality: int) -> np.ndarray:
    """`crop` after JPEG compression at `quality`, 0 to 100, with 4:2:0 chroma subsampling."""
    data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def gaussian_blur(crop: np.ndarray, sigma: float) -> np.ndarray:
    """`crop` blurred with a Gaussian kernel of standard deviation `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma))


def add_noise(crop: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """`crop` plus `noise` in gray levels, float (height, width, 3), or (height, width) to change all channels alike."""
    noise = cv2.merge([noise] * 3) if noise.ndim == 2 else noise
    return np.asarray(cv2.add(crop, noise, dtype=cv2.CV_8U))


def gaussian_noise(crop: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """`crop` plus independent Gaussian noise of standard deviation `sigma` gray levels in each channel."""
    return add_noise(crop, rng.normal(0, sigma, crop.shape))


def brightness(crop: np.ndarray, factor: float) -> np.ndarray:
    """`crop` with all values multiplied by `factor`, clipped to 255."""
    return np.clip(crop * factor, 0, 255).round().astype(np.uint8)


def lower_resolution(crop: np.ndarray, size: int) -> np.ndarray:
    """`crop` scaled down to `size` x `size` pixels and back to its own size."""
    small = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR))
