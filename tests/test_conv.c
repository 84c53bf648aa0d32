/* conv: layers by shape, gathering, the measures of a layer, the distributions of a group. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conv/conv.h"
#include "num/num.h"

#include "numbers.h"

#define CLOSE 1e-12

static conv_settings settings_for(unsigned threads)
{
    return (conv_settings){.eps = 0.01, .bins = 70, .threads = threads};
}

/* A layer in memory, OIHW, F32 unless told otherwise. */
typedef struct layer {
    fpr_layer_shape shape;
    float *w;
    conv_block block;
    conv_measure measure;
    double ratio[CONV_K_MAX];
} layer;

static void make_layer(layer *l, uint64_t filters, uint64_t channels, uint64_t side_a, uint64_t side_b)
{
    memset(l, 0, sizeof *l);
    const uint64_t shape[] = {filters, channels, side_a, side_b};
    assert_true(conv_layer_shape(FPR_F32, 4, shape, FPR_LAYOUT_OIHW, &l->shape));
    l->w = calloc(l->shape.kernels * l->shape.k, sizeof *l->w);
    l->block = (conv_block){.shape = &l->shape, .dtype = FPR_F32, .weights = l->w};
    l->measure.explained_variance_ratio = l->ratio;
}

static void fill_layer(layer *l, double scale)
{
    for (uint64_t i = 0; i < l->shape.kernels * l->shape.k; i++) l->w[i] = (float)(scale * random_normal());
}

static void measure_layer(layer *l, const conv_settings *settings)
{
    fpr_error error = {0};
    if (conv_measure_blocks(&l->block, 1, settings, &l->measure, &error)) {
        printf("%s\n", error.message);
        fail();
    }
    l->block.max_abs = l->measure.max_abs;
}

static void forget_measure(layer *l)
{
    fpr_moments_free(&l->measure.all);
    fpr_moments_free(&l->measure.live);
}

static void free_layer(layer *l)
{
    forget_measure(l);
    free(l->w);
}

/* ---- layers.c */

