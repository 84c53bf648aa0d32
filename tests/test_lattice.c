/* lattice: rounding stays within the error allowed and uses it up; a trellis gains what theory says; what is packed
 * restores every point, the same on any number of threads, near the entropy of what it holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/simd.h"
#include "pack/blob.h"

#include <math.h>
#include <stdlib.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ---- weights */

static uint64_t seed;

static double uniform(void)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((double)(seed >> 11) + 0.5) * 0x1p-53;
}

static double normal(void) { return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()); }

typedef struct tensor {
    fpr_dtype dtype;
    unsigned rank;
    uint64_t shape[5], count, size;
    uint8_t *bytes, *before;
    lattice_shape s;
} tensor;

static unsigned width_of(fpr_dtype dtype) { return dtype == FPR_F64 ? 8 : dtype == FPR_F32 ? 4 : 2; }

static void put(tensor *t, uint64_t i, double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    switch (t->dtype) {
    case FPR_F64: base_store_le64(t->bytes + 8 * i, u); break;
    case FPR_F32: base_store_le32(t->bytes + 4 * i, base_float_bits((float)x)); break;
    case FPR_F16: base_store_le16(t->bytes + 2 * i, base_float_half((float)x)); break;
    default: base_store_le16(t->bytes + 2 * i, base_float_bf16((float)x)); break;
    }
}

static double get(const tensor *t, const uint8_t *bytes, uint64_t i)
{
    double d;
    const uint64_t u = t->dtype == FPR_F64 ? base_load_le64(bytes + 8 * i) : 0;
    memcpy(&d, &u, sizeof d);
    if (t->dtype == FPR_F64) return d;
    if (t->dtype == FPR_F32) return (double)base_bits_float(base_load_le32(bytes + 4 * i));
    const uint16_t half = base_load_le16(bytes + 2 * i);
    return (double)(t->dtype == FPR_F16 ? base_half_float(half) : base_bf16_float(half));
}

static tensor make(fpr_dtype dtype, unsigned rank, const uint64_t *shape, bool hwio, double scale, double power)
{
    tensor t = {.dtype = dtype, .rank = rank, .count = 1};
    for (unsigned i = 0; i < rank; i++) t.count *= t.shape[i] = shape[i];
    t.size = t.count * width_of(dtype);
    t.bytes = base_alloc_aligned(t.size, 1);
    t.before = base_alloc_aligned(t.size, 1);
    for (uint64_t i = 0; i < t.count; i++) {
        const double x = normal();
        put(&t, i, scale * (x < 0 ? -1 : 1) * pow(fabs(x), power));
    }
    memcpy(t.before, t.bytes, t.size);
    assert_true(lattice_shape_of(dtype, rank, shape, hwio, &t.s));
    return t;
}

static void release(tensor *t, lattice *l)
{
    base_free(t->bytes);
    base_free(t->before);
    if (l) base_free(l->dead);
}

static double norm_of(const tensor *t)
{
    double sum = 0;
    for (uint64_t i = 0; i < t->count; i++) sum += get(t, t->before, i) * get(t, t->before, i);
    return sqrt(sum);
}

/* Rounds to relative error r; returns the share of it that was used, as the weights show; -1: not fitted. */
static double fit(tensor *t, double r, bool trellis, unsigned threads, lattice *l)
{
    const double allowed = r * r * norm_of(t) * norm_of(t) * (1 - 1e-9);
    const lattice_wish wish = {.error_square = allowed, .least = 0.99, .trellis = trellis, .threads = threads};
    lattice_cost cost;
    bool fitted;
    fpr_error error = {0};
    assert_int_equal(lattice_fit(&t->s, t->bytes, &wish, l, &cost, &fitted, &error), FPR_OK);
    double sum = 0, most = 0;
    uint64_t changed = 0;
    for (uint64_t i = 0; i < t->count; i++) {
        const double now = get(t, t->bytes, i), before = get(t, t->before, i), d = now - before;
        sum += d * d;
        most = fmax(most, fabs(d));
        changed += d != 0 || signbit(now) != signbit(before);
    }
    if (!fitted) {
        assert_memory_equal(t->bytes, t->before, t->size);
        return -1;
    }
    assert_true(most == cost.max_abs);
    assert_true(changed == cost.weights);
    assert_true(fabs(sqrt(sum) - sqrt(cost.error_square)) <= 1e-9 * sqrt(sum));
    return sqrt(sum) / norm_of(t) / r;
}

