/* Along the kernels of a chunk: what is known around each weight, and what is learnt from it. FORMAT.md, section 9.2. Each
 * source that includes it makes of it the ways that it wants, for one level of instructions. */
#ifndef FPR_LATTICE_WALK_H
#define FPR_LATTICE_WALK_H

#include "pack/lattice_questions.h"
#include "pack/lattice_tokens.h"

typedef struct walk {
    uint64_t channel, shared;      /* shared: the channel whose memory it has */
    uint64_t sum, count;           /* of all magnitudes, in sixteenths */
    uint64_t filter_sum;
    uint32_t filter_count, filter_dead, filter_kernels;
    uint64_t coded; /* kernels of the chunk that were not dead */
    bool before_dead;
    recent recent;
    outlook outlook;
    int32_t worth[CLUES]; /* blended */
    unsigned state; /* of the trellis */
    unsigned now;   /* whose traces are those of this kernel */
} walk;

/* ---- dead kernels */

/* 8 x / (n + 1), x <= n. */
INLINE unsigned eighths(const lattice_tables *t, uint32_t x, uint32_t n)
{
    return n < SMALL ? (unsigned)(8 * (uint64_t)x * t->reciprocals[n] >> 32) : (unsigned)(8 * (uint64_t)x / ((uint64_t)n + 1));
}

