"""One scene in many containers, codecs, orientations, pixel shapes, ranges and bit depths: one verdict everywhere.

The annotated video must show the scene upright, in its proportions, colours and times, with its sound.
"""

import json
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from test_display import ORIENTATIONS

from deepfake_detector.faces.video_reader import read_frames
from deepfake_detector.inference.predict import predict_video
from deepfake_detector.inference.prediction_task import PredictionSettings, PredictionTask

FRAMES, RATE, FLASH = 20, 25, 8  # the flash and the tone start with frame FLASH
HEIGHT, WIDTH, FACE = 288, 384, 288  # pixels: the face at the left, patches at the right
PATCHES = [(200, 60, 60), (60, 180, 60), (60, 60, 200), (128, 128, 128), (40, 40, 40), (20, 20, 20)]  # BGR; last: flash
TEN_BITS = ("yuv420p", "yuv420p10le")
VIDEO_CODECS = {  # of each container: encoders and their pixel formats
    "mp4": [("libx264", TEN_BITS), ("libx265", TEN_BITS), ("mpeg4", ()), ("libsvtav1", TEN_BITS), ("libvpx-vp9", ())],
    "mov": [
        ("libx264", TEN_BITS),
        ("prores", ("yuv422p10le",)),
        ("mjpeg", ("yuvj420p", "yuvj422p")),
        ("prores_ks", ("yuv444p10le",)),
    ],
    "mkv": [("libx264", ("yuv420p", "yuv444p")), ("libx265", TEN_BITS), ("ffv1", ("yuv422p", "yuv420p10le"))],
    "mkv ": [("mpeg2video", ()), ("libvpx", ()), ("mpeg4", ())],
    "webm": [("libvpx", ()), ("libvpx-vp9", ("yuv420p", "yuv444p")), ("libsvtav1", TEN_BITS)],
    "avi": [("mpeg4", ()), ("mjpeg", ("yuvj420p",)), ("libx264", ()), ("ffv1", ()), ("msmpeg4v2", ())],
    "ts": [("libx264", ()), ("libx265", TEN_BITS), ("mpeg2video", ())],
    "vob": [("mpeg2video", ()), ("mpeg1video", ())],
    "flv": [("libx264", ()), ("flv", ())],
    "asf": [("wmv2", ()), ("msmpeg4", ())],
    "3gp": [("libx264", ()), ("mpeg4", ())],
    "nut": [("libx264", ()), ("rawvideo", ())],
}
SOUND_CODECS = {
    "mp4": ["aac", "mp3", "ac3", ""],
    "mov": ["pcm_s16le", "aac", "", "alac"],
    "mkv": ["flac", "libopus", "pcm_s24le", "", "eac3"],
    "webm": ["libopus", "", "libopus"],
    "avi": ["mp3", "pcm_u8", "", "ac3"],
    "ts": ["mp2", "aac", "ac3", ""],
    "vob": ["mp2", "ac3", ""],
    "flv": ["aac", "mp3", ""],
    "asf": ["wmav2", "mp3", ""],
    "3gp": ["aac", ""],
    "nut": ["pcm_s16le", "flac", "", "wavpack"],
}
TURNING = ("mp4", "mov", "3gp")  # containers with a display matrix
SHAPED = ("mp4", "mov", "mkv", "avi", "ts", "vob")  # and those with a pixel aspect ratio that PyAV writes, but with
SHAPELESS = ("ffv1", "libvpx", "msmpeg4v2", "mpeg1video", "mjpeg")  # these
VARIANTS = 5


@dataclass(frozen=True)
class Variant:
    container: str
    video: str
    form: str
    sound: str
    matrix: tuple[int, ...]
    aspect: Fraction
    color_range: ColorRange

    def __str__(self):
        shape = "wide" if self.aspect > 1 else "square"
        name = f"{self.container}-{self.video}-{self.form}-{self.sound or 'silent'}"
        return f"{name}-{'.'.join(map(str, self.matrix))}-{shape}-{self.color_range.name}"


def variants():
    """VARIANTS of each pair of container and video codec, in which the other properties take turns."""
    found = {}
    pairs = [(name.strip(), *codec) for name, codecs in VIDEO_CODECS.items() for codec in codecs]
    for (i, (container, video, forms)), v in product(enumerate(pairs), range(VARIANTS)):
        sounds = SOUND_CODECS[container]
        form = (forms or ("yuv420p",))[v % max(len(forms), 1)]
        full = form.startswith("yuvj") or (video in ("libx264", "libx265") and v % 3 == 2)
        variant = Variant(
            container,
            video,
            form,
            sounds[(i + v) % len(sounds)],
            tuple(ORIENTATIONS[(3 * i + 5 * v) % 8] if container in TURNING else ORIENTATIONS[0]),
            Fraction(4, 3) if v % 2 and container in SHAPED and video not in SHAPELESS else Fraction(1),
            ColorRange.JPEG if full else ColorRange.MPEG,
        )
        found[str(variant)] = variant
    return found


