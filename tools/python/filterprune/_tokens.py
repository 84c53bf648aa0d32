"""The indices of a quick lattice, section 9.5 of src/pack/FORMAT.md; written from that text alone.

Plain Python, some 20 us a weight; the library is five hundred times faster.
"""
from typing import List

import numpy as np

from ._bits import Bits, Damaged
from ._logs import DEPTH, MOST_MAGNITUDE, clamp, lg
from ._past import Past, trellis_next, trellis_point

FIRST = (0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
EXTRA = (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4)
SCALE = 32768
LEAST = 4
BEGIN = 1 << 31
MOST_DIGITS = 26
_TAILS = (
    32115, 32086, 32056, 32025, 31992, 31958, 31922, 31884, 31845, 31805, 31762, 31717, 31671, 31623, 31572, 31519,
    31464, 31406, 31346, 31283, 31217, 31149, 31077, 31003, 30925, 30843, 30758, 30670, 30577, 30480, 30379, 30274,
    30164, 30049, 29929, 29804, 29673, 29537, 29395, 29246, 29092, 28930, 28761, 28586, 28402, 28211, 28011, 27803,
    27586, 27360, 27125, 26879, 26623, 26356, 26079, 25789, 25488, 25175, 24849, 24510, 24158, 23792, 23412, 23017,
    22607, 22182, 21742, 21286, 20813, 20325, 19821, 19300, 18763, 18210, 17641, 17057, 16458, 15844, 15216, 14576,
    13924, 13262, 12591, 11912, 11229, 10543, 9856, 9172, 8492, 7820, 7160, 6514, 5886, 5280, 4698, 4145,
    3622, 3134, 2681, 2267, 1892, 1557, 1262, 1006, 787, 604, 454, 333, 239, 166, 112, 73,
    46, 28, 16, 9, 5, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0,
)
_TARGETS = [[0] + [LEAST * i if i <= s else SCALE - LEAST * (16 - i) for i in range(1, 16)] for s in range(16)]
SEEN = 120
_RATES = [4] * 4 + [5] * 8 + [6] * 28 + [7] * 80 + [8]
_CHANGE = [65536 // (2 * n + 3) for n in range(256)]


def begin(size: int) -> List[int]:
    """What symbols below each have begin with, and, last, how often the model has learned."""
    below = [0] + [32767 - _TAILS[clamp(lg(2 * FIRST[i] - 1) - 16 - size + 80, 0, 127)] for i in range(1, 16)]
    for i in range(15, 0, -1):
        below[i] = min(below[i], (below[i + 1] if i < 15 else SCALE) - LEAST)
    for i in range(1, 16):
        below[i] = max(below[i], below[i - 1] + LEAST)
    return below + [0]


def learn(model: List[int], target: List[int]) -> None:
    rate = _RATES[model[16]]
    for i in range(1, 16):
        model[i] += (target[i] - model[i] >> 1) + (1 << rate - 2) >> rate - 1
    model[16] = min(model[16] + 1, SEEN)


class Reader:
    """Symbols, and bits as they are, of a chunk."""

    def __init__(self, data: bytes) -> None:
        bits = Bits(data)
        words = bits.varint()
        self.state = bits.number(8)
        self.words = np.frombuffer(bits.bytes(4 * words), "<u4").tolist()
        self.raw, self.at = bytes(bits.rest()), 0
        self.next = 0
        if not BEGIN <= self.state < 1 << 63:
            raise Damaged("a chunk of a lattice that is none")

    def advance(self, start: int, frequency: int) -> None:
        self.state = frequency * (self.state >> 15) + (self.state & SCALE - 1) - start
        if self.state < BEGIN:
            if self.next == len(self.words):
                raise Damaged("a chunk of a lattice does not end where its weights do")
            self.state = self.state << 32 | self.words[self.next]
            self.next += 1

    def bit(self, one: int) -> int:
        if self.state & SCALE - 1 < one:
            self.advance(0, one)
            return 1
        self.advance(one, SCALE - one)
        return 0

    def symbol(self, a: List[int], b: List[int]) -> int:
        slot = self.state & SCALE - 1
        s = 15
        while a[s] + b[s] >> 1 > slot:
            s -= 1
        start = a[s] + b[s] >> 1
        self.advance(start, (a[s + 1] + b[s + 1] >> 1 if s < 15 else SCALE) - start)
        for model in (a, b):
            learn(model, _TARGETS[s])
        return s

    def plain(self, count: int) -> int:
        value = int.from_bytes(self.raw[self.at >> 3:(self.at >> 3) + 5], "little") >> (self.at & 7) & (1 << count) - 1
        self.at += count
        return value

    def escaped(self, shift: int) -> int:
        digits = self.plain(5)
        if digits >= MOST_DIGITS or digits + shift > MOST_DIGITS + 4:
            raise Damaged("an index of a lattice is too large")
        more = (1 << digits) + self.plain(digits)
        found = (more - 1 + FIRST[15] << shift) + self.plain(shift)
        if found >> MOST_DIGITS:
            raise Damaged("an index of a lattice is too large")
        return found

    def magnitude(self, symbol: int, shift: int) -> int:
        return self.escaped(shift) if symbol == 15 else (FIRST[symbol] << shift) + self.plain(EXTRA[symbol] + shift)

    def ends(self) -> bool:
        return self.state == BEGIN and self.next == len(self.words) and 0 <= 8 * len(self.raw) - self.at < 8 and \
            self.plain(8 * len(self.raw) - self.at) == 0


class Dead:
    """Which kernels are dead: chances in 1/2^22, and how often they were asked."""

    def __init__(self) -> None:
        self.near, self.share = ([1 << 16] * n for n in (8, 64))
        self.near_asked, self.share_asked = ([2] * n for n in (8, 64))

    def ask(self, reader: Reader, past: Past, c: int) -> int:
        near, share = past.dead_near(c), past.dead_share(c)
        dead = reader.bit(clamp((self.near[near] >> 6) + (self.share[share] >> 6) >> 1, 64, 65472) >> 1)
        goal = 4194048 if dead else 256
        for chance, asked, i in ((self.near, self.near_asked, near), (self.share, self.share_asked, share)):
            chance[i] += (goal - chance[i] >> 7) * _CHANGE[asked[i]] >> 8
            asked[i] = min(asked[i] + 1, 255)
        past.saw(c, dead)
        return dead


def decode_chunk(data: bytes, first: int, kernels: int, channels: int, k: int, row: int, start: int,
                 trellis: bool) -> np.ndarray:
    """The points of the kernels from `first` on, [kernels][k]."""
    reader = Reader(data)
    by_size = [[begin(4 * i - 78) for i in range(36)] for _ in range(2)]
    by_level = [[begin(8 * (i // 8) - 76) for i in range(144)] for _ in range(2)]
    deaths = Dead()
    past = Past(first, channels, k, start)
    columns, place_sum, place_number, place_lg = past.columns, past.place_sum, past.place_number, [0] * 64
    before = [0] * k
    i1 = i2 = i3 = 0
    state = coded = 0
    points = np.zeros((kernels, k), np.int64)

    for n in range(kernels):
        c = past.enter(n)
        every = past.every
        if k > 1:
            if deaths.ask(reader, past, c):
                continue
            if coded % 8 == 0:
                place_lg = [past.lgmean(place_sum[p], place_number[p], 8) for p in range(min(64, k))]
            coded += 1
        base = past.filter_lg + past.channel_lg(c) - 64 - every
        deviation = older = kernel_sum = 0
        indices: List[int] = []
        for s in range(k):
            m = s if s < 63 else 63
            level = clamp(base + (place_lg[m] - every if k > 1 else 0), -48, 400)
            column = columns[c * k + s]
            above = indices[s - row] if row and s >= row else i2 if k > 1 else i3
            other = before[s] if k > 1 else i2
            last = DEPTH[min(abs(i1), MOST_MAGNITUDE)]
            around = lg(8 * abs(column) + 4 * (min(abs(above), MOST_MAGNITUDE) + min(abs(other), MOST_MAGNITUDE)) + 2) - 64
            if k > 1:
                local = level + (older * (65536 // ((s - 1 if s else 0) + 4)) >> 16)
            else:
                two = DEPTH[min(abs(i2), MOST_MAGNITUDE)] + DEPTH[min(abs(i3), MOST_MAGNITUDE)]
                local = level + ((two - 2 * level) * 13107 >> 16)
            estimate = 2 * local + level + around + 2 >> 2
            shift = clamp((estimate >> 4) - 3, 0, 20)
            odd = state & 1
            symbol = reader.symbol(
                by_size[odd][clamp(estimate - 16 * shift + 80 >> 2, 0, 35)],
                by_level[odd][8 * clamp(level - 16 * shift + 80 >> 3, 0, 17) + clamp((last - level + 8 >> 4) + 5, 0, 7)])
            index = reader.magnitude(symbol, shift)
            if index and reader.plain(1):
                index = -index
            indices.append(index)
            size = min(abs(index), MOST_MAGNITUDE)
            older = deviation
            deviation += DEPTH[size] - level + 6
            i1, i2, i3 = index, i1, i2
            columns[c * k + s] = -size if index < 0 else size
            place_sum[m] += 16 * size
            place_number[m] += 1
            kernel_sum += 16 * size
            if trellis:
                points[n, s] = trellis_point(state, index)
                state = trellis_next(state, index)
            else:
                points[n, s] = index
        past.leave(c, kernel_sum)
        before = indices

    if not reader.ends():
        raise Damaged("a chunk of a lattice does not end where its weights do")
    return points