/* ---- blobs */

typedef struct sink { uint8_t *bytes; size_t n; } sink;

static int append(void *context, const void *bytes, size_t n)
{
    sink *s = context;
    memcpy(s->bytes + s->n, bytes, n);
    s->n += n;
    return 0;
}

#define BLENDED_FLAG 16u
#define SIGNS_FLAG 32u

/* The first byte of the only section. */
static unsigned flags_of(sink s)
{
    pack_head head;
    fpr_error error = {0};
    assert_int_equal(pack_head_read(s.bytes, s.n, s.n, &head, &error), FPR_OK);
    return s.bytes[head.bytes];
}

static sink encode(const tensor *t, const lattice *l, int level, unsigned threads, bool hwio)
{
    fpr_layer_shape layer = {.layout = hwio ? FPR_LAYOUT_HWIO : FPR_LAYOUT_OIHW};
    const pack_input input = {.dtype = t->dtype, .rank = t->rank, .shape = t->shape, .layer = hwio ? &layer : NULL,
                              .bytes = t->bytes, .size = t->size, .level = level, .lattice = l, .must_beat = UINT64_MAX};
    pack_blob *blob;
    fpr_error error = {0};
    assert_int_equal(pack_encode(&input, threads, &blob, &error), FPR_OK);
    sink s = {0};
    if (!blob) return s;
    assert_string_equal(pack_blob_codec(blob), "lattice");
    s.bytes = base_alloc_aligned(pack_blob_size(blob), 1);
    assert_int_equal(pack_blob_write(blob, append, &s, &error), FPR_OK);
    assert_int_equal(s.n, pack_blob_size(blob));
    /* Few weights are stored by whatever takes least; blends need a reader that knows them. */
    const bool blended = flags_of(s) & BLENDED_FLAG;
    if (level < 10 || t->count > 2048) assert_true(blended == (level >= 10));
    assert_int_equal(pack_blob_reader(blob), blended ? 4 : 3);
    assert_int_equal(s.bytes[5], pack_blob_reader(blob));
    pack_blob_free(blob);
    return s;
}

/* The same bytes from plain C and from vectors, of however many threads; and back. */
static void check_restores(const tensor *t, const lattice *l, int level, bool hwio)
{
    base_simd_limit(BASE_SIMD_PLAIN);
    sink one = encode(t, l, level, 1, hwio);
    base_simd_limit(BASE_SIMD_COUNT - 1);
    sink four = encode(t, l, level, 4, hwio);
    assert_non_null(one.bytes);
    assert_int_equal(one.n, four.n);
    assert_memory_equal(one.bytes, four.bytes, one.n);
    uint8_t *restored = base_alloc_aligned(t->size, 1);
    fpr_error error = {0};
    for (unsigned threads = 1; threads <= 4; threads += 3) {
        base_simd_limit(threads == 1 ? BASE_SIMD_PLAIN : BASE_SIMD_COUNT - 1);
        memset(restored, 0xa5, t->size);
        assert_int_equal(pack_decode(one.bytes, one.n, threads, restored, t->size, &error), FPR_OK);
        assert_memory_equal(restored, t->bytes, t->size);
    }
    base_free(restored);
    base_free(one.bytes);
    base_free(four.bytes);
}

/* ---- tests */

static void every_shape_and_dtype_within_its_error(void **state)
{
    (void)state;
    static const struct { unsigned rank; uint64_t shape[5]; bool hwio; } shapes[] = {
        {2, {40, 50}, false},     {2, {1, 300}, false},          {3, {16, 8, 3}, false},  {4, {16, 12, 3, 3}, false},
        {4, {3, 3, 12, 16}, true}, {5, {6, 5, 3, 3, 3}, false},  {4, {9, 7, 5, 2}, false}, {4, {64, 40, 1, 1}, false},
        {4, {2, 2, 70, 70}, false}, {3, {3, 3, 5000}, false}};
    static const fpr_dtype dtypes[] = {FPR_F32, FPR_F64, FPR_F16, FPR_BF16};
    seed = 11;
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        for (size_t d = 0; d < COUNT_OF(dtypes); d++)
            for (unsigned trellis = 0; trellis < 2; trellis++) {
                tensor t = make(dtypes[d], shapes[i].rank, shapes[i].shape, shapes[i].hwio, 0.05, 1.3);
                lattice l;
                const double share = fit(&t, 0.03, trellis, 2, &l);
                assert_true(share <= 1 && share >= (dtypes[d] == FPR_BF16 ? 0.97 : 0.99));
                check_restores(&t, &l, trellis ? 12 : 3, shapes[i].hwio);
                release(&t, &l);
            }
}

