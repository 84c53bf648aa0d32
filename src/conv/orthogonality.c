/* Orthogonality of the filters of a layer, as the library torchconvquality 0.4 defines it.
 *
 * Rows are multiplied as floats: an entry of W W' then errs by some 1e-7, against the 1e-5 that the mean of them is asked
 * for, at twice the speed of doubles. Float weights of ordinary size are multiplied where they are, and the lengths of
 * their rows are taken out of the products; others are first scaled to unit length in double, because weight decay drives
 * filters to 1e-30, whose squares a float cannot hold. Layers of many filters are cut into pairs of row groups, so that
 * memory stays small and threads share one large layer; the sum over pairs is taken in their order.
 *
 * Pairs grow with the square of the filters, and a file of a megabyte may name a million of them: of more than
 * CONV_ORTHOGONALITY_FILTERS only so many, evenly spaced, are multiplied, and the value is marked as sampled. */
#include "conv/orthogonality.h"
#include "conv/tile.h"

#include <math.h>

#define GROUP 128u  /* filters in a group: a layer of 256 is work for several threads already */
#define DEPTH 1024u /* weights of a filter that are multiplied at a time: a group takes 512 KiB as floats */
#define RUN 512u    /* weights converted at a time */

/* Rows of such lengths have products that floats hold, with room for what single weights contribute. */
#define LENGTH_MIN 1e-12
#define LENGTH_MAX 1e12

/* What a worker needs: two packed groups, their product, a run of doubles. */
typedef struct worker_buffers { float *a, *b, *product; double *run; } worker_buffers;

typedef struct products {
    const conv_block *blocks;
    size_t count;
    const conv_settings *settings;
    const num_kernels *kernels;
    conv_measure *results;
    uint64_t *rows_first;            /* per block: index of its first filter in the arrays below */
    uint64_t *norm_parts, *pair_parts;
    double *unit, *scale;            /* per filter: a weight times unit times scale is that of a row of unit length */
    double *sums;                    /* per pair */
    worker_buffers *buffers;
    uint8_t *memory;
} products;

/* Filters that are multiplied, and the place of the i-th of them: floor(i * filters / taken). */
static uint64_t taken_count(const fpr_layer_shape *s)
{
    return conv_orthogonality_is_sampled(s) ? CONV_ORTHOGONALITY_FILTERS : s->filters;
}

static uint64_t taken(const fpr_layer_shape *s, uint64_t i)
{
    const uint64_t n = taken_count(s);
    return i * (s->filters / n) + i * (s->filters % n) / n;
}

static uint64_t group_count(const fpr_layer_shape *s) { return (taken_count(s) + GROUP - 1) / GROUP; }

static bool is_wanted(const conv_block *block) { return conv_has_basis(block->shape) && block->shape->filters > 1; }

static uint64_t norm_part_count(const conv_block *block) { return is_wanted(block) ? group_count(block->shape) : 0; }

static uint64_t pair_part_count(const conv_block *block)
{
    const uint64_t g = group_count(block->shape);
    return is_wanted(block) ? g * (g + 1) / 2 : 0;
}

/* Squares of F64 weights may leave the range of doubles, those of the other dtypes cannot. */
static double row_unit(double x)
{
    int exponent;
    frexp(x, &exponent);
    return ldexp(1, exponent < -1000 ? 1000 : -exponent);
}

/* Weight d of n taken filters from `first` on: side by side in an HWIO tensor, unless some are left out between. */
static void load_across(const products *t, const conv_block *block, uint64_t first, size_t n, uint64_t d, double *run)
{
    const fpr_layer_shape *s = block->shape;
    const bool half = t->settings->half;
    if (!conv_orthogonality_is_sampled(s)) {
        conv_load(t->kernels, block->dtype, block->weights, d * s->filters + first, n, half, 1, run);
        return;
    }
    const size_t size = conv_weight_bytes(block->dtype);
    _Alignas(8) uint8_t some[GROUP * sizeof(double)];
    for (size_t f = 0; f < n; f++)
        memcpy(some + f * size, (const uint8_t *)block->weights + (d * s->filters + taken(s, first + f)) * size, size);
    conv_load(t->kernels, block->dtype, some, 0, n, half, 1, run);
}

