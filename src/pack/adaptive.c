/* Every bit of a head is foretold by four counters, each of which looks at the weights before in its own way. Their
 * opinions are mixed in the logistic domain, by weights that learn which of them is right (Mahoney, "Adaptive weighing
 * of context models for lossless data compression", 2005), and the bit is coded with the probability that results.
 *
 * Magnitudes are measured as depths below the largest exponent and foretold relative to what is expected here: by
 * filter, channel and place in the kernel, and by the weights around. So a handful of weights is enough to learn from.
 * Everything is in integers: the same bytes on every machine. */
#include "pack/adaptive.h"
#include "pack/bits.h"

#define OCTAVE 16              /* depths are in sixteenths of an octave */
#define DEPTHS 255u            /* octaves told apart in steps of one; deeper exponents are written out */
#define DEEPEST (255 * OCTAVE) /* what a deeper weight counts as */
#define NOTHING (24 * OCTAVE)  /* what a zero counts as */
#define USUAL (3 * OCTAVE)     /* what is expected before anything was seen */
#define RING 4096u             /* weights remembered: ADAPTIVE_ABOVE squared */
#define PLACES 64u             /* places in a kernel told apart; those past the last are one with it */

/* How often what a counter begins with counts as seen. */
#define PRIOR_DEPTH 16u
#define PRIOR_MANTISSA 64u
#define PRIOR_BY_DEPTH 1u
#define EVEN (UINT32_C(1) << 31 | 1)

/* ---- state */

/* The questions about a magnitude: is it deeper than expected; going down or up from there, is it this octave; and its
 * mantissa bits, the lower one by what the upper one is. */
enum { NODE_FIRST, NODE_DOWN, NODE_UP, NODE_UPPER, NODE_LOWER_0, NODE_LOWER_1, NODES };

typedef struct column {
    uint32_t sum, count; /* depths in the channel; used in its first column */
    uint16_t depth;      /* of the weight of the filter before; 0: there was none */
    int16_t sign;
} column;

typedef struct learnt {
    counter by_level[NODES][96], by_around[NODES][48 * 16], by_depth[NODES][DEPTHS + 1], by_filter[NODES][48 * PLACES];
    counter zero_around[16], zero_place[PLACES], zero_row[4], zero_any[1];
    counter sign_last[36], sign_around[27], sign_sum[41 * 4], sign_place[9 * PLACES];
    mixer depth_mixers[16], node_mixers[NODES], zero_mixer[1], sign_mixers[4];
} learnt;

typedef struct past {
    uint64_t filter; /* of the last weight */
    size_t count;    /* weights so far */
    /* sums of depths, and of how many */
    uint32_t sum, sum_of, filter_sum, filter_of, kernel_sum, kernel_of;
    uint32_t place_sums[PLACES], place_of[PLACES];
    int32_t kernel_signs;
    uint16_t depths[RING];
    int16_t signs[RING]; /* -1, 1; 0 before the first */
} past;

struct adaptive {
    adaptive_shape shape;
    const bit_tables *tables;
    coder coder;
    learnt learnt;
    past past;
    uint64_t column_count; /* weights of a filter, or 0 when they are too many */
    column columns[];
};

adaptive *adaptive_new(const adaptive_shape *shape)
{
    uint64_t columns;
    if (!base_multiply(shape->channels, shape->k, &columns) || columns > ADAPTIVE_COLUMNS) columns = 0;
    adaptive *a = base_alloc_aligned(1, sizeof *a + columns * sizeof a->columns[0]);
    if (!a) return NULL;
    a->shape = *shape;
    a->column_count = columns;
    a->tables = bit_tables_get();
    return a;
}

static void set_counters(counter *counters, size_t n, counter first)
{
    for (size_t i = 0; i < n; i++) counters[i] = first;
}

/* The probability of a one that the counters of an octave begin with, in 1/4096: that of a normal distribution, by half
 * octaves, from four that the octave lies above the expected depth to four below. */
