/* An index by questions: is it larger than expected, how many binary digits has it, which are the first two of them, what
 * is its sign. A bit's probability is what four counters say, mixed (bits.h). FORMAT.md, sections 9.3 and 9.4. */
#ifndef FPR_LATTICE_QUESTIONS_H
#define FPR_LATTICE_QUESTIONS_H

#include "pack/lattice_inner.h"

#define SEEN_OCTAVE 16u
#define SEEN_DIGIT 32u

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

static counter prior(unsigned question, unsigned slot, int half_octaves)
{
    const unsigned octave = slot < 8 ? slot : slot - 8, last = prior_rows[question].last;
    const unsigned first = prior_rows[question].first, o = octave < first ? first : octave > last ? last : octave;
    const unsigned seen = question < UPPER ? SEEN_OCTAVE : SEEN_DIGIT;
    return (counter)priors[prior_rows[question].row + o - first][clamp(half_octaves + 10, 0, 20)] << 20 | seen;
}

static inline void begin_questions(lattice_coder *c)
{
    learnt *l = &c->learnt;
    for (unsigned q = 0; q < QUESTIONS; q++)
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            for (int i = 0; i < (int)FINE; i++) l->by_estimate[q][slot][i] = prior(q, slot, i / 2 - 10);
            for (int i = 0; i < (int)COARSE; i++) {
                const counter p = prior(q, slot, i - 12);
                set(&l->by_last[q][slot][i * (int)NEAR], NEAR, p);
                set(&l->by_around[q][slot][i * (int)ABOUT], ABOUT, p);
                set(&l->by_column[q][slot][i * (int)SECONDS], SECONDS, p);
            }
        }
}

static inline void begin_mixed(lattice_coder *c)
{
    learnt *l = &c->learnt;
    begin_questions(c);
    begin_signs(&l->signs);
    begin_dead(l->dead_near, l->dead_share);
    set_mixers(&l->octave_mixers[0][0], QUESTIONS * SLOTS * 4);
}

INLINE int trace_sign_of(int trace) { return (trace > 0) - (trace < 0) + 1; }

INLINE void look(const lattice_coder *c, const outlook *o, int place_lg, const recent *r, uint64_t s, const neighbours *b, int deviation, how h, weight *w)
{
    w->place = (unsigned)(s < PLACES ? s : PLACES - 1);
    w->by_column = o->filter + o->column - o->all - 64;
    w->level = clamp(w->by_column + (h.spatial ? place_lg - o->all : 0), LEVEL_LEAST, LEVEL_MOST);
    w->last = r->depth_a;
    const uint32_t near = 2 * absolute(b->column) + absolute(r->a) + absolute(b->above) + absolute(b->before);
    w->around = lg((near * UINT64_C(13107) >> 12) + 2) - 64;
    if (h.spatial) {
        w->local = w->level + (deviation * c->tables->shares[s] >> 16);
        w->second = w->place < SECONDS ? w->place : SECONDS - 1;
    } else {
        w->local = w->level + (((int)(w->last + r->depth_b) - 2 * w->level) * 13107 >> 16);
        w->second = (unsigned)clamp(((o->column - o->all + 4) >> 3) + 16, 0, 31);
    }
    w->estimate = (2 * w->local + w->level + w->around + 2) >> 2;
    w->sign_last = trace_sign_of(r->a);
    w->sign_second = trace_sign_of(r->b);
    w->sign_above = trace_sign_of(b->above);
    w->sign_column = trace_sign_of(b->column);
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
                                                   clamp((((int)w->last - w->level + 8) >> 4) + 5, 0, NEAR - 1)];
    const int local = clamp(((w->local - base + 4) >> 3) + 12, 0, COARSE - 1),
              around = clamp(((w->around - w->level + 4) >> 3) + 8, 0, ABOUT - 1),
              column = clamp(((w->by_column - base + 4) >> 3) + 12, 0, COARSE - 1);
    counter *const inputs[INPUTS] = {by_estimate, &l->by_around[question][slot][local * (int)ABOUT + around],
                                     &l->by_column[question][slot][column * (int)SECONDS + (int)w->second], by_last};
    mixer *m = &l->octave_mixers[question][slot * 4 + (unsigned)clamp((estimate + 16) >> 4, 0, 3)];
    return mix_bit(c->bits, coding, inputs, m, bit, decoding);
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

INLINE coded code_index(lattice_coder *c, both *either, const weight *w, int32_t index, how h)
{
    coder *coding = &either->bits;
    const bool decoding = h.decoding;
    const uint32_t m = absolute(index);
    const unsigned octave = code_octave(c, coding, w, m ? 32 - (unsigned)__builtin_clz(m) : 0, decoding);
    if (!octave) return CODED_NOTHING;
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
    return coded_as(c->tables, found, code_sign(c->bits, &c->learnt.signs, either, w, (int)octave, index < 0, h));
}

#endif
