"""Reading integers and bit strings of untrusted bytes: the start of src/pack/FORMAT.md."""
from typing import Union

import numpy as np

from ._errors import SafetensorError


class Damaged(SafetensorError):
    """Bytes that break the format."""


class TooNew(SafetensorError):
    """A later version of the format."""


class Bits:
    """A cursor over bytes that also reads bits, the least significant first."""

    def __init__(self, data: Union[bytes, memoryview], at: int = 0) -> None:
        self.data, self.at, self._bit = memoryview(data), at, 0

    def bytes(self, count: int) -> memoryview:
        if count > len(self.data) - self.at:
            raise Damaged("ends too soon")
        self.at += count
        return self.data[self.at - count:self.at]

    def byte(self) -> int:
        return self.bytes(1)[0]

    def number(self, count: int) -> int:
        return int.from_bytes(self.bytes(count), "little")

    def varint(self) -> int:
        value = shift = 0
        for i in range(10):
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                if value >> 64 or (byte == 0 and i):
                    break
                return value
        raise Damaged("a number is not in its shortest form")

    def take(self, count: int) -> int:
        """The next count bits as a number."""
        value = 0
        for i in range(count):
            if self.at >= len(self.data):
                raise Damaged("ends too soon")
            value |= (self.data[self.at] >> self._bit & 1) << i
            self._bit += 1
            if self._bit == 8:
                self._bit, self.at = 0, self.at + 1
        return value

    def align(self) -> None:
        """On to the next byte; the bits left of this one must be zero."""
        if self._bit:
            if self.data[self.at] >> self._bit:
                raise Damaged("unused bits are not zero")
            self._bit, self.at = 0, self.at + 1

    def rest(self) -> memoryview:
        return self.bytes(len(self.data) - self.at)


def bit_string_bytes(count: int, width: int) -> int:
    return (count * width + 7) // 8


def unpack_bits(data: Union[bytes, memoryview, np.ndarray], count: int, width: int) -> np.ndarray:
    """A bit string of count values of width bits, 1 to 8, as uint8."""
    raw = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else data
    if raw.size != bit_string_bytes(count, width):
        raise Damaged("a bit string has the wrong length")
    used = count * width % 8
    if used and raw[-1] >> used:
        raise Damaged("unused bits are not zero")
    if width == 8:
        return raw
    # Eight values fill `width` bytes, which are one number of up to 56 bits.
    groups = (count + 7) // 8
    padded = np.zeros((groups, 8), np.uint8)
    whole = np.zeros(groups * width, np.uint8)
    whole[:raw.size] = raw
    padded[:, :width] = whole.reshape(groups, width)
    numbers = padded.view("<u8")[:, 0]
    values = np.empty((groups, 8), np.uint8)
    for j in range(8):
        values[:, j] = (numbers >> np.uint64(j * width)) & np.uint64((1 << width) - 1)
    return values.reshape(-1)[:count]


def unpack_wide_bits(data: Union[bytes, memoryview], count: int, width: int) -> np.ndarray:
    """A bit string of count values of width bits, up to 56, as uint64."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if bits[count * width:].any():
        raise Damaged("unused bits are not zero")
    values = np.zeros(count, np.uint64)
    for i, column in enumerate(bits[:count * width].reshape(count, width).T):
        values |= column.astype(np.uint64) << np.uint64(i)
    return values