/* Chunks end in the midst of a filter, whose weights lie far from one another in an HWIO tensor. */
static void several_chunks(void **state)
{
    (void)state;
    static const struct { uint64_t shape[4]; bool hwio; } shapes[] = {
        {{3, 3, 300, 130}, true}, {{1, 1, 90, 2000}, true}, {{70, 500, 2, 3}, false}, {{2000, 90, 1, 1}, false}};
    seed = 19;
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        for (unsigned half = 0; half < 2; half++) {
            tensor t = make(half ? FPR_F16 : FPR_F32, 4, shapes[i].shape, shapes[i].hwio, 0.05, 1.3);
            lattice l;
            fit(&t, 0.03, false, 2, &l);
            check_restores(&t, &l, half ? 3 : 12, shapes[i].hwio);
            release(&t, &l);
        }
}

/* As FORMAT.md, section 9, has it: along the last axis first. */
static void transform_back(double *a, size_t k)
{
    for (size_t step = 1; step < k; step *= 3)
        for (size_t i = 0; i < k; i++)
            if (i / step % 3 == 0) {
                const double p = a[i] * 0.57735026918962576451, q = a[i + step] * 0.70710678118654752440;
                const double r = a[i + 2 * step] * 0.40824829046386301637;
                a[i] = (p + r) + q;
                a[i + step] = p - (r + r);
                a[i + 2 * step] = (p + r) - q;
            }
}

/* Every level of instructions restores what is computed here, a weight at a time. */
static void weights_at_once(void **state)
{
    (void)state;
    static const fpr_dtype dtypes[] = {FPR_F32, FPR_F64, FPR_F16, FPR_BF16};
    static const double steps[] = {1e-310, 1e-45, 3e-39, 1e-9, 2.7e-8, 6e-5, 0.013, 1, 700, 60000, 1e38, 1e300};
    enum { KERNELS = 211, COUNT = 27 * KERNELS };
    static int32_t points[COUNT];
    static uint8_t plain[8 * COUNT], once[8 * COUNT];
    static double values[COUNT];
    seed = 20;
    for (size_t i = 0; i < COUNT; i++) points[i] = (int32_t)(normal() * (i % 9 ? 40 : 3000));
    for (size_t d = 0; d < COUNT_OF(dtypes); d++)
        for (size_t i = 0; i < COUNT_OF(steps); i++)
            for (unsigned rank = 3; rank <= 6; rank++) {
                tensor t = {.dtype = dtypes[d], .bytes = plain};
                const uint64_t shape[5] = {KERNELS, 1, 3, 3, 3};
                assert_true(lattice_shape_of(dtypes[d], rank < 6 ? rank : 5, shape, false, &t.s));
                const lattice l = {.step = steps[i], .transformed = rank < 6};
                const size_t k = (size_t)t.s.k;
                for (size_t kernel = 0; kernel < KERNELS; kernel++) {
                    double a[27];
                    for (size_t e = 0; e < k; e++) a[e] = points[kernel * k + e];
                    if (l.transformed) transform_back(a, k);
                    for (size_t e = 0; e < k; e++) put(&t, kernel * k + e, a[e] * l.step);
                }
                for (unsigned level = BASE_SIMD_PLAIN; level < BASE_SIMD_COUNT; level++) {
                    base_simd_limit((base_simd)level);
                    lattice_restore(&t.s, &l, 0, KERNELS, points, NULL, once);
                    assert_memory_equal(plain, once, KERNELS * k * width_of(dtypes[d]));
                    const uint64_t some = k == 27 ? lattice_batch_kernels(&t.s) - 1 : 61;
                    lattice_values(&t.s, &l, some, points + k, values);
                    for (uint64_t e = 0; e < some * k; e++) {
                        const double expected = get(&t, plain, k + e);
                        assert_memory_equal(&values[e], &expected, sizeof expected);
                    }
                }
            }
}

