"""Pictures as a player shows them: upright, with square pixels, in the colours of a screen."""

import shutil
import subprocess
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from deepfake_detector.faces.pixels import shown_size, to_bgr, to_thumbnail, to_yuv
from deepfake_detector.faces.shots import details_of, similarity
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import Picture, read_frames, read_pictures

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="compares with the program ffmpeg")
ORIENTATIONS = [[1, 0, 0, 1], [-1, 0, 0, 1], [1, 0, 0, -1], [-1, 0, 0, -1]]
ORIENTATIONS += [[0, 1, 1, 0], [0, 1, -1, 0], [0, -1, 1, 0], [0, -1, -1, 0]]  # a, b, c, d of the display matrix
HDR_TO_SDR = ",".join(  # what users of ffmpeg write, with the white of paper at 203 cd/m²
    [
        "zscale=t=linear:npl=203",
        "format=gbrpf32le",
        "zscale=p=bt709",
        "tonemap=clip:desat=0",
        "zscale=t=bt709:m=bt709:r=tv",
        "format=yuv420p",
    ]
)


def scene(width=160, height=96):
    """Soft patches, no two alike, so that no two orientations are: uint8 BGR."""
    patches = np.random.default_rng(3).integers(30, 220, (3, 5, 3), dtype=np.uint8)
    return cv2.GaussianBlur(cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST), (0, 0), 3)


def write(path, image, frames=3, codec="libx264", form="yuv420p", aspect=None, container_aspect=None, matrix=None):
    """Encode `image` a few times at 25 frames a second."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options={"crf": "8"} if "264" in codec else {})
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = form
        if "264" not in codec:
            stream.bit_rate = 8_000_000
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if matrix:
            a, b, c, d = (65536 * number for number in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for _ in range(frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        out.mux(stream.encode(None))
    return path


def first_image(path):
    return next(read_frames(path)).image


def first_image_of_ffmpeg(path, filters):
    """The first picture as the program ffmpeg shows it, uint8 BGR."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-vf", filters, "-frames:v", "1", "-f", "image2pipe"]
    output = subprocess.run([*command, "-c:v", "png", "-"], check=True, capture_output=True).stdout
    return cv2.imdecode(np.frombuffer(output, np.uint8), cv2.IMREAD_COLOR)


def difference(a, b):
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b).mean()


@needs_ffmpeg
@pytest.mark.parametrize("matrix", ORIENTATIONS)
@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(64, 45), Fraction(8, 9)])
def test_orientation_and_pixel_aspect_are_those_of_ffmpeg(tmp_path, matrix, aspect):
    path = write(tmp_path / "a.mp4", scene(), aspect=aspect, matrix=matrix)
    # The program turns the picture first and inverts the ratio of its pixels.
    scale = "scale=w=round(iw*sar):h=ih" if matrix[0] else "scale=w=iw:h=round(ih/sar)"
    expected = first_image_of_ffmpeg(path, f"{scale}:flags=bilinear")
    assert difference(first_image(path), expected) < 3