static void shapes_that_are_layers_and_shapes_that_are_not(void **state)
{
    (void)state;
    const struct { unsigned rank; uint64_t shape[5]; bool oihw, hwio; } cases[] = {
        {4, {64, 32, 3, 3}, true, false},     {4, {3, 3, 32, 64}, false, true},
        {4, {64, 1, 7, 7}, true, false},      {4, {10, 1, 3, 3}, true, true},
        {4, {768, 3, 16, 16}, true, false},   {4, {16, 16, 3, 768}, false, true},   /* patch embedding */
        {4, {768, 3, 32, 32}, true, false},   {4, {96, 1, 31, 31}, true, false},    /* large depthwise kernel */
        {4, {64, 640, 1, 1}, true, false},    {4, {1, 1, 640, 64}, false, true},    /* pointwise */
        {4, {1, 64, 3, 3}, true, false},      {4, {3, 3, 64, 1}, false, true},      /* one filter */
        {4, {1, 64, 1, 1}, true, false},      {4, {21, 2048, 1, 15}, true, false},
        {4, {16, 128, 64, 1}, true, false},   {4, {4, 128, 64, 1}, false, false},  {4, {16, 128, 65, 1}, false, false},
        {4, {192, 192, 7, 1}, true, false},   {4, {7, 1, 192, 192}, false, true},
        {4, {512, 1, 1, 1}, false, false},    {4, {1, 1, 1, 512}, false, false},    /* a scale vector */
        {4, {1, 1, 1, 1}, false, false},
        {4, {1, 12, 197, 197}, false, false}, {4, {8, 12, 49, 49}, false, false},   /* attention */
        {4, {1, 1, 1024, 1024}, false, true}, {4, {1, 768, 14, 14}, false, false}, /* mask, table of positions */
        {4, {1, 64, 64, 256}, false, false},  {4, {0, 3, 3, 3}, false, false},
        {3, {256, 80, 3}, true, false},       {3, {3, 80, 256}, false, true},       /* one-dimensional */
        {3, {512, 1, 4}, true, false},        {3, {512, 256, 1}, true, false},
        {3, {1, 32, 7}, true, false},         {3, {512, 256, 16}, true, false},
        {3, {1, 197, 768}, false, false},     {3, {197, 1, 768}, false, false},     {3, {1, 1, 768}, false, false},
        {3, {12, 64, 64}, false, false},      {3, {12, 768, 64}, false, false},     {3, {4, 64, 16}, false, false},
        {3, {3, 64, 192}, false, false},      {3, {12, 16, 16}, false, false},      {3, {8, 1024, 4096}, false, true},
        {3, {1, 1, 3}, false, false},         {3, {77, 1, 1}, false, false},
        {5, {30, 30, 3, 3, 3}, true, false},  {5, {3, 3, 3, 30, 30}, false, true},  {5, {64, 1, 3, 3, 3}, true, false},
        {5, {50, 30, 1, 1, 1}, true, false},  {5, {768, 3, 2, 16, 16}, true, false},
        {5, {1, 96, 8, 14, 14}, false, false}, {5, {8, 1, 1, 1, 1}, false, false},
        {2, {512, 512}, false, false},        {1, {512}, false, false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fpr_layer_shape s;
        const bool oihw = conv_layer_shape(FPR_F32, cases[i].rank, cases[i].shape, FPR_LAYOUT_OIHW, &s);
        const bool hwio = conv_layer_shape(FPR_F32, cases[i].rank, cases[i].shape, FPR_LAYOUT_HWIO, &s);
        if (oihw != cases[i].oihw || hwio != cases[i].hwio) {
            printf("case %zu: oihw %d hwio %d\n", i, oihw, hwio);
            fail();
        }
        assert_false(conv_layer_shape(FPR_I32, cases[i].rank, cases[i].shape, FPR_LAYOUT_OIHW, &s));
        assert_false(conv_layer_shape(FPR_F8_E4M3, cases[i].rank, cases[i].shape, FPR_LAYOUT_HWIO, &s));
        assert_false(conv_layer_shape(FPR_F32, cases[i].rank, cases[i].shape, FPR_LAYOUT_AUTO, &s));
    }
}

static void a_layer_knows_its_parts(void **state)
{
    (void)state;
    fpr_layer_shape a, b;
    assert_true(conv_layer_shape(FPR_BF16, 4, (const uint64_t[]){64, 32, 3, 5}, FPR_LAYOUT_OIHW, &a));
    assert_true(conv_layer_shape(FPR_F16, 4, (const uint64_t[]){3, 5, 32, 64}, FPR_LAYOUT_HWIO, &b));
    assert_true(a.layout == FPR_LAYOUT_OIHW && b.layout == FPR_LAYOUT_HWIO);
    b.layout = a.layout;
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(a.filters == 64 && a.channels == 32 && a.kernel_rank == 2 && a.k == 15 && a.kernels == 2048);
    assert_true(a.kernel_shape[0] == 3 && a.kernel_shape[1] == 5 && a.kernel_shape[2] == 0);
    assert_true(conv_has_basis(&a));
    assert_true(conv_layer_shape(FPR_F64, 4, (const uint64_t[]){64, 32, 1, 1}, FPR_LAYOUT_OIHW, &a));
    assert_false(conv_has_basis(&a));
    assert_true(conv_layer_shape(FPR_F64, 4, (const uint64_t[]){768, 3, 16, 16}, FPR_LAYOUT_OIHW, &a));
    assert_false(conv_has_basis(&a));
    assert_false(conv_layer_shape(FPR_F32, 4, (const uint64_t[]){UINT64_MAX, 32, 3, 3}, FPR_LAYOUT_OIHW, &a));
}

static int vote_of(const uint64_t (*shapes)[4], size_t count)
{
    int sum = 0;
    for (size_t i = 0; i < count; i++) sum += conv_layout_vote(FPR_F32, 4, shapes[i]);
    return sum;
}

static void layouts_are_told_apart(void **state)
{
    (void)state;
    const uint64_t unet[][4] = {{16, 1, 3, 3}, {16, 16, 3, 3}, {32, 16, 2, 2}, {7, 512, 1, 1}, {512, 1, 1, 1}};
    const uint64_t lenet[][4] = {{20, 1, 5, 5}, {50, 1, 1, 1}}, vit[][4] = {{768, 3, 16, 16}};
    const uint64_t compnet[][4] = {{3, 3, 1, 64}, {3, 3, 64, 64}, {1, 1, 64, 2}}; /* HWIO, one input channel */
    const uint64_t upscaler[][4] = {{3, 3, 3, 64}, {1, 1, 640, 64}, {3, 3, 48, 3}, {5, 5, 64, 64}};
    const uint64_t tiny[][4] = {{4, 4, 3, 3}}, tiny_hwio[][4] = {{3, 3, 4, 4}}, either[][4] = {{3, 3, 3, 3}};
    assert_true(vote_of(unet, COUNT_OF(unet)) < 0);
    assert_true(vote_of(lenet, COUNT_OF(lenet)) < 0);
    assert_true(vote_of(vit, COUNT_OF(vit)) < 0);
    assert_true(vote_of(compnet, COUNT_OF(compnet)) > 0);
    assert_true(vote_of(upscaler, COUNT_OF(upscaler)) > 0);
    assert_true(vote_of(tiny, 1) < 0);
    assert_true(vote_of(tiny_hwio, 1) > 0);
    assert_int_equal(vote_of(either, 1), 0);
    /* Stacks of matrices, however many, do not turn a file around. */
    const uint64_t matrices[] = {8, 512, 64}, qkv[] = {3, 512, 512}, line[] = {256, 80, 3};
    assert_true(conv_layout_vote(FPR_F32, 3, matrices) <= 0);
    assert_true(conv_layout_vote(FPR_F32, 3, qkv) <= 0);
    assert_true(conv_layout_vote(FPR_F32, 3, line) < 0);
    const uint64_t mask[] = {1, 1, 1024, 1024}, attention[] = {8, 8, 64, 64}, heads[] = {1, 3, 49, 49};
    assert_int_equal(conv_layout_vote(FPR_F32, 4, mask), 0);
    assert_int_equal(conv_layout_vote(FPR_F32, 4, attention), 0);
    assert_int_equal(conv_layout_vote(FPR_F32, 4, heads), 0);
    assert_int_equal(conv_layout_vote(FPR_I64, 4, unet[1]), 0);
}

/* ---- gather.c */

/* The same weights in every dtype and both layouts; values that all dtypes hold exactly. */
static void kernels_are_gathered_from_any_dtype_and_layout(void **state)
{
    (void)state;
    enum { O = 5, I = 3, K = 6, N = O * I };
    static float f32[N * K], f32_planes[N * K];
    static double f64[N * K];
    static uint16_t bf16[N * K], bf16_planes[N * K], f16[N * K];
    for (unsigned f = 0; f < O; f++)
        for (unsigned c = 0; c < I; c++)
            for (unsigned d = 0; d < K; d++) {
                const unsigned row = (f * I + c) * K + d, plane = (d * I + c) * O + f;
                const float w = (float)((int)(row % 31) - 15) / 4;
                uint32_t bits;
                memcpy(&bits, &w, sizeof bits);
                f32[row] = f32_planes[plane] = w;
                f64[row] = (double)w;
                bf16[row] = bf16_planes[plane] = (uint16_t)(bits >> 16);
                /* a float's exponent moved by 112, its fraction cut to ten bits */
                f16[row] = (uint16_t)((bits >> 16 & 0x8000) | (w != 0 ? ((bits & 0x7fffffff) >> 13) - (112 << 10) : 0));
            }
    fpr_layer_shape rows, planes;
    assert_true(conv_layer_shape(FPR_F32, 4, (const uint64_t[]){O, I, 2, 3}, FPR_LAYOUT_OIHW, &rows));
    assert_true(conv_layer_shape(FPR_F32, 4, (const uint64_t[]){2, 3, I, O}, FPR_LAYOUT_HWIO, &planes));
    const struct { const fpr_layer_shape *s; fpr_dtype dtype; const void *w; } sources[] = {
        {&rows, FPR_F32, f32}, {&rows, FPR_F64, f64}, {&rows, FPR_F16, f16}, {&rows, FPR_BF16, bf16},
        {&planes, FPR_F32, f32_planes}, {&planes, FPR_BF16, bf16_planes},
    };
    for (size_t s = 0; s < COUNT_OF(sources); s++)
        for (uint64_t first = 0; first < N; first += 4) {
            double got[4 * K];
            const size_t count = N - first < 4 ? N - first : 4;
            conv_kernels(sources[s].s, sources[s].dtype, sources[s].w, first, count, got);
            for (size_t i = 0; i < count * K; i++) assert_true(got[i] == (double)f32[first * K + i]);
        }
}

/* ---- measure.c */

/* Draws of the initialisers, from their definitions: n weights, the kernels of a layer of `in` channels. */
typedef enum draws { UNIFORM, NORMAL, TRUNCATED } draws;

static double unit_draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
}

