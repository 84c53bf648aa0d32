/* pack: blobs restore every bit, are as small as theory says, do not depend on threads or vector code, and are refused
 * when a single bit of them is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pack/adaptive.h"
#include "base/simd.h"
#include "pack/blob.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
#include <zstd.h>
#include <zstd_errors.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))
#define ALWAYS UINT64_MAX /* must_beat: any blob smaller than the tensor is welcome */

/* ---- zstd with allocations that fail: these come before the library's own */

static long zstd_fails_in = -1; /* calls until one fails; negative: never, or not any more */

static bool strikes(void) { return zstd_fails_in >= 0 && zstd_fails_in-- == 0; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OUT_OF_MEMORY ((size_t)-ZSTD_error_memory_allocation)

ZSTD_CCtx *ZSTD_createCCtx(void) { return strikes() ? NULL : REAL(ZSTD_createCCtx)(); }

ZSTD_DCtx *ZSTD_createDCtx(void) { return strikes() ? NULL : REAL(ZSTD_createDCtx)(); }

size_t ZSTD_CCtx_setParameter(ZSTD_CCtx *context, ZSTD_cParameter parameter, int value)
{
    return strikes() ? OUT_OF_MEMORY : REAL(ZSTD_CCtx_setParameter)(context, parameter, value);
}

size_t ZSTD_compress2(ZSTD_CCtx *context, void *dst, size_t capacity, const void *src, size_t n)
{
    return strikes() ? OUT_OF_MEMORY : REAL(ZSTD_compress2)(context, dst, capacity, src, n);
}

size_t ZSTD_DCtx_refPrefix(ZSTD_DCtx *context, const void *prefix, size_t n)
{
    return strikes() ? OUT_OF_MEMORY : REAL(ZSTD_DCtx_refPrefix)(context, prefix, n);
}

size_t ZSTD_decompressDCtx(ZSTD_DCtx *context, void *dst, size_t capacity, const void *src, size_t n)
{
    return strikes() ? OUT_OF_MEMORY : REAL(ZSTD_decompressDCtx)(context, dst, capacity, src, n);
}

/* ---- numbers from a fixed seed: splitmix64 */

static uint64_t seed;

static uint64_t next(void)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static double uniform(void) { return (double)(next() >> 11) * 0x1p-53; }

static double normal(void) /* Box and Muller */
{
    return sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform());
}

/* ---- tensors */

typedef struct tensor {
    fpr_dtype dtype;
    unsigned rank;
    uint64_t shape[64], size;
    uint8_t *bytes; /* 64-byte aligned */
    bool layered;
    fpr_layer_shape layer; /* only its layout matters to pack */
} tensor;

static tensor make(fpr_dtype dtype, unsigned rank, const uint64_t *shape, fpr_layout layout)
{
    static const uint8_t bits[FPR_DTYPE_COUNT] = {8,  4,  6,  6,  8,  8,  8,  8,  8,  8,  8,
                                                  16, 16, 16, 16, 32, 32, 32, 64, 64, 64, 64};
    tensor t = {.dtype = dtype, .rank = rank};
    uint64_t elements = 1;
    for (unsigned i = 0; i < rank; i++) elements *= t.shape[i] = shape[i];
    t.size = elements * bits[dtype] / 8;
    t.bytes = aligned_alloc(64, (t.size + 127) / 64 * 64);
    assert_non_null(t.bytes);
    t.layered = layout != FPR_LAYOUT_AUTO;
    t.layer.layout = layout;
    return t;
}

static tensor make_flat(fpr_dtype dtype, uint64_t elements) { return make(dtype, 1, &elements, FPR_LAYOUT_AUTO); }

static void store_float(fpr_dtype dtype, uint8_t *p, double value)
{
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if (dtype == FPR_F64) {
        memcpy(p, &value, 8);
    } else if (dtype == FPR_F32 || dtype == FPR_C64) {
        memcpy(p, &f, 4);
    } else if (dtype == FPR_BF16) {
        base_store_le16(p, (uint16_t)(bits >> 16));
    } else { /* F16 by truncation, with its denormals */
        int exponent = (int)(bits >> 23 & 255) - 127;
        uint32_t mantissa = (bits & 0x7fffff) | 0x800000;
        uint32_t half = exponent < -24   ? 0
                        : exponent < -14 ? mantissa >> (-1 - exponent)
                                         : (uint32_t)(exponent + 15) << 10 | (mantissa >> 13 & 1023);
        base_store_le16(p, (uint16_t)(half | bits >> 31 << 15));
    }
}

static unsigned width_of(fpr_dtype dtype)
{
    return dtype == FPR_F64 ? 8 : dtype == FPR_F32 || dtype == FPR_C64 ? 4 : 2;
}

enum { NOISE, WEIGHTS, SCALED, FEW, TWO_LEVELS, LEVEL_PAIRS, PRUNED, UNEVEN, SPECIAL, CONSTANT, REPEATS, FILLS };

static void fill_special(tensor *t)
{
    static const uint64_t patterns[] = {
        0,          1,         0x80,   0x7f,   0x7f800000,         0xff800000,         0x7fc00001,
        0x80000000, 0x7c00,    0xfc01, 0x8000, 0x7ff0000000000000, 0xfff8000000000001, 0x8000000000000000,
        UINT64_MAX, 0x3f800000};
    unsigned width = t->size % 8 == 0 ? 8 : t->size % 4 == 0 ? 4 : t->size % 2 == 0 ? 2 : 1;
    if (width > 4 && t->dtype != FPR_F64) width = t->dtype == FPR_F16 || t->dtype == FPR_BF16 ? 2 : 4;
    for (uint64_t i = 0; i + width <= t->size; i += width) {
        uint64_t pattern = next() % 4 ? patterns[next() % COUNT_OF(patterns)] : next();
        memcpy(t->bytes + i, &pattern, width);
    }
}

/* Kernels of k weights: zero with probability `dead`, two-level with `two` (`lower` is the lower level over the upper),
 * else dense, of magnitudes that spread. */
static void fill_kernels(tensor *t, uint64_t k, double dead, double two, double lower, double spread)
{
    unsigned width = width_of(t->dtype);
    uint64_t n = t->size / width;
    for (uint64_t i = 0; i < n; i += k) {
        double kind = uniform(), level = 0.01 * (1 + (double)(next() % 1000));
        for (uint64_t j = i; j < n && j < i + k; j++)
            store_float(t->dtype, t->bytes + j * width,
                        kind < dead         ? 0
                        : kind < dead + two ? (next() & 1 ? level : lower * level)
                                            : 0.05 * exp2(spread * (double)(i / k % 5)) * normal());
    }
}

