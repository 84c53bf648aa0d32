/* Bits by binary arithmetic coding, and the logistic function that probabilities are mixed by. FORMAT.md, sections 8.1
 * and 8.2, is the specification. For the files of this room that foretell what they code. */
#ifndef FPR_BITS_H
#define FPR_BITS_H

#include "base/base.h"

/* What encoder and decoder share is written once, with `decoding` as a constant. */
#define INLINE static inline __attribute__((always_inline))

static inline int clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }
/* The same, of what is seldom outside: by a branch, which costs nothing when it was foreseen. */
INLINE int seldom_clamped(int x, int low, int high)
{
    if (__builtin_expect((unsigned)(x - low) > (unsigned)(high - low), 0)) x = clamp(x, low, high);
    return x;
}

/* ---- the coder */

/* Binary arithmetic coding. In a variable of its own while weights are coded, so that it is in registers. */
typedef struct coder {
    uint32_t low, high, code; /* the interval, and when decoding what is read, which lies in it */
    uint8_t *dst;
    const uint8_t *src;
    size_t at, end; /* bytes written or read, and how many there may be */
    bool overfull;
} coder;

INLINE unsigned code_bit(coder *c, unsigned bit, uint32_t one, bool decoding)
{
    const uint32_t middle = c->low + (uint32_t)((uint64_t)(c->high - c->low) * one >> 16);
    if (decoding) bit = c->code <= middle;
    if (bit)
        c->high = middle;
    else
        c->low = middle + 1;
    while (!((c->low ^ c->high) >> 24)) {
        if (decoding) {
            c->code = c->code << 8 | (c->at < c->end ? c->src[c->at] : 0);
            c->at++;
        } else if (c->at < c->end) {
            c->dst[c->at++] = (uint8_t)(c->high >> 24);
        } else {
            c->overfull = true;
        }
        c->low <<= 8;
        c->high = c->high << 8 | 255;
    }
    return bit;
}

/* ---- counters */

/* Probability of a one in the upper 22 bits, how often it was asked in the lower ten. */
typedef uint32_t counter;

#define SEEN_MOST 255u
#define CHANCE_LEAST 256 /* of 2^22: where probabilities tend to at most, from either side */

#define INPUTS 4u

/* ---- mixers. Four opinions at a time: what is done to one is done to all. */

typedef int32_t four __attribute__((vector_size(16)));
typedef uint32_t four_unsigned __attribute__((vector_size(16)));
_Static_assert(INPUTS * sizeof(int32_t) == sizeof(four), "as many inputs as there are lanes");

static inline four splat(int32_t x) { return (four){x, x, x, x}; }

typedef struct mixer {
    four weights; /* in 1/65536 */
} mixer;
#define MIXER_FIRST 16384
#define MIXER_MOST (1 << 19)
#define MIXER_SHIFT 15

#define LOGISTIC_MOST 2047 /* the logistic function's arguments, in 1/256, are not above this, nor below its negative */

typedef struct bit_tables {
    uint16_t logistics[4096]; /* logistic(x) at 2048 + x */
    int16_t stretches[4096];  /* the inverse at p: the largest x with logistic(x) <= 16 p + 8 */
    uint16_t rates[SEEN_MOST + 1];
} bit_tables;

const bit_tables *bit_tables_get(void); /* bits.c; made once, for all threads */

static inline void set_mixers(mixer *mixers, size_t n)
{
    for (size_t i = 0; i < n; i++) mixers[i].weights = splat(MIXER_FIRST);
}

/* What four counters and a mixer foretell, until the bit is known. */
typedef struct mixing {
    four opinions, rates;
    uint32_t before[INPUTS]; /* the counters */
    uint32_t one;            /* the chance of a one, in 1/65536 */
} mixing;

