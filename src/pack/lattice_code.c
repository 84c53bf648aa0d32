/* An index is told by a few questions (lattice_questions.h), or by one symbol and a few bits as they are (lattice_tokens.h).
 * What is expected is a magnitude, learned from the weights around: of its filter, its channel and its place in the kernel,
 * of the kernel so far, and of the same place in neighbouring kernels.
 *
 * Counters and models begin with what a normal distribution of that magnitude would have them say, so that small tensors
 * need not learn it. Everything is in integers: the same bytes on every machine. */
#include "pack/lattice_code.h"
#include "base/simd.h"
#include "pack/lattice_questions.h"

#include <pthread.h>

/* ---- beginning */

unsigned lattice_start(uint64_t sixteenths)
{
    const uint64_t x = sixteenths < 1 ? 16 : sixteenths * 16;
    unsigned shift = 0;
    while (x >> shift > 31) shift++;
    return shift > 15 ? 255 : shift << 4 | (unsigned)(x >> shift & 15);
}

/* A mean in sixteenths: the code's four mantissa bits after a leading one, less what the code has more. */
static uint64_t mean_of_start(unsigned code) { return (uint64_t)(16 + (code & 15)) << (code >> 4) >> 4; }

/* What models begin with, by size and by level; and tables. Made once. */
static struct {
    token_model quick_sizes[SIZES], quick_levels[LEVELS], blended_sizes[SIZES], blended_levels[LEVELS];
} first;
static lattice_tables tables;
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make_tables(lattice_tables *t)
{
    for (uint32_t m = 0; m < SMALL; m++) {
        t->depths[m] = (int16_t)depth_of(m);
        t->arounds[m] = (uint8_t)lg_positive(4 * (uint64_t)m + 2);
        t->counts[m] = (uint8_t)lg_positive((uint64_t)m + 6);
        t->reciprocals[m] = m ? UINT32_MAX / (m + 1) + 1 : UINT32_MAX; /* x is 0 where m is */
    }
    for (int n = 0; n < (int)LATTICE_KERNEL_MOST; n++) t->shares[n] = 65536 / (n + 4);
    for (int e = ESTIMATE_LEAST; e <= LEVEL_MOST; e++) {
        const int shift = clamp((e >> 4) - 3, 0, SHIFT_MOST), rest = e - 16 * shift + 80;
        t->sizes[e - ESTIMATE_LEAST] = (lattice_size){.sixteenths = (uint16_t)(16 * shift),
                                                      .shift = (uint8_t)shift,
                                                      .blend = (uint8_t)clamp(rest >> 4, 0, BLENDS - 1),
                                                      .size = (uint16_t)((size_t)clamp(rest >> 2, 0, SIZES - 1) * MODEL)};
    }
    uint16_t *level = t->levels, *about = t->abouts;
    uint8_t *near = t->nears;
    for (int l = LEVEL_LEAST - 16 * SHIFT_MOST; l <= LEVEL_MOST; l++)
        *level++ = (uint16_t)((size_t)clamp((l + 80) >> 3, 0, LEVELS - 1) * NEAR * MODEL);
    for (int d = NO_DEPTH - LEVEL_MOST; d <= DEPTH_MOST - LEVEL_LEAST; d++)
        *near++ = (uint8_t)((size_t)clamp(((d + 8) >> 4) + 5, 0, NEAR - 1) * MODEL);
    for (int d = LEVEL_LEAST - LEVEL_MOST; d <= LEVEL_MOST - LEVEL_LEAST; d++)
        *about++ = (uint16_t)((size_t)clamp(((d + 4) >> 3) + 8, 0, ABOUT - 1) * MODEL);
}

static void make(void)
{
    make_tables(&tables);
    for (int i = 0; i < (int)SIZES; i++) {
        token_begin(&first.quick_sizes[i], 4 * i - 80 + 2, lg_of);
        blend_begin(&first.blended_sizes[i], 4 * i - 80 + 2, lg_of);
    }
    for (int i = 0; i < (int)LEVELS; i++) {
        token_begin(&first.quick_levels[i], 8 * i - 80 + 4, lg_of);
        blend_begin(&first.blended_levels[i], 8 * i - 80 + 4, lg_of);
    }
}

/* [LEVELS][count] models. */
static token_model *begin_levels(token_model *models, const token_model *levels, unsigned count)
{
    for (unsigned i = 0; i < LEVELS; i++)
        for (unsigned n = 0; n < count; n++) *models++ = levels[i];
    return models;
}

static void begin_tokens(token_models *t)
{
    memcpy(t->models, first.quick_sizes, sizeof first.quick_sizes);
    begin_levels(t->models + OF_LEVEL, first.quick_levels, NEAR);
    memcpy(t->models + QUICK_MODELS, t->models, QUICK_MODELS * sizeof t->models[0]);
    memset(t->seen, 0, sizeof t->seen);
    begin_dead(t->dead_near, t->dead_share);
}