static void fill(tensor *t, int how, uint64_t k)
{
    bool is_float = t->dtype == FPR_F16 || t->dtype == FPR_BF16 || t->dtype == FPR_F32 || t->dtype == FPR_F64 ||
                    t->dtype == FPR_C64;
    unsigned width = is_float ? width_of(t->dtype) : 1;
    uint64_t n = t->size / width;
    for (uint64_t i = 0; i < t->size; i++) t->bytes[i] = (uint8_t)next();
    if (how == SPECIAL) fill_special(t);
    if (how == CONSTANT) memset(t->bytes, 0x3c, t->size);
    if (how == REPEATS)
        for (uint64_t i = 200; i < t->size; i++) t->bytes[i] = t->bytes[i - 200 + (i / 500) % 3];
    if (how == TWO_LEVELS && is_float) fill_kernels(t, k, 0.1, 0.9, -1, 0);
    if (how == LEVEL_PAIRS && is_float) fill_kernels(t, k, 0.1, 0.9, -0.5, 0);
    if (how == PRUNED && is_float) fill_kernels(t, k, 0.7, 0.1, -1, 0);
    if (how == UNEVEN && is_float) fill_kernels(t, k, 0.3, 0, -1, 1);
    if (how != WEIGHTS && how != SCALED && how != FEW) return;
    for (uint64_t i = 0; i < n; i++) {
        double scale = how == SCALED ? exp2((double)(i / 900 % 7) - (double)(i / 9 % 5)) : 1;
        double value = how == FEW ? (double)(next() % 50) * 0.11 - 3 : 0.02 * scale * normal();
        if (is_float)
            store_float(t->dtype, t->bytes + i * width, value);
        else
            t->bytes[i] = (uint8_t)(int)(8 * value / 0.02);
    }
}

/* ---- round trips */

typedef struct sink {
    uint8_t *bytes;
    uint64_t count, most;
} sink;

static int collect(void *context, const void *bytes, size_t count)
{
    sink *s = context;
    if (s->count + count > s->most) return -1;
    memcpy(s->bytes + s->count, bytes, count);
    s->count += count;
    return 0;
}

static uint64_t adaptive_most; /* adaptive_values of the inputs made from here on */

static pack_input input_of(const tensor *t, int level, uint64_t must_beat)
{
    return (pack_input){.dtype = t->dtype,
                        .rank = t->rank,
                        .shape = t->shape,
                        .layer = t->layered ? &t->layer : NULL,
                        .bytes = t->bytes,
                        .size = t->size,
                        .level = level,
                        .lossless = true,
                        .adaptive_values = adaptive_most,
                        .must_beat = must_beat};
}

/* The blob's bytes in their own allocation, so that a sanitizer sees reads past the end; *n 0 when there is none. */
static uint8_t *encode(const tensor *t, int level, unsigned threads, uint64_t *n, const char **codec)
{
    fpr_error error = {0};
    pack_blob *blob;
    pack_input input = input_of(t, level, ALWAYS);
    assert_int_equal(pack_encode(&input, threads, &blob, &error), FPR_OK);
    *n = 0;
    if (codec) *codec = blob ? pack_blob_codec(blob) : "raw";
    if (!blob) return NULL;
    sink s = {malloc(pack_blob_size(blob)), 0, pack_blob_size(blob)};
    assert_int_equal(pack_blob_write(blob, collect, &s, &error), FPR_OK);
    assert_int_equal(s.count, pack_blob_size(blob));
    assert_int_equal(s.count % 8, 0);
    assert_true(s.count < t->size);
    pack_blob_free(blob);
    *n = s.count;
    return s.bytes;
}

static fpr_status decode(const tensor *t, const uint8_t *blob, uint64_t n, unsigned threads, fpr_error *error)
{
    uint8_t *back = aligned_alloc(64, (t->size + 127) / 64 * 64);
    assert_non_null(back);
    memset(back, 0xa5, (t->size + 127) / 64 * 64);
    fpr_status status = pack_decode(blob, n, threads, back, t->size, error);
    assert_int_equal(back[t->size], 0xa5); /* nothing is written past the end */
    if (status == FPR_OK) assert_memory_equal(back, t->bytes, t->size);
    free(back);
    return status;
}

static void check_peek(const tensor *t, const uint8_t *blob, uint64_t n, const char *codec)
{
    fpr_error error = {0};
    pack_info info;
    assert_true(pack_is_blob(blob, n));
    assert_int_equal(pack_peek(blob, n < PACK_HEAD_MAX ? n : PACK_HEAD_MAX, n, &info, &error), FPR_OK);
    assert_string_equal(info.codec, codec);
    assert_int_equal(info.dtype, t->dtype);
    assert_int_equal(info.rank, t->rank);
    assert_memory_equal(info.shape, t->shape, t->rank * sizeof t->shape[0]);
    assert_int_equal(info.bytes, t->size);
    assert_true(info.hash == XXH3_64bits(t->bytes, t->size));
    assert_true(info.lossless);
}

static bool is_adaptive(const uint8_t *blob, uint64_t n)
{
    pack_head head;
    bool found = false;
    assert_int_equal(pack_head_read(blob, n, n, &head, NULL), FPR_OK);
    for (unsigned i = 0; i < head.section_count; i++) found |= head.sections[i].kind == PACK_ADAPTIVE;
    return found;
}

/* Encodes and restores with every vector code and two thread counts: the same bytes every time. Returns the size. */
static uint64_t round_trip(const tensor *t, int level, const char *expected)
{
    uint64_t n, m;
    const char *codec;
    fpr_error error = {0};
    uint8_t *blob = encode(t, level, 1, &n, &codec);
    if (expected) assert_string_equal(codec, expected);
    if (blob) check_peek(t, blob, n, codec);
    for (unsigned simd = BASE_SIMD_PLAIN; simd <= BASE_SIMD_AVX512; simd++) {
        base_simd_limit((base_simd)simd);
        uint8_t *again = encode(t, level, 1 + 2 * (simd & 1), &m, NULL);
        assert_int_equal(m, n);
        if (n) assert_memory_equal(again, blob, n);
        if (n && decode(t, blob, n, 3 - 2 * (simd & 1), &error)) fail_msg("%s: %s", codec, error.message);
        free(again);
    }
    free(blob);
    return n ? n : t->size;
}

/* given every dtype, odd sizes and all kinds of content, expect the same bytes back */
static void test_every_dtype(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 7, 64, 1009, 5003};
    seed = 1;
    for (fpr_dtype dtype = 0; dtype < FPR_DTYPE_COUNT; dtype++)
        for (unsigned s = 0; s < COUNT_OF(sizes); s++)
            for (int how = 0; how < FILLS; how++) {
                uint64_t elements = dtype >= FPR_F4 && dtype <= FPR_F6_E3M2 ? sizes[s] * 4 : sizes[s];
                tensor t = make_flat(dtype, elements);
                fill(&t, how, 9);
                round_trip(&t, how % 2 ? 3 : 19, NULL);
                adaptive_most = ALWAYS; /* as at level 19 */
                if (how % 2) round_trip(&t, 3, NULL);
                adaptive_most = 0;
                free(t.bytes);
            }
}