/* Length of each filter of a group; weights of a filter lie together in OIHW, one in each row of an HWIO tensor. */
static void norm_task(void *context, size_t index, unsigned worker)
{
    products *t = context;
    const size_t b = conv_part_block(t->norm_parts, t->count, index);
    const conv_block *block = &t->blocks[b];
    const fpr_layer_shape *s = block->shape;
    if (!t->results[b].finite) return;
    const bool half = t->settings->half, hwio = s->layout == FPR_LAYOUT_HWIO;
    const uint64_t first = (index - t->norm_parts[b]) * GROUP, width = s->channels * s->k;
    const uint64_t filters = taken_count(s);
    const size_t n = filters - first < GROUP ? (size_t)(filters - first) : GROUP;
    double *run = t->buffers[worker].run, *unit = t->unit + t->rows_first[b] + first,
           *scale = t->scale + t->rows_first[b] + first;
    double peak[GROUP] = {0}, squares[GROUP] = {0};
    const int first_pass = block->dtype == FPR_F64 && !half ? 0 : 1; /* the first one finds units */
    for (size_t f = 0; f < n; f++) unit[f] = 1;
    if (hwio) {
        for (int pass = first_pass; pass < 2; pass++) {
            for (uint64_t d = 0; d < width && !base_cancelled(); d++) {
                load_across(t, block, first, n, d, run);
                for (size_t f = 0; f < n; f++) {
                    const double w = pass ? run[f] * unit[f] : fabs(run[f]);
                    if (pass)
                        squares[f] += w * w;
                    else
                        peak[f] = w > peak[f] ? w : peak[f];
                }
            }
            for (size_t f = 0; f < n && !pass; f++) unit[f] = row_unit(peak[f]);
        }
    } else if (block->dtype == FPR_F32 && !half) {
        for (size_t f = 0; f < n; f++) {
            const float *w = (const float *)block->weights + taken(s, first + f) * width;
            for (uint64_t d = 0; d < width && !base_cancelled(); d += RUN)
                squares[f] += t->kernels->float_sum_squares(w + d, width - d < RUN ? (size_t)(width - d) : RUN);
        }
    } else {
        for (size_t f = 0; f < n; f++) {
            double range[2] = {0, 0};
            for (int pass = first_pass; pass < 2; pass++) {
                for (uint64_t d = 0; d < width && !base_cancelled(); d += RUN) {
                    const size_t m = width - d < RUN ? (size_t)(width - d) : RUN;
                    conv_load(t->kernels, block->dtype, block->weights, taken(s, first + f) * width + d, m, half,
                              pass ? unit[f] : 1, run);
                    if (pass)
                        squares[f] += t->kernels->sum_squares(run, m);
                    else
                        t->kernels->range(range, run, m);
                }
                if (!pass) unit[f] = row_unit(fmax(-range[0], range[1]));
            }
        }
    }
    for (size_t f = 0; f < n; f++) scale[f] = squares[f] > 0 ? 1 / sqrt(squares[f]) : 0;
}

/* Whether the weights of n filters are rows of floats as they lie. */
static bool lie_ready(const products *t, size_t b, uint64_t first, size_t n)
{
    const conv_block *block = &t->blocks[b];
    if (block->dtype != FPR_F32 || t->settings->half || block->shape->layout == FPR_LAYOUT_HWIO) return false;
    if (conv_orthogonality_is_sampled(block->shape)) return false; /* not at one distance from each other */
    const double *scale = t->scale + t->rows_first[b] + first;
    for (size_t f = 0; f < n; f++)
        if (scale[f] != 0 && !(scale[f] >= 1 / LENGTH_MAX && scale[f] <= 1 / LENGTH_MIN)) return false;
    return true;
}