INLINE unsigned code_dead(lattice_coder *c, both *coding, const channel *ch, bool before, unsigned filter_dead,
                          unsigned filter_kernels, unsigned dead, how h)
{
    const bool quick = h.way == LATTICE_QUICK, mixed = h.way == LATTICE_MIXED;
    counter *near = quick ? c->quick.dead_near : mixed ? c->learnt.dead_near : c->blended.dead_near;
    counter *share = quick ? c->quick.dead_share : mixed ? c->learnt.dead_share : c->blended.dead_share;
    const unsigned filter = eighths(c->tables, filter_dead, filter_kernels), column = eighths(c->tables, ch->dead, ch->kernels);
    return mean_bit(c, coding, &near[before * 4u + ch->past], &share[filter * 8 + column], dead, h);
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

/* ---- weights */

/* What is known of all, of the filter and of the channel. */
INLINE void look_around(walk *k)
{
    outlook *o = &k->outlook;
    /* A chunk has fewer than 2^32 weights. */
    o->mean = k->sum >> 32 ? k->sum / k->count : (uint32_t)k->sum / (uint32_t)k->count;
    if (!o->mean) o->mean = 1;
    o->all = lg(o->mean);
    o->filter = lg_mean(k->filter_sum, k->filter_count, 6, o->mean);
}

/* s: weights of this kernel so far. Places from the last one on are one, seen more than once in a kernel. */
INLINE int lg_of_place(const lattice_coder *c, const walk *k, unsigned place, uint64_t s)
{
    const uint64_t size = c->shape.k, often = place == PLACES - 1 && size > PLACES ? size - (PLACES - 1) : 1;
    return lg_mean(c->place_sum[place], k->coded * often + (s > place ? s - place : 0), 8, k->outlook.mean);
}

INLINE coded code_weight(lattice_coder *c, const lattice_tables *t, both *coding, walk *k, weight *w, const neighbours *b,
                         uint64_t s, int deviation, int older, int level, int32_t given, how h)
{
    if (h.way == LATTICE_QUICK) {
        look_quickly(c, t, level, &k->recent, s, b, older, h, w);
        return code_tokens(c, t, &coding->tokens, w, given, h);
    }
    if (h.way == LATTICE_BLENDED) {
        look_for_clues(c, t, &k->outlook, &k->recent, s, b, deviation, k->worth, h, w);
        return code_blended(c, t, coding, w, &k->recent, b, given, h);
    }
    look(c, &k->outlook, h.spatial ? lg_of_place(c, k, s < PLACES ? s : PLACES - 1, s) : 0, &k->recent, s, b, deviation, h, w);
    return code_index(c, coding, w, given, h);
}

/* The trace of an index. */
INLINE int16_t remember(walk *k, const weight *w, coded x, how h)
{
    const int16_t trace = trace_of(x, h.way);
    const recent *r = &k->recent;
    if (h.way == LATTICE_BLENDED) weigh_clues(k->worth, w, (int)x.depth);
    k->recent = (recent){trace, r->a, r->b, x.depth, r->depth_a, r->depth_b};
    return trace;
}

INLINE void add_up(walk *k, uint64_t sum, uint64_t weights)
{
    k->sum += sum;
    k->count += weights;
    k->filter_sum += sum;
    k->filter_count += (uint32_t)weights;
}

INLINE void begin_filter(walk *k)
{
    k->channel = k->shared = k->filter_sum = 0;
    k->filter_count = k->filter_dead = k->filter_kernels = 0;
    k->before_dead = false;
}

/* ---- a chunk on its way */

typedef struct stream {
    lattice_coder *c;
    const lattice_tables *tables;
    both coding;
    walk walk;
    uint64_t i, n; /* kernels done, and of the chunk */
    int32_t *indices; /* of kernel i */
    uint8_t *dead;
} stream;

/* A weight, given that which is known of its kernel: s-th of a kernel, or i-th of a run along a row. */
INLINE coded code_next(stream *t, weight *w, const neighbours *b, uint64_t s, int deviation, int older, int level, int32_t *at, how h)
{
    walk *k = &t->walk;
    w->odd = h.trellis ? k->state & 1 : 0;
    const coded x = code_weight(t->c, t->tables, &t->coding, k, w, b, s, deviation, older, level, h.decoding ? 0 : *at, h);
    *at = h.decoding && h.trellis ? lattice_point_of(k->state, x.index) : x.index;
    if (h.trellis) k->state = lattice_next(k->state, x.index);
    return x;
}

/* ---- kernels of many weights */

#define PLACES_REFRESH 8u /* kernels */

typedef struct kernel {
    channel *channel;
    int16_t *last, *now;
    const int16_t *before;
    int level, deviation, older; /* older: the deviation without the last weight */
    uint64_t sum;
} kernel;

INLINE kernel begin_kernel(stream *t, how h)
{
    lattice_coder *c = t->c;
    walk *k = &t->walk;
    outlook *o = &k->outlook;
    channel *ch = &c->channel[k->shared];
    look_around(k);
    o->column = lg_mean(ch->sum, ch->count, 6, o->mean);
    if (h.way != LATTICE_MIXED && k->coded % PLACES_REFRESH == 0)
        for (unsigned p = 0; p < PLACES && p < c->shape.k; p++) c->place_lg[p] = lg_of_place(c, k, p, 0);
    return (kernel){.channel = ch,
                    .last = c->last + k->shared * c->shape.k,
                    .now = c->traces[k->now],
                    .before = c->traces[k->now ^ 1],
                    .level = o->filter + o->column - 64 - 2 * o->all};
}

INLINE void code_in_kernel(stream *t, kernel *e, uint64_t s, how h)
{
    lattice_coder *c = t->c;
    const uint64_t row = c->shape.row;
    const neighbours b = {row && s >= row ? e->now[s - row] : t->walk.recent.b, e->before[s], e->last[s]};
    weight w;
    w.weigh = s % 4 == 1;
    const coded x = code_next(t, &w, &b, s, e->deviation, e->older, e->level, &t->indices[s], h);
    e->now[s] = e->last[s] = remember(&t->walk, &w, x, h);
    e->older = e->deviation;
    e->deviation += (int)x.depth - w.level + 6;
    c->place_sum[w.place] += 16 * (uint64_t)x.magnitude;
    e->sum += 16 * (uint64_t)x.magnitude;
}

INLINE void next_kernel(stream *t)
{
    walk *k = &t->walk;
    t->i++;
    t->indices += t->c->shape.k;
    k->channel++;
    if (++k->shared == t->c->channels) k->shared = 0;
}

INLINE void end_kernel(stream *t, const kernel *e)
{
    walk *k = &t->walk;
    e->channel->sum += e->sum;
    e->channel->count += (uint32_t)t->c->shape.k;
    add_up(k, e->sum, t->c->shape.k);
    k->now ^= 1;
    k->coded++;
    next_kernel(t);
}

/* Whether there is one that is not dead. */
INLINE bool find_kernel(stream *t, how h)
{
    walk *k = &t->walk;
    for (; t->i < t->n; next_kernel(t)) {
        uint8_t *dead = &t->dead[t->i];
        const unsigned state = *dead >> 1;
        if (k->channel == t->c->shape.channels) begin_filter(k);
        *dead = code_whether_dead(t->c, &t->coding, k, *dead & 1, h);
        if (!*dead) return true;
        if (h.way == LATTICE_BLENDED && t->c->shape.resumed) {
            k->state = token_raw(&t->coding.tokens, state, 3, h.decoding);
            *dead = (uint8_t)(1 | k->state << 1);
        }
        if (h.decoding) memset(t->indices, 0, (size_t)t->c->shape.k * sizeof *t->indices);
    }
    return false;
}

INLINE void code_kernels(stream *t, how h)
{
    while (find_kernel(t, h)) {
        kernel e = begin_kernel(t, h);
        for (uint64_t s = 0; s < t->c->shape.k; s++) code_in_kernel(t, &e, s, h);
        end_kernel(t, &e);
    }
}

/* ---- kernels of one weight */

#define ROW_REFRESH 8u /* kernels: what is known of the filter is looked up every so many */

typedef struct run {
    channel *channel;
    int16_t *last;
    uint64_t sum, most; /* most: how long it may be */
} run;

INLINE run begin_run(stream *t)
{
    const lattice_coder *c = t->c;
    walk *k = &t->walk;
    if (k->channel == c->shape.channels) begin_filter(k);
    if (k->channel % ROW_REFRESH == 0 || !t->i) look_around(k);
    uint64_t most = ROW_REFRESH - k->channel % ROW_REFRESH;
    if (most > t->n - t->i) most = t->n - t->i;
    if (most > c->shape.channels - k->channel) most = c->shape.channels - k->channel;
    if (most > c->channels - k->shared) most = c->channels - k->shared;
    return (run){&c->channel[k->shared], c->last + k->shared, 0, most};
}

INLINE void code_in_run(stream *t, run *e, uint64_t i, how h)
{
    walk *k = &t->walk;
    channel *ch = &e->channel[i];
    outlook *o = &k->outlook;
    const neighbours b = {k->recent.c, k->recent.b, e->last[i]};
    weight w;
    w.weigh = (k->channel + i) % 4 == 1;
    /* lg_mean */
    const int of_count = __builtin_expect(ch->count < SMALL, 1) ? t->tables->counts[ch->count] : lg_positive((uint64_t)ch->count + 6);
    o->column = lg_positive(ch->sum + 6 * o->mean) - of_count;
    const coded x = code_next(t, &w, &b, 0, 0, 0, o->filter + o->column - 64 - o->all, &t->indices[i], h);
    e->last[i] = remember(k, &w, x, h);
    ch->sum += 16 * (uint64_t)x.magnitude;
    ch->count++;
    e->sum += 16 * (uint64_t)x.magnitude;
}

INLINE void end_run(stream *t, const run *e, uint64_t n)
{
    walk *k = &t->walk;
    add_up(k, e->sum, n);
    t->i += n;
    t->indices += n;
    k->channel += n;
    k->shared += n;
    if (k->shared == t->c->channels) k->shared = 0;
}

INLINE void code_rows(stream *t, how h)
{
    while (t->i < t->n) {
        run e = begin_run(t);
        for (uint64_t i = 0; i < e.most; i++) code_in_run(t, &e, i, h);
        end_run(t, &e, e.most);
    }
}

/* ---- chunks */

INLINE stream begin_stream(lattice_coder *c, const lattice_chunk *chunk, lattice_way way)
{
    const int none = trace_of(CODED_NOTHING, way);
    stream t = {.c = c, .tables = c->tables, .coding = {c->coder, c->tokens}, .n = chunk->n, .indices = chunk->indices, .dead = chunk->dead};
    walk *k = &t.walk;
    k->channel = chunk->first % c->shape.channels;
    k->shared = k->channel % c->channels;
    k->sum = c->begin_sum;
    k->count = 4;
    k->recent = (recent){none, none, none, NO_DEPTH, NO_DEPTH, NO_DEPTH};
    memcpy(k->worth, clues_first, sizeof k->worth);
    return t;
}

INLINE void end_stream(const stream *t)
{
    t->c->coder = t->coding.bits;
    t->c->tokens = t->coding.tokens;
}

INLINE void code_way(lattice_coder *c, const lattice_chunk *chunk, lattice_way way, bool trellis, bool decoding)
{
    stream t = begin_stream(c, chunk, way);
    if (c->shape.k > 1) code_kernels(&t, (how){way, decoding, true, trellis});
    else code_rows(&t, (how){way, decoding, false, trellis});
    end_stream(&t);
}

#endif