static void begin_blended(blend_models *t)
{
    memcpy(t->models, first.blended_sizes, sizeof first.blended_sizes);
    token_model *next = begin_levels(t->models + OF_LEVEL, first.blended_levels, NEAR);
    next = begin_levels(next, first.blended_levels, ABOUT);
    begin_levels(next, first.blended_levels, SECONDS);
    memcpy(t->models + BLENDED_MODELS, t->models, BLENDED_MODELS * sizeof t->models[0]);
    memset(t->seen, 0, sizeof t->seen);
    for (unsigned i = 0; i < 2 * BLENDS; i++) t->blends[i] = (blend){{BLEND_FIRST, BLEND_FIRST, BLEND_FIRST, BLEND_FIRST}};
    begin_dead(t->dead_near, t->dead_share);
    begin_signs(&t->signs);
}

static void begin(lattice_coder *c)
{
    if (c->shape.way == LATTICE_QUICK) begin_tokens(&c->quick);
    else if (c->shape.way == LATTICE_BLENDED) begin_blended(&c->blended);
    else begin_mixed(c);
    const int16_t none = trace_of(CODED_NOTHING, c->shape.way);
    for (uint64_t i = 0; i < c->channels * c->shape.k; i++) c->last[i] = none;
    for (uint64_t i = 0; i < c->shape.k; i++) c->traces[1][i] = none;
    memset(c->channel, 0, c->channels * sizeof *c->channel);
    memset(c->place_sum, 0, sizeof c->place_sum);
    c->begin_sum = 4 * mean_of_start(c->shape.start);
}

/* ---- coders */

lattice_coder *lattice_coder_new(const lattice_code_shape *shape, bool encoded)
{
    lattice_coder *c = base_alloc_aligned(1, sizeof *c);
    if (!c) return NULL;
    pthread_once(&made, make);
    c->shape = *shape;
    c->channels = COLUMNS_MOST / shape->k; /* k is at most LATTICE_KERNEL_MOST */
    if (shape->channels < c->channels) c->channels = shape->channels;
    c->last = base_alloc(c->channels * shape->k, sizeof *c->last);
    c->channel = base_alloc(c->channels, sizeof *c->channel);
    c->bits = bit_tables_get();
    c->tables = &tables;
    c->events = NULL;
    c->raw = NULL;
    c->raw_most = encoded ? (size_t)(4 * LATTICE_CHUNK) : 0;
    const bool tokens = encoded && shape->way != LATTICE_MIXED;
    if (tokens) {
        c->events = base_alloc(3 * LATTICE_CHUNK, /* a symbol, a sign, and in every kernel whether it is dead */ sizeof *c->events);
        c->raw = base_alloc(c->raw_most, 1);
    }
    if (c->last && c->channel && (!tokens || (c->events && c->raw))) return c;
    lattice_coder_free(c);
    return NULL;
}

void lattice_coder_free(lattice_coder *c)
{
    if (!c) return;
    base_free(c->last);
    base_free(c->channel);
    base_free(c->events);
    base_free(c->raw);
    base_free(c);
}

/* ---- chunks */

static bool use_avx2(void)
{
#if defined(PACK_X86_LEVELS)
    return base_simd_level() >= BASE_SIMD_AVX2;
#else
    return false;
#endif
}

#if !defined(PACK_X86_LEVELS)
#define lattice_code_avx2 lattice_code_base
#endif

static void code(lattice_coder *c, const lattice_chunk *chunk, bool decoding)
{
    lattice_code_loop *loop = c->shape.way == LATTICE_MIXED ? lattice_code_mixed : use_avx2() ? lattice_code_avx2 : lattice_code_base;
    loop(c, chunk, decoding);
}

size_t lattice_encode_chunk(lattice_coder *c, const lattice_chunk *chunk, uint8_t *dst, size_t capacity)
{
    begin(c);
    if (c->shape.way != LATTICE_MIXED) {
        tokens_begin_writing(&c->tokens, c->events, c->raw, c->raw_most);
        code(c, chunk, false);
        return tokens_end_writing(&c->tokens, dst, capacity);
    }
    coder_begin_writing(&c->coder, dst, capacity);
    code(c, chunk, false);
    const size_t bytes = coder_end_writing(&c->coder);
    return c->coder.overfull ? SIZE_MAX : bytes;
}

bool lattice_decode_chunk(lattice_coder *c, const lattice_chunk *chunk, const uint8_t *src, size_t bytes)
{
    begin(c);
    if (c->shape.way != LATTICE_MIXED) {
        if (!tokens_begin_reading(&c->tokens, src, bytes)) return false;
        code(c, chunk, true);
        return tokens_ended(&c->tokens);
    }
    coder_begin_reading(&c->coder, src, bytes);
    code(c, chunk, true);
    return coder_ended(&c->coder);
}