/* All numbers of 16 bits, and what surrounds them where kernels do not fill a register. */
static void every_half_is_loaded(void **state)
{
    (void)state;
    static uint8_t bytes[2 * 65536];
    double w[3 * 23];
    for (uint32_t i = 0; i < 65536; i++) base_store_le16(bytes + 2 * i, (uint16_t)i);
    for (unsigned which = 0; which < 2; which++)
        for (unsigned level = BASE_SIMD_PLAIN; level < BASE_SIMD_COUNT; level++) {
            tensor t = {.dtype = which ? FPR_F16 : FPR_BF16};
            assert_true(lattice_shape_of(t.dtype, 3, (uint64_t[]){65535 / 3, 1, 3}, false, &t.s));
            base_simd_limit((base_simd)level);
            for (uint64_t kernel = 0, n; kernel < 65535 / 3; kernel += n) {
                n = 65535 / 3 - kernel < 23 ? 65535 / 3 - kernel : 23;
                lattice_load(&t.s, bytes, kernel, n, w);
                for (uint64_t i = 0; i < 3 * n; i++) {
                    const double expected = get(&t, bytes, 3 * kernel + i);
                    assert_memory_equal(&w[i], &expected, sizeof expected);
                }
            }
        }
}

/* One step, one error and the same weights at every level of instructions; and what the cost says is so. */
static void every_level_rounds_alike(void **state)
{
    (void)state;
    static const struct { unsigned rank; uint64_t shape[5]; bool hwio; } shapes[] = {
        {4, {60, 41, 3, 3}, false}, {5, {7, 11, 3, 3, 3}, false}, {4, {3, 3, 12, 16}, true}, {2, {37, 53}, false}};
    static const fpr_dtype dtypes[] = {FPR_F32, FPR_F64, FPR_F16, FPR_BF16};
    seed = 23;
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        for (size_t d = 0; d < COUNT_OF(dtypes); d++)
            for (unsigned n = 0; n < 4; n++) {
                const bool trellis = n & 1;
                const unsigned power = n & 2 ? 4 : 1; /* of 4: most weights become zero */
                tensor t = make(dtypes[d], shapes[i].rank, shapes[i].shape, shapes[i].hwio, 0.05, power);
                lattice l[BASE_SIMD_COUNT];
                lattice_cost cost[BASE_SIMD_COUNT];
                double square = 0, max_abs = 0, allowed = 0;
                uint8_t *first = base_alloc_aligned(t.size, 1);
                uint64_t changed = 0;
                for (uint64_t e = 0; e < t.count; e++) allowed += get(&t, t.before, e) * get(&t, t.before, e) * 0.03 * 0.03;
                const lattice_wish wish = {.error_square = allowed, .least = 0.994, .trellis = trellis, .threads = 1};
                for (unsigned level = BASE_SIMD_PLAIN; level < BASE_SIMD_COUNT; level++) {
                    bool fitted;
                    fpr_error error = {0};
                    base_simd_limit((base_simd)level);
                    memcpy(t.bytes, t.before, t.size);
                    assert_int_equal(lattice_fit(&t.s, t.bytes, &wish, &l[level], &cost[level], &fitted, &error), FPR_OK);
                    assert_true(fitted);
                    if (!level) memcpy(first, t.bytes, t.size);
                    assert_memory_equal(first, t.bytes, t.size);
                    assert_memory_equal(&l[0].step, &l[level].step, sizeof l->step);
                    assert_int_equal(l[0].trellis, l[level].trellis);
                    assert_memory_equal(&cost[0].error_square, &cost[level].error_square, sizeof cost->error_square);
                }
                for (uint64_t e = 0; e < t.count; e++) {
                    const double before = get(&t, t.before, e), after = get(&t, t.bytes, e), difference = fabs(before - after);
                    square += difference * difference;
                    max_abs = fmax(max_abs, difference);
                    changed += memcmp(&before, &after, sizeof before) != 0;
                }
                for (unsigned level = BASE_SIMD_PLAIN; level < BASE_SIMD_COUNT; level++) {
                    assert_true(fabs(cost[level].error_square - square) <= 1e-12 * square);
                    assert_true(cost[level].max_abs == max_abs);
                    assert_int_equal(cost[level].weights, changed);
                }
                base_free(first);
                for (unsigned level = BASE_SIMD_PLAIN + 1; level < BASE_SIMD_COUNT; level++) base_free(l[level].dead);
                release(&t, &l[0]);
            }
}