/* Of deviation 1. */
static double draw(draws d, uint64_t *state)
{
    if (d == UNIFORM) return sqrt(3) * (2 * unit_draw(state) - 1);
    double x;
    do x = sqrt(-2 * log(unit_draw(state))) * cos(2 * acos(-1) * unit_draw(state));
    while (d == TRUNCATED && fabs(x) > 2);
    return d == TRUNCATED ? x / 0.87962566 : x; /* what 2 standard deviations leave of one */
}

static conv_untrained untrained_of(uint64_t filters, uint64_t channels, draws d, double deviation, double smooth,
                                   double tail)
{
    const uint64_t dims[] = {filters, channels, 3, 3}, n = filters * channels * 9;
    uint64_t dice = 7 * filters + channels;
    float *w = malloc(n * sizeof *w);
    double ratio[9];
    fpr_layer_shape s;
    assert_true(conv_layer_shape(FPR_F32, 4, dims, FPR_LAYOUT_OIHW, &s));
    for (uint64_t i = 0; i < n; i += 9) {
        const double common = smooth * draw(d, &dice);
        for (unsigned j = 0; j < 9; j++) w[i + j] = (float)(deviation * (draw(d, &dice) + common));
    }
    if (tail > 0) w[4] = (float)(tail * deviation);
    for (uint64_t i = 0; tail < 0 && i < n / 40; i++) w[i] = 0; /* kernels that have decayed */
    conv_measure m = {.explained_variance_ratio = ratio};
    const conv_settings settings = {.eps = 0.01, .threads = 1};
    const conv_block block = {.shape = &s, .dtype = FPR_F32, .weights = w};
    assert_int_equal(conv_measure_blocks(&block, 1, &settings, &m, NULL), FPR_OK);
    double squares = 0;
    for (uint64_t i = 0; i < n; i++) squares += (double)w[i] * w[i];
    assert_close(m.rms, sqrt(squares / (double)n), 1e-12);
    conv_untrained found;
    const bool looks = conv_looks_untrained(&s, &m, ratio, &found);
    assert_int_equal(looks, found.distribution != NULL);
    fpr_moments_free(&m.all);
    fpr_moments_free(&m.live);
    free(w);
    return found;
}

