/* The entropy coder: static tables, interleaved range coding of asymmetric numeral systems (rANS).
 *
 * J. Duda, "Asymmetric numeral systems", arXiv:1311.2540; interleaving after F. Giesen, "Interleaved entropy coders",
 * arXiv:1402.3392. A state x of 32 bits stays in [2^16, 2^32) and moves 16 bits at a time; a symbol of frequency f and
 * start b (sums to 2^12) takes x to (x / f << 12) + b + x % f. Symbol i belongs to lane i % lanes, so that a vector
 * register decodes one symbol of every lane at once. FORMAT.md has the bytes. */
#include "base/simd.h"
#include "pack/blob.h"

#define RANS_TOTAL (1u << RANS_BITS)
#define RANS_LOW 65536u /* smallest state, and the one that coding begins with */
#define LANES_MOST 32u
#define HAS_ESCAPES 64u /* flag of a chunk */

struct rans_scratch {
    uint32_t slots[2 * RANS_TOTAL];
    rans_encode_entry entries[2][256];
    uint32_t ranges[2][256]; /* start | frequency << 16 */
    rans_table tables[2];
};

rans_scratch *rans_scratch_new(void) { return base_alloc_aligned(1, sizeof(rans_scratch)); }

/* ---- encoding */

static void prepare_entries(const uint16_t frequency[256], rans_encode_entry entries[256], uint32_t ranges[256])
{
    uint32_t start = 0;
    for (unsigned s = 0; s < 256; s++) {
        uint32_t f = frequency[s];
        /* x / f == x * reciprocal >> 44 for every state: the reciprocal is too large by less than 1, and after
         * renormalising x < f << 20, so the product is too large by less than f << 20 <= 2^44 / f. */
        entries[s].reciprocal = f ? ((UINT64_C(1) << 44) + f - 1) / f : 0;
        entries[s].start = (uint16_t)start;
        entries[s].complement = (uint16_t)(RANS_TOTAL - f);
        entries[s].limit = f ? (uint32_t)(((uint64_t)f << 20) - 1) : 0;
        ranges[s] = start | f << 16;
        start += f;
    }
}

static inline __attribute__((always_inline)) uint32_t encode_one(uint32_t x, const rans_encode_entry *e,
                                                                 uint8_t **words)
{
    /* The word is written always and kept only when the state is over: whether it is, is as good as random, and a
     * branch on it would be mispredicted every fourth symbol. */
    uint32_t over = x > e->limit;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(*words - 2, &x, 2);
#else
    base_store_le16(*words - 2, (uint16_t)x);
#endif
    *words -= 2 * over;
    x >>= 16 * over;
    uint32_t q = (uint32_t)(x * e->reciprocal >> 44);
    return x + e->start + q * e->complement;
}

/* All but the last incomplete group, with the number of lanes as a constant: the states stay in registers. */
static inline __attribute__((always_inline)) uint8_t *encode_groups(const rans_encode_entry *entries,
                                                                    const uint8_t *symbols, const int8_t *classes,
                                                                    size_t n, unsigned lanes, uint32_t *states,
                                                                    uint8_t *words)
{
    uint32_t x[LANES_MOST];
    for (unsigned l = 0; l < lanes; l++) x[l] = states[l];
    for (size_t i = n; i;) {
        i -= lanes;
        if (classes) {
            for (unsigned l = lanes; l-- > 0;)
                x[l] = encode_one(x[l], &entries[((unsigned)classes[i + l] & 1) * 256 + symbols[i + l]], &words);
        } else {
            for (unsigned l = lanes; l-- > 0;) x[l] = encode_one(x[l], &entries[symbols[i + l]], &words);
        }
    }
    for (unsigned l = 0; l < lanes; l++) states[l] = x[l];
    return words;
}

/* Last symbol first, words downwards from `words`, never below floor; returns where the words begin. */
static uint8_t *encode_words(const rans_scratch *scratch, const uint8_t *symbols, const int8_t *classes, size_t n,
                             unsigned lanes, uint32_t *states, uint8_t *words, const uint8_t *floor)
{
    const rans_encode_entry *entries = scratch->entries[0];
    for (unsigned l = 0; l < lanes; l++) states[l] = RANS_LOW;
    for (; n % lanes; n--) {
        unsigned table = classes ? (unsigned)classes[n - 1] & 1 : 0;
        uint32_t *state = &states[(n - 1) % lanes];
        *state = encode_one(*state, &entries[table * 256 + symbols[n - 1]], &words);
    }
#if defined(__x86_64__)
    if (lanes >= 16 && base_simd_level() == BASE_SIMD_AVX512)
        return rans_encode_avx512(scratch->ranges[0], symbols, classes, n, lanes, states, words);
    if (lanes >= 8 && base_simd_level() >= BASE_SIMD_AVX2)
        words = rans_encode_avx2(scratch->ranges[0], symbols, classes, &n, lanes, states, words, floor);
#else
    (void)floor;
#endif
    switch (lanes) {
    case 1:
        return encode_groups(entries, symbols, classes, n, 1, states, words);
    case 2:
        return encode_groups(entries, symbols, classes, n, 2, states, words);
    case 4:
        return encode_groups(entries, symbols, classes, n, 4, states, words);
    case 8:
        return encode_groups(entries, symbols, classes, n, 8, states, words);
    case 16:
        return encode_groups(entries, symbols, classes, n, 16, states, words);
    default:
        return encode_groups(entries, symbols, classes, n, 32, states, words);
    }
}

