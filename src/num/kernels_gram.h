/* Products of rows of floats, a part of kernels_body.h.
 *
 * Each entry is a sum in the order of the row, begun anew every GRAM_DEPTH weights, so that its bits do not depend on the
 * width of registers: the lanes are entries. GRAM_M rows of a meet GRAM_COLUMNS of b at a time, whose sums stay in
 * registers; those of b are turned into a panel first, which stays in the first cache level while all rows of a pass. */
typedef float floats __attribute__((vector_size(VECTOR), aligned(4), may_alias));
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));
#define FLOATS (VECTOR / sizeof(float))

/* Sums, a register for each vector of b, one for a weight of a, one for a product. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define GRAM_M 12
#else
#define GRAM_M 6
#endif
#define GRAM_N 2
#define GRAM_COLUMNS (GRAM_N * FLOATS)
#define GRAM_DEPTH 256

/* Written out, this is one load; as a sum with zeros it is an addition more. */
#if VECTOR == 64
#define SPREAD(x) ((floats){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x})
#elif VECTOR == 32
#define SPREAD(x) ((floats){x, x, x, x, x, x, x, x})
#else
#define SPREAD(x) ((floats){x, x, x, x})
#endif

/* panel[d * GRAM_COLUMNS + j] = weight d of row j; zeros for rows that are not there. */
static void NAME(turn)(float *panel, const float *rows, size_t stride, size_t n, size_t depth)
{
    size_t j = 0;
    for (; j + 4 <= n; j += 4) {
        const float *r = rows + j * stride;
        float *to = panel + j;
        size_t d = 0;
        for (; d + 4 <= depth; d += 4, to += 4 * GRAM_COLUMNS) {
            quad x[4];
            for (unsigned i = 0; i < 4; i++) x[i] = *(const quad *)(r + i * stride + d);
            const quad a = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5), b = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
            const quad p = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7), q = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
            *(quad *)to = __builtin_shufflevector(a, b, 0, 1, 4, 5);
            *(quad *)(to + GRAM_COLUMNS) = __builtin_shufflevector(a, b, 2, 3, 6, 7);
            *(quad *)(to + 2 * GRAM_COLUMNS) = __builtin_shufflevector(p, q, 0, 1, 4, 5);
            *(quad *)(to + 3 * GRAM_COLUMNS) = __builtin_shufflevector(p, q, 2, 3, 6, 7);
        }
        for (; d < depth; d++, to += GRAM_COLUMNS)
            for (unsigned i = 0; i < 4; i++) to[i] = r[i * stride + d];
    }
    for (; j < GRAM_COLUMNS; j++)
        for (size_t d = 0; d < depth; d++) panel[d * GRAM_COLUMNS + j] = j < n ? rows[j * stride + d] : 0;
}

/* m rows of a with the first n rows of a panel. */
INLINE void NAME(gram_block)(float *g, size_t columns, const float *a, size_t stride, const float *panel, size_t n,
                             size_t depth, bool add, unsigned m)
{
    floats sum[GRAM_M][GRAM_N];
    for (unsigned i = 0; i < m; i++)
        for (unsigned j = 0; j < GRAM_N; j++) sum[i][j] = (floats){0};
    for (size_t d = 0; d < depth; d++) {
        floats v[GRAM_N];
        for (unsigned j = 0; j < GRAM_N; j++) v[j] = *(const floats *)(panel + d * GRAM_COLUMNS + j * FLOATS);
        for (unsigned i = 0; i < m; i++) {
            const float x = a[i * stride + d];
            const floats u = SPREAD(x);
            for (unsigned j = 0; j < GRAM_N; j++) sum[i][j] += u * v[j];
        }
    }
    for (unsigned i = 0; i < m; i++, g += columns) {
        if (n == GRAM_COLUMNS) {
            for (unsigned j = 0; j < GRAM_N; j++) {
                floats *to = (floats *)(g + j * FLOATS);
                if (add) sum[i][j] = *to + sum[i][j];
                *to = sum[i][j];
            }
        } else {
            float row[GRAM_COLUMNS];
            memcpy(row, sum[i], sizeof row);
            for (size_t j = 0; j < n; j++) g[j] = add ? g[j] + row[j] : row[j];
        }
    }
}

static void NAME(gram)(float *g, const num_rows *a, const num_rows *b, size_t depth, bool add)
{
    _Alignas(64) float panel[GRAM_DEPTH * GRAM_COLUMNS];
    for (size_t from = 0; from < depth; from += GRAM_DEPTH, add = true) {
        const size_t some = depth - from < GRAM_DEPTH ? depth - from : GRAM_DEPTH;
        for (size_t j = 0; j < b->n; j += GRAM_COLUMNS) {
            const size_t n = b->n - j < GRAM_COLUMNS ? b->n - j : GRAM_COLUMNS;
            const size_t rows = a->w == b->w ? j + n : a->n; /* of the same rows, up to the diagonal */
            NAME(turn)(panel, b->w + j * b->stride + from, b->stride, n, some);
            size_t i = 0;
#define BLOCK(m) NAME(gram_block)(g + i * b->n + j, b->n, a->w + i * a->stride + from, a->stride, panel, n, some, add, m)
            for (; i + GRAM_M <= rows; i += GRAM_M) BLOCK(GRAM_M);
            for (; i + GRAM_M / 2 <= rows; i += GRAM_M / 2) BLOCK(GRAM_M / 2);
            for (; i < rows; i++) BLOCK(1);
#undef BLOCK
        }
    }
}
