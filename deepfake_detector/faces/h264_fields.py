"""Which packets of an H.264 stream hold the second field of a picture (ITU-T H.264, 7.3).

Camcorders (AVCHD) and broadcasts code interlaced pictures as two fields. FFmpeg gives each field as a packet of its
own, and one picture for both.
"""

START = 64  # bytes of a unit that are looked at
HIGH_PROFILES = (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)
PARAMETERS, SLICES = 7, (1, 5)  # types of units


class SecondFields:
    """Tells the second fields of a stream, whose packets are given in order."""

    def __init__(self, header: bytes) -> None:
        """`header` is the extradata of the codec."""
        self._is_annex_b = header[:1] != b"\1"
        self._number_bits = 0  # of frame_num; 0 if no picture has fields
        self._first: tuple[int, int] | None = None  # frame_num and parity of a field whose second one may follow
        units = self._units(header) if self._is_annex_b else [header[8 : 8 + START]]
        for unit in units:
            if unit and unit[0] & 0x1F == PARAMETERS:
                self._number_bits = _frame_number_bits(_Bits(unit[1:]))

    @property
    def are_possible(self) -> bool:
        return self._number_bits > 0

    def is_second(self, packet: bytes) -> bool:
        unit = next((unit for unit in self._units(packet) if unit and unit[0] & 0x1F in SLICES), b"")
        bits = _Bits(unit[1:])
        for _ in range(3):  # first_mb_in_slice, slice_type, pic_parameter_set_id
            bits.exp_golomb()
        number, is_field, parity = bits.read(self._number_bits), bits.read(1), bits.read(1)
        first, self._first = self._first, None
        if not is_field or first == (number, 1 - parity):
            return bool(is_field)
        self._first = number, parity
        return False

    def _units(self, data: bytes) -> list[bytes]:
        """The starts of the units, with the byte that holds their type."""
        if self._is_annex_b:
            return [unit[:START] for unit in data.split(b"\0\0\1")[1:]]
        units, at = [], 0
        while at + 4 < len(data):
            units.append(data[at + 4 : at + 4 + START])
            at += 4 + int.from_bytes(data[at : at + 4], "big")
        return units


class _Bits:
    """Reads the bits of a unit; there are zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        content = data.replace(b"\0\0\3", b"\0\0")
        self._bits, self._at = "".join(f"{byte:08b}" for byte in content), 0

    def read(self, count: int) -> int:
        part = self._bits[self._at : self._at + count]
        self._at += count
        return int(part or "0", 2)

    def exp_golomb(self) -> int:
        """A number as ue(v); its mapping to se(v) is not needed."""
        zeros = self._bits[self._at :].find("1")
        self._at += max(zeros, 0)
        return self.read(max(zeros, 0) + 1) - 1


def _frame_number_bits(bits: _Bits) -> int:
    """The length of frame_num by a sequence parameter set, from its profile on; 0 if it allows no fields."""
    profile = bits.read(8)
    bits.read(16)
    bits.exp_golomb()
    if profile in HIGH_PROFILES:
        if bits.exp_golomb() == 3:  # 4:4:4
            bits.read(1)
        bits.exp_golomb(), bits.exp_golomb()
        bits.read(1)
        if bits.read(1):  # a scaling matrix, which no camcorder writes
            return 0
    number_bits = bits.exp_golomb() + 4
    order = bits.exp_golomb()
    if order == 0:
        bits.exp_golomb()
    elif order == 1:
        bits.read(1)
        bits.exp_golomb(), bits.exp_golomb()
        for _ in range(min(bits.exp_golomb(), 255)):
            bits.exp_golomb()
    bits.exp_golomb()  # reference frames
    bits.read(1)
    bits.exp_golomb(), bits.exp_golomb()  # width and height
    return 0 if bits.read(1) else number_bits  # frame_mbs_only_flag
