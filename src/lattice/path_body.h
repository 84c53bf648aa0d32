/* The path of least squared error through the trellis, by Viterbi's algorithm: for level_body.h, once per level of
 * instructions. A block of weights at a time: what does not wait for the weight before is done for all of them first. */
#define PATH_BLOCK 64u

/* Nearest points to x, [0] and [1] of quantizer 0 for an index that is even and odd: ... -4 0 4 ... and -2 2 6 ...; [2] and [3] of
 * quantizer 1, whose sets are alike on both sides of zero: 0 3 7 ... and 1 5 9 ... and their negatives. */
INLINE void NAME(path_points)(const double *x, size_t n, double point[4][PATH_BLOCK])
{
    for (size_t i = 0; i < n; i++) {
        point[0][i] = 4 * lattice_nearest(x[i] * 0.25);
        point[1][i] = 4 * lattice_nearest((x[i] - 2) * 0.25) + 2;
        const double a = fabs(x[i]), sign = x[i] < 0 ? -1 : 1;
        const double far = 4 * lattice_nearest((a - 3) * 0.25) + 3, near = 4 * lattice_nearest((a - 1) * 0.25) + 1;
        point[2][i] = a < 1.5 ? 0 : sign * (far < 3 ? 3 : far);
        point[3][i] = sign * (near < 1 ? 1 : near);
    }
}

INLINE void NAME(path_squares)(const double *x, size_t n, double square[4][PATH_BLOCK])
{
    NAME(path_points)(x, n, square);
    for (size_t q = 0; q < 4; q++)
        for (size_t i = 0; i < n; i++) square[q][i] = (x[i] - square[q][i]) * (x[i] - square[q][i]);
}

/* State t is reached from two states, which differ in their highest bit c; the parity of the index is then c xor bit 1 of t. */
INLINE unsigned NAME(path_before)(unsigned t, unsigned c)
{
    const unsigned low = t >> 2, second = (t ^ t >> 2) & 1;
    return low | second << 1 | c << 2;
}

/* Of each weight, a bit for every state: the highest bit of the state before it. In the order of states that is best for the level,
 * as are the costs of states from which it starts and which it leaves behind. */
#if VECTOR >= 32
#define PATH_PLACE(t) (((t) & 4) | ((t) << 1 & 2) | ((t) >> 1 & 1)) /* 0 2 1 3 and 4 6 5 7: then each half takes squares in turns */

static void NAME(path_advance)(double square[4][PATH_BLOCK], size_t n, double cost[8], uint8_t *came)
{
    __m256d low = _mm256_loadu_pd(cost), high = _mm256_loadu_pd(cost + 4);
    for (size_t i = 0; i < n; i++) {
        const __m256d even = _mm256_broadcast_sd(&square[0][i]), odd = _mm256_broadcast_sd(&square[1][i]);
        const __m256d far = _mm256_broadcast_sd(&square[2][i]), near = _mm256_broadcast_sd(&square[3][i]);
        const __m256d a0 = _mm256_add_pd(_mm256_permute4x64_pd(low, 0x50), _mm256_blend_pd(even, odd, 10));   /* 0 0 2 2 */
        const __m256d a1 = _mm256_add_pd(_mm256_permute4x64_pd(high, 0x50), _mm256_blend_pd(odd, even, 10));  /* 4 4 6 6 */
        const __m256d b0 = _mm256_add_pd(_mm256_permute4x64_pd(low, 0xaf), _mm256_blend_pd(far, near, 10));   /* 3 3 1 1 */
        const __m256d b1 = _mm256_add_pd(_mm256_permute4x64_pd(high, 0xaf), _mm256_blend_pd(near, far, 10));  /* 7 7 5 5 */
        const int from_a = _mm256_movemask_pd(_mm256_cmp_pd(a1, a0, _CMP_LT_OQ));
        const int from_b = _mm256_movemask_pd(_mm256_cmp_pd(b1, b0, _CMP_LT_OQ));
        low = _mm256_min_pd(a1, a0);
        high = _mm256_min_pd(b1, b0);
        came[i] = (uint8_t)(from_a | from_b << 4);
    }
    _mm256_storeu_pd(cost, low);
    _mm256_storeu_pd(cost + 4, high);
}
#else
#define PATH_PLACE(t) (t)

static void NAME(path_advance)(double square[4][PATH_BLOCK], size_t n, double cost[8], uint8_t *came)
{
    double next[8];
    for (size_t i = 0; i < n; i++) {
        unsigned bits = 0;
        for (unsigned t = 0; t < 8; t++) {
            const unsigned parity = t >> 1 & 1, s0 = NAME(path_before)(t, 0), s1 = NAME(path_before)(t, 1);
            const double c0 = cost[s0] + square[2 * (s0 & 1) + parity][i], c1 = cost[s1] + square[2 * (s1 & 1) + (parity ^ 1)][i];
            bits |= (unsigned)(c1 < c0) << t;
            next[t] = c1 < c0 ? c1 : c0;
        }
        came[i] = (uint8_t)bits;
        memcpy(cost, next, sizeof next);
    }
}
#endif

static double NAME(path)(uint8_t *came, const double *x, size_t n, int32_t *points)
{
    double cost[8], block[4][PATH_BLOCK];
    for (unsigned t = 0; t < 8; t++) cost[PATH_PLACE(t)] = t ? HUGE_VAL : 0;
    for (size_t i = 0; i < n; i += PATH_BLOCK) {
        const size_t m = n - i < PATH_BLOCK ? n - i : PATH_BLOCK;
        NAME(path_squares)(x + i, m, block);
        NAME(path_advance)(block, m, cost, came + i);
    }
    unsigned state = 0;
    for (unsigned t = 1; t < 8; t++)
        if (cost[PATH_PLACE(t)] < cost[PATH_PLACE(state)]) state = t;
    const double least = cost[PATH_PLACE(state)];
    for (size_t end = n, m; end > 0; end -= m) {
        m = end % PATH_BLOCK ? end % PATH_BLOCK : PATH_BLOCK;
        NAME(path_points)(x + end - m, m, block);
        for (size_t i = m; i-- > 0;) {
            const unsigned c = came[end - m + i] >> PATH_PLACE(state) & 1, from = NAME(path_before)(state, c);
            points[end - m + i] = (int32_t)block[2 * (from & 1) + (c ^ (state >> 1 & 1))][i];
            state = from;
        }
    }
    return least;
}