def scene(faces):
    """The images of the scene as it is to be shown, uint8 BGR."""
    for i in range(FRAMES):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        image[:, :FACE] = faces[i]
        for k, color in enumerate(PATCHES):
            image[48 * k : 48 * k + 48, FACE:] = color
        if i >= FLASH:
            image[48 * 5 :, FACE:] = 235
        yield image


def stored(image, variant):
    """`image` as it is stored so that the display matrix and the pixel aspect ratio show it upright."""
    a, b, c, d = variant.matrix
    if a == 0:
        image = image[:, ::-1] if c < 0 else image
        image = image[::-1] if b < 0 else image
        image = image.swapaxes(0, 1)
    else:
        image = image[:, ::-1] if a < 0 else image
        image = image[::-1] if d < 0 else image
    image = np.ascontiguousarray(image)
    size = round(image.shape[1] / variant.aspect / 2) * 2, image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if variant.aspect != 1 else image


def write(path, faces, variant):
    with av.open(str(path), "w", format={"3gp": "3gp", "vob": "vob"}.get(variant.container)) as out:
        stream = out.add_stream(variant.video, rate=RATE, options=encoder_options(variant))
        stream.pix_fmt = variant.form
        stream.codec_context.color_range = variant.color_range
        stream.codec_context.colorspace = Colorspace.ITU601 + 0  # AVCOL_SPC_BT470BG, which is BT.601
        stream.codec_context.sample_aspect_ratio = variant.aspect
        if "crf" not in stream.options:
            stream.bit_rate = 6_000_000
        if variant.container in TURNING:
            a, b, c, d = (65536 * number for number in variant.matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        sound = add_sound(out, variant) if variant.sound else None
        images = [stored(image, variant) for image in scene(faces)]
        stream.height, stream.width = images[0].shape[:2]
        for i, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(
                format=variant.form, dst_colorspace=Colorspace.ITU601, dst_color_range=variant.color_range
            )
            picture.pts, picture.time_base = i, Fraction(1, RATE)
            out.mux(stream.encode(picture))
            if sound and i == 0:
                out.mux(tone_packets(sound))
        out.mux(stream.encode(None))
        if sound:
            out.mux(sound.encode(None))
    return path


def encoder_options(variant):
    if variant.video in ("libx264", "libx265"):
        return {"crf": "10", "preset": "veryfast", "x265-params": "log-level=none"}
    return {"libsvtav1": {"preset": "10", "crf": "20"}, "libvpx-vp9": {"cpu-used": "8"}}.get(variant.video, {})


def add_sound(out, variant):
    sound = out.add_stream(variant.sound, rate=48000, layout="stereo")
    sound.bit_rate = 128_000
    return sound


def tone_packets(sound):
    """Silence up to the flash, then 1 kHz."""
    moments = np.arange(48000 * FRAMES // RATE) / 48000
    wave = 0.5 * np.sin(2 * np.pi * 1000 * moments) * (moments >= FLASH / RATE)
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    return [
        packet
        for part in av.AudioResampler(sound.format, "stereo", 48000).resample(frame)
        for packet in sound.encode(part)
    ]


def loud_from(path):
    """Seconds at which the sound of a video becomes loud."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(float)).max(axis=0)
            if samples.max() > 0.25:
                return frame.time + np.argmax(samples > 0.25) / frame.sample_rate
    return None


@pytest.fixture(scope="module")
def faces(real_clip):
    return [frame.image for frame in read_frames(real_clip, list(range(FRAMES)))]


def test_matrix_is_large_enough():
    assert len(variants()) >= 150


@pytest.mark.parametrize("name", variants())
def test_one_scene_has_one_verdict_and_one_look(name, faces, exported, tmp_path):
    variant = variants()[name]
    path = write(tmp_path / f"scene.{variant.container}", faces, variant)
    settings = PredictionSettings.with_checkpoint(str(exported), timeline=False, fps=None)
    output = tmp_path / "results"
    output.mkdir()
    record = predict_video(PredictionTask(str(path), "scene", str(output), settings))
    assert record == json.loads((output / "scene.json").read_text())
    assert record["message"] == "" and record["verdict"] in ("real", "fake", "uncertain")
    assert (record["frames"], record["faces"], len(record["people"])) == (4, 4, 1)
    assert [face["frame"] for face in record["people"][0]["faces"]] == [2, 7, 12, 17]

    annotated = list(read_frames(output / "scene.mp4"))
    assert len(annotated) == FRAMES
    height, width = annotated[0].image.shape[:2]
    assert width == WIDTH and height > HEIGHT
    for frame, expected in zip(annotated, scene(faces), strict=True):
        for k in range(6):
            middle = np.s_[48 * k + 16 : 48 * k + 32, FACE + 30 : FACE + 66]
            assert np.abs(frame.image[middle].mean((0, 1)) - expected[middle].mean((0, 1))).max() < 14
    for face in record["people"][0]["faces"]:
        assert annotated[face["frame"]].time == pytest.approx(face["time"], abs=0.002)
    if variant.sound:
        assert loud_from(output / "scene.mp4") == pytest.approx(annotated[FLASH].time, abs=0.06)