/* Filters first .. first + n - 1, weights from .. from + depth - 1 of each, as rows of floats of unit length. */
static void pack_rows(const products *t, size_t b, uint64_t first, size_t n, uint64_t from, size_t depth, float *rows,
                      double *run)
{
    const conv_block *block = &t->blocks[b];
    const fpr_layer_shape *s = block->shape;
    const bool half = t->settings->half;
    const double *unit = t->unit + t->rows_first[b] + first, *scale = t->scale + t->rows_first[b] + first;
    if (s->layout == FPR_LAYOUT_HWIO) {
        for (size_t d = 0; d < depth; d++) {
            load_across(t, block, first, n, from + d, run);
            for (size_t f = 0; f < n; f++) rows[f * depth + d] = (float)(run[f] * unit[f] * scale[f]);
        }
        return;
    }
    const uint64_t width = s->channels * s->k;
    for (size_t f = 0; f < n; f++) {
        for (size_t d = 0; d < depth; d += RUN) {
            const size_t m = depth - d < RUN ? depth - d : RUN;
            conv_load(t->kernels, block->dtype, block->weights, taken(s, first + f) * width + from + d, m, half, 1, run);
            t->kernels->pack(rows + f * depth + d, run, m, unit[f], scale[f]);
        }
    }
}

/* Filters first .. first + n - 1 as operands: rows of floats, and what makes each of unit length. */
typedef struct operand {
    uint64_t first;
    size_t n;
    bool ready;
    float *room; /* for rows that do not lie ready */
    double scale[GROUP];
} operand;

static operand operand_of(const products *t, size_t b, uint64_t group, float *room)
{
    const uint64_t filters = taken_count(t->blocks[b].shape), first = group * GROUP;
    operand o = {.first = first, .n = (size_t)(filters - first < GROUP ? filters - first : GROUP), .room = room};
    o.ready = lie_ready(t, b, first, o.n);
    for (size_t f = 0; f < o.n; f++) o.scale[f] = o.ready ? t->scale[t->rows_first[b] + first + f] : 1;
    return o;
}

/* The rows of an operand, weights from .. from + depth - 1. */
static num_rows rows_of(const products *t, size_t b, const operand *o, uint64_t from, size_t depth, double *run)
{
    const fpr_layer_shape *s = t->blocks[b].shape;
    const uint64_t width = s->channels * s->k;
    if (o->ready)
        return (num_rows){(const float *)t->blocks[b].weights + o->first * width + from, (size_t)width, o->n};
    pack_rows(t, b, o->first, o->n, from, depth, o->room, run);
    return (num_rows){o->room, depth, o->n};
}

/* sum |G| of one pair of groups, without the diagonal, which is exactly what rows of unit length have there. */
static double product_sum(const num_kernels *kernels, const float *g, const operand *a, const operand *b, bool same)
{
    double sum = 0;
    for (size_t i = 0; i < a->n; i++) {
        const size_t skip = same ? i + 1 : 0;
        sum += a->scale[i] * kernels->sum_abs(g + i * b->n + skip, b->scale + skip, b->n - skip);
    }
    return 2 * sum;
}

static void pair_task(void *context, size_t index, unsigned worker)
{
    products *t = context;
    index = (size_t)t->pair_parts[t->count] - 1 - index; /* the largest layers tend to come last: they go first */
    const size_t b = conv_part_block(t->pair_parts, t->count, index);
    const fpr_layer_shape *s = t->blocks[b].shape;
    t->sums[index] = 0;
    if (!t->results[b].finite) return;
    uint64_t i = 0, j = index - t->pair_parts[b]; /* pairs (0,0) (0,1) .. (0,g-1) (1,1) .. */
    for (uint64_t row = group_count(s); j >= row; row--) {
        j -= row;
        i++;
    }
    j += i;
    const worker_buffers *w = &t->buffers[worker];
    const operand one = operand_of(t, b, i, w->a), other = i == j ? one : operand_of(t, b, j, w->b);
    const uint64_t width = s->channels * s->k;
    for (uint64_t from = 0; from < width; from += DEPTH) {
        if (base_cancelled()) return;
        const size_t depth = width - from < DEPTH ? (size_t)(width - from) : DEPTH;
        const num_rows x = rows_of(t, b, &one, from, depth, w->run);
        const num_rows y = i == j ? x : rows_of(t, b, &other, from, depth, w->run);
        t->kernels->gram(w->product, &x, &y, depth, from > 0);
    }
    t->sums[index] = product_sum(t->kernels, w->product, &one, &other, i == j);
}