static void what_initialisers_leave_looks_untrained(void **state)
{
    (void)state;
    const double in = 64 * 9, out = 256 * 9;
    const struct { draws d; double deviation; const char *distribution, *rule; } cases[] = {
        {UNIFORM, sqrt(1 / in) / sqrt(3), "uniform", "the default of torch.nn.Conv"},
        {UNIFORM, sqrt(6 / in) / sqrt(3), "uniform", "He by fan-in"},
        {UNIFORM, sqrt(6 / (in + out)) / sqrt(3), "uniform", "Glorot"},
        {UNIFORM, 7, "uniform", NULL},
        {NORMAL, sqrt(2 / in), "normal", "He by fan-in"},
        {NORMAL, sqrt(2 / out), "normal", "He by fan-out"},
        {NORMAL, 0.02, "normal", "a width of 0.02"},
        {TRUNCATED, sqrt(2 / in), "truncated normal", "He by fan-in"},
        {TRUNCATED, sqrt(1 / in), "truncated normal", "LeCun"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const conv_untrained u = untrained_of(256, 64, cases[i].d, cases[i].deviation, 0, 0);
        assert_non_null(u.distribution);
        assert_string_equal(u.distribution, cases[i].distribution);
        assert_true(u.rule ? cases[i].rule && !strcmp(u.rule, cases[i].rule) : !cases[i].rule);
    }
    /* The first layer of a network is small: the sharp ends of uniform weights show even there, normal ones prove nothing. */
    assert_string_equal(untrained_of(16, 3, UNIFORM, sqrt(1 / 27.0) / sqrt(3), 0, 0).rule, "the default of torch.nn.Conv");
    /* 2 % beside each other, which only the ends tell apart; the same for as many channels as filters. */
    assert_string_equal(untrained_of(64, 3, UNIFORM, sqrt(2 / 603.0), 0, 0).rule, "Glorot");
    assert_string_equal(untrained_of(64, 3, UNIFORM, sqrt(2 / 576.0), 0, 0).rule, "He by fan-out");
    assert_string_equal(untrained_of(64, 64, UNIFORM, sqrt(1 / 576.0), 0, 0).rule, "Glorot");
    assert_null(untrained_of(16, 3, NORMAL, sqrt(2 / 27.0), 0, 0).distribution);
    assert_null(untrained_of(256, 64, NORMAL, 7, 0, 0).distribution);
}

static void a_direction_or_a_tail_is_training(void **state)
{
    (void)state;
    const double deviation = sqrt(2 / 576.0);
    for (draws d = UNIFORM; d <= TRUNCATED; d++) {
        assert_non_null(untrained_of(256, 64, d, deviation, 0, 0).distribution);
        assert_null(untrained_of(256, 64, d, deviation, 0.5, 0).distribution);
        assert_null(untrained_of(256, 64, d, deviation, 0, 9).distribution);
        assert_null(untrained_of(256, 64, d, deviation, 0, -1).distribution);
    }
}

static void random_entropy_at_several_n(void **state)
{
    (void)state;
    /* By hand from the formula: at log2 n = 2.30436435 the exponential is 1; for many kernels it is 0. */
    assert_close(conv_random_entropy(exp2(2.30436435)), 1.2618047 / 2 - 0.31050834, 1e-15);
    assert_close(conv_random_entropy(1e300), 1.2618047 - 0.31050834, 1e-15);
    assert_close(conv_random_entropy(1), 1.2618047 / (1 + exp(0.88767525 * 2.30436435)) - 0.31050834, 1e-15);
    assert_close(conv_random_entropy(1024), 0.9499, 5e-4);
}

/* Kernels of two weights at +-1 and +-s along two directions. */
static void two_equal_variances_have_the_entropy_of_a_coin(void **state)
{
    (void)state;
    layer l;
    make_layer(&l, 2, 2, 1, 2);
    const float w[] = {1, 0, -1, 0, 0, 1, 0, -1};
    memcpy(l.w, w, sizeof w);
    const conv_settings settings = settings_for(1);
    measure_layer(&l, &settings);
    assert_close(l.measure.variance_entropy, log10(2), CLOSE);
    assert_close(l.measure.variance_entropy_clean, log10(2), CLOSE);
    assert_close(l.ratio[0], 0.5, CLOSE);
    assert_true(l.measure.max_abs == 1 && l.measure.sparse == 0 && l.measure.finite);
    assert_true(l.measure.all.count == 4 && l.measure.live.count == 4);
    free_layer(&l);

    make_layer(&l, 4, 1, 1, 2); /* variances 9 : 1 */
    const float uneven[] = {3, 0, -3, 0, 0, 1, 0, -1};
    memcpy(l.w, uneven, sizeof uneven);
    measure_layer(&l, &settings);
    assert_close(l.measure.variance_entropy, -0.9 * log10(0.9) - 0.1 * log10(0.1), CLOSE);
    assert_close(l.ratio[0], 0.9, CLOSE);
    free_layer(&l);
}

/* Two live kernels at (+-1, 0), and so many sparse ones at (0, +-0.009) that they vary as much as one of these. */
static void clean_entropy_is_that_of_the_live_kernels(void **state)
{
    (void)state;
    enum { N = 12345 * 2 };
    layer l;
    make_layer(&l, 2, 1 + N / 2, 1, 2);
    l.w[0] = 1;
    l.w[2] = -1;
    for (unsigned i = 0; i < N; i++) l.w[4 + 2 * i + 1] = i % 2 ? 0.009f : -0.009f;
    const conv_settings settings = settings_for(1);
    measure_layer(&l, &settings);
    const double small = N * (double)0.009f * (double)0.009f, r = 2 / (2 + small);
    assert_true(l.measure.sparse == N && l.measure.live.count == 2);
    assert_close(l.measure.variance_entropy, -r * log10(r) - (1 - r) * log10(1 - r), CLOSE);
    assert_true(l.measure.variance_entropy_clean == 0);
    assert_close(l.ratio[0], r, CLOSE);
    free_layer(&l);
}

static double orthogonality_of(layer *l)
{
    const conv_settings settings = settings_for(2);
    measure_layer(l, &settings);
    const double value = l->measure.orthogonality;
    free_layer(l);
    return value;
}

static void orthogonality_in_closed_form(void **state)
{
    (void)state;
    layer l;
    make_layer(&l, 9, 1, 3, 3); /* rows of a multiple of the identity: orthogonal */
    for (unsigned i = 0; i < 9; i++) l.w[i * 9 + i] = (float)(i + 1);
    assert_close(orthogonality_of(&l), 1, 1e-7);

    make_layer(&l, 300, 2, 3, 3); /* all filters alike: every entry of W W' is 1 */
    for (unsigned i = 0; i < 300 * 18; i++) l.w[i] = (float)(i % 18) - 3;
    assert_close(orthogonality_of(&l), 0, 1e-6);

    make_layer(&l, 4, 1, 1, 2); /* 0, 45, 90 degrees and a filter of zeros: 4 cos 45 degrees, and 1 on the diagonal */
    const float w[] = {1, 0, 1, 1, 0, 5, 0, 0};
    memcpy(l.w, w, sizeof w);
    assert_close(orthogonality_of(&l), 1 - (4 * sqrt(0.5) + 1) / 12, 1e-7);

    make_layer(&l, 1, 7, 3, 3); /* nothing to be orthogonal to */
    fill_layer(&l, 1);
    assert_true(isnan(orthogonality_of(&l)));

    make_layer(&l, 5, 7, 1, 1); /* kernels of one weight */
    fill_layer(&l, 1);
    assert_true(isnan(orthogonality_of(&l)));
}

/* Squares of 1e-30 are zero as floats; denormals have few digits but a direction. */
static void tiny_filters_keep_their_direction(void **state)
{
    (void)state;
    const float scales[] = {1, 1e-12f, 1e-30f, 0x1p-149f};
    layer l;
    make_layer(&l, 4, 1, 3, 3);
    for (unsigned f = 0; f < 4; f++)
        for (unsigned d = 0; d < 9; d++) l.w[f * 9 + d] = scales[f] * (float)((f + 1) * d % 5);
    double expected = 0;
    for (unsigned a = 0; a < 4; a++)
        for (unsigned b = 0; b < 4; b++) {
            double ab = 0, aa = 0, bb = 0;
            for (unsigned d = 0; d < 9; d++) {
                const double x = (a + 1) * d % 5, y = (b + 1) * d % 5;
                ab += x * y, aa += x * x, bb += y * y;
            }
            if (a != b) expected += fabs(ab) / sqrt(aa * bb);
        }
    assert_close(orthogonality_of(&l), 1 - expected / 12, 1e-7);

    double wide[] = {1e-300, 1e-300, 1e300, 0, 5e-324, 0, 1e-300, -1e-300}; /* as doubles, squares leave the range */
    fpr_layer_shape s;
    assert_true(conv_layer_shape(FPR_F64, 4, (const uint64_t[]){4, 1, 1, 2}, FPR_LAYOUT_OIHW, &s));
    conv_block block = {.shape = &s, .dtype = FPR_F64, .weights = wide};
    conv_measure m = {0};
    const conv_settings settings = settings_for(1);
    assert_int_equal(conv_measure_blocks(&block, 1, &settings, &m, NULL), FPR_OK);
    assert_true(m.finite && m.max_abs == 1e300 && m.sparse == 3);
    /* cosines: 45 degrees four times, equal once, orthogonal once */
    assert_close(m.orthogonality, 1 - 2 * (4 * sqrt(0.5) + 1) / 12, 1e-7);
    assert_true(isfinite(m.variance_entropy));
    fpr_moments_free(&m.all);
    fpr_moments_free(&m.live);
}

/* More filters than a group of rows, more weights than a run: the blocked sum is the plain one. */
static void orthogonality_of_a_large_layer(void **state)
{
    (void)state;
    enum { O = 530, N = 131 * 9 };
    layer l;
    make_layer(&l, O, 131, 3, 3);
    random_state = 3;
    fill_layer(&l, 1e-3);
    static double rows[O][N];
    for (unsigned f = 0; f < O; f++) {
        double squares = 0;
        for (unsigned d = 0; d < N; d++) squares += (double)l.w[f * N + d] * (double)l.w[f * N + d];
        for (unsigned d = 0; d < N; d++) rows[f][d] = (double)l.w[f * N + d] / sqrt(squares);
    }
    double sum = 0;
    for (unsigned a = 0; a < O; a++)
        for (unsigned b = 0; b < a; b++) {
            double dot = 0;
            for (unsigned d = 0; d < N; d++) dot += rows[a][d] * rows[b][d];
            sum += 2 * fabs(dot);
        }
    assert_close(orthogonality_of(&l), 1 - sum / O / (O - 1), 1e-8);
}

/* Of more than 2,048 filters that many are taken, floor(i * filters / 2048), in either order of the axes: the pairs
 * computed here in double. */
static void orthogonality_of_very_many_filters(void **state)
{
    (void)state;
    enum { O = 5000, N = 6, TAKEN = 2048 };
    static float flat[O * N], turned[O * N];
    static double rows[TAKEN][N];
    random_state = 11;
    for (unsigned i = 0; i < O * N; i++) flat[i] = (float)random_normal();
    for (unsigned f = 0; f < O; f++)
        for (unsigned d = 0; d < N; d++) turned[d * O + f] = flat[f * N + d];
    memset(flat + 5000 / 2048 * N, 0, N * sizeof *flat); /* filter 2, the one taken second, is zero */
    for (unsigned d = 0; d < N; d++) turned[d * O + 2] = 0;
    double sum = 1; /* |0 - 1| of the zero row */
    for (unsigned i = 0; i < TAKEN; i++) {
        double squares = 0;
        for (unsigned d = 0; d < N; d++) squares += pow((double)flat[i * O / TAKEN * N + d], 2);
        for (unsigned d = 0; d < N; d++)
            rows[i][d] = squares > 0 ? (double)flat[i * O / TAKEN * N + d] / sqrt(squares) : 0;
        for (unsigned j = 0; j < i; j++) {
            double dot = 0;
            for (unsigned d = 0; d < N; d++) dot += rows[i][d] * rows[j][d];
            sum += 2 * fabs(dot);
        }
    }
    const double expected = 1 - sum / TAKEN / (TAKEN - 1);
    for (unsigned hwio = 0; hwio < 2; hwio++) {
        fpr_layer_shape shape;
        const uint64_t oihw_shape[] = {O, 2, 3}, hwio_shape[] = {3, 1, 2, O};
        assert_true(hwio ? conv_layer_shape(FPR_F32, 4, hwio_shape, FPR_LAYOUT_HWIO, &shape)
                         : conv_layer_shape(FPR_F32, 3, oihw_shape, FPR_LAYOUT_OIHW, &shape));
        const conv_block block = {.shape = &shape, .dtype = FPR_F32, .weights = hwio ? turned : flat};
        const conv_settings settings = {.eps = 0.01, .bins = 70, .threads = 2};
        conv_measure m = {0};
        assert_int_equal(conv_measure_blocks(&block, 1, &settings, &m, NULL), FPR_OK);
        assert_close(m.orthogonality, expected, 1e-6);
        assert_true(m.orthogonality_sampled);
        fpr_moments_free(&m.all);
        fpr_moments_free(&m.live);
    }
}

/* eps * max|w| is 0.01 as a double here: a kernel exactly there is live, one below it sparse. */
static void the_threshold_is_strict(void **state)
{
    (void)state;
    double w[6 * 4] = {0};
    w[0] = -1;
    w[4 + 1] = 0.01;
    w[8 + 2] = -0.01;
    w[12 + 3] = nextafter(0.01, 0);
    w[16] = -nextafter(0.01, 0);
    fpr_layer_shape s; /* the sixth kernel is zero */
    assert_true(conv_layer_shape(FPR_F64, 4, (const uint64_t[]){3, 2, 2, 2}, FPR_LAYOUT_OIHW, &s));
    conv_block block = {.shape = &s, .dtype = FPR_F64, .weights = w};
    conv_measure m = {0};
    conv_settings settings = settings_for(1);
    for (unsigned v = 0; num_kernels_variant(v); v++) {
        settings.kernels = num_kernels_variant(v);
        assert_int_equal(conv_measure_blocks(&block, 1, &settings, &m, NULL), FPR_OK);
        assert_true(m.sparse == 3 && m.max_abs == 1 && m.live.count == 3 && m.all.count == 6);
        assert_true(m.dead_filters == 1 && m.dead_channels == 0);
        fpr_moments_free(&m.all);
        fpr_moments_free(&m.live);
    }
    settings.eps = 0; /* nothing is below zero, not even zero */
    assert_int_equal(conv_measure_blocks(&block, 1, &settings, &m, NULL), FPR_OK);
    assert_true(m.sparse == 0 && m.live.count == 6);
    fpr_moments_free(&m.all);
    fpr_moments_free(&m.live);
}

/* Kernels of one weight, and kernels too large for a basis, in every dtype: counted, and nothing else. */
static void kernels_without_a_basis_are_only_counted(void **state)
{
    (void)state;
    enum { O = 70, I = 33 };
    layer l;
    make_layer(&l, O, I, 1, 1);
    fill_layer(&l, 1e-3);
    for (unsigned c = 0; c < I; c++) l.w[9 * I + c] = 0; /* a dead filter */
    for (unsigned f = 0; f < O; f++) l.w[f * I + 4] = 1e-7f; /* a dead channel */
    l.w[11 * I + 6] = -1;
    uint64_t sparse = 0, dead_filters = 0, dead_channels = 0;
    for (unsigned i = 0; i < O * I; i++) sparse += fabs((double)l.w[i]) < 0.01;
    for (unsigned f = 0; f < O; f++) {
        bool live = false;
        for (unsigned c = 0; c < I; c++) live = live || fabs((double)l.w[f * I + c]) >= 0.01;
        dead_filters += !live;
    }
    for (unsigned c = 0; c < I; c++) {
        bool live = false;
        for (unsigned f = 0; f < O; f++) live = live || fabs((double)l.w[f * I + c]) >= 0.01;
        dead_channels += !live;
    }
    conv_settings settings = settings_for(2);
    measure_layer(&l, &settings);
    assert_true(l.measure.sparse == sparse && l.measure.max_abs == 1 && l.measure.all.k == 0);
    assert_true(l.measure.dead_filters == dead_filters && l.measure.dead_channels == dead_channels);
    assert_true(isnan(l.measure.variance_entropy) && isnan(l.measure.orthogonality));
    settings.half = true; /* a different way there; 1e-3 sized weights stay on their side of 0.01 */
    measure_layer(&l, &settings);
    assert_true(l.measure.sparse == sparse && l.measure.dead_filters == dead_filters);
    free_layer(&l);

    make_layer(&l, 10, 3, 16, 16);
    fill_layer(&l, 1);
    for (unsigned d = 0; d < 256; d++) l.w[5 * 256 + d] *= 1e-4f;
    settings.half = false;
    measure_layer(&l, &settings);
    assert_true(l.measure.sparse == 1 && l.measure.dead_filters == 0 && isnan(l.measure.variance_entropy));
    free_layer(&l);
}

static void all_zero_layers_are_all_sparse(void **state)
{
    (void)state;
    const struct { uint64_t o, i, a, b; } cases[] = {{4, 5, 3, 3}, {4, 5, 1, 1}, {10, 2, 16, 16}, {1, 1, 3, 3}};
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        layer l;
        make_layer(&l, cases[c].o, cases[c].i, cases[c].a, cases[c].b);
        const conv_settings settings = settings_for(1);
        measure_layer(&l, &settings);
        assert_true(l.measure.sparse == l.shape.kernels && l.measure.max_abs == 0 && l.measure.finite);
        assert_true(l.measure.dead_filters == l.shape.filters && l.measure.dead_channels == l.shape.channels);
        if (conv_has_basis(&l.shape)) {
            assert_true(l.measure.variance_entropy == 0 && l.measure.variance_entropy_clean == 0);
            assert_true(l.measure.all.count == l.shape.kernels && l.measure.live.count == 0);
        }
        free_layer(&l);
    }
}

