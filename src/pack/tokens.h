/* Numbers of known size by one symbol of sixteen each, and a few bits as they are. FORMAT.md, section 9.5, is the
 * specification.
 *
 * A model holds how often symbols below each one come, in 1/32768, and moves towards what it sees. Two models are asked
 * together, and their mean is coded with 64-bit range asymmetric numeral systems. */
#ifndef FPR_TOKENS_H
#define FPR_TOKENS_H

#include "pack/bits.h"
#include "pack/blob.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#define TOKENS 16u
#define TOKEN_SCALE 15u
#define TOKEN_LEAST 4       /* of 32768: the least probability of a symbol */
#define TOKEN_SEEN 120u     /* from here on a model learns no slower */
#define TOKEN_STATE (UINT64_C(1) << 31)
#define TOKEN_ESCAPE 64u    /* what the last symbol begins with */

typedef int16_t eight __attribute__((vector_size(16)));
typedef int16_t sixteen __attribute__((vector_size(32)));

/* below[i]: of symbols 0 .. i - 1. How often a model has learned, at most TOKEN_SEEN, is kept apart: a load of vectors would
 * wait for it. */
typedef union token_model {
    sixteen all;
    eight half[2];
    int16_t below[TOKENS];
} token_model;
/* The same with a number behind the last one. Two of them, start and end of a symbol, are read at once. */
typedef union token_sum {
    sixteen all;
    eight half[2];
    uint16_t below[TOKENS + 1];
} token_sum;

typedef struct token_coder {
    uint64_t state, bits;      /* bits: read, not used, the next one lowest; or to be written */
    unsigned bit_count;
    const uint8_t *words, *words_end, *raw, *raw_end; /* decoding */
    uint64_t past;             /* bits that were added past the end */
    bool overrun;              /* more was wanted than there is */
    uint32_t *events;          /* encoding: start << 16 | frequency of every symbol; they are coded from the last on */
    size_t event_count;
    uint8_t *out;              /* the bits as they are */
    size_t out_bytes, out_most;
} token_coder;

/* Numbers begin here; and how many bits follow. */
typedef struct token_number { uint16_t first, extra; } token_number;
static const token_number token_numbers[TOKENS] = {{0, 0},  {1, 0},  {2, 0},  {3, 0},  {4, 1},  {6, 1},  {8, 1},  {10, 1},
                                                   {12, 2}, {16, 2}, {20, 2}, {24, 3}, {32, 3}, {40, 3}, {48, 4}, {TOKEN_ESCAPE, 0}};

/* ---- what a model begins with: a normal distribution of known size, rounded */

/* The chance, in 1/32768, that a normal number is z times the mean magnitude away from 0, or more: z is 2 to the
 * (i - 80) / 16. */
static const uint16_t token_tails[128] = {
    32115, 32086, 32056, 32025, 31992, 31958, 31922, 31884, 31845, 31805, 31762, 31717, 31671, 31623, 31572, 31519,
    31464, 31406, 31346, 31283, 31217, 31149, 31077, 31003, 30925, 30843, 30758, 30670, 30577, 30480, 30379, 30274,
    30164, 30049, 29929, 29804, 29673, 29537, 29395, 29246, 29092, 28930, 28761, 28586, 28402, 28211, 28011, 27803,
    27586, 27360, 27125, 26879, 26623, 26356, 26079, 25789, 25488, 25175, 24849, 24510, 24158, 23792, 23412, 23017,
    22607, 22182, 21742, 21286, 20813, 20325, 19821, 19300, 18763, 18210, 17641, 17057, 16458, 15844, 15216, 14576,
    13924, 13262, 12591, 11912, 11229, 10543, 9856, 9172, 8492, 7820, 7160, 6514, 5886, 5280, 4698, 4145,
    3622, 3134, 2681, 2267, 1892, 1557, 1262, 1006, 787, 604, 454, 333, 239, 166, 112, 73,
    46, 28, 16, 9, 5, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0,
};

/* size: in sixteenths of an octave, 0 for a mean magnitude of 1. lg: 16 times the binary logarithm, rounded. */
static inline void token_begin(token_model *m, int size, int (*lg)(uint64_t))
{
    *m = (token_model){.below = {0}};
    for (unsigned i = 1; i < TOKENS; i++)
        m->below[i] = (int16_t)(32767 - token_tails[clamp(lg(2 * token_numbers[i].first - 1u) - 16 - size + 80, 0, 127)]);
    for (int i = TOKENS - 1, most = 32768 - TOKEN_LEAST; i > 0; i--, most -= TOKEN_LEAST)
        most = m->below[i] = (int16_t)(m->below[i] < most ? m->below[i] : most);
    for (int i = 1, least = TOKEN_LEAST; i < (int)TOKENS; i++, least += TOKEN_LEAST)
        least = m->below[i] = (int16_t)(m->below[i] > least ? m->below[i] : least);
}

