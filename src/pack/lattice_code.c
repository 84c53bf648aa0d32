/* An index is told by a few questions: is it larger than expected, how many binary digits has it, which are the first
 * two of them, what is its sign. What is expected is a magnitude, learned from the weights around: of its filter, its
 * channel and its place in the kernel, of the kernel so far, and of the same place in neighbouring kernels. A bit's
 * probability is the mean of what two counters say, or four of them mixed (bits.h).
 *
 * Counters begin with what a normal distribution of that magnitude would have them say, so that small tensors need not
 * learn it. Everything is in integers: the same bytes on every machine. */
#include "pack/lattice_code.h"
#include "lattice/lattice.h"
#include "pack/bits.h"

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
    /* mixed only */
    counter by_around[QUESTIONS][SLOTS][COARSE * ABOUT], by_column[QUESTIONS][SLOTS][COARSE * SECONDS];
    counter sign_sum[17 * 3 * 4], sign_near[81];
    mixer octave_mixers[QUESTIONS][SLOTS * 4], sign_mixers[4];
} learnt;

struct lattice_coder {
    lattice_code_shape shape;
    bit_tables tables;
    int16_t small[1024]; /* depth_of smaller magnitudes */
    int32_t shares[LATTICE_KERNEL_MOST]; /* 65536 / (n + 4) */
    coder coder;
    learnt learnt;
    uint64_t channels; /* as many as are told apart: channel c has the memory of c mod channels */
    int16_t *last;     /* [channels * k] index in the filter before, 0: there was none */
    channel *channel;  /* [channels] */
    uint64_t sum, count, place_sum[PLACES];
    uint32_t place_count[PLACES];
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
                if (!c->shape.mixed) continue;
                set(&l->by_around[q][slot][i * (int)ABOUT], ABOUT, p);
                set(&l->by_column[q][slot][i * (int)SECONDS], SECONDS, p);
            }
        }
}

static void begin(lattice_coder *c)
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
    memset(c->last, 0, c->channels * c->shape.k * sizeof *c->last);
    memset(c->channel, 0, c->channels * sizeof *c->channel);
    memset(c->place_sum, 0, sizeof c->place_sum);
    memset(c->place_count, 0, sizeof c->place_count);
    c->sum = 4 * mean_of_start(c->shape.start);
    c->count = 4;
}

lattice_coder *lattice_coder_new(const lattice_code_shape *shape)
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
    if (c->last && c->channel) return c;
    lattice_coder_free(c);
    return NULL;
}

void lattice_coder_free(lattice_coder *c)
{
    if (!c) return;
    base_free(c->last);
    base_free(c->channel);
    base_free(c);
}

/* ---- a bit by the mean of two counters */

INLINE uint32_t learn(const bit_tables *t, uint32_t c, unsigned bit)
{
    const int32_t goal = bit ? (1 << 22) - CHANCE_LEAST : CHANCE_LEAST, chance = (int32_t)(c >> 10);
    const uint32_t seen = c & 1023;
    const int32_t changed = chance + (((goal - chance) >> 7) * t->rates[seen] >> 8);
    return (uint32_t)changed << 10 | (seen + (seen < SEEN_MOST));
}

INLINE unsigned mean_bit(const bit_tables *t, coder *coding, counter *a, counter *b, unsigned bit, bool decoding)
{
    const int one = (int)(((*a >> 16) + (*b >> 16)) >> 1);
    bit = code_bit(coding, bit, (uint32_t)clamp(one, CHANCE_BOUND, 65536 - CHANCE_BOUND), decoding);
    *a = learn(t, *a, bit);
    *b = learn(t, *b, bit);
    return bit;
}

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