/* Kernels go eight by eight: what fills up the last eight must not be what lay there before. */
static void nothing_is_left_of_others(void **state)
{
    (void)state;
    seed = 31;
    for (uint64_t kernels = 1; kernels <= 17; kernels++) {
        const uint64_t shape[4] = {kernels, 1, 3, 3}, other[4] = {96, 1, 3, 3};
        tensor t = make(FPR_F32, 4, shape, false, 0.01, 1), large = make(FPR_F32, 4, other, false, 1e6, 1);
        for (uint64_t i = 0; i < t.count; i++) put(&t, i, get(&t, t.bytes, i) + (double)(i / 9 % 3)); /* flat: transformed */
        memcpy(t.before, t.bytes, t.size);
        lattice first, second, third;
        fit(&t, 0.03, false, 1, &first);
        assert_true(kernels < 3 || first.transformed);
        memcpy(t.bytes, t.before, t.size);
        fit(&large, 0.03, false, 1, &second);
        fit(&t, 0.03, false, 1, &third);
        assert_memory_equal(&first.step, &third.step, sizeof first.step);
        release(&large, &second);
        release(&t, &third);
    }
}

/* Scales at which floats run out of bits, either way. */
static void extreme_scales(void **state)
{
    (void)state;
    static const double scales[] = {1e-44, 1e-41, 1e-38, 1e-30, 1e30, 1e37};
    seed = 12;
    for (size_t i = 0; i < COUNT_OF(scales); i++) {
        tensor t = make(FPR_F32, 4, (const uint64_t[]){8, 8, 3, 3}, false, scales[i], 1);
        lattice l;
        const double share = fit(&t, 0.05, i % 2, 1, &l);
        assert_true(share <= 1);
        if (scales[i] > 1e-40) assert_true(share >= 0.99);
        if (share >= 0) check_restores(&t, &l, 3, false);
        release(&t, &l);
    }
}

static void few_weights(void **state)
{
    (void)state;
    seed = 13;
    for (uint64_t n = 1; n < 12; n++)
        for (unsigned trellis = 0; trellis < 2; trellis++) {
            tensor t = make(FPR_F32, 2, (const uint64_t[]){1, n}, false, 1, 1);
            lattice l;
            const double share = fit(&t, 0.02, trellis, 1, &l);
            assert_true(share <= 1 && share >= 0.99);
            release(&t, &l);
        }
}

static void nothing_to_round(void **state)
{
    (void)state;
    tensor t = make(FPR_F32, 2, (const uint64_t[]){4, 4}, false, 0, 1);
    lattice l;
    assert_true(fit(&t, 0.02, true, 1, &l) == -1);
    release(&t, &l);
}

/* Marcellin and Fischer 1990, table I: 8 states gain 1.09 dB or more over a uniform quantizer of the same rate where
 * the density is smooth; the limit is 1.53 dB (Gish and Pierce 1968). */
static void the_trellis_gains_a_decibel(void **state)
{
    (void)state;
    enum { N = 20000 };
    double *x = base_alloc(N, sizeof *x);
    int32_t *points = base_alloc(N, sizeof *points);
    lattice_path *path = lattice_path_new();
    seed = 14;
    for (int i = 0; i < N; i++) x[i] = 200 * (uniform() - 0.5);
    const double square = lattice_path_find(path, x, N, points) / N;
    double seen = 0;
    unsigned s = 0;
    for (int i = 0; i < N; i++) {
        int32_t index;
        assert_true(lattice_index_of(s, points[i], &index));
        s = lattice_next(s, index);
        seen += (x[i] - points[i]) * (x[i] - points[i]);
    }
    assert_true(fabs(seen / N - square) < 1e-9);
    const double gain = 10 * log10(4.0 / 12 / square); /* an index costs what one of step two costs */
    assert_true(gain > 1.05 && gain < 1.53);
    base_free(x);
    base_free(points);
    base_free(path);
}