static void layers_with_nan_or_infinity_are_left_out(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY, -NAN};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        for (unsigned half = 0; half < 2; half++) {
            layer l;
            make_layer(&l, 40, 50, 3, 3);
            fill_layer(&l, 0.1);
            l.w[12345] = bad[i];
            l.w[9999] = -7;
            conv_settings settings = settings_for(2);
            settings.half = half;
            measure_layer(&l, &settings);
            assert_true(!l.measure.finite && l.measure.max_abs == 7);
            assert_true(isnan(l.measure.orthogonality) && isnan(l.measure.variance_entropy));
            assert_true(l.measure.all.count == 0);
            free_layer(&l);
        }
    layer l; /* finite as a float, not as a half */
    make_layer(&l, 4, 5, 3, 3);
    l.w[7] = 70000;
    conv_settings settings = settings_for(1);
    measure_layer(&l, &settings);
    assert_true(l.measure.finite);
    forget_measure(&l);
    settings.half = true;
    measure_layer(&l, &settings);
    assert_true(!l.measure.finite);
    free_layer(&l);
}

static void halves_flush_what_float16_flushes(void **state)
{
    (void)state;
    layer l;
    make_layer(&l, 3, 1, 3, 3);
    fill_layer(&l, 0.1);
    for (unsigned d = 0; d < 9; d++) l.w[9 + d] *= 1e-9f; /* below 3e-8 */
    conv_settings settings = settings_for(1);
    settings.eps = 0;
    settings.half = true;
    measure_layer(&l, &settings);
    /* Rounded in the test: to 11 bits, as all but the second kernel are normal halves. */
    double sum[9] = {0};
    for (unsigned i = 0; i < 3; i += 2) {
        double peak = 0, w[9];
        for (unsigned d = 0; d < 9; d++) {
            int e;
            frexp((double)l.w[i * 9 + d], &e);
            w[d] = rint(ldexp((double)l.w[i * 9 + d], 11 - e)) * ldexp(1, e - 11);
            peak = fmax(peak, fabs(w[d]));
        }
        for (unsigned d = 0; d < 9; d++) sum[d] += w[d] / peak;
    }
    for (unsigned d = 0; d < 9; d++) assert_close(l.measure.all.mean[d], sum[d] / 3, 1e-15);
    free_layer(&l);
}

