"""Writing H.264."""

from deepfake_detector.faces.video import VideoWriter

__all__ = ["VideoWriter"]
