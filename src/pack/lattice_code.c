/* An index is told by a few questions: is it larger than expected, how many binary digits has it, which are the first
 * two of them, what is its sign. What is expected is a magnitude, learned from the weights around: of its filter, its
 * channel and its place in the kernel, of the kernel so far, and of the same place in neighbouring kernels. A bit's
 * probability is what four counters say, mixed (bits.h). Or, in a fifth of the time, the same is told by one of sixteen
 * symbols and a few bits as they are (tokens.h).
 *
 * Counters begin with what a normal distribution of that magnitude would have them say, so that small tensors need not
 * learn it. Everything is in integers: the same bytes on every machine. */
#include "pack/lattice_code.h"
#include "lattice/lattice.h"
#include "pack/tokens.h"

#define COLUMNS_MOST 262144u /* weights of a filter: further channels share memory with those before */
#define MAGNITUDE_MOST 32767 /* as it is remembered */
#define PLACES 64u           /* places in a kernel told apart; those past the last are one with it */
#define FINE 40u             /* quarter octaves */
#define COARSE 24u           /* half octaves */
#define ABOUT 16u
#define NEAR 8u
#define SECONDS 32u
#define SLOTS 10u /* octaves told apart, 0 .. 7; 8 and 9 are 0 and 1 of the odd quantizer */
#define NOTHING_LG (-16)

enum { LARGER, UP, DOWN, UPPER, LOWER_0, LOWER_1, QUESTIONS };

#define SEEN_OCTAVE 16u
#define SEEN_DIGIT 32u
#define CHANCE_BOUND 64 /* of 65536: how sure the mean of two counters may be */

/* The probability of a one that the counters of a question begin with, in 1/4096, by half octaves: that of normal
 * distributions of similar size (standard deviations half an octave apart on average), from five octaves that the
 * magnitude lies below the octave asked about to five above. Rows: LARGER at octaves 0, 1, 2 and above; UP and DOWN at
 * 1, 2 and above; UPPER at 2 and above; LOWER_0, LOWER_1. */
static const uint16_t priors[14][21] = {
    {16, 16, 16, 16, 16, 16, 19, 141, 492, 1068, 1723, 2321, 2803, 3167, 3434, 3626, 3763, 3860, 3929, 3978, 4013},
    {16, 16, 16, 16, 16, 16, 16, 16, 107, 414, 960, 1613, 2226, 2729, 3113, 3395, 3598, 3743, 3846, 3919, 3971},
    {16, 16, 16, 16, 16, 16, 16, 16, 46, 245, 694, 1320, 1965, 2521, 2956, 3281, 3516, 3685, 3805, 3890, 3950},
    {16, 16, 16, 16, 16, 16, 16, 16, 21, 146, 503, 1083, 1738, 2333, 2812, 3175, 3439, 3630, 3766, 3862, 3931},
    {16, 4064, 4080, 4080, 4080, 4080, 4080, 4048, 3842, 3366, 2693, 2010, 1441, 1013, 708, 494, 345, 242, 170, 120, 84},
    {16, 16, 3804, 4080, 4080, 4080, 4080, 4062, 3898, 3475, 2820, 2115, 1511, 1055, 731, 506, 352, 245, 172, 120, 85},
    {16, 16, 16, 4078, 4080, 4080, 4080, 4070, 3932, 3552, 2921, 2205, 1574, 1093, 752, 518, 358, 248, 173, 121, 85},
    {16, 16, 16, 16, 19, 141, 491, 1059, 1660, 2121, 2407, 2564, 2646, 2688, 2709, 2720, 2725, 2728, 2729, 2730, 2730},
    {16, 16, 16, 16, 16, 16, 107, 411, 924, 1455, 1845, 2079, 2207, 2273, 2307, 2323, 2332, 2336, 2338, 2340, 2340},
    {16, 16, 16, 16, 16, 16, 22, 150, 496, 987, 1424, 1716, 1883, 1972, 2017, 2041, 2052, 2058, 2061, 2063, 2063},
    {1229, 1229, 1229, 16, 16, 16, 118, 402, 847, 1295, 1623, 1822, 1932, 1989, 2018, 2033, 2041, 2044, 2046, 2047, 2048},
    {1229, 1229, 1229, 1229, 16, 16, 94, 346, 762, 1210, 1561, 1785, 1911, 1978, 2013, 2030, 2039, 2044, 2046, 2047, 2047},
    {1229, 1229, 1229, 1229, 23, 214, 580, 996, 1373, 1654, 1833, 1935, 1990, 2019, 2033, 2041, 2044, 2046, 2047, 2048, 2048},
    {1229, 1229, 1229, 1229, 1229, 95, 463, 893, 1266, 1561, 1768, 1896, 1969, 2007, 2027, 2038, 2043, 2045, 2047, 2047, 2048}};