/* given layers of every layout and kernel shape, expect the same bytes back, whatever the codec */
static void test_layers(void **state)
{
    (void)state;
    static const struct {
        unsigned rank;
        uint64_t shape[5];
        fpr_layout layout;
    } layers[] = {
        {4, {8, 5, 3, 3}, FPR_LAYOUT_OIHW},    {4, {3, 3, 5, 8}, FPR_LAYOUT_HWIO},
        {4, {17, 3, 1, 1}, FPR_LAYOUT_OIHW},   {4, {1, 1, 33, 16}, FPR_LAYOUT_HWIO},
        {2, {10, 84}, FPR_LAYOUT_OIHW},        {3, {16, 7, 5}, FPR_LAYOUT_OIHW},
        {3, {5, 7, 16}, FPR_LAYOUT_HWIO},      {5, {6, 4, 3, 3, 3}, FPR_LAYOUT_OIHW},
        {5, {3, 3, 3, 4, 6}, FPR_LAYOUT_HWIO}, {4, {13, 1, 3, 3}, FPR_LAYOUT_OIHW},
        {4, {40, 40, 2, 1}, FPR_LAYOUT_OIHW},  {4, {1, 3, 40, 41}, FPR_LAYOUT_HWIO},
        {2, {1, 5000}, FPR_LAYOUT_OIHW},       {2, {5000, 1}, FPR_LAYOUT_OIHW},
        {4, {61, 60, 3, 3}, FPR_LAYOUT_OIHW},  {4, {3, 3, 61, 60}, FPR_LAYOUT_HWIO},
    };
    static const fpr_dtype dtypes[] = {FPR_F16, FPR_BF16, FPR_F32, FPR_F64};
    seed = 2;
    for (unsigned i = 0; i < COUNT_OF(layers); i++)
        for (unsigned d = 0; d < COUNT_OF(dtypes); d++)
            for (int how = 0; how < FILLS; how++) {
                tensor t = make(dtypes[d], layers[i].rank, layers[i].shape, layers[i].layout);
                fill(&t, how, i % 2 ? 7 : 9);
                uint64_t quick = round_trip(&t, 3, NULL);
                adaptive_most = ALWAYS;
                assert_true(round_trip(&t, 3, NULL) <= quick);
                adaptive_most = 0;
                free(t.bytes);
            }
}

/* given more values than a chunk holds, and a last chunk of odd length, expect the same bytes for any thread count */
static void test_chunks(void **state)
{
    (void)state;
    static const int hows[] = {WEIGHTS, SCALED, FEW, PRUNED, TWO_LEVELS, REPEATS};
    seed = 3;
    for (unsigned i = 0; i < COUNT_OF(hows); i++) {
        uint64_t shape[4] = {301, 211, 3, 3};
        tensor t = make(i % 2 ? FPR_F32 : FPR_F16, 4, shape, FPR_LAYOUT_OIHW);
        fill(&t, hows[i], 9);
        for (adaptive_most = 0; adaptive_most <= 1 << 20; adaptive_most += 1 << 20) round_trip(&t, 1, NULL);
        adaptive_most = 0;
        free(t.bytes);
    }
}

/* ---- sizes: what theory says */

static double entropy(const double *shares, unsigned n)
{
    double h = 0;
    for (unsigned i = 0; i < n; i++) h -= shares[i] > 0 ? shares[i] * log2(shares[i]) : 0;
    return h;
}

/* given symbols of known frequencies, expect the coder within 1 % of their entropy, and every lane count to decode */
static void test_coder_reaches_entropy(void **state)
{
    (void)state;
    double shares[256] = {0};
    uint8_t *symbols = malloc(PACK_CHUNK), *back = malloc(PACK_CHUNK), *coded = malloc(RANS_CHUNK_BOUND(PACK_CHUNK));
    rans_scratch *scratch = rans_scratch_new();
    seed = 4;
    for (unsigned i = 0; i < 40; i++) shares[100 + i] = exp2(-(double)i / 3);
    double sum = 0;
    for (unsigned i = 0; i < 256; i++) sum += shares[i];
    for (unsigned i = 0; i < 256; i++) shares[i] /= sum;
    for (size_t n = 1; n <= PACK_CHUNK; n = n * 3 + 1) {
        uint32_t counts[2][256] = {{0}};
        for (size_t i = 0; i < n; i++) {
            double u = uniform();
            unsigned s = 0;
            while (s < 255 && (u -= shares[s]) >= 0) s++;
            symbols[i] = (uint8_t)s;
            counts[0][s]++;
        }
        size_t bytes =
            rans_encode(scratch, symbols, NULL, n, (const uint32_t(*)[256])counts, NULL, NULL, 0, n % 2, coded);
        assert_true(bytes <= RANS_CHUNK_BOUND(n));
        if (n % 2 == 0) assert_int_equal(rans_chunk_bytes(coded, bytes), bytes);
        double ideal = (double)n * entropy(shares, 256) / 8;
        if (n > 50000 && (double)bytes > 1.01 * ideal + 100)
            fail_msg("%zu symbols: %zu bytes, entropy %.0f", n, bytes, ideal);
        for (unsigned simd = BASE_SIMD_PLAIN; simd <= BASE_SIMD_AVX512; simd++) {
            base_simd_limit((base_simd)simd);
            memset(back, 1, n);
            assert_null(rans_decode(scratch, coded, bytes, n % 2, back, NULL, n, NULL, NULL, NULL));
            assert_memory_equal(back, symbols, n);
        }
    }
    base_free(scratch);
    free(symbols);
    free(back);
    free(coded);
}

static uint64_t packed_size(tensor *t, const char *codec)
{
    uint64_t n = round_trip(t, 3, codec);
    free(t->bytes);
    return n;
}

/* given normal weights, expect the entropy of their exponents: differential entropy says 8 + 23.x bits less what the
 * exponent's distribution leaves. A unit normal's exponent has about 2.5 bits, sign and mantissa at most 24. */
static void test_normal_weights(void **state)
{
    (void)state;
    uint64_t shape[4] = {128, 64, 3, 3};
    seed = 5;
    tensor t = make(FPR_F32, 4, shape, FPR_LAYOUT_OIHW);
    double exponents[64] = {0};
    for (uint64_t i = 0; i < t.size / 4; i++) {
        double w = normal();
        int e;
        store_float(t.dtype, t.bytes + 4 * i, w);
        frexp(w, &e);
        exponents[e + 50 > 0 ? e + 50 : 0] += 4.0 / (double)t.size;
    }
    double order0 = (entropy(exponents, 64) + 24) / 8 * (double)t.size / 4;
    assert_true((double)packed_size(&t, "planes") < order0);
}

/* given filters and channels of different magnitude, expect their exponents to cost no more than those of equal ones,
 * but for the scales themselves */
static void test_scales_pay(void **state)
{
    (void)state;
    uint64_t shape[4] = {100, 100, 3, 3}, sizes[2];
    for (int scaled = 0; scaled < 2; scaled++) {
        seed = 6;
        tensor t = make(FPR_F32, 4, shape, FPR_LAYOUT_OIHW);
        for (uint64_t i = 0; i < t.size / 4; i++) {
            double scale = scaled ? exp2((double)(i / 900 % 11) - (double)(i / 9 % 100 % 7)) : 1;
            store_float(t.dtype, t.bytes + 4 * i, normal() * scale);
        }
        sizes[scaled] = packed_size(&t, "planes");
    }
    assert_true(sizes[1] < sizes[0] + 500);
}

/* Bytes that sign, exponent and two mantissa bits of n independent unit normal weights take, from their distribution.
 */
