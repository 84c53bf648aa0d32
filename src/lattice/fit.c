/* The step by which a tensor is rounded: the error is a continuous function of it, so that some step uses up exactly
 * what is allowed. Secants find it, halving where they do not.
 *
 * No rounding that trades error for bits: such an error lies in the direction of zero, and does more harm than its
 * norm says. */
#include "lattice/lattice.h"

#include <math.h>
#include <stdatomic.h>

#define TRIES 60
#define SAMPLE 65536u        /* weights by which the transform is judged */
#define TRANSFORM_SAVES 0.01 /* share of the bytes from which on it is worth its time */
#define TRELLIS_FROM 0.7     /* mean index from which on a trellis makes a tensor smaller */

typedef struct fit {
    const lattice_shape *s;
    void *bytes;
    lattice *l;
    bool exact, write; /* the error after rounding to the dtype; whether the weights are changed */
    lattice_cost *costs; /* [chunks] */
    struct scratch { lattice_path *path; double *x; int32_t *points; } *workers;
    atomic_bool too_large;
} fit;

static bool zero_kernel(const double *w, uint64_t k)
{
    for (uint64_t i = 0; i < k; i++)
        if (w[i] != 0) return false;
    return true;
}

static bool is_dead(const lattice *l, uint64_t kernel) { return l->dead && (l->dead[kernel / 8] >> kernel % 8 & 1); }

