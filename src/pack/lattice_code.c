/* An index is told by a few questions (lattice_questions.h), or by one symbol and a few bits as they are (lattice_tokens.h).
 * What is expected is a magnitude, learned from the weights around: of its filter, its channel and its place in the kernel,
 * of the kernel so far, and of the same place in neighbouring kernels.
 *
 * Counters and models begin with what a normal distribution of that magnitude would have them say, so that small tensors
 * need not learn it. Everything is in integers: the same bytes on every machine. */
#include "pack/lattice_code.h"
#include "pack/lattice_questions.h"
#include "pack/lattice_tokens.h"

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

static void begin(lattice_coder *c)
{
    if (c->shape.way == LATTICE_QUICK) begin_tokens(&c->quick);
    else if (c->shape.way == LATTICE_BLENDED) begin_blended(&c->blended);
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

/* ---- kernels */

INLINE unsigned code_dead(lattice_coder *c, both *coding, const channel *ch, bool before, unsigned filter_dead,
                          unsigned filter_kernels, unsigned dead, how h)
{
    const bool quick = h.way == LATTICE_QUICK, mixed = h.way == LATTICE_MIXED;
    counter *near = quick ? c->quick.dead_near : mixed ? c->learnt.dead_near : c->blended.dead_near;
    counter *share = quick ? c->quick.dead_share : mixed ? c->learnt.dead_share : c->blended.dead_share;
    const unsigned filter = 8 * filter_dead / (filter_kernels + 1), column = 8 * ch->dead / (ch->kernels + 1);
    return mean_bit(c, coding, &near[before * 4u + ch->past], &share[filter * 8 + column], dead, h);
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
    int32_t worth[CLUES]; /* blended */
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
    if (h.way != LATTICE_MIXED && h.spatial && k->coded++ % PLACES_REFRESH == 0)
        for (unsigned p = 0; p < PLACES && p < size; p++) c->place_lg[p] = lg_of_place(c, p, k->outlook.mean);
    for (uint64_t s = 0; s < size; s++) {
        weight w;
        const int32_t above = row && s >= row ? indices[s - row] : h.spatial ? r.b : r.c;
        const int32_t before = !h.spatial ? r.b : k->before ? k->before[s] : 0;
        w.odd = state & 1;
        w.weigh = (h.spatial ? s : k->channel) % 4 == 1;
        if (h.way == LATTICE_QUICK) look_quickly(c, &k->outlook, &r, s, above, before, last[s], older, h, &w);
        else if (h.way == LATTICE_BLENDED)
            look_for_clues(c, &k->outlook, &r, s, above, before, last[s], deviation, k->worth, h, &w);
        else look(c, &k->outlook, &r, s, above, before, last[s], deviation, (unsigned)s, h, &w);
        older = deviation;
        const int32_t given = h.decoding ? 0 : indices[s];
        const int32_t index = h.way == LATTICE_QUICK   ? code_tokens(c, &coding->tokens, &w, given, h.decoding)
                              : h.way == LATTICE_MIXED ? code_index(c, coding, &w, given, h)
                                                       : code_blended(c, coding, &w, given, h);
        const uint32_t m = magnitude(index);
        indices[s] = index;
        const int deep = depth(c, m);
        deviation += deep - w.level + 6;
        if (h.way == LATTICE_BLENDED) weigh_clues(k->worth, &w, deep);
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

INLINE bool code_whether_dead(lattice_coder *c, both *coding, walk *k, bool dead, how h)
{
    channel *ch = &c->channel[k->shared];
    dead = code_dead(c, coding, ch, k->before_dead, k->filter_dead, k->filter_kernels, dead, h);
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
    memcpy(k.worth, clues_first, sizeof k.worth);
    k.shared = k.channel % c->channels;
    for (uint64_t i = 0; i < n; i++, indices += size) {
        if (k.channel == channels) {
            k.channel = k.shared = k.filter_sum = 0;
            k.filter_count = k.filter_dead = k.filter_kernels = 0;
            k.before_dead = false;
        }
        if (h.spatial || k.channel % ROW_REFRESH == 0 || !i) look_around(c, k.filter_sum, k.filter_count, &k.outlook);
        if (h.spatial) {
            const unsigned state = dead[i] >> 1;
            dead[i] = code_whether_dead(c, &coding, &k, dead[i] & 1, h);
            if (dead[i] && h.way == LATTICE_BLENDED && c->shape.resumed) {
                k.state = token_raw(&coding.tokens, state, 3, h.decoding);
                dead[i] = (uint8_t)(1 | k.state << 1);
            }
            if (dead[i] && h.decoding) memset(indices, 0, (size_t)size * sizeof *indices);
        }
        if (!h.spatial || !dead[i]) code_kernel(c, &coding, &k, indices, h);
        k.channel++;
        if (++k.shared == c->channels) k.shared = 0;
    }
    c->coder = coding.bits;
    c->tokens = coding.tokens;
}

INLINE void code_way(lattice_coder *c, uint64_t first, uint64_t n, int32_t *indices, uint8_t *dead, lattice_way way, bool decoding)
{
    if (c->shape.k > 1) code_kernels(c, first, n, indices, dead, (how){way, decoding, true});
    else code_kernels(c, first, n, indices, dead, (how){way, decoding, false});
}

INLINE void code_all(lattice_coder *c, uint64_t first, uint64_t n, int32_t *indices, uint8_t *dead, bool decoding)
{
    if (c->shape.way == LATTICE_QUICK) code_way(c, first, n, indices, dead, LATTICE_QUICK, decoding);
    else if (c->shape.way == LATTICE_BLENDED) code_way(c, first, n, indices, dead, LATTICE_BLENDED, decoding);
    else code_way(c, first, n, indices, dead, LATTICE_MIXED, decoding);
}

size_t lattice_encode_chunk(lattice_coder *c, uint64_t first, uint64_t n, int32_t *indices, uint8_t *dead, uint8_t *dst,
                            size_t capacity)
{
    begin(c);
    if (c->shape.way != LATTICE_MIXED) {
        tokens_begin_writing(&c->tokens, c->events, c->raw, c->raw_most);
        code_all(c, first, n, indices, dead, false);
        return tokens_end_writing(&c->tokens, dst, capacity);
    }
    coder_begin_writing(&c->coder, dst, capacity);
    code_all(c, first, n, indices, dead, false);
    const size_t bytes = coder_end_writing(&c->coder);
    return c->coder.overfull ? SIZE_MAX : bytes;
}

bool lattice_decode_chunk(lattice_coder *c, uint64_t first, uint64_t n, int32_t *indices, uint8_t *dead,
                          const uint8_t *src, size_t bytes)
{
    begin(c);
    if (c->shape.way != LATTICE_MIXED) {
        if (!tokens_begin_reading(&c->tokens, src, bytes)) return false;
        code_all(c, first, n, indices, dead, true);
        return tokens_ended(&c->tokens);
    }
    coder_begin_reading(&c->coder, src, bytes);
    code_all(c, first, n, indices, dead, true);
    return coder_ended(&c->coder);
}