def test_every_orientation_is_another_one(tmp_path):
    images = [first_image(write(tmp_path / f"{i}.mp4", scene(), matrix=m)) for i, m in enumerate(ORIENTATIONS)]
    assert difference(images[0], scene()) < 4 and difference(images[1], scene()[:, ::-1]) < 4
    assert difference(images[4], scene().swapaxes(0, 1)) < 4
    for i, image in enumerate(images):
        assert all(image.shape != other.shape or difference(image, other) > 10 for other in images[:i])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photograph_and_video_of_a_camera_that_writes_exif_are_turned_as_it_says(tmp_path, orientation):
    path = tmp_path / "a.jpg"
    tags = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + bytes(6)
    jpeg = cv2.imencode(".jpg", scene())[1].tobytes()
    path.write_bytes(jpeg[:2] + b"\xff\xe1\0" + bytes([len(tags) + 8]) + b"Exif\0\0" + tags + jpeg[2:])
    expected = cv2.imread(str(path))
    assert difference(first_image(path), expected) < 3
    with av.open(str(path)) as source, av.open(str(tmp_path / "a.avi"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        packet = next(source.demux())
        packet.stream = stream
        out.mux(packet)
    assert difference(first_image(tmp_path / "a.avi"), expected) < 3


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.vob", "mpeg2video"), ("a.avi", "mpeg4")])
def test_width_is_scaled_to_square_pixels(tmp_path, name, codec):
    path = write(tmp_path / name, scene(180, 144), codec=codec, aspect=Fraction(64, 45))
    assert first_image(path).shape == (144, 256, 3)
    assert difference(first_image(path), cv2.resize(scene(180, 144), (256, 144))) < 5


def test_pixel_aspect_of_the_container_wins_over_that_of_the_codec(tmp_path):
    path = write(tmp_path / "a.mp4", scene(), aspect=Fraction(2))
    data = bytearray(path.read_bytes())
    ratio = data.find(b"pasp") + 4
    data[ratio : ratio + 8] = np.array([1, 2], ">u4").tobytes()
    path.write_bytes(data)
    assert first_image(path).shape == (96, 80, 3)


def test_pixel_aspect_may_change_within_a_broadcast(tmp_path):
    parts = [write(tmp_path / f"{a}.ts", scene(), 10, "mpeg2video", aspect=Fraction(a, 15)) for a in (16, 12)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert [frame.image.shape[1] for frame in read_frames(path, [2, 17])] == [171, 128]


@pytest.mark.parametrize("aspect", [Fraction(1000), Fraction(1, 1000)])
def test_pixel_aspect_that_no_screen_holds_is_ignored(tmp_path, aspect):
    assert first_image(write(tmp_path / "a.mp4", scene(), aspect=aspect)).shape == (96, 160, 3)


def write_wide(path, image, transfer, primaries=ColorPrimaries.BT2020, matrix=Colorspace.BT2020):
    """Encode an SDR image (uint8 BGR) as HDR in 10 bits, with its white at 203 cd/m² (ITU-R BT.2408)."""
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
    light = (image[..., ::-1] / 255.0) ** 2.4 @ to_2020.T  # BT.1886
    if transfer == ColorTrc.SMPTE2084:
        power = (light * 203 / 10_000) ** 0.1593017578125
        signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    elif transfer == ColorTrc.ARIB_STD_B67:
        luminance = light @ [0.2627, 0.6780, 0.0593]
        shown = np.maximum(luminance * 203 / 1000, 1e-9)
        scene_light = light * (203 / 1000) * (shown ** ((1 - 1.2) / 1.2))[..., None]  # inverse of the system gamma
        low, high = np.sqrt(3 * scene_light), 0.17883277 * np.log(np.maximum(12 * scene_light - 0.28466892, 1e-9))
        signal = np.where(scene_light <= 1 / 12, low, high + 0.55991073)
    else:
        signal = light ** (1 / 2.4)
    red, green, blue = np.moveaxis(signal, -1, 0)
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    planes = [64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746]
    levels = (np.stack(planes, axis=-1) * 64).round().astype(np.uint16)  # of 16 bits
    picture = av.VideoFrame.from_ndarray(levels, format="yuv444p16le")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries = transfer, primaries
        context.colorspace, context.color_range = 9, ColorRange.MPEG  # AVCOL_SPC_BT2020_NCL
        for _ in range(3):
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("transfer", [ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67, ColorTrc.BT2020_10])
def test_hdr_and_wide_colours_look_like_the_same_scene_without(tmp_path, transfer):
    image = first_image(write_wide(tmp_path / "a.mp4", scene(), transfer))
    assert difference(image, scene()) < 6


@needs_ffmpeg
@pytest.mark.parametrize("transfer", [ColorTrc.SMPTE2084, ColorTrc.BT2020_10])  # its HLG knows no system gamma
def test_hdr_is_mapped_as_ffmpeg_does(tmp_path, transfer):
    path = write_wide(tmp_path / "a.mp4", scene(), transfer)
    assert difference(first_image(path), first_image_of_ffmpeg(path, HDR_TO_SDR)) < 6


def bgr_of(yuv):
    """The image that the planes of a YuvImage mean, uint8 BGR."""
    picture = av.VideoFrame(yuv.y.shape[1], yuv.y.shape[0], "yuv420p")
    for plane, pixels in zip(picture.planes, (yuv.y, yuv.u, yuv.v), strict=True):
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : plane.width] = pixels
        plane.update(padded.tobytes())
    picture.colorspace = Colorspace.ITU709 if yuv.is_bt709 else Colorspace.ITU601
    picture.color_range = ColorRange.MPEG
    return VideoReformatter().reformat(picture, format="bgr24").to_ndarray()


@pytest.mark.parametrize("form", ["yuv420p", "yuvj420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("size", [(160, 96), (1280, 720)])
def test_planes_show_what_the_image_shows(tmp_path, form, size):
    path = write(tmp_path / "a.mkv", scene(*size), codec="ffv1" if "444" in form else "libx264", form=form)
    picture: Picture = next(read_pictures(path))
    reformatter = VideoReformatter()
    yuv = to_yuv(picture.decoded, reformatter, picture.pixel_aspect)
    assert yuv.is_bt709 == (size[1] >= 720)
    assert difference(bgr_of(yuv), to_bgr(picture.decoded, VideoReformatter(), picture.pixel_aspect)) < 3


@pytest.mark.parametrize("transfer", [ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67, ColorTrc.BT2020_10])
def test_planes_of_hdr_show_what_the_image_shows(tmp_path, transfer):
    picture = next(read_pictures(write_wide(tmp_path / "a.mp4", scene(), transfer)))
    yuv = to_yuv(picture.decoded, VideoReformatter())
    assert difference(bgr_of(yuv), to_bgr(picture.decoded, VideoReformatter())) < 3


def test_planes_are_turned_scaled_and_padded_to_even_sides(tmp_path):
    path = write(tmp_path / "a.mp4", scene(), aspect=Fraction(151, 160), matrix=ORIENTATIONS[5])
    picture = next(read_pictures(path))
    yuv = to_yuv(picture.decoded, VideoReformatter(), picture.pixel_aspect)
    image = to_bgr(picture.decoded, VideoReformatter(), picture.pixel_aspect)
    assert image.shape == (151, 96, 3) and yuv.y.shape == (152, 96) and yuv.u.shape == yuv.v.shape == (76, 48)
    assert difference(bgr_of(yuv)[:151], image) < 3
    small = to_yuv(picture.decoded, VideoReformatter(), picture.pixel_aspect, max_side=76)
    assert small.y.shape == (76, 48)
    assert shown_size(picture.decoded, picture.pixel_aspect) == (96, 151)


@pytest.mark.parametrize("form", ["yuvj420p", "yuv444p", "yuv420p10le", "rgb24", "gray", "nv12", "yuyv422"])
def test_thumbnails_of_other_sizes_and_formats_are_alike(form):
    picture = av.VideoFrame.from_ndarray(scene(), format="bgr24")
    usual = to_thumbnail(picture.reformat(format="yuv420p"), VideoReformatter())
    other = to_thumbnail(picture.reformat(width=640, height=360, format=form), VideoReformatter())
    assert usual.dtype == other.dtype == np.uint8 and usual.shape == other.shape == (36, 64)
    assert similarity(details_of(usual), details_of(other)) > 0.98


def test_drawing_on_planes_leaves_later_pictures_alone(tmp_path):
    """A decoder predicts pictures from the memory of earlier ones."""
    path = write(tmp_path / "a.mp4", scene(), frames=6)
    expected = [frame.image for frame in read_frames(path)]
    shown = []
    for picture in read_pictures(path):
        to_yuv(picture.decoded, VideoReformatter()).y[:] = 0
        shown.append(to_bgr(picture.decoded, VideoReformatter()))
    assert all(np.array_equal(a, b) for a, b in zip(shown, expected, strict=True))


def test_pictures_beyond_the_limit_are_not_decoded_wherever_they_stand(tmp_path):
    """The header of a transport stream states the size of its first picture only."""
    small, large = write(tmp_path / "a.ts", scene(), 10), write(tmp_path / "b.ts", scene(640, 480), 10)
    grows = tmp_path / "grows.ts"
    grows.write_bytes(small.read_bytes() + large.read_bytes())
    info = probe(grows, max_pixels=160 * 96)
    shapes = {frame.image.shape for frame in read_frames(grows, None, info)}
    assert shapes == {(96, 160, 3)}
    assert (480, 640, 3) in {frame.image.shape for frame in read_frames(grows)}


@pytest.mark.parametrize(
    ("matrix", "primaries", "transfer"), [(3, 1, 1), (8, 1, 1), (10, 9, 1), (14, 9, 16), (9, 9, 3), (9, 3, 16)]
)
def test_colours_that_ffmpeg_does_not_convert_are_shown_by_the_nearest_that_it_does(matrix, primaries, transfer):
    """Reserved numbers, YCgCo, BT.2020 of constant luminance and ICtCp: grey is grey, and the picture is not lost."""
    picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 128, np.uint8), "rgb24").reformat(format="yuv420p")
    picture.colorspace, picture.color_primaries, picture.color_trc = matrix, primaries, transfer
    image, planes = to_bgr(picture, VideoReformatter()), to_yuv(picture, VideoReformatter())
    assert np.ptp(image.astype(int), axis=2).max() <= 2
    assert abs(planes.u.astype(int) - 128).max() <= 1 and abs(planes.v.astype(int) - 128).max() <= 1
    assert np.ptp(to_thumbnail(picture, VideoReformatter())) <= 1


@pytest.mark.parametrize("form", ["bgr24", "rgb24", "gbrp", "yuv444p", "yuv420p10le"])
def test_grey_stays_grey_in_the_planes(form):
    grey = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 128, np.uint8), "rgb24").reformat(format=form)
    planes = to_yuv(grey, VideoReformatter())
    assert (planes.y == 126).all() and (planes.u == 128).all() and (planes.v == 128).all()