INLINE mixing mix(const bit_tables *t, counter *const inputs[INPUTS], const mixer *m)
{
    const uint32_t c0 = *inputs[0], c1 = *inputs[1], c2 = *inputs[2], c3 = *inputs[3];
    const int16_t *stretch = t->stretches;
    const uint16_t *rate = t->rates;
    /* The sum is what the next bit waits for: it takes less time by itself than as lanes that are added up. */
    int64_t sum = (int64_t)m->weights[0] * stretch[c0 >> 20] + (int64_t)m->weights[1] * stretch[c1 >> 20] +
                  (int64_t)m->weights[2] * stretch[c2 >> 20] + (int64_t)m->weights[3] * stretch[c3 >> 20];
    sum >>= 16;
    sum = sum > LOGISTIC_MOST ? LOGISTIC_MOST : sum < -LOGISTIC_MOST ? -LOGISTIC_MOST : sum;
    return (mixing){.opinions = {stretch[c0 >> 20], stretch[c1 >> 20], stretch[c2 >> 20], stretch[c3 >> 20]},
                    .rates = {rate[c0 & 1023], rate[c1 & 1023], rate[c2 & 1023], rate[c3 & 1023]},
                    .before = {c0, c1, c2, c3},
                    .one = t->logistics[2048 + sum]};
}

INLINE void mix_learn(const mixing *x, counter *const inputs[INPUTS], mixer *m, unsigned bit)
{
    const int32_t miss = (int32_t)(bit << 16) - (int32_t)x->one;
    const four weights = m->weights + ((x->opinions * miss + (1 << (MIXER_SHIFT - 1))) >> MIXER_SHIFT);
    const four over = weights > MIXER_MOST, under = weights < -MIXER_MOST;
    m->weights = (weights & ~(over | under)) | (over & MIXER_MOST) | (under & -MIXER_MOST);

    const four_unsigned before = {x->before[0], x->before[1], x->before[2], x->before[3]}, seen = before & 1023;
    const four chances = (four)(before >> 10), goal = splat(bit ? (1 << 22) - CHANCE_LEAST : CHANCE_LEAST);
    const four changed = chances + (((goal - chances) >> 7) * x->rates >> 8);
    const four_unsigned after = ((four_unsigned)changed << 10 | seen) - (four_unsigned)(seen < SEEN_MOST);
    *inputs[0] = after[0];
    *inputs[1] = after[1];
    *inputs[2] = after[2];
    *inputs[3] = after[3];
}

INLINE unsigned mix_bit(const bit_tables *t, coder *coding, counter *const inputs[INPUTS], mixer *m, unsigned bit,
                        bool decoding)
{
    const mixing x = mix(t, inputs, m);
    bit = code_bit(coding, bit, x.one, decoding);
    mix_learn(&x, inputs, m, bit);
    return bit;
}

/* A chunk ends in the fewest bytes that lie in the interval when zeros follow them; *value has them at its upper end.
 */
static inline unsigned last_bytes(const coder *c, uint32_t *value)
{
    unsigned n = 0;
    *value = 0;
    while (*value < c->low) {
        n++;
        *value = c->high & ~(UINT32_MAX >> (8 * n - 1) >> 1);
    }
    return n;
}

static inline void coder_begin_writing(coder *c, uint8_t *dst, size_t capacity)
{
    *c = (coder){.high = UINT32_MAX, .dst = dst, .end = capacity};
}

/* Four bytes are read ahead, those past the end as zeros. */
static inline void coder_begin_reading(coder *c, const uint8_t *src, size_t bytes)
{
    *c = (coder){.high = UINT32_MAX, .src = src, .end = bytes};
    for (; c->at < 4; c->at++) c->code = c->code << 8 | (c->at < bytes ? src[c->at] : 0);
}

/* The bytes written; 0 when the capacity was too small. */
static inline size_t coder_end_writing(coder *c)
{
    uint32_t value;
    const unsigned n = last_bytes(c, &value);
    if (c->end - c->at < n) c->overfull = true;
    if (c->overfull) return 0;
    for (unsigned i = 0; i < n; i++) c->dst[c->at++] = (uint8_t)(value >> (24 - 8 * i));
    return c->at;
}

/* Whether the bytes were used exactly. */
static inline bool coder_ended(const coder *c)
{
    uint32_t value;
    const unsigned n = last_bytes(c, &value);
    return c->at - 4 + n == c->end && c->code == value;
}

#endif
