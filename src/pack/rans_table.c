/* The tables of the entropy coder: how frequencies are chosen, written down and read.
 *
 * A table is made of codes, about four times the logarithm of a frequency; FORMAT.md has the rules, all in integers.
 * Choosing them is the encoder's own affair. */
#include "pack/blob.h"

#define RANS_TOTAL (1u << RANS_BITS)
#define WEIGHT_CODES 64u /* 0: absent */

static uint32_t code_weight(unsigned code)
{
    static const uint8_t quarter[4] = {16, 19, 23, 27}; /* 16 * 2^(i/4), rounded */
    return code ? (uint32_t)quarter[(code - 1) & 3] << ((code - 1) >> 2) : 0;
}

/* The code whose weight is nearest. */
static unsigned nearest_code(uint64_t wanted)
{
    unsigned low = 1, high = WEIGHT_CODES - 1;
    while (low < high) { /* the first code whose midpoint to the next lies above what is wanted */
        unsigned middle = (low + high) / 2;
        if (2 * wanted < (uint64_t)code_weight(middle) + code_weight(middle + 1))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* ---- grouped tables
 *
 * The density of weights is smooth, so a table of keys may give the share of whole octaves (grain 2) or half octaves
 * (grain 1) of magnitude, and the keys within are interpolated: the logarithm of the density is linear from the middle
 * of a group to the middle of the next. Everything is in integers, the same on every machine. */

#define GRAINS 3u
#define SLOPE_MOST 16 /* quarter octaves between neighbouring groups */

bool rans_grain_allowed(const rans_keys *keys, unsigned grain)
{
    return grain == 0 || (grain < GRAINS && keys && (keys->mantissa_bits == 2 || keys->mantissa_bits == 3));
}

/* Keys of a group: 2^shift. */
static unsigned group_shift(const rans_keys *keys, unsigned grain)
{
    return grain ? keys->mantissa_bits - (2 - grain) : 0;
}

/* The entry of a table that a symbol belongs to. */
static unsigned entry_of(const rans_keys *keys, unsigned grain, unsigned symbol)
{
    if (!grain || symbol < keys->first) return symbol;
    int shift = (int)group_shift(keys, grain), top = keys->top;
    return keys->first + (unsigned)((top >> shift) - ((top - (int)(symbol - keys->first)) >> shift));
}

/* Where the density is even, each octave downwards holds half as much: the code that is expected after `before`, which
 * is the code of the entry above. */
static int expected_code(const rans_keys *keys, unsigned grain, unsigned entry, int before)
{
    if (!keys || entry <= keys->first) return before;
    unsigned shift = group_shift(keys, grain), octave = keys->mantissa_bits - shift;
    int group = (keys->top >> shift) - (int)(entry - keys->first);
    if ((group >> octave) == ((group + 1) >> octave)) return before;
    return before > 4 ? before - 4 : 0;
}

static int clamp_slope(int quarters)
{
    return quarters > SLOPE_MOST ? SLOPE_MOST : quarters < -SLOPE_MOST ? -SLOPE_MOST : quarters;
}

/* Shares of the keys of one group, ascending, in units that only their ratio matters of. odd: the upper half octave. */
static void group_shares(const uint8_t *codes, unsigned entry, unsigned first, unsigned count, unsigned grain, bool odd,
                         unsigned keys, uint32_t shares[8])
{
    static const uint16_t power[16] = {4096, 4277, 4467, 4664, 4871, 5087, 5312, 5547,
                                       5793, 6049, 6317, 6597, 6889, 7194, 7512, 7845}; /* 4096 * 2^(i/16) */
    int here = codes[entry], lower = entry + 1 < count ? codes[entry + 1] : 0,
        higher = entry > first ? codes[entry - 1] : 0;
    /* difference in density: the neighbour in another octave is twice or half as wide, four quarter octaves */
    int below = lower ? clamp_slope(here - lower - (grain == 2 || !odd ? 4 : 0)) : 0;
    int above = higher ? clamp_slope(higher - here - (grain == 2 || odd ? 4 : 0)) : below;
    /* distance of a key from the middle of the group over that of the neighbour's middle, in 24ths */
    int step_below = (int)((grain == 2 || !odd ? 16 : 12) / keys),
        step_above = (int)((grain == 2 || odd ? 8 : 12) / keys);
    for (unsigned i = 0; i < keys; i++) {
        int place = 2 * (int)i + 1 - (int)keys;
        int log96 = place < 0 ? below * place * step_below : above * place * step_above;
        int log16 = (log96 + 3 + 960) / 6 - 160; /* rounded down */
        shares[i] = (uint32_t)power[log16 & 15] << (4 + ((log16 + 160) >> 4) - 10);
    }
}

/* Weights of all 256 symbols from the codes of the entries. */
static void expand(const uint8_t *codes, unsigned count, const rans_keys *keys, unsigned grain, uint32_t weights[256])
{
    for (unsigned s = 0; s < 256; s++) {
        unsigned entry = entry_of(keys, grain, s);
        weights[s] = entry < count ? code_weight(codes[entry]) << 4 : 0;
        if (!grain || s < keys->first || !weights[s]) continue;
        unsigned shift = group_shift(keys, grain), size = 1u << shift;
        int key = (int)keys->top - (int)(s - keys->first);
        uint32_t shares[8], sum = 0;
        group_shares(codes, entry, keys->first, count, grain, key >> shift & 1, size, shares);
        for (unsigned i = 0; i < size; i++) sum += shares[i];
        if (!sum) continue; /* never so: a share is positive */
        weights[s] = (uint32_t)((uint64_t)weights[s] * shares[key & (int)(size - 1)] / sum);
        if (!weights[s]) weights[s] = 1;
    }
}

/* Frequencies that sum to 2^12: every present symbol at least 1, the rounding goes to the most frequent (the first of
 * them). false: no symbol is present, or the rounding takes more than there is. */
static bool share_out(const uint32_t weights[256], uint16_t frequency[256])
{
    uint64_t sum = 0;
    for (unsigned s = 0; s < 256; s++) sum += weights[s];
    if (!sum) return false;
    int32_t left = RANS_TOTAL;
    unsigned largest = 0;
    for (unsigned s = 0; s < 256; s++) {
        uint64_t f = (uint64_t)weights[s] * RANS_TOTAL / sum;
        if (weights[s] && !f) f = 1;
        frequency[s] = (uint16_t)f;
        left -= (int32_t)f;
        if (f > frequency[largest]) largest = s;
    }
    int32_t f = frequency[largest] + left;
    if (f < 1) return false;
    frequency[largest] = (uint16_t)f;
    return true;
}

/* ---- bits, least significant first */

typedef struct bit_writer {
    uint8_t *at;
    uint64_t held;
    unsigned count;
} bit_writer;

static void put_bits(bit_writer *w, uint32_t value, unsigned count)
{
    w->held |= (uint64_t)value << w->count;
    w->count += count;
    while (w->count >= 8) {
        *w->at++ = (uint8_t)w->held;
        w->held >>= 8;
        w->count -= 8;
    }
}

static void end_bits(bit_writer *w)
{
    if (w->count) *w->at++ = (uint8_t)w->held;
    w->held = w->count = 0;
}

typedef struct bit_reader {
    const uint8_t *at, *end;
    uint64_t held;
    unsigned count;
    bool failed;
} bit_reader;

static uint32_t get_bits(bit_reader *r, unsigned count)
{
    while (r->count < count) {
        if (r->at == r->end) {
            r->failed = true;
            return 0;
        }
        r->held |= (uint64_t)*r->at++ << r->count;
        r->count += 8;
    }
    uint32_t value = (uint32_t)(r->held & ((UINT64_C(1) << count) - 1));
    r->held >>= count;
    r->count -= count;
    return value;
}

/* ---- the stored form of a table: first and last symbol, then the codes between as differences, Rice-coded */

#define RICE_ONES 7u /* a prefix of that many ones: the difference follows in 7 bits */

static unsigned zigzag(int d) { return d < 0 ? (unsigned)(-2 * d - 1) : (unsigned)(2 * d); }

static unsigned rice_bits(unsigned z, unsigned k) { return z >> k >= RICE_ONES ? RICE_ONES + 7 : (z >> k) + 1 + k; }

/* A table costs bytes too, and frequencies of a few counts are noise: the codes are chosen to make table and symbols
 * together shortest, by dynamic programming over a few codes around the nearest one. */

#define CANDIDATES 7u

typedef struct table_costs {
    float per_count[WEIGHT_CODES]; /* bits of one occurrence */
    float per_code[WEIGHT_CODES];  /* what holding that share of the range costs all the others, in bits */
    unsigned least;                /* the code nearest to half a count */
    uint64_t scale, most;          /* weight wanted = count * scale / most */
} table_costs;

static void set_costs(const uint32_t counts[256], table_costs *costs)
{
    uint64_t total = 0;
    costs->most = 1;
    for (unsigned s = 0; s < 256; s++) {
        total += counts[s];
        if (counts[s] > costs->most) costs->most = counts[s];
    }
    costs->scale = code_weight(WEIGHT_CODES - 1);
    costs->least = nearest_code(costs->scale / costs->most / 2);
    const double sum = (double)total * (double)costs->scale / (double)costs->most;
    for (unsigned c = 1; c < WEIGHT_CODES; c++) {
        double share = code_weight(c) / sum;
        if (share < 1.0 / RANS_TOTAL) share = 1.0 / RANS_TOTAL;
        costs->per_count[c] = (float)-pack_log2(share);
        costs->per_code[c] = (float)(share * (double)total * 1.4426950408889634);
    }
    costs->per_count[0] = costs->per_code[0] = 0;
}

/* The codes worth trying for a symbol, at most CANDIDATES; absent symbols may get a share too, where that is cheaper
 * to write down than a gap. */
static unsigned candidates(const table_costs *costs, uint32_t count, uint8_t out[CANDIDATES])
{
    unsigned n = 0;
    if (count) {
        int nearest = (int)nearest_code(count * costs->scale / costs->most);
        for (int c = nearest - 3; c <= nearest + 3; c++)
            if (c > 0 && c < (int)WEIGHT_CODES) out[n++] = (uint8_t)c;
        return n;
    }
    out[n++] = 0;
    for (int c = (int)costs->least; c > 0 && n < CANDIDATES; c -= 2) out[n++] = (uint8_t)c;
    return n;
}

/* Of each entry what does not depend on the Rice parameter; seven candidates as two registers of four. */
typedef float four_floats __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t four_ints __attribute__((vector_size(16), aligned(4), may_alias));

typedef struct path {
    unsigned first, last;
    uint8_t code[256][8], count[256];
    int expected[256][8];                    /* after each code of the entry before */
    float of_symbols[256][8], of_share[256][8];
    int32_t from[256][8];
} path;

static void path_begin(const uint32_t counts[256], unsigned first, unsigned last, const rans_keys *keys, unsigned grain,
                       path *p)
{
    table_costs costs;
    set_costs(counts, &costs);
    p->first = first;
    p->last = last;
    for (unsigned s = first; s <= last; s++) {
        memset(p->code[s], 0, sizeof p->code[s]);
        p->count[s] = (uint8_t)candidates(&costs, counts[s], p->code[s]);
        for (unsigned i = 0; i < 8; i++) {
            p->of_symbols[s][i] = (float)counts[s] * costs.per_count[p->code[s][i]];
            p->of_share[s][i] = costs.per_code[p->code[s][i]];
        }
        for (unsigned j = 0; s > first && j < p->count[s - 1]; j++)
            p->expected[s][j] = expected_code(keys, grain, s, p->code[s - 1][j]);
    }
}

/* The cheapest way to each candidate of entry s: best[i] bits, by way of candidate from[i] of the entry before. rice: bits
 * of a difference, by the difference. */
static void path_step(path *p, unsigned s, const float *rice, const float before[8], float now[8])
{
    const uint8_t *code = p->code[s];
    const bool run = code[0] && p->count[s] > 1; /* of consecutive codes; else they begin with 0 */
    four_floats best[2] = {{0}};
    four_ints from[2] = {{0}};
    for (int j = 0; s > p->first && j < p->count[s - 1]; j++) {
        const float *bits = rice - p->expected[s][j];
        for (unsigned h = 0; h < 2; h++) {
            four_floats cost;
            if (run) {
                memcpy(&cost, bits + code[0] + 4 * h, sizeof cost);
            } else {
                for (unsigned i = 0; i < 4; i++) cost[i] = bits[code[4 * h + i]];
            }
            cost += before[j];
            const four_ints less = j ? (four_ints)(cost < best[h]) : (four_ints){-1, -1, -1, -1};
            best[h] = (four_floats)((less & (four_ints)cost) | (~less & (four_ints)best[h]));
            from[h] = (less & j) | (~less & from[h]);
        }
    }
    for (unsigned h = 0; h < 2; h++) {
        best[h] = best[h] + *(const four_floats *)(p->of_symbols[s] + 4 * h) + *(const four_floats *)(p->of_share[s] + 4 * h);
        memcpy(now + 4 * h, &best[h], sizeof best[h]);
        memcpy(p->from[s] + 4 * h, &from[h], sizeof from[h]);
    }
}

/* Cheapest codes for the entries of the path with Rice parameter k; returns their cost in bits. */
static float fit_path(path *p, unsigned k, uint8_t codes[256])
{
    float bits[2][8], rice[2 * WEIGHT_CODES + 8];
    for (int d = 0; d < 2 * (int)WEIGHT_CODES + 8; d++) rice[d] = (float)rice_bits(zigzag(d - (int)WEIGHT_CODES), k);
    for (unsigned s = p->first; s <= p->last; s++) path_step(p, s, rice + WEIGHT_CODES, bits[~s & 1], bits[s & 1]);
    const float *end = bits[p->last & 1];
    unsigned at = 0;
    for (unsigned i = 1; i < p->count[p->last]; i++)
        if (end[i] < end[at]) at = i;
    float total = end[at];
    memset(codes, 0, 256);
    for (unsigned s = p->last + 1; s-- > p->first; at = (unsigned)p->from[s][at]) codes[s] = p->code[s][at];
    return total;
}

/* Chooses the codes of a table of one grain. */
static void fit_codes(const uint32_t counts[256], const rans_keys *keys, unsigned grain, rans_table *fit)
{
    uint32_t entries[256] = {0};
    unsigned first = 0, last = 255;
    memset(fit, 0, sizeof *fit);
    for (unsigned s = 0; s < 256; s++) entries[entry_of(keys, grain, s)] += counts[s];
    while (first < 255 && !entries[first]) first++;
    while (last > first && !entries[last]) last--;
    fit->count = last + 1;
    if (!entries[first]) return;
    path p;
    float least = 0;
    uint8_t tried[256];
    path_begin(entries, first, last, keys, grain, &p);
    for (unsigned k = 0; k < 3; k++) {
        float bits = fit_path(&p, k, tried);
        if (k && bits >= least) continue;
        least = bits;
        fit->rice = k;
        memcpy(fit->codes, tried, 256);
    }
}

static double table_bits(const rans_table *fit, const rans_keys *keys, unsigned grain)
{
    unsigned first = 0;
    while (first + 1 < fit->count && !fit->codes[first]) first++;
    double bits = 24;
    for (unsigned s = first + 1; s < fit->count; s++)
        bits += rice_bits(zigzag(fit->codes[s] - expected_code(keys, grain, s, fit->codes[s - 1])), fit->rice);
    return bits;
}

/* What table and symbols take. */
static double coded_bits(const uint32_t counts[256], const rans_table *fit, const rans_keys *keys, unsigned grain)
{
    uint32_t weights[256];
    uint16_t frequency[256];
    double bits = table_bits(fit, keys, grain);
    expand(fit->codes, fit->count, keys, grain, weights);
    if (!share_out(weights, frequency)) return bits;
    for (unsigned s = 0; s < 256; s++)
        if (counts[s]) bits += counts[s] * (RANS_BITS - pack_log2(frequency[s]));
    return bits;
}

/* The fewer symbols, the coarser: finer grains than may pay are not tried. */
unsigned rans_tables_fit(const uint32_t counts[2][256], unsigned tables, const rans_keys *keys, size_t n,
                         rans_table fit[2])
{
    unsigned best = GRAINS;
    double least = 0;
    for (unsigned grain = GRAINS; grain-- > 0;) {
        rans_table tried[2];
        double bits = 0;
        if (!rans_grain_allowed(keys, grain)) continue;
        if (best != GRAINS && n < (grain ? 8192u : 65536u) * tables) break;
        for (unsigned t = 0; t < tables; t++) {
            fit_codes(counts[t], keys, grain, &tried[t]);
            bits += coded_bits(counts[t], &tried[t], keys, grain);
        }
        if (best != GRAINS && bits >= least) continue;
        least = bits;
        best = grain;
        memcpy(fit, tried, tables * sizeof tried[0]);
    }
    return best;
}

static void write_table(bit_writer *w, const rans_table *fit, const rans_keys *keys, unsigned grain)
{
    const uint8_t *codes = fit->codes;
    const unsigned k = fit->rice, last = fit->count - 1;
    unsigned first = 0;
    while (first < last && !codes[first]) first++;
    put_bits(w, first, 8);
    put_bits(w, last, 8);
    put_bits(w, k, 2);
    put_bits(w, codes[first], 6);
    for (unsigned s = first + 1; s <= last; s++) {
        unsigned z = zigzag(codes[s] - expected_code(keys, grain, s, codes[s - 1]));
        if (z >> k >= RICE_ONES) {
            put_bits(w, (1u << RICE_ONES) - 1, RICE_ONES);
            put_bits(w, z, 7);
        } else {
            put_bits(w, (1u << (z >> k)) - 1, (z >> k) + 1);
            put_bits(w, z & ((1u << k) - 1), k);
        }
    }
}

static bool read_table(bit_reader *r, rans_table *fit, const rans_keys *keys, unsigned grain)
{
    memset(fit, 0, sizeof *fit);
    unsigned first = get_bits(r, 8), last = get_bits(r, 8), k = get_bits(r, 2);
    if (r->failed || first > last) return false;
    int code = (int)get_bits(r, 6);
    fit->count = last + 1;
    fit->codes[first] = (uint8_t)code;
    for (unsigned s = first + 1; s <= last; s++) {
        unsigned ones = 0, z;
        while (ones < RICE_ONES && get_bits(r, 1)) ones++;
        z = ones == RICE_ONES ? get_bits(r, 7) : ones << k | get_bits(r, k);
        code = expected_code(keys, grain, s, code);
        code += z & 1 ? -(int)((z + 1) / 2) : (int)(z / 2);
        if (r->failed || code < 0 || code >= (int)WEIGHT_CODES) return false;
        fit->codes[s] = (uint8_t)code;
    }
    return !r->failed;
}

size_t rans_tables_write(const rans_table *fit, unsigned tables, const rans_keys *keys, unsigned grain, uint8_t *dst)
{
    bit_writer bits = {.at = dst};
    for (unsigned t = 0; t < tables; t++) write_table(&bits, &fit[t], keys, grain);
    end_bits(&bits);
    return (size_t)(bits.at - dst);
}

bool rans_tables_read(const uint8_t **at, const uint8_t *end, unsigned tables, const rans_keys *keys, unsigned grain,
                      rans_table *fit)
{
    bit_reader bits = {.at = *at, .end = end};
    for (unsigned t = 0; t < tables; t++)
        if (!read_table(&bits, &fit[t], keys, grain)) return false;
    *at = bits.at;
    return !bits.held;
}

bool rans_frequencies(const rans_table *fit, const rans_keys *keys, unsigned grain, uint16_t frequency[256])
{
    uint32_t weights[256];
    expand(fit->codes, fit->count, keys, grain, weights);
    return share_out(weights, frequency);
}
