"""Re-encoded videos, and the faces found in them."""

import logging
import tempfile
from contextlib import ExitStack
from pathlib import Path

import av
from av.video.reformatter import VideoReformatter

from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.extraction import Face, extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.pixels import to_yuv
from deepfake_detector.faces.planes import letterbox, with_matrix
from deepfake_detector.faces.remote import UrlLimits
from deepfake_detector.faces.sources import local_file
from deepfake_detector.faces.video_file import VideoError, probe
from deepfake_detector.faces.video_reader import read_pictures
from deepfake_detector.faces.video_writer import VideoWriter

NEAR_LOSSLESS = 18  # CRF that leaves a lower resolution as the only change
PRESET = "veryfast"
MIN_SIDE = 16  # pixels of a scaled video
log = logging.getLogger(__name__)


def reencode(source: Path | str, target: Path, family: str, strength: float) -> None:
    """Decode `source` and write it to `target` as H.264, in its own colours and at the size of its first picture.

    Args:
        family: `h264` or `resolution`.
        strength: CRF, or the factor by which each side is scaled.

    Raises:
        VideoError: if `source` cannot be read.
    """
    factor, crf = (strength, NEAR_LOSSLESS) if family == "resolution" else (1.0, int(strength))
    info, reformatter = probe(source), VideoReformatter()
    with ExitStack() as stack:
        writer = None
        for picture in read_pictures(source, None, info):
            image = to_yuv(picture.decoded, reformatter, picture.pixel_aspect)
            if writer is None:
                width, height = (max(MIN_SIDE, round(side * factor)) for side in image.y.shape[::-1])
                width, height, is_bt709 = width + width % 2, height + height % 2, image.is_bt709
                writer = stack.enter_context(VideoWriter(target, info.rate, (width, height), crf, PRESET))
            writer.write(letterbox(with_matrix(image, is_bt709), width, height)[0], picture.time)


def extract_reencoded(
    source: str, family: str, strength: float, geometry: Geometry, max_people: int, url_limits: UrlLimits
) -> list[Face] | None:
    """Faces that extraction finds in `source`, a path or URL, after `reencode`; None if it cannot be encoded again.

    Raises TemporaryFileError if the copy of a video at a URL cannot be stored.
    """
    detector = create_face_detector(geometry.detector, geometry.threshold, geometry.detector_weights)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "reencoded.mp4"
        try:
            with local_file(source, url_limits) as path:
                reencode(path, target, family, strength)
        except (VideoError, av.FFmpegError) as error:
            log.warning("%s cannot be encoded again: %s", source, error)
            return None
        return extract_faces(target, geometry, detector, max_people).faces
