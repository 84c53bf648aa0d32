/* Singular values of a matrix that lies in a tensor: the smaller Gram matrix is summed panel by panel, so that memory does
 * not grow with the longer side, and its eigenvalues taken. */
#include "linalg/linalg.h"

#include "num/num.h"

#define BLOCK 512              /* rows and columns of the Gram matrix that one task sums */
#define PANEL_DOUBLES (1u << 21) /* 16 MiB */
#define LQ_DOUBLES (1u << 18)    /* 2 MiB */

uint64_t linalg_columns(const linalg_view *v) { return v->outer * v->inner; }

bool linalg_is_finite(fpr_dtype dtype, const void *weights, uint64_t n)
{
    const num_kernels *kernels = num_kernels_best();
    switch (dtype) {
    case FPR_F64: return kernels->peak64(weights, n) < UINT64_C(0x7ff) << 52;
    case FPR_F32: return kernels->peak32(weights, n) < UINT32_C(0xff) << 23;
    case FPR_F16: return kernels->peak16(weights, n) < 0x1f << 10;
    default: return kernels->peak16(weights, n) < 0xff << 7;
    }
}

static void load_run(fpr_dtype dtype, const void *weights, uint64_t at, uint64_t n, double *out)
{
    const num_kernels *kernels = num_kernels_best();
    switch (dtype) {
    case FPR_F64: kernels->load_f64(out, (const double *)weights + at, n, 1); break;
    case FPR_F32: kernels->load_f32(out, (const float *)weights + at, n, 1); break;
    case FPR_F16: kernels->load_f16(out, (const uint16_t *)weights + at, n, 1); break;
    default: kernels->load_bf16(out, (const uint16_t *)weights + at, n, 1); break;
    }
}

/* n weights that do not lie side by side: brought together first, so that they are converted as a run. */
static void load_apart(const linalg_view *v, uint64_t at, uint64_t stride, uint64_t n, double *out)
{
    enum { SOME = 256 };
    union { uint64_t wide[SOME]; uint32_t word[SOME]; uint16_t half[SOME]; } near;
    const unsigned bits = v->dtype == FPR_F64 ? 64 : v->dtype == FPR_F32 ? 32 : 16;
    for (uint64_t done = 0, some; done < n; done += some, at += some * stride) {
        some = n - done < SOME ? n - done : SOME;
        for (uint64_t i = 0; bits == 64 && i < some; i++) near.wide[i] = ((const uint64_t *)v->weights)[at + i * stride];
        for (uint64_t i = 0; bits == 32 && i < some; i++) near.word[i] = ((const uint32_t *)v->weights)[at + i * stride];
        for (uint64_t i = 0; bits == 16 && i < some; i++) near.half[i] = ((const uint16_t *)v->weights)[at + i * stride];
        load_run(v->dtype, &near, 0, some, out + done);
    }
}

/* Columns [from, from + n) of a row. */
static void load_row(const linalg_view *v, uint64_t row, uint64_t from, uint64_t n, double *out)
{
    const uint64_t start = v->first + row * v->row_stride;
    while (n) {
        const uint64_t o = from / v->inner, i = from % v->inner, rest = v->inner - i, run = rest < n ? rest : n;
        const uint64_t at = start + o * v->outer_stride + i * v->inner_stride;
        if (v->inner_stride == 1) load_run(v->dtype, v->weights, at, run, out);
        else load_apart(v, at, v->inner_stride, run, out);
        out += run, from += run, n -= run;
    }
}

/* The Gram matrix of the rows (W W') or, of a tall matrix, of the columns (W' W). */
typedef struct gram {
    const linalg_view *view;
    bool tall;
    uint64_t n;          /* rows of the Gram matrix */
    uint64_t from, width; /* of the panel: columns of W, or rows where it is tall */
    size_t blocks;
    double *panel;       /* [n][width]; tall: [width][n] */
    double *sums;        /* [n][n], lower triangle: the other half is never touched, so that it takes no memory */
} gram;

static void load_task(void *context, size_t i, unsigned worker)
{
    (void)worker;
    const gram *g = context;
    if (g->tall) load_row(g->view, g->from + i, 0, g->n, g->panel + i * g->n);
    else load_row(g->view, i, g->from, g->width, g->panel + i * g->width);
}

static void sum_task(void *context, size_t index, unsigned worker)
{
    (void)worker;
    const gram *g = context;
    size_t row = 0;
    for (; index > row; row++) index -= row + 1; /* block (row, index) of the lower triangle */
    const uint64_t at = row * BLOCK, to = index * BLOCK;
    const int m = (int)(g->n - at < BLOCK ? g->n - at : BLOCK), n = (int)(g->n - to < BLOCK ? g->n - to : BLOCK);
    const int all = (int)g->n, width = (int)g->width;
    double *sums = g->sums + at * g->n + to;
    if (g->tall && at == to) linalg_add_ata(m, width, g->panel + at, all, sums, all);
    else if (g->tall) linalg_add_atb(m, n, width, g->panel + at, all, g->panel + to, all, sums, all);
    else if (at == to) linalg_add_aat(m, width, g->panel + at * g->width, width, sums, all);
    else linalg_add_abt(m, n, width, g->panel + at * g->width, width, g->panel + to * g->width, width, sums, all);
}