/* ---- equal whatever the threads and the instruction set */

static void make_mixed(layer *layers)
{
    random_state = 77;
    make_layer(&layers[0], 37, 41, 3, 3);
    make_layer(&layers[1], 300, 64, 3, 3);
    make_layer(&layers[2], 6, 7, 5, 5);
    make_layer(&layers[3], 64, 300, 1, 1);
    make_layer(&layers[4], 12, 3, 16, 16);
    make_layer(&layers[5], 3, 3, 3, 3);
    make_layer(&layers[6], 5, 1, 11, 11);
    for (unsigned i = 0; i < 7; i++) {
        fill_layer(&layers[i], 0.05);
        for (uint64_t kernel = 0; kernel < layers[i].shape.kernels; kernel++) { /* some zero, some sparse */
            const uint64_t k = layers[i].shape.k, r = random_bits() % 10;
            for (uint64_t d = 0; d < k && r < 4 && i != 5; d++) layers[i].w[kernel * k + d] *= r < 2 ? 0 : 1e-5f;
        }
    }
}

static void check_same_measure(const conv_measure *a, const conv_measure *b, unsigned k)
{
    assert_true(a->finite == b->finite && a->sparse == b->sparse && a->dead_filters == b->dead_filters &&
                a->dead_channels == b->dead_channels);
    const double x[] = {a->max_abs, a->variance_entropy, a->variance_entropy_clean, a->orthogonality};
    const double y[] = {b->max_abs, b->variance_entropy, b->variance_entropy_clean, b->orthogonality};
    assert_memory_equal(x, y, sizeof x);
    assert_true(a->all.k == b->all.k && a->all.count == b->all.count && a->live.count == b->live.count);
    if (!a->all.k) return;
    assert_memory_equal(a->all.mean, b->all.mean, k * sizeof(double));
    assert_memory_equal(a->all.scatter, b->all.scatter, (size_t)k * k * sizeof(double));
    assert_memory_equal(a->live.scatter, b->live.scatter, (size_t)k * k * sizeof(double));
    assert_memory_equal(a->explained_variance_ratio, b->explained_variance_ratio, k * sizeof(double));
}