static double normal_heads(double n)
{
    double bits = 1;
    for (int e = -30; e < 4; e++)
        for (int m = 0; m < 4; m++) {
            double low = ldexp(1 + 0.25 * m, e), high = ldexp(1.25 + 0.25 * m, e);
            double share = erfc(low / sqrt(2)) - erfc(high / sqrt(2));
            bits -= share > 1e-300 ? share * log2(share) : 0;
        }
    return bits * n / 8;
}

/* Bytes of n heads under the adaptive code, decoded again in two parts. */
static size_t code_heads(const adaptive_shape *shape, const uint16_t *heads, size_t n)
{
    uint8_t *coded = calloc(2, n);
    uint16_t *back = malloc(2 * n);
    adaptive *a = adaptive_new(shape);
    adaptive_begin_encoding(a, coded, 2 * n - 1);
    adaptive_encode(a, 0, heads, n);
    const size_t bytes = adaptive_end_encoding(a);
    assert_true(bytes > 0);
    for (size_t given = bytes - 1; given <= bytes + 1; given++) { /* one too few; exactly; a zero too many */
        adaptive_begin_decoding(a, coded, given);
        adaptive_decode(a, 0, back, n / 3);
        adaptive_decode(a, n / 3, back + n / 3, n - n / 3);
        const bool ends = adaptive_end_decoding(a), same = memcmp(back, heads, 2 * n) == 0;
        assert_int_equal(ends && same, given == bytes);
    }
    adaptive_begin_encoding(a, coded, bytes - 1);
    adaptive_encode(a, 0, heads, n);
    assert_int_equal(adaptive_end_encoding(a), 0);
    base_free(a);
    free(coded);
    free(back);
    return bytes;
}

/* given independent normal weights, expect the adaptive code within 1 % of the entropy of their heads, though nobody
 * tells it how they are distributed. And within 2 %: given filters and channels of different magnitude, as if they were
 * told; given zeros among them, which have no sign; given kernels whose weights share a sign, without the signs of all
 * weights but one; the same in rows of a linear layer, where the neighbours of one sign are a stride apart. */
static void test_adaptive_code_foretells(void **state)
{
    (void)state;
    enum { EQUAL, MAGNITUDES, ZEROS, SIGNS, STRIDES, CASES, N = 64 * 64 * 9 };
    double bytes[CASES];
    uint16_t *heads = malloc(2 * N);
    for (int how = 0; how < CASES; how++) {
        adaptive_shape shape = {.exponent_bits = 8, .channels = 64, .k = 9};
        if (how == STRIDES) shape = (adaptive_shape){.exponent_bits = 8, .channels = 576, .k = 1};
        int sign[12] = {0};
        seed = 13;
        for (unsigned i = 0; i < N; i++) {
            double scale = how == MAGNITUDES ? exp2((double)(i / 576 % 5) - (double)(i / 9 % 64 % 4)) : 1;
            double w = normal() * scale;
            unsigned which = how == STRIDES ? i % 12 : 0;
            if (how == STRIDES ? i % 576 < 12 : i % 9 == 0) sign[which] = next() & 1 ? 1 : -1;
            uint8_t stored[4];
            if (how == ZEROS && uniform() < 0.3) w = 0;
            store_float(FPR_F32, stored, how >= SIGNS ? sign[which] * fabs(w) : w);
            heads[i] = (uint16_t)(base_load_le32(stored) >> 21);
            shape.zeros |= !heads[i];
            if ((heads[i] >> 2 & 255u) > shape.top) shape.top = heads[i] >> 2 & 255;
        }
        shape.above = adaptive_find_above(heads, N, 8, shape.k);
        if (how == STRIDES) assert_int_equal(shape.above, 12);
        bytes[how] = (double)code_heads(&shape, heads, N);
    }
    free(heads);
    const double expected = normal_heads(N), unsigned_heads = expected - N / 8.0;
    print_message("%.0f bytes of %.0f, %.0f, %.0f, %.0f, %.0f\n", bytes[EQUAL], expected, bytes[MAGNITUDES],
                  bytes[ZEROS], bytes[SIGNS], bytes[STRIDES]);
    assert_true(bytes[EQUAL] < 1.01 * expected && bytes[EQUAL] > 0.99 * expected);
    assert_true(bytes[MAGNITUDES] < 1.02 * expected);
    assert_true(bytes[ZEROS] < 1.02 * (0.7 * expected - (0.3 * log2(0.3) + 0.7 * log2(0.7)) * N / 8));
    assert_true(bytes[SIGNS] < 1.02 * (unsigned_heads + N / 9.0 / 8));
    assert_true(bytes[STRIDES] < 1.02 * (unsigned_heads + N / 48.0 / 8));
}

/* given 99 of 100 kernels zero, expect at most 1.5 % of the dense bytes; given two levels, a bit a weight */
static void test_kernels_are_small(void **state)
{
    (void)state;
    uint64_t shape[4] = {256, 256, 3, 3};
    seed = 7;
    tensor t = make(FPR_F32, 4, shape, FPR_LAYOUT_OIHW);
    uint64_t dense = t.size;
    fill_kernels(&t, 9, 0.99, 0, -1, 0);
    assert_true(packed_size(&t, "kernels") * 1000 <= dense * 15);
    static const struct {
        fpr_layout layout;
        uint64_t shape[4];
    } layers[] = {{FPR_LAYOUT_OIHW, {64, 64, 3, 3}}, {FPR_LAYOUT_HWIO, {3, 3, 64, 64}}};
    for (unsigned i = 0; i < 2; i++) {
        t = make(FPR_F32, 4, layers[i].shape, layers[i].layout);
        for (uint64_t j = 0; j < t.size / 4; j++) /* a level pair a filter */
            store_float(t.dtype, t.bytes + 4 * j, (next() & 1 ? 1 : -1) * (1 + 0.01 * (double)(i ? j % 64 : j / 576)));
        uint64_t bits = t.size / 4;
        assert_true(packed_size(&t, "kernels") <= bits / 8 + 64 * 4 + 200);
    }
    uint64_t linear[2] = {100, 1000};
    t = make(FPR_F16, 2, linear, FPR_LAYOUT_OIHW);
    for (uint64_t j = 0; j < 100000; j++) store_float(t.dtype, t.bytes + 2 * j, next() & 1 ? 0.25 : -0.5);
    assert_true(packed_size(&t, NULL) <= 100000 / 8 + 200); /* a palette of two is as good */
}

/* given weights that were dequantized from 8 bits, expect at most a byte a weight; given one value, next to nothing */
static void test_palettes_are_small(void **state)
{
    (void)state;
    uint64_t shape[4] = {50, 50, 3, 3};
    seed = 8;
    tensor t = make(FPR_F32, 4, shape, FPR_LAYOUT_OIHW);
    for (uint64_t i = 0; i < t.size / 4; i++)
        store_float(t.dtype, t.bytes + 4 * i, 0.003 * ((int)(next() % 256) - 100));
    assert_true(packed_size(&t, "palette") < 50 * 50 * 9 + 256 * 4 + 300);
    for (unsigned colours = 1; colours <= 5; colours++) {
        t = make_flat(FPR_I64, 8000);
        for (uint64_t i = 0; i < 8000; i++)
            base_store_le64(t.bytes + 8 * i, next() % colours * UINT64_C(0x123456789abcdef));
        unsigned bits = colours == 1 ? 0 : colours == 2 ? 1 : colours <= 4 ? 2 : 4;
        assert_true(packed_size(&t, "palette") < 8000 * bits / 8 + 150);
    }
}