/* ---- models */

/* Symbols go as twice their number: where they lie among numbers of two bytes, so that what is looked up by them is found at
 * once. */
typedef struct token { size_t twice; } token;
#define TOKEN_LAST (2 * (TOKENS - 1))
INLINE token token_numbered(unsigned symbol) { return (token){2 * (size_t)symbol}; }
INLINE const token_model *token_target(const token_model targets[TOKENS], token t)
{
    return (const token_model *)(const void *)((const uint8_t *)targets + sizeof *targets / 2 * t.twice);
}
INLINE unsigned token_below(const void *below, size_t twice)
{
    uint16_t found;
    memcpy(&found, (const uint8_t *)below + twice, sizeof found);
    return found;
}

/* How many of the symbols begin at `slot` or below, less one: the symbol that it is. */
INLINE token token_find(const token_sum *mean, unsigned slot)
{
    /* Ascending as they are, the first one above says it. */
#if defined(__AVX2__)
    const __m256i above = _mm256_cmpgt_epi16((__m256i)mean->all, _mm256_set1_epi16((short)slot));
    return (token){(size_t)_tzcnt_u32((unsigned)_mm256_movemask_epi8(above)) - 2};
#elif defined(__SSE2__)
    const __m128i at = _mm_set1_epi16((short)slot);
    const __m128i above = _mm_packs_epi16(_mm_cmpgt_epi16((__m128i)mean->half[0], at), _mm_cmpgt_epi16((__m128i)mean->half[1], at));
    return token_numbered((unsigned)__builtin_ctz((unsigned)_mm_movemask_epi8(above) | 1u << TOKENS) - 1);
#else
    unsigned s = 0;
    for (unsigned step = TOKENS / 2; step; step /= 2) s += mean->below[s + step] <= slot ? step : 0;
    return token_numbered(s);
#endif
}

/* Where a symbol starts, and how many slots it has. */
INLINE unsigned token_range(const token_sum *sum, token t, unsigned *frequency)
{
    const unsigned start = token_below(sum, t.twice);
    *frequency = token_below(sum, t.twice + 2) - start;
    return start;
}

static const token_model token_targets[TOKENS] = {
#define T(s, i) (i == 0 ? 0 : i <= s ? TOKEN_LEAST * i : 32768 - TOKEN_LEAST * (16 - i))
#define ROW(s)                                                                                                         \
    {.below = {T(s, 0), T(s, 1), T(s, 2),  T(s, 3),  T(s, 4),  T(s, 5),  T(s, 6),  T(s, 7),                                      \
     T(s, 8), T(s, 9), T(s, 10), T(s, 11), T(s, 12), T(s, 13), T(s, 14), T(s, 15)}}
    ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14), ROW(15)
#undef ROW
#undef T
};

/* By how often a model has learned: the rate at which it does; and how often it has then. */
#define TOKEN_RATES(a, b, c, d, e) {[0 ... 3] = a, [4 ... 11] = b, [12 ... 39] = c, [40 ... TOKEN_SEEN - 1] = d, [TOKEN_SEEN] = e}
#define T8(n) n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7
static const uint8_t token_next[TOKEN_SEEN + 1] = {T8(1),  T8(9),  T8(17), T8(25), T8(33), T8(41),  T8(49),  T8(57),
                                                   T8(65), T8(73), T8(81), T8(89), T8(97), T8(105), T8(113), TOKEN_SEEN};
#undef T8

/* Towards a target: by a sixteenth at first, by 1/256 in the end, rounded. */
INLINE void token_move(token_model *m, uint8_t *times, const token_model *target)
{
    const unsigned seen = *times;
#if defined(__AVX2__)
    /* What is rounded, then shifted by a rate less 1, is multiplied by 2 to the 16 less that rate. */
    static const uint16_t factors[TOKEN_SEEN + 1] = TOKEN_RATES(4096, 2048, 1024, 512, 256);
    m->all += (sixteen)_mm256_mulhrs_epi16((__m256i)((target->all - m->all) >> 1), _mm256_set1_epi16((short)factors[seen]));
#else
    static const uint8_t rates[TOKEN_SEEN + 1] = TOKEN_RATES(4, 5, 6, 7, 8);
    const int rate = rates[seen], half = 1 << (rate - 2);
#if defined(__SSE2__)
    const __m128i shift = _mm_cvtsi32_si128(rate - 1), halves = _mm_set1_epi16((short)half);
    for (unsigned i = 0; i < 2; i++)
        m->half[i] += (eight)_mm_sra_epi16((__m128i)(((target->half[i] - m->half[i]) >> 1) + (eight)halves), shift);
#else
    for (unsigned i = 1; i < TOKENS; i++)
        m->below[i] += (int16_t)((((target->below[i] - m->below[i]) >> 1) + half) >> (rate - 1));
#endif
#endif
    *times = token_next[seen];
}