/* The states cost about 16 bits a lane beyond what they hold: as many lanes as stay below 1/512 of the coded bits. */
static unsigned choose_lanes(const uint32_t counts[2][256], unsigned tables)
{
    double bits = 0;
    for (unsigned t = 0; t < tables; t++) bits += pack_entropy_bits(counts[t], 256);
    unsigned log = 0;
    while (log < 5 && (double)(2u << log) * 16 * 512 <= bits) log++;
    return log;
}

size_t rans_encode(rans_scratch *scratch, const uint8_t *symbols, const int8_t *classes, size_t n,
                   const uint32_t counts[2][256], const rans_keys *keys, const uint16_t *escapes, size_t escape_count,
                   bool last, uint8_t *dst)
{
    unsigned tables = classes ? 2 : 1, log = choose_lanes(counts, tables), lanes = 1u << log;
    uint32_t states[LANES_MOST];
    /* The length comes first and is not known yet: room for it, closed afterwards. */
    uint8_t *at = dst + (last ? 0 : 3), *body = at;
    unsigned grain = rans_tables_fit(counts, tables, keys, n, scratch->tables);
    *at++ = (uint8_t)(log | (tables - 1) << 3 | grain << 4 | (escape_count ? HAS_ESCAPES : 0));
    if (escape_count) {
        at += pack_put_varint(at, escape_count);
        for (size_t i = 0; i < escape_count; i++, at += 2) base_store_le16(at, escapes[i]);
    }
    at += rans_tables_write(scratch->tables, tables, keys, grain, at);
    for (unsigned t = 0; t < tables; t++) {
        uint16_t frequency[256];
        if (!rans_frequencies(&scratch->tables[t], keys, grain, frequency)) memset(frequency, 0, sizeof frequency);
        prepare_entries(frequency, scratch->entries[t], scratch->ranges[t]);
    }
    uint8_t *end = at + 4 * lanes + 2 * n + 2;
    uint8_t *words = encode_words(scratch, symbols, classes, n, lanes, states, end, at + 4 * lanes);
    for (unsigned l = 0; l < lanes; l++, at += 4) base_store_le32(at, states[l]);
    memmove(at, words, (size_t)(end - words));
    at += end - words;
    size_t length = (size_t)(at - body);
    if (last) return length;
    size_t prefix = pack_put_varint(dst, length);
    if (prefix != 3) memmove(dst + prefix, body, length);
    return prefix + length;
}

/* ---- decoding */

uint64_t rans_chunk_bytes(const uint8_t *src, uint64_t n)
{
    const uint8_t *at = src;
    uint64_t length;
    if (!pack_get_varint(&at, src + n, &length)) return 0;
    return length > n - (uint64_t)(at - src) ? 0 : (uint64_t)(at - src) + length;
}

static void prepare_slots(const uint16_t frequency[256], uint32_t *slots)
{
    for (uint32_t s = 0; s < 256; s++) {
        uint32_t f = frequency[s];
        for (uint32_t i = 0; i < f; i++) slots[i] = s | (f - 1) << 8 | i << 20;
        slots += f;
    }
}

/* One symbol; the caller knows that a word is there to be read, wanted or not. */
static inline __attribute__((always_inline)) uint32_t decode_one(uint32_t x, uint32_t entry, const uint8_t **words)
{
    x = ((entry >> 8 & (RANS_TOTAL - 1)) + 1) * (x >> RANS_BITS) + (entry >> 20);
    uint32_t low = x < RANS_LOW, word = base_load_le16(*words);
    *words += 2 * low;
    return low ? x << 16 | word : x;
}

/* Whole groups of lanes while words enough for one remain; returns the symbols done. */
static inline __attribute__((always_inline)) size_t decode_groups(rans_decode_job *job, size_t lanes)
{
    const uint8_t *words = job->words;
    uint32_t x[LANES_MOST];
    size_t i = 0;
    for (size_t l = 0; l < lanes; l++) x[l] = job->states[l];
    for (; i + lanes <= job->n && job->end - words >= (ptrdiff_t)(2 * lanes); i += lanes)
        for (size_t l = 0; l < lanes; l++) {
            uint32_t slot = x[l] & (RANS_TOTAL - 1);
            if (job->classes) slot |= ((uint32_t)job->classes[i + l] & 1) << RANS_BITS;
            uint32_t entry = job->slots[slot];
            job->symbols[i + l] = (uint8_t)entry;
            x[l] = decode_one(x[l], entry, &words);
        }
    for (size_t l = 0; l < lanes; l++) job->states[l] = x[l];
    job->words = words;
    return i;
}

