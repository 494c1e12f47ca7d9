"""Reading chosen frames of a video."""

from deepfake_detector.faces.video import Frame, VideoError, VideoInfo, open_video, probe, read_frames

__all__ = ["Frame", "VideoError", "VideoInfo", "open_video", "probe", "read_frames"]
