"""H.264 whose pictures are coded as two fields, as camcorders (AVCHD) and broadcasts do."""

import re

import av
import numpy as np
import pytest

from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames

PICTURES, GROUP = 96, 32


class Bits:
    """Bits that are written one after the other, as in ITU-T H.264, 7.3."""

    def __init__(self, *numbers):
        """`numbers` as ue(v), and texts as they are."""
        self.text = ""
        for number in numbers:
            code = number if isinstance(number, str) else f"{number + 1:b}"
            self.text += code if isinstance(number, str) else "0" * (len(code) - 1) + code

    def unit(self, kind):
        text = self.text + "1"
        data = int(text + "0" * (-len(text) % 8), 2).to_bytes(-(-len(text) // 8), "big")
        data = re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", data)  # emulation prevention
        return b"\0\0\0\1" + bytes([kind]) + data


def field(number, parity, level, is_first_of_group):
    """Macroblocks that state their samples (I_PCM): 32×16 of one grey level."""
    bits = Bits(
        0, 7, 0, f"{number % 16:04b}", "1", str(parity), *[0] * is_first_of_group, "00" if is_first_of_group else "0", 0
    )
    for _ in range(2):
        bits.text += "000011010"  # 25: I_PCM
        bits.text += "0" * (-len(bits.text) % 8) + f"{level:08b}" * 256 + "10000000" * 128
    return bits.unit(0x65 if is_first_of_group else 0x61)


@pytest.fixture(params=["a.h264", "a.ts", "a.mkv"])
def path(request, tmp_path):
    """Picture i has the grey level 32 + 2 i."""
    aspects = "1", "000", "0", "1", f"{1:032b}", f"{50:032b}", "1", "0000"  # of the VUI: 25 pictures a second
    parameters = Bits(f"{77:08b}", "00000000", f"{30:08b}", 0, 0, 2, 1, "0", 1, 0, "0", "0", "1", "0", *aspects)
    headers = parameters.unit(0x67) + Bits(0, 0, "00", 0, 0, 0, "000", 0, 0, 0, "000").unit(0x68)
    fields = []
    for i in range(PICTURES):
        starts = i % GROUP == 0
        for parity in (0, 1):
            data = field(i % GROUP, parity, 32 + 2 * i, starts and not parity)
            fields.append(b"\0\0\0\1\x09\x10" + headers * (starts and not parity) + data)
    raw = tmp_path / "a.h264"
    raw.write_bytes(b"".join(fields))
    if request.param != raw.name:
        with av.open(str(raw)) as source, av.open(str(tmp_path / request.param), "w") as out:
            stream = out.add_stream_from_template(source.streams.video[0])
            packets = [packet for packet in source.demux() if packet.size]
            assert len(packets) == 2 * PICTURES
            for i, packet in enumerate(packets):
                packet.stream, packet.time_base, packet.pts, packet.dts = stream, stream.time_base, None, None
                packet.pts = packet.dts = round(i / 50 / packet.time_base)
                out.mux(packet)
    return tmp_path / request.param


def test_picture_of_two_fields_is_one_frame(path):
    info = probe(path)
    assert info.frames == PICTURES and info.times == pytest.approx(np.arange(PICTURES) / 25, abs=0.002)
    frames = list(read_frames(path, None, info))
    assert [frame.number for frame in frames] == list(range(PICTURES))
    for frame in read_frames(path, [2, 50, 95], info):
        assert np.array_equal(frame.image, frames[frame.number].image)
        assert frame.image.mean() == pytest.approx((32 + 2 * frame.number - 16) * 255 / 219, abs=2)