static uint64_t panel_width(uint64_t n, uint64_t longer)
{
    const uint64_t width = n < PANEL_DOUBLES / 16 ? PANEL_DOUBLES / n : 16;
    return width < longer ? width : longer;
}

static fpr_status too_large(uint64_t n, fpr_error *error)
{
    return base_fail(error, FPR_USAGE, "a spectrum of %llu singular values is more than 30,000",
                     (unsigned long long)n);
}

fpr_status linalg_squares(const linalg_view *v, unsigned threads, double *squares, bool *singular, fpr_error *error)
{
    const uint64_t columns = linalg_columns(v);
    gram g = {.view = v, .tall = v->rows > columns, .n = v->rows > columns ? columns : v->rows};
    const uint64_t longer = g.tall ? v->rows : columns, width = panel_width(g.n, longer);
    if (g.n > 30000) return too_large(g.n, error);
    g.blocks = (size_t)((g.n + BLOCK - 1) / BLOCK);
    g.panel = base_alloc_aligned(g.n * width, sizeof *g.panel);
    g.sums = base_calloc(g.n * g.n, sizeof *g.sums);
    fpr_status status = g.panel && g.sums ? FPR_OK : base_no_memory(error, g.n * g.n * sizeof *g.sums);
    for (; !status && g.from < longer; g.from += g.width) {
        g.width = longer - g.from < width ? longer - g.from : width;
        base_parallel(threads, (size_t)(g.tall ? g.width : g.n), load_task, &g);
        base_parallel(threads, g.blocks * (g.blocks + 1) / 2, sum_task, &g);
    }
    base_free(g.panel);
    *singular = false;
    for (uint64_t i = 0; !status && i < g.n; i++) *singular |= !(g.sums[i * g.n + i] > 0);
    if (!status) status = linalg_eigenvalues((int)g.n, g.sums, squares, error);
    base_free(g.sums);
    for (uint64_t i = 0; !status && i < g.n; i++) squares[i] = squares[i] > 0 ? squares[i] : 0;
    return status;
}

/* L of W = L Q, from panels: L and the next columns beside it make the next L. */
fpr_status linalg_smallest(const linalg_view *v, double *smallest, fpr_error *error)
{
    const uint64_t columns = linalg_columns(v);
    const bool tall = v->rows > columns;
    const uint64_t n = tall ? columns : v->rows, longer = tall ? v->rows : columns;
    /* Narrow panels take little memory and three times the work of one: where all of it is little, they are wide. */
    const uint64_t wide = LQ_DOUBLES / n > n ? LQ_DOUBLES / n - n : 0, narrow = n / 2 ? n / 2 : 1;
    const uint64_t most = wide > narrow ? wide : narrow, step = most < longer ? most : longer, ld = n + step;
    double *a = base_calloc(n * ld, sizeof *a), *part = base_alloc(tall ? step * n : 1, sizeof *part);
    fpr_status status = a && part ? FPR_OK : base_no_memory(error, n * ld * sizeof *a);
    for (uint64_t from = 0; !status && from < longer; from += step) {
        const uint64_t width = longer - from < step ? longer - from : step;
        for (uint64_t i = 0; i < n; i++) memset(a + i * ld + i + 1, 0, (ld - i - 1) * sizeof *a);
        if (tall) {
            for (uint64_t j = 0; j < width; j++) load_row(v, from + j, 0, n, part + j * n);
            for (uint64_t i = 0; i < n; i++)
                for (uint64_t j = 0; j < width; j++) a[i * ld + n + j] = part[j * n + i];
        } else {
            for (uint64_t i = 0; i < n; i++) load_row(v, i, from, width, a + i * ld + n);
        }
        status = linalg_lq((int)n, (int)ld, a, (int)ld, error);
    }
    base_free(part);
    double *values = base_alloc(n, sizeof *values);
    if (!status && !values) status = base_no_memory(error, n * sizeof *values);
    for (uint64_t i = 0; !status && i < n; i++) {
        memmove(a + i * n, a + i * ld, (i + 1) * sizeof *a);
        memset(a + i * n + i + 1, 0, (n - i - 1) * sizeof *a);
    }
    if (!status) status = linalg_square_values((int)n, a, values, error);
    if (!status) *smallest = values[n - 1];
    base_free(values);
    base_free(a);
    return status;
}