/* given must_beat, expect a smaller blob or none; given noise, none; expect a failing writer to be reported */
static void test_never_larger(void **state)
{
    (void)state;
    seed = 9;
    tensor t = make_flat(FPR_F32, 4000);
    fill(&t, WEIGHTS, 9);
    fpr_error error = {0};
    pack_blob *blob;
    pack_input input = input_of(&t, 3, ALWAYS);
    assert_int_equal(pack_encode(&input, 1, &blob, &error), FPR_OK);
    uint64_t size = pack_blob_size(blob);
    uint8_t *space = malloc(size);
    sink s = {space, 0, size / 2};
    assert_int_equal(pack_blob_write(blob, collect, &s, &error), FPR_IO);
    pack_blob_free(blob);
    free(space);
    input.must_beat = size + 1;
    assert_int_equal(pack_encode(&input, 1, &blob, &error), FPR_OK);
    assert_non_null(blob);
    pack_blob_free(blob);
    input.must_beat = size;
    assert_int_equal(pack_encode(&input, 1, &blob, &error), FPR_OK);
    assert_null(blob);
    pack_blob_free(NULL);
    free(t.bytes);
    t = make_flat(FPR_U8, 100000);
    fill(&t, NOISE, 9);
    assert_int_equal(round_trip(&t, 3, "raw"), t.size);
    free(t.bytes);
}

/* given a higher level, expect no larger blob where there is something to find */
static void test_level_buys(void **state)
{
    (void)state;
    seed = 10;
    tensor t = make_flat(FPR_I32, 60000);
    for (uint64_t i = 0; i < 60000; i++)
        base_store_le32(t.bytes + 4 * i, (uint32_t)(i % 1000 * 7919 + (next() % 50 == 0 ? next() : 0)));
    uint64_t low = round_trip(&t, 1, NULL), high = round_trip(&t, 19, NULL);
    assert_true(high < low);
    free(t.bytes);
}

/* ---- damage */

static const struct {
    fpr_dtype dtype;
    uint64_t shape[4];
    fpr_layout layout;
    int how;
    const char *codec;
    bool adaptive;
} small[] = {
    {FPR_F32, {4, 4, 3, 3}, FPR_LAYOUT_OIHW, WEIGHTS, "planes", false},
    {FPR_F32, {20, 20, 3, 3}, FPR_LAYOUT_OIHW, SCALED, "planes", false},
    {FPR_F16, {3, 3, 6, 7}, FPR_LAYOUT_HWIO, WEIGHTS, "planes", false},
    {FPR_I32, {7, 5, 3, 3}, FPR_LAYOUT_AUTO, REPEATS, "planes", false},
    {FPR_F32, {5, 5, 3, 3}, FPR_LAYOUT_OIHW, FEW, "palette", false},
    {FPR_F64, {5, 5, 3, 3}, FPR_LAYOUT_OIHW, CONSTANT, "palette", false},
    {FPR_F32, {7, 7, 3, 3}, FPR_LAYOUT_OIHW, PRUNED, "kernels", false},
    {FPR_F32, {9, 7, 3, 3}, FPR_LAYOUT_OIHW, TWO_LEVELS, "kernels", false},
    {FPR_BF16, {16, 7, 3, 3}, FPR_LAYOUT_OIHW, PRUNED, "kernels", false},
    {FPR_F32, {3, 3, 9, 9}, FPR_LAYOUT_HWIO, PRUNED, NULL, false},
    {FPR_F32, {16, 8, 2, 2}, FPR_LAYOUT_OIHW, LEVEL_PAIRS, "kernels", false}, /* some have one level for both */
    {FPR_F32, {7, 8, 3, 3}, FPR_LAYOUT_OIHW, SCALED, "planes", true},
    {FPR_F16, {3, 3, 10, 15}, FPR_LAYOUT_HWIO, SCALED, "planes", true},
    {FPR_F64, {12, 13, 1, 1}, FPR_LAYOUT_OIHW, SCALED, "planes", true},
    {FPR_BF16, {11, 8, 3, 3}, FPR_LAYOUT_OIHW, UNEVEN, "kernels", true},
};

static tensor make_small(unsigned i)
{
    seed = 100 + i;
    tensor t = make(small[i].dtype, 4, small[i].shape, small[i].layout);
    fill(&t, small[i].how, small[i].shape[2] * small[i].shape[3] == 4 ? 4 : 9);
    adaptive_most = small[i].adaptive ? ALWAYS : 0;
    return t;
}

/* given a bit flipped in any byte of a blob, any length cut off or added, expect a refusal with a message, and nothing
 * written past the tensor */
static void test_every_flip_is_found(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(small); i++) {
        tensor t = make_small(i);
        uint64_t n;
        const char *codec;
        fpr_error error = {0};
        uint8_t *blob = encode(&t, 3, 1, &n, &codec);
        if (!blob || (small[i].codec && strcmp(codec, small[i].codec)))
            fail_msg("small %u: %s of %s", i, codec, small[i].codec);
        if (is_adaptive(blob, n) != small[i].adaptive) fail_msg("small %u: adaptive or not", i);
        for (uint64_t at = 0; at < n; at++)
            for (unsigned bit = at % 4; bit < 8; bit += 4) {
                blob[at] ^= (uint8_t)(1u << bit);
                memset(&error, 0, sizeof error);
                fpr_status status = decode(&t, blob, n, 1, &error);
                if (status != FPR_BAD_PACKED && status != FPR_TOO_NEW)
                    fail_msg("small %u: byte %u bit %u: status %d", i, (unsigned)at, bit, status);
                assert_true(error.message[0]);
                blob[at] ^= (uint8_t)(1u << bit);
            }
        for (uint64_t cut = 0; cut < n; cut++) {
            uint8_t *part = malloc(cut ? cut : 1);
            memcpy(part, blob, cut);
            assert_int_equal(decode(&t, part, cut, 1, &error), FPR_BAD_PACKED);
            free(part);
        }
        uint8_t *longer = calloc(n + 8, 1);
        memcpy(longer, blob, n);
        assert_int_equal(decode(&t, longer, n + 8, 1, &error), FPR_BAD_PACKED);
        assert_int_equal(pack_decode(blob, n, 1, longer, t.size - 1, &error), FPR_BAD_PACKED);
        free(longer);
        free(blob);
        free(t.bytes);
    }
}