/* Independent normal weights cost their entropy: log2(sigma sqrt(2 pi e) / step), with step = R sigma sqrt 12. */
static void as_small_as_theory_says(void **state)
{
    (void)state;
    const double r = 0.02, bits = log2(sqrt(2 * 3.14159265358979 * 2.718281828459045) / (r * sqrt(12)));
    seed = 15;
    tensor t = make(FPR_F32, 4, (const uint64_t[]){128, 128, 3, 3}, false, 0.1, 1);
    lattice l;
    fit(&t, r, false, 2, &l);
    assert_false(l.transformed);
    for (int level = 3; level <= 12; level += 9) {
        sink s = encode(&t, &l, level, 2, false);
        const double each = 8.0 * (double)s.n / (double)t.count;
        /* Tokens say less exactly what a weight is than four opinions do. */
        assert_true(each < bits * (level < 10 ? 1.0075 : 1.006) && each > bits * 0.995);
        base_free(s.bytes);
    }
    release(&t, &l);
}

/* A whole kernel that is zero costs what telling it does; weights in filters of other sizes cost their own entropy. */
static void dead_kernels_and_scales_are_learned(void **state)
{
    (void)state;
    enum { O = 64, I = 64, K = 9 };
    seed = 16;
    tensor t = make(FPR_F32, 4, (const uint64_t[]){O, I, 3, 3}, false, 1, 1);
    double live = 0, logs = 0, square = 0;
    for (uint64_t f = 0; f < O; f++)
        for (uint64_t c = 0; c < I; c++) {
            const bool dead = uniform() < 0.5;
            const double scale = ldexp(1, (int)(f % 8) - 4);
            for (uint64_t s = 0; s < K; s++) {
                const uint64_t i = (f * I + c) * K + s;
                put(&t, i, dead ? 0 : scale * get(&t, t.bytes, i));
            }
            if (dead) continue;
            live += K;
            logs += K * log2(scale);
            square += K * scale * scale;
        }
    memcpy(t.before, t.bytes, t.size);
    lattice l;
    fit(&t, 0.002, false, 1, &l);
    const double step = 0.002 * sqrt(12 * square / live); /* all live weights err alike */
    const double bits = logs + live * (log2(sqrt(2 * 3.14159265358979 * 2.718281828459045)) - log2(step)) + O * I;
    sink s = encode(&t, &l, 3, 1, false);
    assert_true(8.0 * (double)s.n < bits * 1.05); /* a filter tells its scale by 290 weights, and differs from the last */
    base_free(s.bytes);
    release(&t, &l);
}

/* A sign that is that of the weight before nine times in ten costs 0.469 bits instead of one; signs that say nothing are not
 * foretold. */
static void signs_that_follow_each_other(void **state)
{
    (void)state;
    sink s[2];
    lattice l[2];
    tensor t[2];
    for (unsigned follow = 0; follow < 2; follow++) {
        seed = 20;
        t[follow] = make(FPR_F32, 4, (const uint64_t[]){64, 64, 1, 9}, false, 1, 1);
        bool negative = false;
        for (uint64_t i = 0; i < t[follow].count; i++) {
            const double turn = uniform(), w = fabs(get(&t[follow], t[follow].bytes, i));
            negative = turn < (follow ? 0.1 : 0.5) ? !negative : negative;
            put(&t[follow], i, negative ? -w : w);
        }
        memcpy(t[follow].before, t[follow].bytes, t[follow].size);
        fit(&t[follow], 0.03, false, 1, &l[follow]);
        s[follow] = encode(&t[follow], &l[follow], 12, 1, false);
        check_restores(&t[follow], &l[follow], 12, false);
        assert_int_equal(flags_of(s[follow]) & SIGNS_FLAG, follow ? SIGNS_FLAG : 0);
    }
    const double saved = 8.0 * ((double)s[0].n - (double)s[1].n) / (double)t[0].count;
    /* One weight in 25 is zero: it has no sign, and the next one is less sure. Some is paid for learning. */
    assert_true(saved > 0.96 * 0.531 - 0.03 && saved < 0.531);
    for (unsigned i = 0; i < 2; i++) {
        base_free(s[i].bytes);
        release(&t[i], &l[i]);
    }
}

