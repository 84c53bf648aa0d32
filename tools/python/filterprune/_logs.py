"""Magnitudes and their logarithms in sixteenths of an octave, section 9.2 of src/pack/FORMAT.md."""

_PARTS = (0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 12, 13, 13, 14, 14, 14, 15, 15, 16)
MOST_COLUMNS = 262144
MOST_MAGNITUDE = 32767


def clamp(x: int, low: int, high: int) -> int:
    return low if x < low else high if x > high else x


def lg(x: int) -> int:
    if not x:
        return -16
    n = x.bit_length() - 1
    return 16 * n + _PARTS[(x << 5 >> n) & 31]


DEPTH = [lg(16 * m + 8) - 64 for m in range(MOST_MAGNITUDE + 1)]