/* A head written anew around the sections of a blob, with checks that hold: what a hostile writer would do. */
static uint8_t *forge(const uint8_t *blob, pack_head *head, uint64_t *n)
{
    uint64_t body = 0, begin = head->section_count ? head->sections[0].at : 0;
    for (unsigned i = 0; i < head->section_count; i++) {
        pack_section *s = &head->sections[i];
        s->check = (uint32_t)XXH3_64bits(blob + s->at, s->stored);
        body += s->stored;
    }
    uint8_t *out = calloc(PACK_HEAD_MAX + body + 8, 1);
    pack_head_write(head, out);
    memcpy(out + head->bytes, blob + begin, body);
    *n = (head->bytes + body + 7) & ~UINT64_C(7);
    return out;
}

static void expect_forged(const tensor *t, const uint8_t *blob, pack_head head, fpr_status expected, const char *what)
{
    uint64_t n;
    fpr_error error = {0};
    uint8_t *forged = forge(blob, &head, &n), *dst = malloc(t->size + 64);
    fpr_status status = pack_decode(forged, n, 1, dst, t->size, &error);
    if (status != expected) fail_msg("%s: status %d: %s", what, status, error.message);
    free(forged);
    free(dst);
}

/* given heads that lie, but with good checksums, expect each lie to be refused */
static void test_lies(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(small); i++) {
        tensor t = make_small(i);
        uint64_t n;
        fpr_error error = {0};
        pack_head good, head;
        uint8_t *exact = encode(&t, 3, 1, &n, NULL), *blob = calloc(n + 64, 1); /* room for sections that lie */
        memcpy(blob, exact, n);
        free(exact);
        assert_int_equal(pack_head_read(blob, n, n, &good, &error), FPR_OK);
        expect_forged(&t, blob, good, FPR_OK, "itself");
        head = good, head.codec = 9, expect_forged(&t, blob, head, FPR_TOO_NEW, "codec 9");
        head = good, head.codec = 0, expect_forged(&t, blob, head, FPR_TOO_NEW, "codec 0");
        for (uint8_t codec = 1; codec <= 3; codec++) {
            head = good, head.codec = codec;
            if (codec != good.codec) expect_forged(&t, blob, head, FPR_BAD_PACKED, "another codec");
        }
        head = good, head.info.hash++, expect_forged(&t, blob, head, FPR_BAD_PACKED, "hash");
        head = good, head.info.bytes += 8, expect_forged(&t, blob, head, FPR_BAD_PACKED, "bytes");
        head = good, head.info.shape[0]++, expect_forged(&t, blob, head, FPR_BAD_PACKED, "shape");
        head = good, head.info.shape[0] = UINT64_MAX, head.info.shape[1] = 3,
        expect_forged(&t, blob, head, FPR_BAD_PACKED, "overflow");
        head = good, head.info.dtype = FPR_DTYPE_COUNT, expect_forged(&t, blob, head, FPR_BAD_PACKED, "dtype");
        head = good, head.scope = !head.scope, expect_forged(&t, blob, head, FPR_BAD_PACKED, "scope");
        head = good, head.scope = 9, expect_forged(&t, blob, head, FPR_BAD_PACKED, "scope 9");
        head = good, head.hwio = !head.hwio, expect_forged(&t, blob, head, FPR_BAD_PACKED, "layout");
        for (unsigned s = 0; s < good.section_count; s++) {
            head = good, head.sections[s].raw++, head.sections[s].stored += head.sections[s].encoding == PACK_RAW;
            expect_forged(&t, blob, head, FPR_BAD_PACKED, "raw bytes");
            head = good, head.sections[s].raw = UINT64_MAX / 2;
            if (head.sections[s].encoding != PACK_RAW) expect_forged(&t, blob, head, FPR_BAD_PACKED, "a bomb");
            for (uint8_t kind = 0; kind < 16; kind++) {
                head = good, head.sections[s].kind = kind;
                if (kind != good.sections[s].kind) expect_forged(&t, blob, head, FPR_BAD_PACKED, "kind");
            }
            for (uint8_t encoding = 0; encoding < 5; encoding++) {
                head = good, head.sections[s].encoding = encoding;
                if (encoding == PACK_RAW) head.sections[s].raw = head.sections[s].stored;
                if (encoding != good.sections[s].encoding) expect_forged(&t, blob, head, FPR_BAD_PACKED, "encoding");
            }
            head = good;
            memmove(&head.sections[s], &head.sections[s + 1],
                    (COUNT_OF(head.sections) - 1 - s) * sizeof head.sections[0]);
            head.section_count--;
            expect_forged(&t, blob, head, FPR_BAD_PACKED, "a section less");
        }
        free(blob);
        free(t.bytes);
    }
}

/* Puts `bytes` in the place of the first `removed` ones of an adaptive section, with checks that hold. */
static fpr_status adaptive_begins(const tensor *t, const uint8_t *blob, uint64_t n, const void *bytes, uint64_t count,
                                  uint64_t removed, fpr_error *error)
{
    pack_head head;
    uint64_t m;
    assert_int_equal(pack_head_read(blob, n, n, &head, error), FPR_OK);
    unsigned at = 0;
    while (head.sections[at].kind != PACK_ADAPTIVE) at++;
    pack_section *s = &head.sections[at];
    uint8_t *changed = calloc(n + count, 1), *dst = malloc(t->size + 64);
    memcpy(changed, blob, s->at);
    memcpy(changed + s->at, bytes, count);
    memcpy(changed + s->at + count, blob + s->at + removed, n - s->at - removed);
    s->raw = s->stored += count - removed;
    for (unsigned i = at + 1; i < head.section_count; i++) head.sections[i].at += count - removed;
    uint8_t *forged = forge(changed, &head, &m);
    memset(error, 0, sizeof *error);
    fpr_status status = pack_decode(forged, m, 1, dst, t->size, error);
    free(forged);
    free(changed);
    free(dst);
    return status;
}

