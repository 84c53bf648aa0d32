"""The adaptive code, section 8 of src/pack/FORMAT.md; written from that text alone.

Every bit depends on the one before, so this is plain Python: some 30 us a value. The library is a hundred times faster.
"""
from typing import Callable, List, Sequence, Tuple

from ._bits import Damaged
from ._logs import clamp as _clamp

_H = (32768, 24743, 17625, 11955, 7812, 4971, 3108, 1921, 1179, 720, 439, 267, 162, 98, 60, 36, 22)
FIRST, DOWN, UP, UPPER, LOWER = range(5)  # LOWER + the upper bit
_PRIORS = (
    (54, 77, 108, 153, 216, 306, 432, 609, 856, 1197, 1654, 2238, 2912, 3548, 3957, 4080, 4080),
    (2048, 2047, 2047, 2046, 2044, 2039, 2030, 2012, 1977, 1906, 1769, 1512, 1082, 539, 139, 16, 16),
    (55, 78, 111, 159, 227, 328, 474, 690, 1009, 1471, 2109, 2887, 3614, 4013, 4014, 4014, 4014),
    (2048, 2048, 2047, 2046, 2045, 2041, 2035, 2021, 1994, 1941, 1834, 1628, 1250, 682, 520, 480, 460),
    (2048, 2048, 2048, 2047, 2047, 2045, 2042, 2037, 2026, 2003, 1958, 1869, 1694, 1364, 1250, 1200, 1180),
    (2048, 2048, 2048, 2047, 2046, 2044, 2040, 2032, 2017, 1985, 1923, 1798, 1557, 1124, 900, 850, 830),
)
OCTAVE = 16
MOST_DEPTH = 255
DEEPEST = MOST_DEPTH * OCTAVE
ZERO_DEPTH = 24 * OCTAVE
ZERO_OCTAVE = 24
MOST_COLUMNS = 65536


def _falling(x: int) -> int:
    i, r = divmod(x, 128)
    return (_H[i] * (128 - r) + _H[i + 1] * r + 64) // 128


# By x + 2047.
_LOGISTIC = [_falling(-x) if x < 0 else 65536 - _falling(x) for x in range(-2047, 2048)]


def _stretches() -> List[int]:
    values, x = [], -2047
    for q in range(4096):
        while x < 2047 and _LOGISTIC[x + 1 + 2047] <= 16 * q + 8:
            x += 1
        values.append(x)
    return values