static size_t decode_plain(rans_decode_job *job)
{
    switch (job->lanes) {
    case 1:
        return decode_groups(job, 1);
    case 2:
        return decode_groups(job, 2);
    case 4:
        return decode_groups(job, 4);
    case 8:
        return decode_groups(job, 8);
    case 16:
        return decode_groups(job, 16);
    default:
        return decode_groups(job, 32);
    }
}

/* The end, symbol by symbol, where any read may be past the last word. false: the words ran out. */
static bool decode_rest(rans_decode_job *job, size_t done)
{
    static const uint8_t none[2];
    for (size_t i = done; i < job->n; i++) {
        uint32_t *x = &job->states[i & (job->lanes - 1)];
        uint32_t slot = *x & (RANS_TOTAL - 1);
        if (job->classes) slot |= ((uint32_t)job->classes[i] & 1) << RANS_BITS;
        const uint8_t *words = job->end - job->words >= 2 ? job->words : none;
        const uint8_t *before = words;
        *x = decode_one(*x, job->slots[slot], &words);
        if (before == none && words != none) return false;
        if (before != none) job->words = words;
        job->symbols[i] = (uint8_t)job->slots[slot];
    }
    return true;
}

static bool decode_all(rans_decode_job *job)
{
    const base_simd simd = base_simd_level();
    size_t done;
#if defined(__x86_64__)
    if (job->lanes >= 16 && simd == BASE_SIMD_AVX512)
        done = rans_decode_avx512(job);
    else if (job->lanes >= 16 && simd == BASE_SIMD_AVX2)
        done = rans_decode_avx2(job);
    else
#endif
        done = decode_plain(job);
    (void)simd;
    return decode_rest(job, done);
}

const char *rans_decode(rans_scratch *scratch, const uint8_t *src, size_t bytes, bool last, uint8_t *symbols,
                        const int8_t *classes, size_t n, const rans_keys *keys, const uint8_t **escapes,
                        size_t *escape_count)
{
    const uint8_t *at = src, *end = src + bytes;
    uint64_t length, count = 0;
    if (!last && (!pack_get_varint(&at, end, &length) || length != (uint64_t)(end - at)))
        return "a coded chunk has another length than it says";
    if (at == end) return "a coded chunk is empty";
    unsigned flags = *at++;
    unsigned lanes = 1u << (flags & 7), tables = 1 + (flags >> 3 & 1), grain = flags >> 4 & 3;
    if (flags > 127 || lanes > LANES_MOST || !rans_grain_allowed(keys, grain))
        return "a coded chunk with unknown flags";
    if (tables == 2 && !classes) return "a coded chunk with two tables and no scales";
    if (escapes) {
        *escapes = NULL;
        *escape_count = 0;
    }
    if (flags & HAS_ESCAPES) {
        if (!keys || !escapes) return "a coded chunk with escapes but no keys";
        if (!pack_get_varint(&at, end, &count) || !count || count > n || count > (uint64_t)(end - at) / 2)
            return "a coded chunk with no possible number of escapes";
        *escapes = at;
        *escape_count = (size_t)count;
        at += 2 * count;
    }
    if (!rans_tables_read(&at, end, tables, keys, grain, scratch->tables)) return "a coded chunk with a broken table";
    if ((uint64_t)(end - at) < 4 * lanes || (end - at) % 2) return "a coded chunk is cut short";
    for (unsigned t = 0; t < tables; t++) {
        uint16_t frequency[256];
        uint32_t *slots = scratch->slots + t * RANS_TOTAL;
        /* With two tables one may be without symbols, and used by none. */
        if (rans_frequencies(&scratch->tables[t], keys, grain, frequency))
            prepare_slots(frequency, slots);
        else if (tables == 1)
            return "a coded chunk with an empty table";
        else
            memset(slots, 0, RANS_TOTAL * sizeof *slots);
    }
    uint32_t states[LANES_MOST] = {0};
    for (unsigned l = 0; l < lanes; l++, at += 4) {
        states[l] = base_load_le32(at);
        if (states[l] < RANS_LOW) return "a coded chunk with a state out of range";
    }
    rans_decode_job job = {.slots = scratch->slots,
                           .words = at,
                           .end = end,
                           .states = states,
                           .lanes = lanes,
                           .symbols = symbols,
                           .classes = tables == 2 ? classes : NULL,
                           .n = n};
    if (!decode_all(&job)) return "a coded chunk is cut short";
    if (job.words != end) return "a coded chunk is too long";
    for (unsigned l = 0; l < lanes; l++)
        if (states[l] != RANS_LOW) return "a coded chunk ends in another state than it began";
    return NULL;
}