/* Whatever bit of a blob is wrong, it is refused, and nothing is written past the tensor. */
static void damage_is_found(void **state)
{
    (void)state;
    seed = 17;
    tensor t = make(FPR_F32, 4, (const uint64_t[]){32, 30, 3, 3}, false, 1, 1);
    lattice l;
    fit(&t, 0.03, true, 1, &l);
    sink s = encode(&t, &l, 12, 1, false);
    uint8_t *restored = base_alloc_aligned(t.size, 1);
    fpr_error error;
    for (size_t bit = 0; bit < 8 * s.n; bit++) {
        s.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        const fpr_status status = pack_decode(s.bytes, s.n, 1, restored, t.size, &error);
        /* Bit 0 of the flags only says whether these are the input's bits; the check of the head covers it. */
        assert_true(status == FPR_BAD_PACKED || status == FPR_TOO_NEW);
        s.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    base_free(restored);
    base_free(s.bytes);
    release(&t, &l);
}

/* Weights beside the lattice that is named are not forced onto it: they are stored as any other tensor. */
static void weights_beside_the_lattice(void **state)
{
    (void)state;
    seed = 18;
    tensor t = make(FPR_F32, 2, (const uint64_t[]){64, 64}, false, 1, 1);
    const lattice l = {.step = 0.125};
    const pack_input input = {.dtype = t.dtype, .rank = t.rank, .shape = t.shape, .bytes = t.bytes, .size = t.size,
                              .level = 3, .lattice = &l, .must_beat = UINT64_MAX};
    pack_blob *blob;
    fpr_error error = {0};
    assert_int_equal(pack_encode(&input, 1, &blob, &error), FPR_OK);
    assert_non_null(blob);
    assert_string_equal(pack_blob_codec(blob), "planes");
    pack_blob_free(blob);
    release(&t, NULL);
}

static void memory_runs_out(void **state)
{
    (void)state;
    seed = 19;
    tensor t = make(FPR_F32, 4, (const uint64_t[]){8, 8, 3, 3}, false, 1, 1);
    const long alive = base_allocations_alive();
    for (long n = 0;; n++) {
        lattice l;
        lattice_cost cost;
        bool fitted;
        fpr_error error = {0};
        memcpy(t.bytes, t.before, t.size);
        const lattice_wish wish = {.error_square = 1, .least = 0.99, .trellis = true, .threads = 2};
        base_fail_allocation(n);
        const fpr_status status = lattice_fit(&t.s, t.bytes, &wish, &l, &cost, &fitted, &error);
        const bool failed = base_fail_allocation(-1) < 0;
        assert_int_equal(status != FPR_OK, failed);
        base_free(l.dead);
        assert_int_equal(base_allocations_alive(), alive);
        if (!failed) break;
        assert_memory_equal(t.bytes, t.before, t.size);
    }
    release(&t, NULL);
    for (unsigned size = 12; size <= 24; size += 12) { /* all ways of storing it are tried, then two of them */
        t = make(FPR_F32, 4, (const uint64_t[]){size, size, 3, 3}, false, 1, 1);
        lattice l;
        fit(&t, 0.03, true, 1, &l);
        const pack_input input = {.dtype = t.dtype, .rank = t.rank, .shape = t.shape, .bytes = t.bytes, .size = t.size, .level = 12,
                                  .lattice = &l, .must_beat = UINT64_MAX};
        const long before = base_allocations_alive();
        for (long n = 0;; n++) {
            pack_blob *blob;
            fpr_error error = {0};
            base_fail_allocation(n);
            const fpr_status status = pack_encode(&input, 2, &blob, &error);
            const bool failed = base_fail_allocation(-1) < 0;
            assert_int_equal(status != FPR_OK, failed);
            if (!failed) {
                pack_blob_free(blob);
                break;
            }
            assert_int_equal(base_allocations_alive(), before);
        }
        release(&t, &l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_shape_and_dtype_within_its_error),
                                       cmocka_unit_test(extreme_scales),
                                       cmocka_unit_test(several_chunks),
                                       cmocka_unit_test(weights_at_once),
                                       cmocka_unit_test(every_half_is_loaded),
                                       cmocka_unit_test(every_level_rounds_alike),
                                       cmocka_unit_test(nothing_is_left_of_others),
                                       cmocka_unit_test(few_weights),
                                       cmocka_unit_test(nothing_to_round),
                                       cmocka_unit_test(the_trellis_gains_a_decibel),
                                       cmocka_unit_test(as_small_as_theory_says),
                                       cmocka_unit_test(dead_kernels_and_scales_are_learned),
                                       cmocka_unit_test(signs_that_follow_each_other),
                                       cmocka_unit_test(damage_is_found),
                                       cmocka_unit_test(weights_beside_the_lattice),
                                       cmocka_unit_test(memory_runs_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