static void measures_do_not_depend_on_threads_or_instructions(void **state)
{
    (void)state;
    static layer layers[2][7];
    for (unsigned half = 0; half < 2; half++)
        for (unsigned threads = 1; threads <= 5; threads += 2)
            for (unsigned v = 0; num_kernels_variant(v); v++) {
                const unsigned to = threads > 1 || v > 0;
                conv_block blocks[7];
                conv_measure results[7];
                conv_settings settings = settings_for(threads);
                settings.half = half;
                settings.kernels = num_kernels_variant(v);
                make_mixed(layers[to]);
                for (unsigned i = 0; i < 7; i++) {
                    blocks[i] = layers[to][i].block;
                    results[i] = layers[to][i].measure;
                }
                assert_int_equal(conv_measure_blocks(blocks, 7, &settings, results, NULL), FPR_OK);
                for (unsigned i = 0; i < 7; i++) layers[to][i].measure = results[i];
                if (!to) continue;
                for (unsigned i = 0; i < 7; i++) {
                    check_same_measure(&layers[0][i].measure, &layers[1][i].measure, (unsigned)layers[0][i].shape.k);
                    free_layer(&layers[1][i]);
                }
                const bool last = threads == 5 && !num_kernels_variant(v + 1);
                for (unsigned i = 0; i < 7 && last; i++) free_layer(&layers[0][i]);
            }
}