static const struct {
    uint8_t row, first, last;
} prior_rows[QUESTIONS] = {{0, 0, 3}, {4, 1, 3}, {7, 1, 3}, {10, 2, 3}, {12, 3, 3}, {13, 3, 3}};

typedef struct channel {
    uint64_t sum; /* of magnitudes, in sixteenths */
    uint32_t count, dead, kernels;
    uint8_t past; /* bit 0: its last kernel was dead; bit 1: the one before */
} channel;

typedef struct learnt {
    counter by_estimate[QUESTIONS][SLOTS][FINE], by_last[QUESTIONS][SLOTS][COARSE * NEAR];
    counter sign_row[27 * 4], sign_place[PLACES * 9], dead_near[8], dead_share[64];
    counter by_around[QUESTIONS][SLOTS][COARSE * ABOUT], by_column[QUESTIONS][SLOTS][COARSE * SECONDS];
    counter sign_sum[17 * 3 * 4], sign_near[81];
    mixer octave_mixers[QUESTIONS][SLOTS * 4], sign_mixers[4];
} learnt;

#define SIZES 36u  /* quarter octaves */
#define LEVELS 18u /* half octaves */
/* What is learnt instead when indices are tokens; of either quantizer. */
typedef struct token_models {
    token_model by_size[2][SIZES], by_level[2][LEVELS * NEAR];
    counter dead_near[8], dead_share[64];
} token_models;

struct lattice_coder {
    lattice_code_shape shape;
    bit_tables tables;
    int16_t small[1024]; /* depth_of smaller magnitudes */
    int32_t shares[LATTICE_KERNEL_MOST]; /* 65536 / (n + 4) */
    coder coder;
    token_coder tokens;
    union {
        learnt learnt;
        token_models quick;
    };
    uint32_t *events;  /* quick, encoding: of a chunk */
    uint8_t *raw;
    size_t raw_most;
    uint64_t channels; /* as many as are told apart: channel c has the memory of c mod channels */
    int16_t *last;     /* [channels * k] index in the filter before, 0: there was none */
    channel *channel;  /* [channels] */
    uint64_t sum, count, place_sum[PLACES];
    uint32_t place_count[PLACES];
    int place_lg[PLACES]; /* quick: of the mean at each place, as it was some kernels ago */
};

/* ---- logarithms, in sixteenths of an octave */

static inline int lg(uint64_t x)
{
    static const uint8_t parts[32] = {0, 1, 1,  2,  3,  3,  4,  5,  5,  6,  6,  7,  7,  8,  8,  9,
                                      9, 10, 10, 11, 11, 12, 12, 12, 13, 13, 14, 14, 14, 15, 15, 16};
    if (!x) return NOTHING_LG;
    const int n = 63 - __builtin_clzll(x);
    return 16 * n + parts[(n >= 5 ? x >> (n - 5) : x << (5 - n)) & 31];
}

static int lg_of(uint64_t x) { return lg(x); }

/* Of a magnitude. */
static inline int depth(const lattice_coder *c, uint32_t m)
{
    return m < 1024 ? c->small[m] : lg(16 * (uint64_t)m + 8) - 64;
}