/* given an adaptive section that begins with what cannot be, expect a refusal that says so */
static void test_adaptive_lies(void **state)
{
    (void)state;
    /* flags, top (2), above, channels, k */
    static const struct {
        uint8_t bytes[24];
        uint64_t count;
        const char *says;
    } lies[] = {{{4, 130, 0, 3, 12, 9}, 6, "is none"},
                {{0, 0, 1, 3, 12, 9}, 6, "is none"},
                {{0, 130, 0, 65, 12, 9}, 6, "is none"},
                {{0, 130, 0, 3, 0, 9}, 6, "another shape"},
                {{0, 130, 0, 3, 12, 0}, 6, "another shape"},
                {{0, 130, 0, 3, 193, 1, 9}, 7, "another shape"}, /* 193 channels of 9: more than there are weights */
                {{0, 130, 0, 3, 128, 128, 128, 128, 128, 128, 128, 128, 64, 128, 128, 128, 128, 128, 128, 64},
                 20,
                 "another shape"},                           /* their product is 2^64 * 2^41 */
                {{0, 130, 0, 3, 140, 0, 9}, 7, "cut short"}, /* 12 in two bytes */
                {{1, 130, 0, 3, 13, 9}, 6, "another layout"}};
    static const uint64_t shape[4] = {16, 12, 3, 3};
    uint64_t n;
    fpr_error error = {0};
    seed = 14;
    tensor t = make(FPR_F32, 4, shape, FPR_LAYOUT_OIHW);
    fill(&t, SCALED, 9);
    adaptive_most = ALWAYS;
    uint8_t *blob = encode(&t, 3, 1, &n, NULL);
    adaptive_most = 0;
    pack_head head;
    assert_int_equal(pack_head_read(blob, n, n, &head, &error), FPR_OK);
    uint8_t prefix[6];
    memcpy(prefix, blob + head.sections[0].at, 6);
    assert_memory_equal(prefix + 4, ((uint8_t[]){12, 9}), 2);
    assert_int_equal(adaptive_begins(&t, blob, n, prefix, 6, 6, &error), FPR_OK);
    for (unsigned i = 0; i < COUNT_OF(lies); i++) {
        assert_int_equal(adaptive_begins(&t, blob, n, lies[i].bytes, lies[i].count, 6, &error), FPR_BAD_PACKED);
        if (!strstr(error.message, lies[i].says)) fail_msg("lie %u: %s", i, error.message);
    }
    /* nothing at all, only a prefix, bytes too many, bytes too few */
    const uint64_t stored = head.sections[0].stored;
    uint8_t *longer = malloc(stored + 5);
    memcpy(longer, blob + head.sections[0].at, stored);
    memset(longer + stored, 0, 5);
    assert_int_equal(adaptive_begins(&t, blob, n, longer, 0, stored, &error), FPR_BAD_PACKED);
    assert_int_equal(adaptive_begins(&t, blob, n, longer, 5, stored, &error), FPR_BAD_PACKED);
    assert_int_equal(adaptive_begins(&t, blob, n, longer, 6, stored, &error), FPR_BAD_PACKED);
    assert_int_equal(adaptive_begins(&t, blob, n, longer, stored + 5, stored, &error), FPR_BAD_PACKED);
    assert_non_null(strstr(error.message, "does not end"));
    assert_int_equal(adaptive_begins(&t, blob, n, longer, stored - 9, stored, &error), FPR_BAD_PACKED);
    assert_non_null(strstr(error.message, "does not end"));
    free(longer);
    free(blob);
    free(t.bytes);
}

/* given a section changed with a check that holds, expect no crash and never wrong bytes taken for right ones */
static void test_forged_sections(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(small); i++) {
        tensor t = make_small(i);
        uint64_t n, m;
        fpr_error error = {0};
        pack_head head;
        uint8_t *blob = encode(&t, 3, 1, &n, NULL), *dst = malloc(t.size + 64);
        assert_int_equal(pack_head_read(blob, n, n, &head, &error), FPR_OK);
        seed = 11;
        for (uint64_t at = head.sections[0].at; at < n; at++)
            for (unsigned change = 0; change < 3; change++) {
                uint8_t kept = blob[at];
                blob[at] = change == 0 ? (uint8_t)(kept + 1) : change == 1 ? 0xff : (uint8_t)next();
                pack_head forged_head = head;
                uint8_t *forged = forge(blob, &forged_head, &m);
                if (pack_decode(forged, m, 1, dst, t.size, &error) == FPR_OK) assert_memory_equal(dst, t.bytes, t.size);
                free(forged);
                blob[at] = kept;
            }
        free(dst);
        free(blob);
        free(t.bytes);
    }
}

/* given a blob of a later reader version, expect FPR_TOO_NEW; given other bytes, no blob */
static void test_versions(void **state)
{
    (void)state;
    tensor t = make_small(0);
    uint64_t n;
    fpr_error error = {0};
    pack_info info;
    uint8_t *blob = encode(&t, 3, 1, &n, NULL);
    blob[5] = PACK_READER + 1;
    assert_int_equal(pack_peek(blob, n, n, &info, &error), FPR_TOO_NEW);
    assert_int_equal(decode(&t, blob, n, 1, &error), FPR_TOO_NEW);
    blob[5] = 0;
    assert_int_equal(decode(&t, blob, n, 1, &error), FPR_BAD_PACKED);
    blob[0] = 'G';
    assert_false(pack_is_blob(blob, n));
    assert_false(pack_is_blob((const uint8_t *)"FPZ1", 4));
    free(blob);
    free(t.bytes);
}

/* given memory that runs out at any allocation, expect FPR_NO_MEMORY and nothing leaked */
static void test_out_of_memory(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(small); i++) {
        tensor t = make_small(i);
        uint64_t n;
        fpr_error error = {0};
        pack_input input = input_of(&t, 3, ALWAYS);
        uint8_t *blob = encode(&t, 3, 1, &n, NULL), *dst = malloc(t.size + 64);
        const long alive = base_allocations_alive();
        for (long fail = 0;; fail++) {
            pack_blob *b = NULL;
            base_fail_allocation(fail);
            fpr_status status = pack_encode(&input, 1, &b, &error);
            base_fail_allocation(-1);
            pack_blob_free(b);
            assert_int_equal(base_allocations_alive(), alive);
            if (status == FPR_OK) break;
            assert_int_equal(status, FPR_NO_MEMORY);
            assert_null(b);
        }
        for (long fail = 0;; fail++) {
            base_fail_allocation(fail);
            fpr_status status = pack_decode(blob, n, 1, dst, t.size, &error);
            base_fail_allocation(-1);
            assert_int_equal(base_allocations_alive(), alive);
            if (status == FPR_OK) break;
            assert_int_equal(status, FPR_NO_MEMORY);
        }
        free(dst);
        free(blob);
        free(t.bytes);
    }
}

/* given zstd without memory at any of its calls, expect FPR_NO_MEMORY: no other encoding, no broken blob */
static void test_zstd_out_of_memory(void **state)
{
    (void)state;
    static const int levels[] = {3, 19};
    long encoding = 0, decoding = 0;
    seed = 11;
    for (unsigned i = 0; i < 2 * COUNT_OF(small) + 2; i++) {
        /* Beside the small ones one whose classes of kernels repeat, and one that repeats as a whole. */
        static const uint64_t shape[4] = {64, 64, 3, 3};
        tensor t = i < 2 * COUNT_OF(small) ? make_small(i / 2) : make(FPR_F32, 4, shape, FPR_LAYOUT_OIHW);
        if (i >= 2 * COUNT_OF(small)) fill(&t, REPEATS, 9);
        for (uint64_t j = 0; i == 2 * COUNT_OF(small) && j < 64 * 64; j++)
            for (unsigned k = 0; k < 9; k++) store_float(FPR_F32, t.bytes + (j * 9 + k) * 4, j % 2 ? normal() : 0);
        uint64_t n;
        fpr_error error = {0};
        pack_input input = input_of(&t, levels[i % 2], ALWAYS);
        uint8_t *blob = encode(&t, levels[i % 2], 1, &n, NULL), *dst = malloc(t.size + 64);
        const long alive = base_allocations_alive();
        for (long fail = 0;; fail++, encoding++) {
            pack_blob *b = NULL;
            zstd_fails_in = fail;
            fpr_status status = pack_encode(&input, 1, &b, &error);
            bool struck = zstd_fails_in < 0;
            zstd_fails_in = -1;
            assert_int_equal(status, struck ? FPR_NO_MEMORY : FPR_OK);
            pack_blob_free(b);
            assert_int_equal(base_allocations_alive(), alive);
            if (!struck) break;
        }
        for (long fail = 0; blob; fail++, decoding++) {
            zstd_fails_in = fail;
            fpr_status status = pack_decode(blob, n, 1, dst, t.size, &error);
            bool struck = zstd_fails_in < 0;
            zstd_fails_in = -1;
            assert_int_equal(status, struck ? FPR_NO_MEMORY : FPR_OK);
            assert_int_equal(base_allocations_alive(), alive);
            if (!struck) break;
        }
        free(dst);
        free(blob);
        free(t.bytes);
    }
    print_message("%ld calls failed while encoding, %ld while decoding\n", encoding, decoding);
    assert_true(encoding > 50 && decoding > 3);
}