/* ---- symbols */

INLINE void token_advance(token_coder *c, unsigned start, unsigned frequency, bool decoding)
{
    if (!decoding) {
        c->events[c->event_count++] = start << 16 | frequency;
        return;
    }
    c->state = frequency * (c->state >> TOKEN_SCALE) + (c->state & ((1u << TOKEN_SCALE) - 1)) - start;
    if (c->state < TOKEN_STATE) {
        if (c->words == c->words_end) {
            c->overrun = true;
            c->state |= TOKEN_STATE;
            return;
        }
        c->state = c->state << 32 | base_load_le32(c->words);
        c->words += 4;
    }
}

/* The model that lies so many bytes from the first: who knows them last, waits for no multiplication. */
INLINE token_model *token_at(token_model *models, size_t at) { return (token_model *)(void *)((uint8_t *)models + at); }

/* at: which two of the models, in bytes from the first. */
INLINE token token_symbol(token_coder *c, token_model *models, uint8_t *seen, const size_t at[2], token symbol, bool decoding)
{
    token_model *a = token_at(models, at[0]), *b = token_at(models, at[1]);
    token_sum mean;
    /* The sums may pass 32767: halved first, with what both lose added. */
    mean.all = (a->all & b->all) + ((a->all ^ b->all) >> 1);
    mean.below[TOKENS] = 1u << TOKEN_SCALE;
    if (decoding) symbol = token_find(&mean, (unsigned)c->state & ((1u << TOKEN_SCALE) - 1));
    unsigned frequency;
    const unsigned start = token_range(&mean, symbol, &frequency);
    token_advance(c, start, frequency, decoding);
    token_move(a, &seen[at[0] / sizeof *a], token_target(token_targets, symbol));
    token_move(b, &seen[at[1] / sizeof *b], token_target(token_targets, symbol));
    return symbol;
}

/* A bit of that probability of a one, in 1/32768. */
INLINE unsigned token_bit(token_coder *c, unsigned one, unsigned bit, bool decoding)
{
    if (decoding) bit = ((unsigned)c->state & ((1u << TOKEN_SCALE) - 1)) < one;
    /* 0 and `one`, or `one` and the rest: without a branch, for who foretells bits that are hard to foretell? */
    const unsigned zero = bit - 1;
    token_advance(c, one & zero, ((one ^ zero) - zero) + (zero & 1u << TOKEN_SCALE), decoding);
    return bit;
}

/* ---- bits as they are */

/* At least 32 bits in c->bits; those past the end are zeros, and counted. */
INLINE void token_refill(token_coder *c)
{
    if (c->bit_count >= 32) return;
    if (c->raw_end - c->raw >= 4) {
        c->bits |= (uint64_t)base_load_le32(c->raw) << c->bit_count;
        c->raw += 4;
        c->bit_count += 32;
        return;
    }
    for (; c->raw < c->raw_end; c->bit_count += 8) c->bits |= (uint64_t)*c->raw++ << c->bit_count;
    if (c->bit_count >= 32) return;
    c->bit_count += 32;
    c->past += 32;
}

/* count <= 31, as far as there are bits in c->bits. */
INLINE uint32_t token_take(token_coder *c, unsigned count)
{
    const uint32_t value = (uint32_t)c->bits & ((UINT32_C(1) << count) - 1);
    c->bits >>= count;
    c->bit_count -= count;
    return value;
}

INLINE uint32_t token_raw(token_coder *c, uint32_t value, unsigned count, bool decoding)
{
    if (decoding) {
        token_refill(c);
        return token_take(c, count);
    }
    c->bits |= (uint64_t)value << c->bit_count;
    c->bit_count += count;
    for (; c->bit_count >= 8; c->bit_count -= 8) {
        if (c->out_bytes < c->out_most) c->out[c->out_bytes] = (uint8_t)c->bits;
        c->out_bytes++;
        c->bits >>= 8;
    }
    return value;
}