_STRETCH = _stretches()
_RATE = [65536 // (2 * n + 3) for n in range(256)]


class _Tables:
    """All counters of a chunk, one after the other: where each table begins."""

    def __init__(self) -> None:
        self.chance: List[int] = []
        self.asked: List[int] = []
        self.by_level = [self._add(Q, [(i - 48) >> 1 for i in range(96)]) for Q in range(6)]
        self.by_around = [self._add(Q, [i // 16 - 24 for i in range(48 * 16)]) for Q in range(6)]
        self.by_depth = [self._add(Q, [0] * (MOST_DEPTH + 1), 1) for Q in range(6)]
        self.by_filter = [self._add(Q, [i // 64 - 24 for i in range(48 * 64)]) for Q in range(6)]
        self.sign = [self._add_even(n) for n in (36, 27, 41 * 4, 64 * 9)]
        self.zero = [self._add_even(n) for n in (16, 64, 4, 1)]

    def _add(self, question: int, halves: Sequence[int], asked: int = 0) -> int:
        at = len(self.chance)
        prior = _PRIORS[question]
        self.chance += [prior[min(max(h + 8, 0), 16)] * 1024 for h in halves]
        self.asked += [asked or (16 if question < UPPER else 64)] * len(halves)
        return at

    def _add_even(self, count: int) -> int:
        at = len(self.chance)
        self.chance += [1 << 21] * count
        self.asked += [1] * count
        return at


def mixer(tables, bit: Callable[[int], int]) -> Callable:
    """A function that decodes a bit that four counters foretell and a mixer's weights; `bit` decodes one of known chance."""
    chance, asked, stretch, logistic, rate = tables.chance, tables.asked, _STRETCH, _LOGISTIC, _RATE

    def ask(indices: Tuple[int, int, int, int], weights: List[int]) -> int:
        i, j, k, m = indices
        x = (stretch[chance[i] >> 10], stretch[chance[j] >> 10], stretch[chance[k] >> 10], stretch[chance[m] >> 10])
        total = (weights[0] * x[0] + weights[1] * x[1] + weights[2] * x[2] + weights[3] * x[3]) >> 16
        one = logistic[0 if total < -2047 else 4094 if total > 2047 else total + 2047]
        result = bit(one)
        miss = (result << 16) - one
        for n in range(4):
            w = weights[n] + (x[n] * miss + 16384 >> 15)
            weights[n] = -524288 if w < -524288 else 524288 if w > 524288 else w
        goal = 4194048 if result else 256
        for n in indices:
            chance[n] += (goal - chance[n] >> 7) * rate[asked[n]] >> 8
            if asked[n] < 255:
                asked[n] += 1
        return result

    return ask


def _coder(data: bytes, tables: _Tables) -> Tuple[Callable, Callable, Callable]:
    """Functions that decode a foretold bit, decode a plain one, and say whether the chunk ended as it must."""
    low, high, at, size = 0, 0xFFFFFFFF, 4, len(data)
    code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def bit(one: int) -> int:
        nonlocal low, high, code, at
        middle = low + ((high - low) * one >> 16)
        if code <= middle:
            high, result = middle, 1
        else:
            low, result = middle + 1, 0
        while not (low ^ high) >> 24:
            low = low << 8 & 0xFFFFFFFF
            high = high << 8 & 0xFFFFFFFF | 255
            code = code << 8 & 0xFFFFFFFF | (data[at] if at < size else 0)
            at += 1
        return result

    def ends() -> bool:
        for n in range(5):
            value = high >> (32 - 8 * n) << (32 - 8 * n)
            if value >= low:
                return code == value and at - size == 4 - n
        return False

    return mixer(tables, bit), bit, ends


def decode_chunk(data: bytes, places: Sequence[int], channels: int, k: int, above: int, top: int, zeros: bool,
                 exponent_bits: int) -> List[int]:
    """The heads of the values at those places."""
    tables = _Tables()
    ask, bit, ends = _coder(data, tables)
    by_level, by_around, by_depth, by_filter = tables.by_level, tables.by_around, tables.by_depth, tables.by_filter
    mixers = [[16384] * 4 for _ in range(6)]
    down_mixers = [[16384] * 4 for _ in range(16)]
    sign_mixers = [[16384] * 4 for _ in range(4)]
    zero_mixer = [16384] * 4

    per_filter, spatial = channels * k, k > 1
    remembered = per_filter <= MOST_COLUMNS
    total, number = 192, 4
    filter_sum = filter_number = kernel_sum = kernel_number = kernel_signs = 0
    channel_sums, channel_numbers = ([0] * channels, [0] * channels) if remembered else ([0], [0])
    column_depths, column_signs = ([0] * per_filter, [0] * per_filter) if remembered else ([0], [0])
    place_sums, place_numbers = [0] * 64, [0] * 64
    # depth(j) is depths[-j]
    depths, signs_seen = [48] * 4096, [0] * 4096
    heads: List[int] = []
    last_filter = -1

    for place in places:
        filter_, column = divmod(place, per_filter)
        channel, s = divmod(column, k)
        if not remembered:
            channel = column = 0
        if filter_ != last_filter:
            last_filter, filter_sum, filter_number = filter_, 0, 0
        if s == 0:
            kernel_sum = kernel_number = kernel_signs = 0

        mean = total // number
        m = s if s < 63 else 63
        by_this_filter = (filter_sum + 4 * mean) // (filter_number + 4)
        by_channel = (channel_sums[channel] + 4 * mean) // (channel_numbers[channel] + 4)
        by_place = (place_sums[m] + 8 * mean) // (place_numbers[m] + 8) if spatial else mean
        level = _clamp(by_this_filter + by_channel + by_place - 2 * mean, 0, DEEPEST)
        up = above > 0 and (not spatial or s >= above)
        far = above > 0 and (not spatial or s >= above * above)
        depth1, depth2 = depths[-1], depths[-2]
        upper_depth = depths[-above] if up else depth1
        s1, s2 = signs_seen[-1], signs_seen[-2]
        su = signs_seen[-above] if up else s2
        sf = signs_seen[-above * above] if far else signs_seen[-3]
        if spatial:
            local = (kernel_sum + 3 * level) // (kernel_number + 3)
            around = (depth1 + upper_depth) // 2
            second, signs = m, kernel_signs
        else:
            local = (depth1 + depth2 + 2 * level) // 4
            around = column_depths[column] or mean
            second = _clamp((by_channel - mean + 4 >> 3) + 16, 0, 31)
            signs = s1 + s2 + signs_seen[-3]
        beside = _clamp((3 * (around - level) + 16 >> 5) + 8, 0, 15)

        def magnitude(question: int, d: int) -> int:
            here = d * OCTAVE
            indices = (by_level[question] + _clamp((level - here + 2 >> 2) + 48, 0, 95),
                       by_around[question] + _clamp((local - here + 4 >> 3) + 24, 0, 47) * 16 + beside,
                       by_depth[question] + d,
                       by_filter[question] + _clamp((by_this_filter - here + 4 >> 3) + 24, 0, 47) * 64 + second)
            if question == DOWN:
                return ask(indices, down_mixers[_clamp((local - here + 8 >> 4) + 8, 0, 15)])
            return ask(indices, mixers[question])

        def sign(d: int) -> int:
            size = _clamp((level - d * OCTAVE + 8 >> 4) + 1, 0, 3)
            last = _clamp((level - depth1 + 8 >> 4) + 1, 0, 2)
            lean = (signs > 0) - (signs < 0)
            fourth = (m * 9 + (s1 + 1) * 3 + lean + 1 if spatial else
                      (s1 + 1) * 27 + (s2 + 1) * 9 + (su + 1) * 3 + column_signs[column] + 1)
            return ask((tables.sign[0] + ((s1 + 1) * 3 + last) * 4 + size,
                        tables.sign[1] + (s1 + 1) * 9 + (su + 1) * 3 + sf + 1,
                        tables.sign[2] + _clamp(signs + 20, 0, 40) * 4 + size, tables.sign[3] + fourth),
                       sign_mixers[size])

        if zeros:
            r = 2 * (column_depths[column] == ZERO_DEPTH) + (upper_depth == ZERO_DEPTH)
            is_zero = ask((tables.zero[0] + 8 * (depth1 == ZERO_DEPTH) + 4 * (depth2 == ZERO_DEPTH) + r,
                           tables.zero[1] + m, tables.zero[2] + r, tables.zero[3]), zero_mixer)
        else:
            is_zero = 0
        if is_zero:
            negative = sign(ZERO_OCTAVE)
            head, depth = 0, ZERO_DEPTH
        else:
            d = 0
            if top:
                most = min(top, MOST_DEPTH)
                d = _clamp(local >> 4, 0, most - 1)
                if magnitude(FIRST, d):
                    d += 1
                    while d < most and not magnitude(DOWN, d):
                        d += 1
                else:
                    while d > 0 and not magnitude(UP, d):
                        d -= 1
            exponent = top - d
            if d == MOST_DEPTH:
                exponent = 0
                for _ in range(exponent_bits):
                    exponent = exponent << 1 | bit(32768)
            upper = magnitude(UPPER, d)
            lower = magnitude(LOWER + upper, d)
            negative = sign(d)
            head = exponent << 2 | upper << 1 | lower
            depth = OCTAVE * d + 14 - 8 * upper - 4 * lower if d < MOST_DEPTH else DEEPEST
        heads.append(negative << (exponent_bits + 2) | head)

        signed = 1 if negative else -1
        depths.append(depth)
        signs_seen.append(signed)
        total += depth
        number += 1
        filter_sum += depth
        filter_number += 1
        kernel_sum += depth
        kernel_number += 1
        kernel_signs += signed
        place_sums[m] += depth
        place_numbers[m] += 1
        if remembered:
            channel_sums[channel] += depth
            channel_numbers[channel] += 1
            column_depths[column], column_signs[column] = depth, signed

    if not ends():
        raise Damaged("an adaptive chunk does not end where its values do")
    return heads
