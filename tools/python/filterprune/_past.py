"""What the kernels that were read tell of the next one, for both codes of a lattice: section 9.2 of src/pack/FORMAT.md."""
from ._logs import MOST_COLUMNS, lg


def trellis_point(state: int, index: int) -> int:
    """The point of an index: section 9.1, as the next state."""
    return 2 * index - ((index > 0) - (index < 0) if state & 1 else 0)


def trellis_next(state: int, index: int) -> int:
    return (state ^ state >> 1) & 1 | (state >> 2 ^ abs(index)) << 1 & 2 | (state & 1) << 2


class Past:
    """Sums of magnitudes times 16, and how many weights or kernels they are of: over all, by filter, channel and place."""

    def __init__(self, first: int, channels: int, k: int, start: int) -> None:
        self.first, self.channels, self.k = first, channels, k
        self.shared = shared = min(channels, MOST_COLUMNS // k)
        self.total, self.number = 4 * ((16 + (start & 15)) << (start >> 4) >> 4), 4
        self.channel_sum, self.channel_number = [0] * shared, [0] * shared
        self.channel_dead, self.channel_kernels, self.channel_past = [0] * shared, [0] * shared, [0] * shared
        self.place_sum, self.place_number = [0] * 64, [0] * 64
        self.columns = [0] * (shared * k)  # the last weight at each place of a filter
        self.mean = self.every = self.filter_lg = 0
        self._begin_filter()

    def _begin_filter(self) -> None:
        self.filter_sum = self.filter_number = self.filter_dead = self.filter_kernels = self.last_dead = 0

    def lgmean(self, total: int, count: int, weight: int) -> int:
        return lg(total + weight * self.mean) - lg(count + weight)

    def enter(self, n: int) -> int:
        """Begins kernel n of the chunk; which of the channels that are told apart it is of."""
        channel = (self.first + n) % self.channels
        if channel == 0:
            self._begin_filter()
        if self.k > 1 or channel % 8 == 0 or n == 0:
            self.mean = max(1, self.total // self.number)
            self.every = lg(self.mean)
            self.filter_lg = self.lgmean(self.filter_sum, self.filter_number, 6)
        return channel % self.shared

    def dead_near(self, c: int) -> int:
        return 4 * self.last_dead + self.channel_past[c]

    def dead_share(self, c: int) -> int:
        return 8 * (8 * self.filter_dead // (self.filter_kernels + 1)) + 8 * self.channel_dead[c] // (self.channel_kernels[c] + 1)

    def saw(self, c: int, dead: int) -> None:
        self.last_dead = dead
        self.channel_past[c] = self.channel_past[c] << 1 & 2 | dead
        self.channel_dead[c] += dead
        self.channel_kernels[c] += 1
        self.filter_dead += dead
        self.filter_kernels += 1

    def channel_lg(self, c: int) -> int:
        return self.lgmean(self.channel_sum[c], self.channel_number[c], 6)

    def leave(self, c: int, kernel_sum: int) -> None:
        self.total += kernel_sum
        self.number += self.k
        self.channel_sum[c] += kernel_sum
        self.channel_number[c] += self.k
        self.filter_sum += kernel_sum
        self.filter_number += self.k