INLINE void look(const lattice_coder *c, const outlook *o, const recent *r, uint64_t s, int32_t above, int32_t before,
                 int16_t column, int deviation, unsigned deviations, weight *w)
{
    const bool spatial = c->shape.k > 1;
    w->place = (unsigned)(s < PLACES ? s : PLACES - 1);
    const int place = spatial ? lg_mean(c->place_sum[w->place], c->place_count[w->place], 8, o->mean) : o->all;
    w->by_column = o->filter + o->column - o->all - 64;
    w->level = clamp(w->by_column + place - o->all, -48, 400);
    w->last = depth(c, magnitude(r->a));
    const uint32_t near = 2 * magnitude(column) + magnitude(r->a) + magnitude(above) + magnitude(before);
    w->around = lg((near * UINT64_C(13107) >> 12) + 2) - 64;
    if (spatial) {
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

/* ---- the questions */

INLINE unsigned ask(lattice_coder *c, coder *coding, const weight *w, unsigned question, unsigned octave, unsigned bit,
                    bool mixed, bool decoding)
{
    learnt *l = &c->learnt;
    const unsigned slot = w->odd && octave < 2 ? 8 + octave : octave < 7 ? octave : 7;
    const int base = 16 * ((int)octave - 1), estimate = w->estimate - base, level = w->level - base;
    counter *by_estimate = &l->by_estimate[question][slot][clamp(((estimate + 2) >> 2) + 20, 0, FINE - 1)];
    counter *by_last = &l->by_last[question][slot][clamp(((level + 4) >> 3) + 12, 0, COARSE - 1) * (int)NEAR +
                                                   clamp(((w->last - w->level + 8) >> 4) + 5, 0, NEAR - 1)];
    if (!mixed) return mean_bit(&c->tables, coding, by_estimate, by_last, bit, decoding);
    const int local = clamp(((w->local - base + 4) >> 3) + 12, 0, COARSE - 1),
              around = clamp(((w->around - w->level + 4) >> 3) + 8, 0, ABOUT - 1),
              column = clamp(((w->by_column - base + 4) >> 3) + 12, 0, COARSE - 1);
    counter *const inputs[INPUTS] = {by_estimate, &l->by_around[question][slot][local * (int)ABOUT + around],
                                     &l->by_column[question][slot][column * (int)SECONDS + (int)w->second], by_last};
    mixer *m = &l->octave_mixers[question][slot * 4 + (unsigned)clamp((estimate + 16) >> 4, 0, 3)];
    return mix_bit(&c->tables, coding, inputs, m, bit, decoding);
}

INLINE unsigned code_sign(lattice_coder *c, coder *coding, const weight *w, int octave, unsigned bit, bool mixed,
                          bool decoding)
{
    learnt *l = &c->learnt;
    if (c->shape.plain_signs) return code_bit(coding, bit, 32768, decoding);
    const int size = clamp(((w->estimate - 16 * (octave - 1) + 8) >> 4) + 1, 0, 3);
    const int last = w->sign_last + 1, second = w->sign_second + 1, above = w->sign_above + 1,
              column = w->sign_column + 1;
    counter *by_row = &l->sign_row[(last * 9 + above * 3 + second) * 4 + size],
            *by_place = &l->sign_place[w->place * 9 + (unsigned)(column * 3 + last)];
    if (!mixed) return mean_bit(&c->tables, coding, by_row, by_place, bit, decoding);
    counter *const inputs[INPUTS] = {by_row, by_place, &l->sign_sum[((last + second) * 3 + above) * 4 + size],
                                     &l->sign_near[last * 27 + second * 9 + above * 3 + column]};
    return mix_bit(&c->tables, coding, inputs, &l->sign_mixers[size], bit, decoding);
}

/* The number of binary digits, from the expected one up or down. */
INLINE unsigned code_octave(lattice_coder *c, coder *coding, const weight *w, unsigned wanted, bool mixed,
                            bool decoding)
{
    unsigned o = (unsigned)clamp((w->estimate + 20) >> 4, 0, 14);
    if (ask(c, coding, w, LARGER, o, wanted > o, mixed, decoding)) {
        for (o++; o < LATTICE_OCTAVES && !ask(c, coding, w, UP, o, wanted == o, mixed, decoding); o++) {}
    } else {
        for (; o > 0 && !ask(c, coding, w, DOWN, o, wanted == o, mixed, decoding); o--) {}
    }
    return o;
}

INLINE int32_t code_index(lattice_coder *c, coder *coding, const weight *w, int32_t index, bool mixed, bool decoding)
{
    const uint32_t m = (uint32_t)(index < 0 ? -index : index);
    const unsigned octave = code_octave(c, coding, w, m ? 32 - (unsigned)__builtin_clz(m) : 0, mixed, decoding);
    if (!octave) return 0;
    uint32_t found = 1;
    unsigned left = octave - 1;
    if (left) {
        const unsigned upper = ask(c, coding, w, UPPER, octave, m >> --left & 1, mixed, decoding);
        found = 2 | upper;
        if (left) {
            const unsigned lower =
                ask(c, coding, w, upper ? LOWER_1 : LOWER_0, octave, m >> (left - 1) & 1, mixed, decoding);
            found = found << 1 | lower;
            left--;
        }
    }
    while (left > 0) {
        left--;
        found = found << 1 | code_bit(coding, m >> left & 1, 32768, decoding);
    }
    return code_sign(c, coding, w, (int)octave, index < 0, mixed, decoding) ? -(int32_t)found : (int32_t)found;
}

/* ---- kernels */

INLINE unsigned code_dead(lattice_coder *c, coder *coding, const channel *ch, bool before, unsigned filter_dead,
                          unsigned filter_kernels, unsigned dead, bool decoding)
{
    const unsigned filter = 8 * filter_dead / (filter_kernels + 1), column = 8 * ch->dead / (ch->kernels + 1);
    return mean_bit(&c->tables, coding, &c->learnt.dead_near[before * 4u + ch->past],
                    &c->learnt.dead_share[filter * 8 + column], dead, decoding);
}

/* What is known of all, of the filter and of the channel. */
INLINE void look_around(const lattice_coder *c, uint64_t filter_sum, uint32_t filter_count, outlook *o)
{
    o->mean = c->sum / c->count;
    if (!o->mean) o->mean = 1;
    o->all = lg(o->mean);
    o->filter = lg_mean(filter_sum, filter_count, 6, o->mean);
}

INLINE void remember(lattice_coder *c, channel *ch, const weight *w, uint32_t m, uint64_t *filter_sum)
{
    const uint64_t sixteenths = 16 * (uint64_t)m;
    c->sum += sixteenths;
    c->count++;
    c->place_sum[w->place] += sixteenths;
    c->place_count[w->place]++;
    ch->sum += sixteenths;
    ch->count++;
    *filter_sum += sixteenths;
}

typedef struct walk {
    uint64_t channel, shared, filter_sum; /* shared: the channel whose memory it has */
    uint32_t filter_count, filter_dead, filter_kernels;
    bool before_dead;
    const int32_t *before; /* the last kernel that was not dead; NULL: there is none */
    recent recent;
    outlook outlook;
    unsigned state; /* of the trellis */
} walk;

INLINE void code_kernel(lattice_coder *c, coder *coding, walk *k, int32_t *indices, bool mixed, bool decoding)
{
    const uint64_t size = c->shape.k, row = c->shape.row;
    channel *ch = &c->channel[k->shared];
    int16_t *last = c->last + k->shared * size;
    k->outlook.column = lg_mean(ch->sum, ch->count, 6, k->outlook.mean);
    int deviation = 0;
    for (uint64_t s = 0; s < size; s++) {
        weight w;
        const int32_t above = row && s >= row ? indices[s - row] : size > 1 ? k->recent.b : k->recent.c;
        const int32_t before = size == 1 ? k->recent.b : k->before ? k->before[s] : 0;
        w.odd = k->state & 1;
        look(c, &k->outlook, &k->recent, s, above, before, last[s], deviation, (unsigned)s, &w);
        const int32_t index = code_index(c, coding, &w, decoding ? 0 : indices[s], mixed, decoding);
        const uint32_t m = magnitude(index);
        indices[s] = index;
        deviation += depth(c, m) - w.level + 6;
        k->recent = (recent){index, k->recent.a, k->recent.b};
        last[s] = (int16_t)(index < 0 ? -(int32_t)m : (int32_t)m);
        remember(c, ch, &w, m, &k->filter_sum);
        if (c->shape.trellis) k->state = lattice_next(k->state, index);
    }
    k->filter_count += (uint32_t)size;
    k->before = indices;
}

INLINE bool code_whether_dead(lattice_coder *c, coder *coding, walk *k, bool dead, bool decoding)
{
    channel *ch = &c->channel[k->shared];
    dead = code_dead(c, coding, ch, k->before_dead, k->filter_dead, k->filter_kernels, dead, decoding);
    ch->past = (uint8_t)((ch->past << 1 & 2) | dead);
    ch->dead += dead;
    ch->kernels++;
    k->filter_dead += dead;
    k->filter_kernels++;
    k->before_dead = dead;
    return dead;
}

#define ROW_REFRESH 8u /* kernels of one weight: what is known of the filter is looked up every so many */

INLINE void code_kernels(lattice_coder *c, uint64_t first, uint64_t n, int32_t *indices, uint8_t *dead, bool mixed,
                         bool decoding)
{
    coder coding = c->coder;
    const uint64_t size = c->shape.k, channels = c->shape.channels;
    walk k = {.channel = first % channels};
    k.shared = k.channel % c->channels;
    for (uint64_t i = 0; i < n; i++, indices += size) {
        if (k.channel == channels) {
            k.channel = k.shared = k.filter_sum = 0;
            k.filter_count = k.filter_dead = k.filter_kernels = 0;
            k.before_dead = false;
        }
        if (size > 1 || k.channel % ROW_REFRESH == 0 || !i) look_around(c, k.filter_sum, k.filter_count, &k.outlook);
        if (size > 1) {
            dead[i] = code_whether_dead(c, &coding, &k, dead[i], decoding);
            if (dead[i] && decoding) memset(indices, 0, (size_t)size * sizeof *indices);
        }
        if (size == 1 || !dead[i]) code_kernel(c, &coding, &k, indices, mixed, decoding);
        k.channel++;
        if (++k.shared == c->channels) k.shared = 0;
    }
    c->coder = coding;
}

size_t lattice_encode_chunk(lattice_coder *c, uint64_t first, uint64_t n, int32_t *indices, uint8_t *dead, uint8_t *dst,
                            size_t capacity)
{
    begin(c);
    coder_begin_writing(&c->coder, dst, capacity);
    if (c->shape.mixed)
        code_kernels(c, first, n, indices, dead, true, false);
    else
        code_kernels(c, first, n, indices, dead, false, false);
    const size_t bytes = coder_end_writing(&c->coder);
    return c->coder.overfull ? SIZE_MAX : bytes;
}

bool lattice_decode_chunk(lattice_coder *c, uint64_t first, uint64_t n, int32_t *indices, uint8_t *dead,
                          const uint8_t *src, size_t bytes)
{
    begin(c);
    coder_begin_reading(&c->coder, src, bytes);
    if (c->shape.mixed)
        code_kernels(c, first, n, indices, dead, true, true);
    else
        code_kernels(c, first, n, indices, dead, false, true);
    return coder_ended(&c->coder);
}