static fpr_status prepare(products *t, fpr_error *error)
{
    const unsigned threads = t->settings->threads ? t->settings->threads : 1;
    uint64_t rows = 0;
    t->rows_first = base_alloc((uint64_t)t->count + 1, sizeof *t->rows_first);
    t->norm_parts = conv_parts(t->blocks, t->count, norm_part_count);
    t->pair_parts = conv_parts(t->blocks, t->count, pair_part_count);
    t->buffers = base_alloc(threads, sizeof *t->buffers);
    if (!t->rows_first || !t->norm_parts || !t->pair_parts || !t->buffers)
        return base_no_memory(error, 3 * t->count * sizeof *t->rows_first);
    for (size_t b = 0; b < t->count; b++) {
        t->rows_first[b] = rows;
        if (is_wanted(&t->blocks[b])) rows += taken_count(t->blocks[b].shape);
    }
    const uint64_t pairs = t->pair_parts[t->count];
    const size_t packed = GROUP * DEPTH * sizeof(float), product = GROUP * GROUP * sizeof(float);
    const size_t run = (RUN + 8) * sizeof(double), one = 2 * packed + product + run;
    t->unit = base_alloc(rows, sizeof *t->unit);
    t->scale = base_alloc(rows, sizeof *t->scale);
    t->sums = base_alloc(pairs, sizeof *t->sums);
    t->memory = pairs ? base_alloc_aligned(threads, one) : NULL;
    if (!t->unit || !t->scale || !t->sums || (pairs && !t->memory))
        return base_no_memory(error, threads * one + 2 * rows * sizeof(double) + pairs * sizeof(double));
    for (unsigned w = 0; w < threads && pairs; w++) {
        uint8_t *p = t->memory + w * one;
        t->buffers[w] = (worker_buffers){.a = (float *)p, .b = (float *)(p + packed), .product = (float *)(p + 2 * packed),
                                .run = (double *)(p + 2 * packed + product)};
    }
    return FPR_OK;
}

static void sum_up(const products *t)
{
    for (size_t b = 0; b < t->count; b++) {
        if (!is_wanted(&t->blocks[b]) || !t->results[b].finite) continue;
        const uint64_t filters = taken_count(t->blocks[b].shape);
        const double o = (double)filters;
        double sum = 0;
        for (uint64_t p = t->pair_parts[b]; p < t->pair_parts[b + 1]; p++) sum += t->sums[p];
        for (uint64_t f = 0; f < filters; f++)
            if (t->scale[t->rows_first[b] + f] == 0) sum += 1; /* |0 - 1| on the diagonal */
        t->results[b].orthogonality = 1 - sum / (o * (o - 1));
        t->results[b].orthogonality_sampled = conv_orthogonality_is_sampled(t->blocks[b].shape);
    }
}

fpr_status conv_orthogonality(const conv_block *blocks, size_t count, const conv_settings *settings,
                              conv_measure *results, fpr_error *error)
{
    products t = {.blocks = blocks, .count = count, .settings = settings, .kernels = conv_kernels_of(settings),
                 .results = results};
    fpr_status status = prepare(&t, error);
    if (status == FPR_OK) {
        base_parallel(settings->threads, (size_t)t.norm_parts[count], norm_task, &t);
        base_parallel(settings->threads, (size_t)t.pair_parts[count], pair_task, &t);
        status = base_check_cancelled(error);
        if (!status) sum_up(&t);
    }
    base_free(t.rows_first);
    base_free(t.norm_parts);
    base_free(t.pair_parts);
    base_free(t.unit);
    base_free(t.scale);
    base_free(t.sums);
    base_free(t.buffers);
    base_free(t.memory);
    return status;
}