/* given a section whose first chunk promises more than the others keep, expect it raw */
static void test_section_that_does_not_gain(void **state)
{
    (void)state;
    const uint64_t count = 12 * PACK_CHUNK;
    uint8_t *bytes = malloc(count);
    fpr_error error = {0};
    seed = 12;
    for (uint64_t i = 0; i < count; i++) bytes[i] = i < PACK_CHUNK && i % 43 == 0 ? 0 : (uint8_t)next();
    const long alive = base_allocations_alive();
    for (uint64_t n = PACK_CHUNK; n <= count; n += count - PACK_CHUNK) {
        pack_blob *blob = base_calloc(1, sizeof *blob);
        assert_int_equal(pack_add_coded(blob, PACK_COLOURS, bytes, n, 3, &error), FPR_OK);
        assert_int_equal(blob->section_count, 1);
        const pack_build_section *s = &blob->sections[0];
        uint64_t stored = 0;
        for (uint64_t i = 0; i < s->piece_count; i++) stored += s->pieces[i].count;
        assert_int_equal(s->encoding, n < count ? PACK_RANS : PACK_RAW);
        assert_true(n < count ? stored < n : stored == n);
        pack_blob_free(blob);
    }
    assert_int_equal(base_allocations_alive(), alive);
    free(bytes);
}

/* given a section that cannot hold the chunks it claims, expect no memory for them */
static void test_more_chunks_than_bytes(void **state)
{
    (void)state;
    static const uint8_t bytes[40] = {0};
    pack_chunks chunks;
    fpr_error error = {0};
    for (unsigned encoding = PACK_ZSTD; encoding <= PACK_RANS; encoding++) {
        pack_section s = {.encoding = (uint8_t)encoding, .raw = UINT64_C(1) << 60, .stored = sizeof bytes};
        base_fail_allocation(0);
        assert_int_equal(pack_chunks_open(bytes, &s, 0, &chunks, &error), FPR_BAD_PACKED);
        assert_int_equal(pack_chunks_open(bytes, &s, 41, &chunks, &error), FPR_BAD_PACKED);
        base_fail_allocation(-1);
        assert_non_null(strstr(error.message, "too short for its chunks"));
    }
}

/* ---- the original header */

/* given a header like the rebuilt one, expect "canonical"; given another, expect it back from its text */
static void test_header(void **state)
{
    (void)state;
    const char like[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\","
                        "\"shape\":[3],\"data_offsets\":[8,20]}}";
    const char other[] = "{ \"b\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[8,20]} , "
                         "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}   ";
    fpr_error error = {0};
    char *text, *back;
    size_t n;
    assert_int_equal(pack_header_encode(like, sizeof like - 1, like, sizeof like - 1, &text, &error), FPR_OK);
    assert_string_equal(text, "canonical");
    assert_int_equal(pack_header_decode(text, like, sizeof like - 1, &back, &n, &error), FPR_OK);
    assert_int_equal(n, sizeof like - 1);
    assert_memory_equal(back, like, n);
    base_free(back);
    base_free(text);
    for (size_t bytes = 0; bytes < sizeof other; bytes++) {
        assert_int_equal(pack_header_encode(other, bytes, like, sizeof like - 1, &text, &error), FPR_OK);
        assert_int_equal(strncmp(text, "zstd:", 5), 0);
        assert_int_equal(pack_header_decode(text, like, sizeof like - 1, &back, &n, &error), FPR_OK);
        assert_int_equal(n, bytes);
        assert_memory_equal(back, other, n);
        base_free(back);
        base_free(text);
    }
    assert_int_equal(pack_header_encode(other, sizeof other - 1, like, sizeof like - 1, &text, &error), FPR_OK);
    assert_true(strlen(text) < sizeof other); /* `like` was used: far less than the text itself */
    for (size_t i = 0; text[i]; i++) {
        char kept = text[i];
        text[i] = kept == 'A' ? 'B' : 'A';
        fpr_status status = pack_header_decode(text, like, sizeof like - 1, &back, &n, &error);
        if (status == FPR_OK) { /* one bit of a zstd frame's head means nothing */
            assert_int_equal(n, sizeof other - 1);
            assert_memory_equal(back, other, n);
        } else {
            assert_int_equal(status, FPR_BAD_PACKED);
        }
        base_free(back);
        text[i] = kept;
    }
    static const char *const wrong[] = {"",          "canonicaL",     "zstd:",     "zstd:!!!!", "zstd:AAA",
                                        "zstd:AA=A", "zstd:AAAA====", "zstd:AB==", "gzip:AAAA"};
    for (unsigned i = 0; i < COUNT_OF(wrong); i++)
        assert_int_equal(pack_header_decode(wrong[i], like, sizeof like - 1, &back, &n, &error), FPR_BAD_PACKED);
    for (long fail = 0; fail < 2; fail++) {
        base_fail_allocation(fail);
        assert_int_equal(pack_header_decode(text, like, sizeof like - 1, &back, &n, &error), FPR_NO_MEMORY);
        base_fail_allocation(fail);
        char *none;
        assert_int_equal(pack_header_encode(other, sizeof other - 1, like, sizeof like - 1, &none, &error),
                         FPR_NO_MEMORY);
        base_fail_allocation(-1);
    }
    for (long fail = 0; fail < 3; fail++) {
        zstd_fails_in = fail;
        assert_int_equal(pack_header_decode(text, like, sizeof like - 1, &back, &n, &error), FPR_NO_MEMORY);
        assert_null(back);
        zstd_fails_in = fail;
        char *none;
        assert_int_equal(pack_header_encode(other, sizeof other - 1, like, sizeof like - 1, &none, &error),
                         FPR_NO_MEMORY);
        assert_null(none);
        zstd_fails_in = -1;
    }
    base_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dtype),
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_coder_reaches_entropy),
        cmocka_unit_test(test_normal_weights),
        cmocka_unit_test(test_scales_pay),
        cmocka_unit_test(test_adaptive_code_foretells),
        cmocka_unit_test(test_kernels_are_small),
        cmocka_unit_test(test_palettes_are_small),
        cmocka_unit_test(test_never_larger),
        cmocka_unit_test(test_level_buys),
        cmocka_unit_test(test_every_flip_is_found),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_adaptive_lies),
        cmocka_unit_test(test_forged_sections),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_zstd_out_of_memory),
        cmocka_unit_test(test_section_that_does_not_gain),
        cmocka_unit_test(test_more_chunks_than_bytes),
        cmocka_unit_test(test_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