static const uint16_t priors[NODES][17] = {
    {54, 77, 108, 153, 216, 306, 432, 609, 856, 1197, 1654, 2238, 2912, 3548, 3957, 4080, 4080},
    {2048, 2047, 2047, 2046, 2044, 2039, 2030, 2012, 1977, 1906, 1769, 1512, 1082, 539, 139, 16, 16},
    {55, 78, 111, 159, 227, 328, 474, 690, 1009, 1471, 2109, 2887, 3614, 4013, 4014, 4014, 4014},
    {2048, 2048, 2047, 2046, 2045, 2041, 2035, 2021, 1994, 1941, 1834, 1628, 1250, 682, 520, 480, 460},
    {2048, 2048, 2048, 2047, 2047, 2045, 2042, 2037, 2026, 2003, 1958, 1869, 1694, 1364, 1250, 1200, 1180},
    {2048, 2048, 2048, 2047, 2046, 2044, 2040, 2032, 2017, 1985, 1923, 1798, 1557, 1124, 900, 850, 830}};

static counter prior(unsigned node, int half_octaves, unsigned seen)
{
    return (counter)priors[node][clamp(half_octaves + 8, 0, 16)] << 20 | seen;
}

static void set_node(learnt *l, unsigned node)
{
    const unsigned seen = node < NODE_UPPER ? PRIOR_DEPTH : PRIOR_MANTISSA;
    for (int i = 0; i < 96; i++) l->by_level[node][i] = prior(node, i / 2 - 24, seen);
    for (int i = 0; i < 48; i++) {
        set_counters(&l->by_around[node][i * 16], 16, prior(node, i - 24, seen));
        set_counters(&l->by_filter[node][i * (int)PLACES], PLACES, prior(node, i - 24, seen));
    }
    set_counters(l->by_depth[node], DEPTHS + 1, prior(node, 0, PRIOR_BY_DEPTH));
}

#define SET_EVEN(counters) set_counters(counters, sizeof(counters) / sizeof(counter), EVEN)

static void begin(adaptive *a)
{
    learnt *l = &a->learnt;
    for (unsigned node = 0; node < NODES; node++) set_node(l, node);
    SET_EVEN(l->zero_around);
    SET_EVEN(l->zero_place);
    SET_EVEN(l->zero_row);
    SET_EVEN(l->zero_any);
    SET_EVEN(l->sign_last);
    SET_EVEN(l->sign_around);
    SET_EVEN(l->sign_sum);
    SET_EVEN(l->sign_place);
    set_mixers(l->depth_mixers, 16);
    set_mixers(l->node_mixers, NODES);
    set_mixers(l->zero_mixer, 1);
    set_mixers(l->sign_mixers, 4);
    memset(&a->past, 0, sizeof a->past);
    for (unsigned i = 0; i < RING; i++) a->past.depths[i] = USUAL;
    a->past.filter = UINT64_MAX;
    a->past.sum = 4 * USUAL;
    a->past.sum_of = 4;
    memset(a->columns, 0, a->column_count * sizeof a->columns[0]);
}

/* ---- a bit. What encoder and decoder share is written once, with `decoding` as a constant. */

/* ---- what is expected of the next weight */

typedef struct outlook {
    int level;              /* its depth by filter, channel and place */
    int local;              /* the same, seeing the kernel so far or the weights before */
    int filter;             /* by filter alone */
    int around;             /* depth of its neighbours */
    int last;               /* depth of the weight before */
    unsigned place, second; /* place in the kernel; what by_filter looks at beside the filter */
    int sign_last, sign_second, sign_above, sign_far, sign_row, sign_sum;
    bool zero_last, zero_second, zero_above, zero_row;
} outlook;

/* A mean that `usual` counts in with so many of its kind. */
static inline int mean_of(uint32_t sum, uint32_t count, unsigned weight, int usual)
{
    return (int)((sum + weight * (uint32_t)usual) / (count + weight));
}

