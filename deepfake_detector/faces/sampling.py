"""Which frames of a video are used: the one way to spread them evenly."""

from deepfake_detector.faces.video import choose_frames, evenly_spread

__all__ = ["choose_frames", "evenly_spread"]
