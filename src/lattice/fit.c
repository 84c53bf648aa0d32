/* The step by which a tensor is rounded: the error is a continuous function of it, so that some step uses up exactly
 * what is allowed. Secants find it, halving where they do not.
 *
 * No rounding that trades error for bits: such an error lies in the direction of zero, and does more harm than its
 * norm says. */
#include "lattice/level.h"

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
    bool write; /* whether the weights are changed */
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

/* What it costs that n kernels w become what points mean. */
static void settle(fit *f, uint64_t first, uint64_t n, const double *w, const int32_t *points, lattice_cost *cost)
{
    double v[LATTICE_BATCH];
    uint8_t scratch[LATTICE_BATCH * 8];
    if (f->write) {
        lattice_restore(f->s, f->l, first, n, points, scratch, f->bytes);
        lattice_load(f->s, f->bytes, first, n, v);
    } else {
        lattice_values(f->s, f->l, n, points, v);
    }
    lattice_level_best()->compare(w, v, (size_t)(n * f->s->k), cost);
}

/* The same of kernels that are transformed and only looked at: turned once, they need not be turned back. */
static bool look(const fit *f, uint64_t n, const double *w, lattice_cost *cost)
{
    const lattice_level *level = lattice_level_best();
    double turned[LATTICE_BLOCK], x[LATTICE_BLOCK];
    int32_t points[LATTICE_BLOCK];
    uint8_t bytes[LATTICE_BLOCK * 8];
    const size_t k = (size_t)f->s->k, count = (size_t)((n + 7) / 8 * 8) * k;
    level->turn(k, (size_t)n, w, turned);
    memcpy(x, turned, count * sizeof *x);
    level->scale(f->l, k, (size_t)n, true, x);
    if (!level->nearest(x, count, points)) return false;
    level->steps(f->l, k, (size_t)n, true, points, x);
    level->store(f->s->dtype, f->l->step, x, count, bytes);
    level->load(f->s->dtype, bytes, count, x);
    level->compare(turned, x, count, cost);
    return true;
}

static bool plain_batch(fit *f, uint64_t first, uint64_t n, lattice_cost *cost)
{
    double w[LATTICE_BATCH], x[LATTICE_BATCH];
    int32_t points[LATTICE_BATCH];
    lattice_load(f->s, f->bytes, first, n, w);
    if (f->l->transformed && !f->write) return look(f, n, w, cost);
    memcpy(x, w, (size_t)(n * f->s->k) * sizeof *w);
    lattice_scale(f->s, f->l, n, x);
    if (!lattice_points(f->s, n, x, points)) return false;
    settle(f, first, n, w, points, cost);
    return true;
}