INLINE size_t back(const past *p, size_t by) { return (p->count - by) % RING; }

INLINE void look(const adaptive *a, uint64_t s, const column *c, const column *channel, outlook *o)
{
    const past *p = &a->past;
    const bool spatial = a->shape.k > 1;
    const size_t above = a->shape.above, far = above * above;
    const int mean = (int)(p->sum / p->sum_of);
    o->place = (unsigned)(s < PLACES ? s : PLACES - 1);
    o->filter = mean_of(p->filter_sum, p->filter_of, 4, mean);
    const int by_channel = channel ? mean_of(channel->sum, channel->count, 4, mean) : mean;
    const int by_place = spatial ? mean_of(p->place_sums[o->place], p->place_of[o->place], 8, mean) : mean;
    o->level = clamp(o->filter + by_channel + by_place - 2 * mean, 0, DEEPEST);
    o->last = p->depths[back(p, 1)];
    o->sign_last = p->signs[back(p, 1)];
    o->sign_second = p->signs[back(p, 2)];
    const bool has_above = above && (!spatial || s >= above), has_far = above && (!spatial || s >= far);
    const int depth_above = has_above ? p->depths[back(p, above)] : o->last;
    o->sign_above = has_above ? p->signs[back(p, above)] : o->sign_second;
    o->sign_far = p->signs[back(p, has_far ? far : 3)];
    o->sign_row = c ? c->sign : 0;
    if (spatial) {
        o->local = ((int)p->kernel_sum + 3 * o->level) / (int)(p->kernel_of + 3);
        o->around = (o->last + depth_above) / 2;
        o->second = o->place;
        o->sign_sum = p->kernel_signs;
    } else {
        o->local = (o->last + p->depths[back(p, 2)] + 2 * o->level) / 4;
        o->around = c && c->depth ? c->depth : mean;
        o->second = (unsigned)clamp(((by_channel - mean + 4) >> 3) + 16, 0, 31);
        o->sign_sum = o->sign_last + o->sign_second + p->signs[back(p, 3)];
    }
    o->zero_last = o->last == NOTHING;
    o->zero_second = p->depths[back(p, 2)] == NOTHING;
    o->zero_above = depth_above == NOTHING;
    o->zero_row = c && c->depth == NOTHING;
}

/* ---- the bits of a head */

INLINE unsigned code_node(adaptive *a, coder *coding, const outlook *o, unsigned node, unsigned depth, unsigned bit,
                          bool decoding)
{
    learnt *l = &a->learnt;
    const int here = (int)depth * OCTAVE, level = o->level - here, local = o->local - here, filter = o->filter - here;
    const int around =
        clamp(((local + 4) >> 3) + 24, 0, 47) * 16 + clamp(((3 * (o->around - o->level) + 16) >> 5) + 8, 0, 15);
    const unsigned by_filter = (unsigned)clamp(((filter + 4) >> 3) + 24, 0, 47) * PLACES + o->second;
    counter *const inputs[INPUTS] = {&l->by_level[node][clamp(((level + 2) >> 2) + 48, 0, 95)],
                                     &l->by_around[node][around], &l->by_depth[node][depth],
                                     &l->by_filter[node][by_filter]};
    mixer *m = node == NODE_DOWN ? &l->depth_mixers[clamp(((local + 8) >> 4) + 8, 0, 15)] : &l->node_mixers[node];
    return mix_bit(a->tables, coding, inputs, m, bit, decoding);
}