/* Of a mean in which `usual` counts `weight` times. */
static inline int lg_mean(uint64_t sum, uint32_t count, unsigned weight, uint64_t usual)
{
    return lg(sum + weight * usual) - lg(count + weight);
}

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

static counter prior(unsigned question, unsigned slot, int half_octaves)
{
    const unsigned octave = slot < 8 ? slot : slot - 8, last = prior_rows[question].last;
    const unsigned first = prior_rows[question].first, o = octave < first ? first : octave > last ? last : octave;
    const unsigned seen = question < UPPER ? SEEN_OCTAVE : SEEN_DIGIT;
    return (counter)priors[prior_rows[question].row + o - first][clamp(half_octaves + 10, 0, 20)] << 20 | seen;
}

static void set(counter *counters, size_t n, counter first)
{
    for (size_t i = 0; i < n; i++) counters[i] = first;
}

#define SURE_ALIVE (UINT32_C(1) << 26 | 2) /* one kernel in 64 is dead, seen twice */
#define EVEN (UINT32_C(1) << 31 | 4)

static void begin_questions(lattice_coder *c)
{
    learnt *l = &c->learnt;
    for (unsigned q = 0; q < QUESTIONS; q++)
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            for (int i = 0; i < (int)FINE; i++) l->by_estimate[q][slot][i] = prior(q, slot, (i - 20) >> 1);
            for (int i = 0; i < (int)COARSE; i++) {
                const counter p = prior(q, slot, i - 12);
                set(&l->by_last[q][slot][i * (int)NEAR], NEAR, p);
                set(&l->by_around[q][slot][i * (int)ABOUT], ABOUT, p);
                set(&l->by_column[q][slot][i * (int)SECONDS], SECONDS, p);
            }
        }
}

static void begin_tokens(token_models *t)
{
    for (int i = 0; i < (int)SIZES; i++) token_begin(&t->by_size[0][i], 4 * i - 80 + 2, lg_of);
    for (int i = 0; i < (int)LEVELS; i++) {
        token_begin(&t->by_level[0][i * (int)NEAR], 8 * i - 80 + 4, lg_of);
        for (unsigned n = 1; n < NEAR; n++) t->by_level[0][i * (int)NEAR + (int)n] = t->by_level[0][i * (int)NEAR];
    }
    memcpy(t->by_size[1], t->by_size[0], sizeof t->by_size[0]);
    memcpy(t->by_level[1], t->by_level[0], sizeof t->by_level[0]);
    set(t->dead_near, 8, SURE_ALIVE);
    set(t->dead_share, 64, SURE_ALIVE);
}

static void begin_mixed(lattice_coder *c)
{
    learnt *l = &c->learnt;
    begin_questions(c);
    set(l->sign_row, sizeof l->sign_row / sizeof(counter), EVEN);
    set(l->sign_place, sizeof l->sign_place / sizeof(counter), EVEN);
    set(l->sign_sum, sizeof l->sign_sum / sizeof(counter), EVEN);
    set(l->sign_near, sizeof l->sign_near / sizeof(counter), EVEN);
    set(l->dead_near, 8, SURE_ALIVE);
    set(l->dead_share, 64, SURE_ALIVE);
    set_mixers(&l->octave_mixers[0][0], QUESTIONS * SLOTS * 4);
    set_mixers(l->sign_mixers, 4);
}

static void begin(lattice_coder *c)
{
    if (c->shape.quick) begin_tokens(&c->quick);
    else begin_mixed(c);
    memset(c->last, 0, c->channels * c->shape.k * sizeof *c->last);
    memset(c->channel, 0, c->channels * sizeof *c->channel);
    memset(c->place_sum, 0, sizeof c->place_sum);
    memset(c->place_count, 0, sizeof c->place_count);
    c->sum = 4 * mean_of_start(c->shape.start);
    c->count = 4;
}

