/* Products of rows of floats, a part of kernels_body.h.
 *
 * Sums run in 16 lanes. A block of GRAM_M by GRAM_N of them stays in registers while its rows stream by, so that every
 * load serves several products. */
typedef float floats __attribute__((vector_size(VECTOR), aligned(4), may_alias));
typedef float quarter_floats __attribute__((vector_size(16)));
#define FLOAT_LANES 16
#define FLOATS (VECTOR / sizeof(float))

#if defined(__AVX512F__)
#define GRAM_M 6
#elif defined(__aarch64__)
#define GRAM_M 4
#else
#define GRAM_M 3
#endif
#define GRAM_N 4
#define GRAM_PANEL 32 /* rows of b that stay in the second cache level while those of a pass */

/* The sums of four, each of 16 lanes: (0 + 8) + (4 + 12) and so on, of these four (0 + 2) + (1 + 3). */
INLINE quarter_floats NAME(fold_floats)(const floats sum[4][STEPS])
{
    quarter_floats f[4];
    for (unsigned j = 0; j < 4; j++) {
        quarter_floats q[4];
        memcpy(q, sum[j], sizeof q);
        f[j] = (q[0] + q[2]) + (q[1] + q[3]);
    }
    const quarter_floats x = __builtin_shufflevector(f[0], f[1], 0, 1, 4, 5) + __builtin_shufflevector(f[0], f[1], 2, 3, 6, 7);
    const quarter_floats y = __builtin_shufflevector(f[2], f[3], 0, 1, 4, 5) + __builtin_shufflevector(f[2], f[3], 2, 3, 6, 7);
    return __builtin_shufflevector(x, y, 0, 2, 4, 6) + __builtin_shufflevector(x, y, 1, 3, 5, 7);
}

/* What is left of rows that are no multiple of FLOAT_LANES, filled up with zeros; apart, since it is rare. */
typedef struct NAME(gram_rest) { float a[GRAM_M][FLOAT_LANES], b[GRAM_N][FLOAT_LANES]; } NAME(gram_rest);

__attribute__((noinline)) static void NAME(take_rest)(NAME(gram_rest) *r, const float *a, const float *b, size_t stride_a,
                                                      size_t stride_b, size_t rest, unsigned m, unsigned n)
{
    memset(r, 0, sizeof *r);
    for (unsigned i = 0; i < m; i++) memcpy(r->a[i], a + i * stride_a, rest * sizeof *a);
    for (unsigned j = 0; j < n; j++) memcpy(r->b[j], b + j * stride_b, rest * sizeof *b);
}

INLINE void NAME(gram_block)(float *g, size_t columns, const float *a, const float *b, size_t stride_a, size_t stride_b,
                             size_t depth, bool add, unsigned m, unsigned n)
{
    floats lanes[GRAM_M][GRAM_N][STEPS];
    const size_t whole = depth / FLOAT_LANES * FLOAT_LANES, rest = depth - whole;
    NAME(gram_rest) last;
    if (rest) NAME(take_rest)(&last, a + whole, b + whole, stride_a, stride_b, rest, m, n);
    for (unsigned s = 0; s < STEPS; s++) {
        floats sum[GRAM_M][GRAM_N];
        for (unsigned i = 0; i < m; i++)
            for (unsigned j = 0; j < n; j++) sum[i][j] = (floats){0};
        for (size_t d = s * FLOATS; d < whole; d += FLOAT_LANES) {
            floats v[GRAM_N];
            for (unsigned j = 0; j < n; j++) v[j] = *(const floats *)(b + j * stride_b + d);
            for (unsigned i = 0; i < m; i++) {
                const floats u = *(const floats *)(a + i * stride_a + d);
                for (unsigned j = 0; j < n; j++) sum[i][j] += u * v[j];
            }
        }
        for (unsigned i = 0; rest && i < m; i++)
            for (unsigned j = 0; j < n; j++)
                sum[i][j] += *(const floats *)(last.a[i] + s * FLOATS) * *(const floats *)(last.b[j] + s * FLOATS);
        for (unsigned i = 0; i < m; i++)
            for (unsigned j = 0; j < n; j++) lanes[i][j][s] = sum[i][j];
    }
    for (unsigned i = 0; i < m; i++) {
        for (unsigned j = n; j < GRAM_N; j++)
            for (unsigned s = 0; s < STEPS; s++) lanes[i][j][s] = (floats){0};
        const quarter_floats f = NAME(fold_floats)(lanes[i]);
        for (unsigned j = 0; j < n; j++) g[i * columns + j] = add ? g[i * columns + j] + f[j] : f[j];
    }
}

/* m rows of a, from row i on, with rows j to end of b; where both are the same, from the diagonal on. */
INLINE void NAME(gram_rows)(float *g, const num_rows *a, const num_rows *b, size_t i, size_t j, size_t end, size_t depth,
                            bool add, unsigned m)
{
    const float *x = a->w + i * a->stride;
    if (a->w == b->w && i > j) j = i / GRAM_N * GRAM_N;
    g += i * b->n;
    for (; j + GRAM_N <= end; j += GRAM_N)
        NAME(gram_block)(g + j, b->n, x, b->w + j * b->stride, a->stride, b->stride, depth, add, m, GRAM_N);
    for (; j < end; j++)
        NAME(gram_block)(g + j, b->n, x, b->w + j * b->stride, a->stride, b->stride, depth, add, m, 1);
}

static void NAME(gram)(float *g, const num_rows *a, const num_rows *b, size_t depth, bool add)
{
    for (size_t j = 0; j < b->n; j += GRAM_PANEL) {
        const size_t end = b->n - j < GRAM_PANEL ? b->n : j + GRAM_PANEL, rows = a->w == b->w ? end : a->n;
        size_t i = 0;
        for (; i + GRAM_M <= rows; i += GRAM_M) NAME(gram_rows)(g, a, b, i, j, end, depth, add, GRAM_M);
        for (; i < rows; i++) NAME(gram_rows)(g, a, b, i, j, end, depth, add, 1);
    }
}