INLINE unsigned code_sign(adaptive *a, coder *coding, const outlook *o, unsigned depth, unsigned bit, bool decoding)
{
    learnt *l = &a->learnt;
    const int size = clamp(((o->level - (int)depth * OCTAVE + 8) >> 4) + 1, 0, 3),
              last = clamp(((o->level - o->last + 8) >> 4) + 1, 0, 2), lean = (o->sign_sum > 0) - (o->sign_sum < 0);
    const int around = (o->sign_last + 1) * 9 + (o->sign_above + 1) * 3 + o->sign_far + 1;
    const int place =
        a->shape.k > 1 ? (int)o->place * 9 + (o->sign_last + 1) * 3 + lean + 1
                       : (o->sign_last + 1) * 27 + (o->sign_second + 1) * 9 + (o->sign_above + 1) * 3 + o->sign_row + 1;
    counter *const inputs[INPUTS] = {&l->sign_last[((o->sign_last + 1) * 3 + last) * 4 + size], &l->sign_around[around],
                                     &l->sign_sum[clamp(o->sign_sum + 20, 0, 40) * 4 + size], &l->sign_place[place]};
    return mix_bit(a->tables, coding, inputs, &l->sign_mixers[size], bit, decoding);
}

INLINE unsigned code_zero(adaptive *a, coder *coding, const outlook *o, unsigned bit, bool decoding)
{
    learnt *l = &a->learnt;
    const unsigned row = o->zero_row * 2u + o->zero_above;
    counter *const inputs[INPUTS] = {&l->zero_around[o->zero_last * 8u + o->zero_second * 4u + row],
                                     &l->zero_place[o->place], &l->zero_row[row], &l->zero_any[0]};
    return mix_bit(a->tables, coding, inputs, l->zero_mixer, bit, decoding);
}

/* From the expected octave down or up, one question each; below the last octave, the exponent itself is written. */
INLINE unsigned code_exponent(adaptive *a, coder *coding, const outlook *o, unsigned exponent, unsigned *depth,
                              bool decoding)
{
    const unsigned top = a->shape.top, wanted = top - exponent;
    *depth = 0;
    if (!top) return 0;
    const unsigned most = top < DEPTHS ? top : DEPTHS;
    unsigned d = (unsigned)clamp(o->local >> 4, 0, (int)most - 1);
    if (code_node(a, coding, o, NODE_FIRST, d, wanted > d, decoding)) {
        d++;
        while (d < most && !code_node(a, coding, o, NODE_DOWN, d, d == wanted, decoding)) d++;
    } else {
        while (d > 0 && !code_node(a, coding, o, NODE_UP, d, d == wanted, decoding)) d--;
    }
    *depth = d;
    if (d < DEPTHS) return top - d;
    unsigned written = 0;
    for (unsigned i = a->shape.exponent_bits; i-- > 0;)
        written |= code_bit(coding, exponent >> i & 1, 32768, decoding) << i;
    return written;
}

INLINE unsigned code_head(adaptive *a, coder *coding, const outlook *o, unsigned head, unsigned *depth, bool decoding)
{
    const unsigned sign_at = a->shape.exponent_bits + ADAPTIVE_MANTISSA;
    unsigned magnitude = head & ((1u << sign_at) - 1), octave;
    if (a->shape.zeros && code_zero(a, coding, o, magnitude == 0, decoding)) {
        *depth = NOTHING;
        return code_sign(a, coding, o, NOTHING / OCTAVE, head >> sign_at, decoding) << sign_at;
    }
    const unsigned exponent = code_exponent(a, coding, o, magnitude >> ADAPTIVE_MANTISSA, &octave, decoding);
    const unsigned upper = code_node(a, coding, o, NODE_UPPER, octave, magnitude >> 1 & 1, decoding);
    const unsigned lower =
        code_node(a, coding, o, upper ? NODE_LOWER_1 : NODE_LOWER_0, octave, magnitude & 1, decoding);
    const unsigned sign = code_sign(a, coding, o, octave, head >> sign_at, decoding);
    *depth = octave * OCTAVE < DEEPEST ? octave * OCTAVE + 14 - 8 * upper - 4 * lower : DEEPEST;
    return sign << sign_at | exponent << ADAPTIVE_MANTISSA | upper << 1 | lower;
}