lattice_coder *lattice_coder_new(const lattice_code_shape *shape, bool encoded)
{
    lattice_coder *c = base_alloc_aligned(1, sizeof *c);
    if (!c) return NULL;
    c->shape = *shape;
    c->channels = COLUMNS_MOST / shape->k; /* k is at most LATTICE_KERNEL_MOST */
    if (shape->channels < c->channels) c->channels = shape->channels;
    c->last = base_alloc(c->channels * shape->k, sizeof *c->last);
    c->channel = base_alloc(c->channels, sizeof *c->channel);
    bit_tables_make(&c->tables);
    for (uint32_t m = 0; m < 1024; m++) c->small[m] = (int16_t)(lg(16 * (uint64_t)m + 8) - 64);
    for (int n = 0; n < (int)LATTICE_KERNEL_MOST; n++) c->shares[n] = 65536 / (n + 4);
    c->events = NULL;
    c->raw = NULL;
    c->raw_most = encoded ? (size_t)(4 * LATTICE_CHUNK) : 0;
    if (encoded && shape->quick) {
        c->events = base_alloc(2 * LATTICE_CHUNK, sizeof *c->events);
        c->raw = base_alloc(c->raw_most, 1);
    }
    if (c->last && c->channel && (!encoded || !shape->quick || (c->events && c->raw))) return c;
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

/* ---- a bit by the mean of two counters */

/* Either is used, while weights are coded. */
typedef struct both {
    coder bits;
    token_coder tokens;
} both;

INLINE uint32_t learn(const bit_tables *t, uint32_t c, unsigned bit)
{
    const int32_t goal = bit ? (1 << 22) - CHANCE_LEAST : CHANCE_LEAST, chance = (int32_t)(c >> 10);
    const uint32_t seen = c & 1023;
    const int32_t changed = chance + (((goal - chance) >> 7) * t->rates[seen] >> 8);
    return (uint32_t)changed << 10 | (seen + (seen < SEEN_MOST));
}

INLINE unsigned mean_bit(lattice_coder *c, both *coding, counter *a, counter *b, unsigned bit, bool quick, bool decoding)
{
    const bit_tables *t = &c->tables;
    const int mean = (int)(((*a >> 16) + (*b >> 16)) >> 1);
    const uint32_t one = (uint32_t)clamp(mean, CHANCE_BOUND, 65536 - CHANCE_BOUND);
    bit = quick ? token_bit(&coding->tokens, one >> 1, bit, decoding) : code_bit(&coding->bits, bit, one, decoding);
    *a = learn(t, *a, bit);
    *b = learn(t, *b, bit);
    return bit;
}

/* Known when this is compiled: each of the ways is code of its own. */
typedef struct how { bool quick, decoding, spatial; } how;

/* ---- what is expected of an index */

typedef struct outlook {
    int filter, column; /* magnitude by filter and by channel, of all: logarithms */
    int all;
    uint64_t mean;      /* of all magnitudes, in sixteenths, at least 1 */
} outlook;

typedef struct weight {
    int level, local, around, estimate, last; /* logarithms of magnitudes */
    int by_column;                            /* filter and channel alone */
    unsigned place, second, odd;
    int sign_last, sign_second, sign_above, sign_column;
} weight;

/* The last weights, whatever kernels they were in. */
typedef struct recent { int32_t a, b, c; } recent;

static inline uint32_t magnitude(int32_t x)
{
    const uint32_t m = (uint32_t)(x < 0 ? -x : x);
    return m < MAGNITUDE_MOST ? m : MAGNITUDE_MOST;
}
static inline int sign_of(int32_t x) { return (x > 0) - (x < 0); }

INLINE int lg_of_place(const lattice_coder *c, unsigned place, uint64_t mean)
{
    return lg_mean(c->place_sum[place], c->place_count[place], 8, mean);
}

INLINE void look(const lattice_coder *c, const outlook *o, const recent *r, uint64_t s, int32_t above, int32_t before,
                 int16_t column, int deviation, unsigned deviations, how h, weight *w)
{
    w->place = (unsigned)(s < PLACES ? s : PLACES - 1);
    const int place = h.spatial ? lg_of_place(c, w->place, o->mean) : o->all;
    w->by_column = o->filter + o->column - o->all - 64;
    w->level = clamp(w->by_column + place - o->all, -48, 400);
    w->last = depth(c, magnitude(r->a));
    const uint32_t near = 2 * magnitude(column) + magnitude(r->a) + magnitude(above) + magnitude(before);
    w->around = lg((near * UINT64_C(13107) >> 12) + 2) - 64;
    if (h.spatial) {
        w->local = w->level + (deviation * c->shares[deviations] >> 16);
        w->second = w->place < SECONDS ? w->place : SECONDS - 1;
    } else {
        w->local = w->level + ((w->last + depth(c, magnitude(r->b)) - 2 * w->level) * 13107 >> 16);
        w->second = (unsigned)clamp(((o->column - o->all + 4) >> 3) + 16, 0, 31);
    }
    w->estimate = (2 * w->local + w->level + w->around + 2) >> 2;
    w->sign_last = sign_of(r->a);
    w->sign_second = sign_of(r->b);
    w->sign_above = sign_of(above);
    w->sign_column = sign_of(column);
}

/* The same from less: the last weight counts in `last` alone, so that the rest is known while that is decoded. */
INLINE void look_quickly(const lattice_coder *c, const outlook *o, const recent *r, uint64_t s, int32_t above, int32_t before,
                         int16_t column, int deviation, how h, weight *w)
{
    w->place = (unsigned)(s < PLACES ? s : PLACES - 1);
    w->level = clamp(o->filter + o->column - 64 + (h.spatial ? c->place_lg[w->place] - 2 * o->all : -o->all), -48, 400);
    w->last = depth(c, magnitude(r->a));
    w->around = lg(8 * (uint64_t)magnitude(column) + 4 * (magnitude(above) + magnitude(before)) + 2) - 64;
    if (h.spatial) w->local = w->level + (deviation * c->shares[s ? s - 1 : 0] >> 16);
    else w->local = w->level + ((depth(c, magnitude(r->b)) + depth(c, magnitude(r->c)) - 2 * w->level) * 13107 >> 16);
    w->estimate = (2 * w->local + w->level + w->around + 2) >> 2;
}

/* ---- the questions */

INLINE unsigned ask(lattice_coder *c, coder *coding, const weight *w, unsigned question, unsigned octave, unsigned bit,
                    bool decoding)
{
    learnt *l = &c->learnt;
    const unsigned slot = w->odd && octave < 2 ? 8 + octave : octave < 7 ? octave : 7;
    const int base = 16 * ((int)octave - 1), estimate = w->estimate - base, level = w->level - base;
    counter *by_estimate = &l->by_estimate[question][slot][clamp(((estimate + 2) >> 2) + 20, 0, FINE - 1)];
    counter *by_last = &l->by_last[question][slot][clamp(((level + 4) >> 3) + 12, 0, COARSE - 1) * (int)NEAR +
                                                   clamp(((w->last - w->level + 8) >> 4) + 5, 0, NEAR - 1)];
    const int local = clamp(((w->local - base + 4) >> 3) + 12, 0, COARSE - 1),
              around = clamp(((w->around - w->level + 4) >> 3) + 8, 0, ABOUT - 1),
              column = clamp(((w->by_column - base + 4) >> 3) + 12, 0, COARSE - 1);
    counter *const inputs[INPUTS] = {by_estimate, &l->by_around[question][slot][local * (int)ABOUT + around],
                                     &l->by_column[question][slot][column * (int)SECONDS + (int)w->second], by_last};
    mixer *m = &l->octave_mixers[question][slot * 4 + (unsigned)clamp((estimate + 16) >> 4, 0, 3)];
    return mix_bit(&c->tables, coding, inputs, m, bit, decoding);
}

INLINE unsigned code_sign(lattice_coder *c, coder *coding, const weight *w, int octave, unsigned bit, bool decoding)
{
    learnt *l = &c->learnt;
    const int size = clamp(((w->estimate - 16 * (octave - 1) + 8) >> 4) + 1, 0, 3);
    const int last = w->sign_last + 1, second = w->sign_second + 1, above = w->sign_above + 1,
              column = w->sign_column + 1;
    counter *by_row = &l->sign_row[(last * 9 + above * 3 + second) * 4 + size],
            *by_place = &l->sign_place[w->place * 9 + (unsigned)(column * 3 + last)];
    counter *const inputs[INPUTS] = {by_row, by_place, &l->sign_sum[((last + second) * 3 + above) * 4 + size],
                                     &l->sign_near[last * 27 + second * 9 + above * 3 + column]};
    return mix_bit(&c->tables, coding, inputs, &l->sign_mixers[size], bit, decoding);
}

/* The number of binary digits, from the expected one up or down. */
INLINE unsigned code_octave(lattice_coder *c, coder *coding, const weight *w, unsigned wanted, bool decoding)
{
    unsigned o = (unsigned)clamp((w->estimate + 20) >> 4, 0, 14);
    if (ask(c, coding, w, LARGER, o, wanted > o, decoding)) {
        for (o++; o < LATTICE_OCTAVES && !ask(c, coding, w, UP, o, wanted == o, decoding); o++) {}
    } else {
        for (; o > 0 && !ask(c, coding, w, DOWN, o, wanted == o, decoding); o--) {}
    }
    return o;
}

INLINE int32_t code_index(lattice_coder *c, coder *coding, const weight *w, int32_t index, bool decoding)
{
    const uint32_t m = (uint32_t)(index < 0 ? -index : index);
    const unsigned octave = code_octave(c, coding, w, m ? 32 - (unsigned)__builtin_clz(m) : 0, decoding);
    if (!octave) return 0;
    uint32_t found = 1;
    unsigned left = octave - 1;
    if (left) {
        const unsigned upper = ask(c, coding, w, UPPER, octave, m >> --left & 1, decoding);
        found = 2 | upper;
        if (left) {
            const unsigned lower =
                ask(c, coding, w, upper ? LOWER_1 : LOWER_0, octave, m >> (left - 1) & 1, decoding);
            found = found << 1 | lower;
            left--;
        }
    }
    while (left > 0) {
        left--;
        found = found << 1 | code_bit(coding, m >> left & 1, 32768, decoding);
    }
    return code_sign(c, coding, w, (int)octave, index < 0, decoding) ? -(int32_t)found : (int32_t)found;
}

/* ---- the same in tokens: the first of a size or half a size, one symbol; then bits as they are */

INLINE int32_t code_tokens(lattice_coder *c, token_coder *coding, const weight *w, int32_t index, bool decoding)
{
    const unsigned shift = (unsigned)clamp((w->estimate >> 4) - 3, 0, 20);
    const int estimate = w->estimate - 16 * (int)shift, level = w->level - 16 * (int)shift;
    token_model *by_size = &c->quick.by_size[w->odd][clamp((estimate + 80) >> 2, 0, SIZES - 1)];
    token_model *by_level = &c->quick.by_level[w->odd][clamp((level + 80) >> 3, 0, LEVELS - 1) * (int)NEAR +
                                                      clamp(((w->last - w->level + 8) >> 4) + 5, 0, NEAR - 1)];
    const uint32_t m = (uint32_t)(index < 0 ? -index : index);
    const unsigned symbol = token_symbol(coding, by_size, by_level, decoding ? 0 : token_of(m >> shift), decoding);
    uint32_t found;
    if (symbol == TOKENS - 1) {
        found = token_escaped(coding, m, shift, decoding);
    } else {
        const unsigned extra = token_extra[symbol] + shift;
        const uint32_t base = (uint32_t)token_first[symbol] << shift;
        found = base + token_raw(coding, m - base, extra, decoding);
    }
    /* Up to 27 bits were taken of 32 at least. */
    const unsigned sign = decoding && symbol != TOKENS - 1 ? token_take(coding, found > 0)
                                                           : token_raw(coding, index < 0, found > 0, decoding);
    return (int32_t)((found ^ -sign) + sign);
}

/* ---- kernels */

INLINE unsigned code_dead(lattice_coder *c, both *coding, const channel *ch, bool before, unsigned filter_dead,
                          unsigned filter_kernels, unsigned dead, bool quick, bool decoding)
{
    counter *near = quick ? c->quick.dead_near : c->learnt.dead_near;
    counter *share = quick ? c->quick.dead_share : c->learnt.dead_share;
    const unsigned filter = 8 * filter_dead / (filter_kernels + 1), column = 8 * ch->dead / (ch->kernels + 1);
    return mean_bit(c, coding, &near[before * 4u + ch->past], &share[filter * 8 + column], dead, quick, decoding);
}

/* What is known of all, of the filter and of the channel. */
INLINE void look_around(const lattice_coder *c, uint64_t filter_sum, uint32_t filter_count, outlook *o)
{
    o->mean = c->sum / c->count;
    if (!o->mean) o->mean = 1;
    o->all = lg(o->mean);
    o->filter = lg_mean(filter_sum, filter_count, 6, o->mean);
}


#define PLACES_REFRESH 8u /* kernels */

typedef struct walk {
    uint64_t channel, shared, filter_sum; /* shared: the channel whose memory it has */
    uint32_t filter_count, filter_dead, filter_kernels;
    uint64_t coded; /* kernels of the chunk that were not dead */
    bool before_dead;
    const int32_t *before; /* the last kernel that was not dead; NULL: there is none */
    recent recent;
    outlook outlook;
    unsigned state; /* of the trellis */
} walk;

INLINE void code_kernel(lattice_coder *c, both *coding, walk *k, int32_t *indices, how h)
{
    const uint64_t size = h.spatial ? c->shape.k : 1, row = c->shape.row;
    const bool trellis = c->shape.trellis;
    recent r = k->recent;
    unsigned state = k->state;
    channel *ch = &c->channel[k->shared];
    int16_t *last = c->last + k->shared * size;
    k->outlook.column = lg_mean(ch->sum, ch->count, 6, k->outlook.mean);
    uint64_t sum = 0;
    int deviation = 0, older = 0; /* older: without the last weight */
    if (h.quick && h.spatial && k->coded++ % PLACES_REFRESH == 0)
        for (unsigned p = 0; p < PLACES && p < size; p++) c->place_lg[p] = lg_of_place(c, p, k->outlook.mean);
    for (uint64_t s = 0; s < size; s++) {
        weight w;
        const int32_t above = row && s >= row ? indices[s - row] : h.spatial ? r.b : r.c;
        const int32_t before = !h.spatial ? r.b : k->before ? k->before[s] : 0;
        w.odd = state & 1;
        if (h.quick) look_quickly(c, &k->outlook, &r, s, above, before, last[s], older, h, &w);
        else look(c, &k->outlook, &r, s, above, before, last[s], deviation, (unsigned)s, h, &w);
        older = deviation;
        const int32_t given = h.decoding ? 0 : indices[s];
        const int32_t index = h.quick ? code_tokens(c, &coding->tokens, &w, given, h.decoding)
                                      : code_index(c, &coding->bits, &w, given, h.decoding);
        const uint32_t m = magnitude(index);
        indices[s] = index;
        deviation += depth(c, m) - w.level + 6;
        r = (recent){index, r.a, r.b};
        last[s] = (int16_t)(index < 0 ? -(int32_t)m : (int32_t)m);
        c->place_sum[w.place] += 16 * (uint64_t)m;
        c->place_count[w.place]++;
        sum += 16 * (uint64_t)m;
        if (trellis) state = lattice_next(state, index);
    }
    k->recent = r;
    k->state = state;
    c->sum += sum;
    c->count += size;
    ch->sum += sum;
    ch->count += (uint32_t)size;
    k->filter_sum += sum;
    k->filter_count += (uint32_t)size;
    k->before = indices;
}

INLINE bool code_whether_dead(lattice_coder *c, both *coding, walk *k, bool dead, bool quick, bool decoding)
{
    channel *ch = &c->channel[k->shared];
    dead = code_dead(c, coding, ch, k->before_dead, k->filter_dead, k->filter_kernels, dead, quick, decoding);
    ch->past = (uint8_t)((ch->past << 1 & 2) | dead);
    ch->dead += dead;
    ch->kernels++;
    k->filter_dead += dead;
    k->filter_kernels++;
    k->before_dead = dead;
    return dead;
}

#define ROW_REFRESH 8u /* kernels of one weight: what is known of the filter is looked up every so many */

INLINE void code_kernels(lattice_coder *c, uint64_t first, uint64_t n, int32_t *indices, uint8_t *dead, how h)
{
    both coding = {c->coder, c->tokens};
    const uint64_t size = h.spatial ? c->shape.k : 1, channels = c->shape.channels;
    walk k = {.channel = first % channels};
    k.shared = k.channel % c->channels;
    for (uint64_t i = 0; i < n; i++, indices += size) {
        if (k.channel == channels) {
            k.channel = k.shared = k.filter_sum = 0;
            k.filter_count = k.filter_dead = k.filter_kernels = 0;
            k.before_dead = false;
        }
        if (h.spatial || k.channel % ROW_REFRESH == 0 || !i) look_around(c, k.filter_sum, k.filter_count, &k.outlook);
        if (h.spatial) {
            dead[i] = code_whether_dead(c, &coding, &k, dead[i], h.quick, h.decoding);
            if (dead[i] && h.decoding) memset(indices, 0, (size_t)size * sizeof *indices);
        }
        if (!h.spatial || !dead[i]) code_kernel(c, &coding, &k, indices, h);
        k.channel++;
        if (++k.shared == c->channels) k.shared = 0;
    }
    c->coder = coding.bits;
    c->tokens = coding.tokens;
}

INLINE void code_all(lattice_coder *c, uint64_t first, uint64_t n, int32_t *indices, uint8_t *dead, bool quick, bool decoding)
{
    if (c->shape.k > 1) code_kernels(c, first, n, indices, dead, (how){quick, decoding, true});
    else code_kernels(c, first, n, indices, dead, (how){quick, decoding, false});
}

size_t lattice_encode_chunk(lattice_coder *c, uint64_t first, uint64_t n, int32_t *indices, uint8_t *dead, uint8_t *dst,
                            size_t capacity)
{
    begin(c);
    if (c->shape.quick) {
        tokens_begin_writing(&c->tokens, c->events, c->raw, c->raw_most);
        code_all(c, first, n, indices, dead, true, false);
        return tokens_end_writing(&c->tokens, dst, capacity);
    }
    coder_begin_writing(&c->coder, dst, capacity);
    code_all(c, first, n, indices, dead, false, false);
    const size_t bytes = coder_end_writing(&c->coder);
    return c->coder.overfull ? SIZE_MAX : bytes;
}

bool lattice_decode_chunk(lattice_coder *c, uint64_t first, uint64_t n, int32_t *indices, uint8_t *dead,
                          const uint8_t *src, size_t bytes)
{
    begin(c);
    if (c->shape.quick) {
        if (!tokens_begin_reading(&c->tokens, src, bytes)) return false;
        code_all(c, first, n, indices, dead, true, true);
        return tokens_ended(&c->tokens);
    }
    coder_begin_reading(&c->coder, src, bytes);
    code_all(c, first, n, indices, dead, false, true);
    return coder_ended(&c->coder);
}