/* ---- numbers */

INLINE unsigned token_of(uint32_t m)
{
    static const uint8_t tokens[TOKEN_ESCAPE] = {0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9, 10, 10, 10, 10, 11, 11, 11, 11, 11, 11, 11, 11,
                                                 12, 12, 12, 12, 12, 12, 12, 12, 13, 13, 13, 13, 13, 13, 13, 13, 14, 14, 14, 14, 14, 14, 14, 14, 14, 14, 14, 14, 14, 14, 14, 14};
    return m < TOKEN_ESCAPE ? tokens[m] : TOKENS - 1;
}

#define TOKEN_DIGITS 26u /* of a number at most, in all */

/* What is beyond the symbols: how many digits it has, and those after the first. */
INLINE uint32_t token_escaped(token_coder *c, uint32_t m, unsigned shift, bool decoding)
{
    const uint32_t more = (decoding ? 0 : (m >> shift) - TOKEN_ESCAPE) + 1;
    const unsigned digits = token_raw(c, 31 - (unsigned)__builtin_clz(more), 5, decoding);
    if (digits >= TOKEN_DIGITS || (decoding && digits + shift > TOKEN_DIGITS + 4)) {
        c->overrun = true;
        return 0;
    }
    const uint64_t rest = (UINT64_C(1) << digits) + token_raw(c, more - (UINT32_C(1) << digits), digits, decoding);
    const uint64_t found = ((rest - 1 + TOKEN_ESCAPE) << shift) + token_raw(c, m & ((UINT32_C(1) << shift) - 1), shift, decoding);
    if (found >> TOKEN_DIGITS) c->overrun = true;
    return found >> TOKEN_DIGITS ? 0 : (uint32_t)found;
}

/* ---- a chunk: varint, how many words of 32 bits; the state, eight bytes; the words; the bits as they are */

static inline void tokens_begin_writing(token_coder *c, uint32_t *events, uint8_t *raw, size_t raw_most)
{
    *c = (token_coder){.events = events, .out = raw, .out_most = raw_most};
}

/* The symbols from the last to the first, so that they come out from the first on. SIZE_MAX: dst is too small. */
static inline size_t tokens_end_writing(token_coder *c, uint8_t *dst, size_t capacity)
{
    const unsigned rest = (8 - c->bit_count % 8) % 8;
    token_raw(c, 0, rest, false);
    if (c->out_bytes > c->out_most || capacity < 32 || c->out_bytes > capacity - 32) return SIZE_MAX;
    uint64_t state = TOKEN_STATE;
    /* Words are put down from the end of dst. */
    size_t at = capacity;
    for (size_t i = c->event_count; i-- > 0;) {
        const uint64_t start = c->events[i] >> 16, frequency = c->events[i] & 0xffff;
        if (state >= frequency << 48) {
            if (at < 32 + c->out_bytes) return SIZE_MAX;
            at -= 4;
            base_store_le32(dst + at, (uint32_t)state);
            state >>= 32;
        }
        state = (state / frequency << TOKEN_SCALE) + state % frequency + start;
    }
    const size_t words = (capacity - at) / 4;
    size_t n = 0;
    uint64_t count = words;
    for (; count >= 128; count >>= 7) dst[n++] = (uint8_t)(count | 128);
    dst[n++] = (uint8_t)count;
    base_store_le64(dst + n, state);
    n += 8;
    memmove(dst + n, dst + at, 4 * words);
    n += 4 * words;
    memcpy(dst + n, c->out, c->out_bytes);
    return n + c->out_bytes;
}

static inline bool tokens_begin_reading(token_coder *c, const uint8_t *src, size_t bytes)
{
    const uint8_t *at = src, *end = src + bytes;
    uint64_t words;
    *c = (token_coder){.raw_end = end};
    if (!pack_get_varint(&at, end, &words) || end - at < 8 || words > (uint64_t)(end - at - 8) / 4) return false;
    c->state = base_load_le64(at);
    c->words = at + 8;
    c->words_end = c->raw = c->words + 4 * words;
    return c->state >= TOKEN_STATE && !(c->state >> 63);
}

/* Whether all was used, and nothing else. */
static inline bool tokens_ended(const token_coder *c)
{
    return !c->overrun && c->state == TOKEN_STATE && c->words == c->words_end && c->raw == c->raw_end &&
           c->bit_count >= c->past && c->bit_count - c->past < 8 && !c->bits;
}

#endif