/* Four sums at a time, always the same four. */
static double quantize(const double *x, size_t n, int32_t *points, bool *too_large)
{
    double sum[4] = {0}, peak[4] = {0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (unsigned j = 0; j < 4; j++) {
            const double nearest = lattice_nearest(x[i + j]), d = x[i + j] - nearest, a = fabs(x[i + j]);
            sum[j] += d * d;
            peak[j] = a > peak[j] ? a : peak[j];
            points[i + j] = (int32_t)nearest;
        }
    for (; i < n; i++) {
        const double nearest = lattice_nearest(x[i]), d = x[i] - nearest, a = fabs(x[i]);
        sum[0] += d * d;
        peak[0] = a > peak[0] ? a : peak[0];
        points[i] = (int32_t)nearest;
    }
    for (unsigned j = 0; j < 4; j++)
        if (!(peak[j] < LATTICE_POINT_MOST)) *too_large = true;
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* What points do to a batch of kernels. */
static void settle(fit *f, uint64_t first, uint64_t n, const int32_t *points, lattice_cost *cost)
{
    double w[LATTICE_BATCH], v[LATTICE_BATCH];
    lattice_load(f->s, f->bytes, first, n, w);
    lattice_values(f->s, f->l, n, points, v);
    for (uint64_t i = 0; i < n * f->s->k; i++) {
        const double d = fabs(w[i] - v[i]);
        cost->error_square += d * d;
        cost->max_abs = d > cost->max_abs ? d : cost->max_abs;
        cost->weights += d > 0 || signbit(w[i]) != signbit(v[i]); /* -0 becomes +0, as where kernels go */
    }
    if (f->write) lattice_store(f->s, f->bytes, first, n, v);
}

static void plain_chunk(fit *f, uint64_t first, uint64_t end, lattice_cost *cost)
{
    double x[LATTICE_BATCH];
    int32_t points[LATTICE_BATCH];
    bool too_large = false;
    const uint64_t k = f->s->k, step = lattice_batch_kernels(f->s);
    for (uint64_t kernel = first; kernel < end; kernel += step) {
        const uint64_t n = end - kernel < step ? end - kernel : step;
        lattice_load(f->s, f->bytes, kernel, n, x);
        lattice_scale(f->s, f->l, n, x);
        const double square = quantize(x, (size_t)(n * k), points, &too_large);
        if (too_large) break;
        if (f->exact || f->write)
            settle(f, kernel, n, points, cost);
        else
            cost->error_square += square * f->l->step * f->l->step;
    }
    if (too_large) atomic_store(&f->too_large, true);
}

/* The kernels of a chunk that are not dead, in w->x; and points back to batches of whole kernels. */
static void trellis_chunk(fit *f, uint64_t first, uint64_t end, struct scratch *w, lattice_cost *cost)
{
    const uint64_t k = f->s->k, step = lattice_batch_kernels(f->s);
    size_t count = 0;
    double x[LATTICE_BATCH];
    for (uint64_t kernel = first; kernel < end; kernel += step) {
        const uint64_t n = end - kernel < step ? end - kernel : step;
        lattice_load(f->s, f->bytes, kernel, n, x);
        lattice_scale(f->s, f->l, n, x);
        for (uint64_t i = 0; i < n; i++) {
            if (is_dead(f->l, kernel + i)) continue;
            memcpy(w->x + count, x + i * k, (size_t)k * sizeof *x);
            count += (size_t)k;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (!(fabs(w->x[i]) < LATTICE_POINT_MOST / 2)) {
            atomic_store(&f->too_large, true);
            return;
        }
    const double square = lattice_path_find(w->path, w->x, count, w->points);
    if (!f->exact && !f->write) {
        cost->error_square = square * f->l->step * f->l->step;
        return;
    }
    int32_t points[LATTICE_BATCH];
    size_t at = 0;
    for (uint64_t kernel = first; kernel < end; kernel += step) {
        const uint64_t n = end - kernel < step ? end - kernel : step;
        for (uint64_t i = 0; i < n; i++)
            if (is_dead(f->l, kernel + i)) {
                memset(points + i * k, 0, (size_t)k * sizeof *points);
            } else {
                memcpy(points + i * k, w->points + at, (size_t)k * sizeof *points);
                at += (size_t)k;
            }
        settle(f, kernel, n, points, cost);
    }
}

static void one_chunk(void *context, size_t chunk, unsigned worker)
{
    fit *f = context;
    const uint64_t of = lattice_chunk_kernels(f->s), first = chunk * of, kernels = lattice_kernels(f->s);
    const uint64_t end = kernels - first < of ? kernels : first + of;
    f->costs[chunk] = (lattice_cost){0};
    if (f->l->trellis)
        trellis_chunk(f, first, end, &f->workers[worker], &f->costs[chunk]);
    else
        plain_chunk(f, first, end, &f->costs[chunk]);
}

/* What rounding at l->step costs; infinite where it cannot be done. */
static lattice_cost try_step(fit *f, unsigned threads)
{
    lattice_cost cost = {0};
    const uint64_t chunks = lattice_chunks(f->s);
    atomic_store(&f->too_large, false);
    base_parallel(threads, (size_t)chunks, one_chunk, f);
    for (uint64_t i = 0; i < chunks; i++) {
        cost.error_square += f->costs[i].error_square;
        cost.max_abs = fmax(cost.max_abs, f->costs[i].max_abs);
        cost.weights += f->costs[i].weights;
    }
    if (atomic_load(&f->too_large)) cost.error_square = HUGE_VAL;
    return cost;
}

/* 24 bits of a step are enough, and can be found again from the weights. */
static double shortened(double step)
{
    int exponent;
    const double mantissa = frexp(step, &exponent);
    return ldexp(lattice_nearest(mantissa * 0x1p24), exponent - 24);
}

/* The step at which the error is within [least, 1] of what is allowed; 0: none. Starts at l->step. */
static double find_step(fit *f, const lattice_wish *wish)
{
    const double allowed = wish->error_square;
    double low = 0, high = HUGE_VAL, step = f->l->step, low_share = 0;
    for (unsigned i = 0; i < TRIES; i++) {
        f->l->step = step = shortened(step);
        if (!(step > 0) || !isfinite(1 / step) || step == low || step == high) break;
        const double share = try_step(f, wish->threads).error_square / allowed;
        if (!isfinite(share) && high < HUGE_VAL) break; /* integers too large, or squares that overflow */
        if (share <= 1) {
            low = step;
            low_share = share;
            if (share >= 1 - (1 - wish->least) * 0.5) break;
        } else if (isfinite(share)) {
            high = step;
        } else {
            low = step; /* too small a step for the integers */
            low_share = 0;
        }
        double next = isfinite(share) && share > 0 ? step * sqrt((1 - (1 - wish->least) * 0.25) / share) : step * 2;
        if (next > 4 * step) next = 4 * step;
        if (next < step / 4) next = step / 4;
        if (!(next > low && next < high) || i % 4 == 3)
            next = high < HUGE_VAL ? (low > 0 ? 0.5 * (low + high) : high / 4) : fmax(next, 2 * step);
        step = next;
    }
    f->l->step = low;
    return low_share > 0 ? low : 0;
}

/* ---- the transform */

/* log2, from the bits: exact at powers of two, straight lines between. */
static double logarithm(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (double)bits * 0x1p-52 - 1023;
}

/* Mean binary logarithm of the magnitudes of a sample, in steps. */
static double mean_logarithm(const fit *f, const lattice *l)
{
    double x[LATTICE_BATCH], sum = 0;
    const uint64_t kernels = lattice_kernels(f->s), step = lattice_batch_kernels(f->s);
    const uint64_t batches = (kernels + step - 1) / step, most = SAMPLE / (step * f->s->k) + 1;
    const uint64_t skip = batches / most + 1;
    uint64_t count = 0;
    for (uint64_t b = 0; b < batches; b += skip) {
        const uint64_t first = b * step, n = kernels - first < step ? kernels - first : step;
        lattice_load(f->s, f->bytes, first, n, x);
        lattice_scale(f->s, l, n, x);
        for (uint64_t i = 0; i < n * f->s->k; i++) sum += logarithm(fabs(lattice_nearest(x[i])) + 0.5);
        count += n * f->s->k;
    }
    return sum / (double)count;
}

/* A weight of many steps takes its logarithm and two bits more. What neighbours say of each other's signs is not seen
 * here: without transform it saves a sixth of a bit as well. */
static bool worth_transform(const fit *f)
{
    if (!f->s->axes || f->s->dtype == FPR_BF16) return false; /* of BF16 the points could not be found again */
    lattice plain = {.step = f->l->step}, transformed = {.step = f->l->step, .transformed = true};
    const double bits = mean_logarithm(f, &plain), less = bits - mean_logarithm(f, &transformed);
    const double seen = bits < -1 ? 0 : bits < 3 ? (bits + 1) / 4 : 1;
    return less - 0.17 * seen > TRANSFORM_SAVES * (bits + 2.1);
}

/* ---- everything */

static fpr_status make_scratch(fit *f, unsigned threads, fpr_error *error)
{
    f->costs = base_calloc(lattice_chunks(f->s), sizeof *f->costs);
    f->workers = base_calloc(threads, sizeof *f->workers);
    return f->costs && f->workers ? FPR_OK : base_no_memory(error, lattice_chunks(f->s) * sizeof *f->costs);
}

static fpr_status make_paths(fit *f, unsigned threads, fpr_error *error)
{
    const uint64_t kernels = lattice_kernels(f->s), step = lattice_batch_kernels(f->s), k = f->s->k;
    const uint64_t of = lattice_chunk_kernels(f->s), most = (kernels < of ? kernels : of) * k;
    for (unsigned i = 0; i < threads; i++) {
        struct scratch *w = &f->workers[i];
        w->path = lattice_path_new();
        w->x = base_alloc(most, sizeof *w->x);
        w->points = base_alloc(most, sizeof *w->points);
        if (!w->path || !w->x || !w->points) return base_no_memory(error, most * 13);
    }
    if (k == 1) return FPR_OK;
    f->l->dead = base_calloc(kernels / 8 + 1, 1);
    if (!f->l->dead) return base_no_memory(error, kernels / 8 + 1);
    double x[LATTICE_BATCH];
    for (uint64_t kernel = 0; kernel < kernels; kernel += step) {
        const uint64_t n = kernels - kernel < step ? kernels - kernel : step;
        lattice_load(f->s, f->bytes, kernel, n, x);
        for (uint64_t i = 0; i < n; i++)
            if (zero_kernel(x + i * k, k)) f->l->dead[(kernel + i) / 8] |= (uint8_t)(1u << (kernel + i) % 8);
    }
    return FPR_OK;
}

static void free_scratch(fit *f, unsigned threads)
{
    for (unsigned i = 0; f->workers && i < threads; i++) {
        base_free(f->workers[i].path);
        base_free(f->workers[i].x);
        base_free(f->workers[i].points);
    }
    base_free(f->workers);
    base_free(f->costs);
}

/* Whether two quantizers beat one: not where most weights are zero, which both of them have. */
static bool worth_trellis(const fit *f)
{
    /* Of a point that the dtype rounds by more than half a step, nobody can tell which quantizer it is of. */
    return f->s->dtype != FPR_BF16 && mean_logarithm(f, f->l) > TRELLIS_FROM;
}

/* A step that passes after rounding to the dtype, seen on the weights themselves; then they are changed. */
static bool carry_out(fit *f, const lattice_wish *wish, lattice_cost *cost)
{
    f->exact = true;
    for (unsigned i = 0; i < TRIES; i++) {
        *cost = try_step(f, wish->threads);
        if (cost->error_square <= wish->error_square) {
            f->write = true;
            try_step(f, wish->threads);
            return true;
        }
        if (!isfinite(cost->error_square)) return false;
        f->l->step = shortened(f->l->step * fmin(sqrt(wish->error_square / cost->error_square), 1 - 0x1p-16));
        if (!(f->l->step > 0) || !isfinite(1 / f->l->step)) return false;
    }
    return false;
}

fpr_status lattice_fit(const lattice_shape *s, void *bytes, const lattice_wish *wish, lattice *l, lattice_cost *cost,
                       bool *fitted, fpr_error *error)
{
    const uint64_t count = lattice_kernels(s) * s->k;
    const unsigned threads = wish->threads > 0 ? wish->threads : 1;
    fit f = {.s = s, .bytes = bytes, .l = l, .exact = s->dtype == FPR_F16 || s->dtype == FPR_BF16};
    *l = (lattice){.step = shortened(sqrt(12 * wish->error_square / (double)count))};
    *cost = (lattice_cost){0};
    *fitted = false;
    if (!(wish->error_square > 0) || !(l->step > 0) || !isfinite(1 / l->step)) return FPR_OK;
    fpr_status status = make_scratch(&f, threads, error);
    if (!status) l->transformed = worth_transform(&f);
    if (!status) *fitted = find_step(&f, wish) > 0;
    if (*fitted && wish->trellis && worth_trellis(&f)) {
        l->trellis = true;
        const double plain = l->step;
        l->step = plain * 0.57;
        status = make_paths(&f, threads, error);
        if (!status && !(find_step(&f, wish) > 0)) {
            l->trellis = false;
            l->step = plain;
            base_free(l->dead);
            l->dead = NULL;
        }
    }
    *fitted = !status && *fitted && carry_out(&f, wish, cost);
    free_scratch(&f, threads);
    if (!*fitted) {
        base_free(l->dead);
        *l = (lattice){0};
    }
    return status;
}