static inline void remember(adaptive *a, const outlook *o, column *c, column *channel, unsigned depth, int sign)
{
    past *p = &a->past;
    p->depths[p->count % RING] = (uint16_t)depth;
    p->signs[p->count % RING] = (int16_t)sign;
    p->count++;
    p->sum += depth;
    p->sum_of++;
    p->filter_sum += depth;
    p->filter_of++;
    p->kernel_sum += depth;
    p->kernel_of++;
    p->kernel_signs += sign;
    p->place_sums[o->place] += depth;
    p->place_of[o->place]++;
    if (!c) return;
    channel->sum += depth;
    channel->count++;
    c->depth = (uint16_t)depth;
    c->sign = (int16_t)sign;
}

/* heads are read when encoding and written when decoding. */
INLINE void code_heads(adaptive *a, uint64_t place, uint16_t *heads, size_t n, bool decoding)
{
    past *p = &a->past;
    coder coding = a->coder;
    const uint64_t k = a->shape.k, per_filter = a->shape.channels * k;
    uint64_t filter = place / per_filter, within = place % per_filter, s = within % k;
    for (size_t i = 0; i < n; i++) {
        if (s == 0) {
            p->kernel_sum = p->kernel_of = 0;
            p->kernel_signs = 0;
        }
        if (filter != p->filter) {
            p->filter = filter;
            p->filter_sum = p->filter_of = 0;
        }
        column *c = a->column_count ? &a->columns[within] : NULL, *channel = c ? c - s : NULL;
        outlook o;
        look(a, s, c, channel, &o);
        unsigned depth;
        const unsigned head = code_head(a, &coding, &o, decoding ? 0 : heads[i], &depth, decoding);
        if (decoding) heads[i] = (uint16_t)head;
        remember(a, &o, c, channel, depth, head >> (a->shape.exponent_bits + ADAPTIVE_MANTISSA) ? 1 : -1);
        within++;
        if (++s == k) s = 0;
        if (within == per_filter) {
            within = 0;
            filter++;
        }
    }
    a->coder = coding;
}

/* ---- chunks */

void adaptive_begin_encoding(adaptive *a, uint8_t *dst, size_t capacity)
{
    begin(a);
    coder_begin_writing(&a->coder, dst, capacity);
}

void adaptive_begin_decoding(adaptive *a, const uint8_t *src, size_t bytes)
{
    begin(a);
    coder_begin_reading(&a->coder, src, bytes);
}

void adaptive_encode(adaptive *a, uint64_t place, const uint16_t *heads, size_t n)
{
    union {
        const uint16_t *in;
        uint16_t *out;
    } only_read = {.in = heads};
    code_heads(a, place, only_read.out, n, false);
}

void adaptive_decode(adaptive *a, uint64_t place, uint16_t *heads, size_t n) { code_heads(a, place, heads, n, true); }

size_t adaptive_end_encoding(adaptive *a) { return coder_end_writing(&a->coder); }

bool adaptive_end_decoding(const adaptive *a) { return coder_ended(&a->coder); }

unsigned adaptive_find_above(const uint16_t *heads, size_t n, unsigned exponent_bits, uint64_t k)
{
    const unsigned sign_at = exponent_bits + ADAPTIVE_MANTISSA;
    const uint64_t run = k > 1 && k < n ? k : n; /* neighbours are in one kernel, if there are kernels */
    unsigned best = 0;
    double most = 0;
    for (unsigned d = 2; d <= ADAPTIVE_ABOVE && d < run; d++) {
        int64_t lean = 0, pairs = 0;
        for (size_t from = 0; from + run <= n; from += run, pairs += (int64_t)(run - d))
            for (size_t i = from + d; i < from + run; i++) lean += (heads[i] ^ heads[i - d]) >> sign_at ? -1 : 1;
        const double strength = (double)lean * (double)lean / (double)pairs;
        if (strength <= most) continue;
        most = strength;
        best = d;
    }
    return best;
}