static void plain_chunk(fit *f, uint64_t first, uint64_t end, lattice_cost *cost)
{
    const uint64_t step = lattice_batch_kernels(f->s);
    for (uint64_t kernel = first; kernel < end; kernel += step)
        if (!plain_batch(f, kernel, end - kernel < step ? end - kernel : step, cost)) {
            atomic_store(&f->too_large, true);
            return;
        }
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
    lattice_path_find(w->path, w->x, count, w->points);
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
        lattice_load(f->s, f->bytes, kernel, n, x);
        settle(f, kernel, n, x, points, cost);
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

/* The step at which the error is within [least, 1] of what is allowed; 0: none. Starts at l->step.
 * The error grows with the square of the step, or more slowly where many weights have become zero: so straight lines over
 * that square, through the last two steps or, at first, through 0; between a step that is too small and one too large once there
 * are such, halving what is left where that is slow. */
static double find_step(fit *f, const lattice_wish *wish)
{
    const double target = 1 - (1 - wish->least) * 0.25;
    double low = 0, high = HUGE_VAL, step = f->l->step, low_share = 0, last = 0, last_share = 0;
    for (unsigned i = 0; i < TRIES; i++) {
        f->l->step = step = shortened(step);
        if (!(step > 0) || !isfinite(1 / step) || step == low || step == high) break;
        const double share = try_step(f, wish->threads).error_square / wish->error_square;
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
        const double ratio = last / step, slope = (share - last_share) / (1 - ratio * ratio);
        double next = isfinite(share) && slope > 0 ? step * sqrt(fmax(1 + (target - share) / slope, 0)) : step * 2;
        last = isfinite(share) ? step : 0;
        last_share = isfinite(share) ? share : 0;
        if (next > 4 * step) next = 4 * step;
        if (next < step / 4) next = step / 4;
        if (!(next > low && next < high) || (i % 4 == 3 && low > 0 && high < HUGE_VAL))
            next = high < HUGE_VAL ? (low > 0 ? 0.5 * (low + high) : high / 4) : fmax(next, 2 * step);
        step = next;
    }
    f->l->step = low;
    return low_share > 0 ? low : 0;
}

/* ---- the transform */

/* Mean binary logarithm of the magnitudes of a sample, in steps: from their bits, exact at powers of two, straight lines
 * between. */
static double mean_logarithm(const fit *f, const lattice *l)
{
    double x[LATTICE_BATCH];
    const uint64_t kernels = lattice_kernels(f->s), step = lattice_batch_kernels(f->s);
    const uint64_t batches = (kernels + step - 1) / step, most = SAMPLE / (step * f->s->k) + 1;
    const uint64_t skip = batches / most + 1;
    uint64_t count = 0, sum = 0; /* in 2^-32, of exponents above 0 */
    for (uint64_t b = 0; b < batches; b += skip) {
        const uint64_t first = b * step, n = kernels - first < step ? kernels - first : step;
        lattice_load(f->s, f->bytes, first, n, x);
        lattice_scale(f->s, l, n, x);
        for (uint64_t i = 0; i < n * f->s->k; i++) {
            const double magnitude = fabs(lattice_nearest(x[i])) + 0.5;
            uint64_t bits;
            memcpy(&bits, &magnitude, sizeof bits);
            sum += bits >> 20;
        }
        count += n * f->s->k;
    }
    return (double)sum * 0x1p-32 / (double)count - 1023;
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

/* Of F16 with weights far larger than most, rounding to the dtype may take a point nearer to the next one. Plain lattices find
 * a point of the same value then; a trellis needs the very index, and a transform mixes what is rounded. Of the other
 * dtypes integers are too small for that, or neither is tried (BF16). */
static bool tells_points(const fit *f)
{
    if (f->s->dtype != FPR_F16 || !(f->l->trellis || f->l->transformed)) return true;
    double x[LATTICE_BATCH], peak = 0;
    const uint64_t kernels = lattice_kernels(f->s), step = lattice_batch_kernels(f->s);
    for (uint64_t first = 0; first < kernels; first += step) {
        const uint64_t n = kernels - first < step ? kernels - first : step;
        lattice_load(f->s, f->bytes, first, n, x);
        for (uint64_t i = 0; i < n * f->s->k; i++) peak = fmax(peak, fabs(x[i]));
    }
    double most = fmax(peak * 0x1p-11, 0x1p-25); /* half of a last place; of a denormal number */
    for (unsigned axis = 0; f->l->transformed && axis < f->s->axes; axis++) most *= sqrt(3);
    return most < 0.5 * f->l->step;
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

fpr_status lattice_fit(const lattice_shape *s, void *bytes, const lattice_wish *wish, lattice *l, lattice_cost *cost,
                       bool *fitted, fpr_error *error)
{
    const uint64_t count = lattice_kernels(s) * s->k;
    const unsigned threads = wish->threads > 0 ? wish->threads : 1;
    fit f = {.s = s, .bytes = bytes, .l = l};
    *l = (lattice){.step = shortened(sqrt(12 * wish->error_square / (double)count))};
    *cost = (lattice_cost){0};
    *fitted = false;
    if (!(wish->error_square > 0) || !(l->step > 0) || !isfinite(1 / l->step)) return FPR_OK;
    fpr_status status = make_scratch(&f, threads, error);
    if (!status) l->transformed = worth_transform(&f);
    if (!status) *fitted = find_step(&f, wish) > 0;
    if (*fitted && !tells_points(&f)) {
        l->transformed = false;
        *fitted = find_step(&f, wish) > 0;
    }
    if (*fitted && wish->trellis && worth_trellis(&f)) {
        l->trellis = true;
        const double plain = l->step;
        l->step = plain * 0.57;
        status = make_paths(&f, threads, error);
        if (!status && !(find_step(&f, wish) > 0 && tells_points(&f))) {
            l->trellis = false;
            l->step = plain;
            base_free(l->dead);
            l->dead = NULL;
        }
    }
    *fitted = *fitted && !status;
    if (*fitted) {
        f.write = true;
        *cost = try_step(&f, threads);
    } else {
        base_free(l->dead);
        *l = (lattice){0};
    }
    free_scratch(&f, threads);
    return status;
}