/* Beside a layer of large kernels fewer parts wait to be merged: a layer's parts then come in several waves. */
static void waves_leave_no_trace(void **state)
{
    (void)state;
    layer alone, large;
    random_state = 78;
    make_layer(&alone, 620, 128, 3, 3); /* 20 parts */
    make_layer(&large, 5, 1, 11, 11);
    fill_layer(&alone, 1);
    fill_layer(&large, 1);
    for (uint64_t i = 0; i < alone.shape.kernels * 9; i++) alone.w[i] *= i / 9 % 3 == 0 ? 1e-6f : 1;
    const conv_settings settings = settings_for(2);
    conv_block blocks[] = {large.block, alone.block, large.block, alone.block};
    static double ratios[4][CONV_K_MAX];
    conv_measure results[4] = {{0}};
    for (unsigned i = 0; i < 4; i++) results[i].explained_variance_ratio = ratios[i];
    measure_layer(&alone, &settings);
    measure_layer(&large, &settings);
    assert_int_equal(conv_measure_blocks(blocks, 4, &settings, results, NULL), FPR_OK);
    for (unsigned i = 0; i < 4; i++) {
        check_same_measure(&results[i], i % 2 ? &alone.measure : &large.measure, i % 2 ? 9 : 121);
        fpr_moments_free(&results[i].all);
        fpr_moments_free(&results[i].live);
    }
    free_layer(&alone);
    free_layer(&large);
}

/* A layer says the same of itself when its weights lie the other way round. */
static void layouts_agree(void **state)
{
    (void)state;
    enum { O = 33, I = 20, K = 9 };
    layer l;
    make_layer(&l, O, I, 3, 3);
    fill_layer(&l, 1);
    for (unsigned d = 0; d < K; d++)
        for (unsigned c = 0; c < I; c++) l.w[(7 * I + c) * K + d] *= 1e-4f; /* a dead filter */
    static float planes[O * I * K];
    for (unsigned i = 0; i < O * I * K; i++)
        planes[(i % K * I + i / K % I) * O + i / K / I] = l.w[i];
    fpr_layer_shape s;
    assert_true(conv_layer_shape(FPR_F32, 4, (const uint64_t[]){3, 3, I, O}, FPR_LAYOUT_HWIO, &s));
    const conv_block block = {.shape = &s, .dtype = FPR_F32, .weights = planes};
    conv_measure m = {0};
    const conv_settings settings = settings_for(2);
    measure_layer(&l, &settings);
    assert_int_equal(conv_measure_blocks(&block, 1, &settings, &m, NULL), FPR_OK);
    assert_true(m.sparse == l.measure.sparse && m.dead_filters == 1 && l.measure.dead_filters == 1);
    assert_true(m.dead_channels == 0 && l.measure.dead_channels == 0);
    assert_close(m.orthogonality, l.measure.orthogonality, 1e-7);
    assert_close(m.variance_entropy, l.measure.variance_entropy, CLOSE);
    assert_close(m.variance_entropy_clean, l.measure.variance_entropy_clean, CLOSE);
    assert_close(largest_difference(m.all.scatter, l.measure.all.scatter, K * K), 0, 1e-10);
    fpr_moments_free(&m.all);
    fpr_moments_free(&m.live);
    free_layer(&l);
}

static void compare_asks_for_moments_only(void **state)
{
    (void)state;
    layer l;
    make_layer(&l, 8, 8, 3, 3);
    fill_layer(&l, 1);
    conv_settings settings = settings_for(1);
    settings.moments_only = true;
    measure_layer(&l, &settings);
    assert_true(isnan(l.measure.variance_entropy) && isnan(l.measure.orthogonality) && l.measure.all.count == 64);
    free_layer(&l);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    layer l;
    make_layer(&l, 8, 8, 3, 3);
    fill_layer(&l, 1);
    const conv_settings settings = settings_for(2);
    const long alive = base_allocations_alive();
    fpr_status status = FPR_NO_MEMORY;
    for (long n = 0; status; n++) {
        conv_measure m = {0};
        fpr_error error = {0};
        base_fail_allocation(n);
        status = conv_measure_blocks(&l.block, 1, &settings, &m, &error);
        base_fail_allocation(-1);
        if (status) assert_int_equal(status, FPR_NO_MEMORY);
        if (status) assert_int_equal(base_allocations_alive(), alive);
        fpr_moments_free(&m.all);
        fpr_moments_free(&m.live);
        assert_true(n < 100);
    }
    assert_int_equal(base_allocations_alive(), alive);
    free_layer(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_that_are_layers_and_shapes_that_are_not),
        cmocka_unit_test(a_layer_knows_its_parts),
        cmocka_unit_test(layouts_are_told_apart),
        cmocka_unit_test(kernels_are_gathered_from_any_dtype_and_layout),
        cmocka_unit_test(random_entropy_at_several_n),
        cmocka_unit_test(what_initialisers_leave_looks_untrained),
        cmocka_unit_test(a_direction_or_a_tail_is_training),
        cmocka_unit_test(two_equal_variances_have_the_entropy_of_a_coin),
        cmocka_unit_test(clean_entropy_is_that_of_the_live_kernels),
        cmocka_unit_test(orthogonality_in_closed_form),
        cmocka_unit_test(tiny_filters_keep_their_direction),
        cmocka_unit_test(orthogonality_of_a_large_layer),
        cmocka_unit_test(orthogonality_of_very_many_filters),
        cmocka_unit_test(the_threshold_is_strict),
        cmocka_unit_test(kernels_without_a_basis_are_only_counted),
        cmocka_unit_test(all_zero_layers_are_all_sparse),
        cmocka_unit_test(layers_with_nan_or_infinity_are_left_out),
        cmocka_unit_test(halves_flush_what_float16_flushes),
        cmocka_unit_test(measures_do_not_depend_on_threads_or_instructions),
        cmocka_unit_test(waves_leave_no_trace),
        cmocka_unit_test(layouts_agree),
        cmocka_unit_test(compare_asks_for_moments_only),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("conv", tests, NULL, NULL);
}
