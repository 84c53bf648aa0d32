/* The entropy coder: static tables, interleaved range coding of asymmetric numeral systems (rANS).
 *
 * J. Duda, "Asymmetric numeral systems", arXiv:1311.2540; interleaving after F. Giesen, "Interleaved entropy coders",
 * arXiv:1402.3392. A state x of 32 bits stays in [2^16, 2^32) and moves 16 bits at a time; a symbol of frequency f and
 * start b (sums to 2^12) takes x to (x / f << 12) + b + x % f. Symbol i belongs to lane i % lanes, so that a vector
 * register decodes one symbol of every lane at once. FORMAT.md has the bytes. */
#include "pack/blob.h"

#define RANS_TOTAL (1u << RANS_BITS)
#define RANS_LOW 65536u  /* smallest state, and the one that coding begins with */
#define LANES_MOST 32u
#define WEIGHT_CODES 64u /* 0: absent */

struct rans_scratch {
    uint32_t slots[2 * RANS_TOTAL];
    rans_encode_entry entries[2][256];
    uint8_t codes[2][256];
};

rans_scratch *rans_scratch_new(void) { return base_alloc_aligned(1, sizeof(rans_scratch)); }

/* ---- tables: each symbol's frequency is stored as a code, about four times its log2 */

static uint32_t code_weight(unsigned code)
{
    static const uint8_t quarter[4] = {16, 19, 23, 27}; /* 16 * 2^(i/4), rounded */
    return code ? (uint32_t)quarter[(code - 1) & 3] << ((code - 1) >> 2) : 0;
}

/* The codes nearest to the counts; the most frequent symbol gets the highest code. */
static void fit_codes(const uint32_t counts[256], uint8_t codes[256])
{
    uint32_t most = 1;
    for (unsigned s = 0; s < 256; s++)
        if (counts[s] > most) most = counts[s];
    const uint64_t top = code_weight(WEIGHT_CODES - 1);
    for (unsigned s = 0; s < 256; s++) {
        codes[s] = 0;
        if (!counts[s]) continue;
        uint64_t wanted = counts[s] * top / most;
        unsigned low = 1, high = WEIGHT_CODES - 1;
        while (low < high) { /* the first code whose midpoint to the next lies above what is wanted */
            unsigned middle = (low + high) / 2;
            if (2 * wanted < (uint64_t)code_weight(middle) + code_weight(middle + 1)) high = middle;
            else low = middle + 1;
        }
        codes[s] = (uint8_t)low;
    }
}

/* Frequencies that sum to 2^12: every present symbol at least 1, the rounding goes to the most frequent (the first of
 * them). false: no symbol is present, or the rounding takes more than there is. */
static bool frequencies(const uint8_t codes[256], uint16_t frequency[256])
{
    uint64_t sum = 0;
    for (unsigned s = 0; s < 256; s++) sum += code_weight(codes[s]);
    if (!sum) return false;
    int32_t left = RANS_TOTAL;
    unsigned largest = 0;
    for (unsigned s = 0; s < 256; s++) {
        uint64_t f = (uint64_t)code_weight(codes[s]) * RANS_TOTAL / sum;
        if (codes[s] && !f) f = 1;
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

typedef struct bit_writer { uint8_t *at; uint64_t held; unsigned count; } bit_writer;

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

typedef struct bit_reader { const uint8_t *at, *end; uint64_t held; unsigned count; bool failed; } bit_reader;

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

static unsigned best_rice(const uint8_t *codes, unsigned first, unsigned last)
{
    unsigned best = 0, least = UINT32_MAX;
    for (unsigned k = 0; k < 4; k++) {
        unsigned bits = 0;
        for (unsigned s = first + 1; s <= last; s++) bits += rice_bits(zigzag(codes[s] - codes[s - 1]), k);
        if (bits < least) {
            least = bits;
            best = k;
        }
    }
    return best;
}

static void write_table(bit_writer *w, const uint8_t codes[256], bool keyed)
{
    unsigned most = keyed ? RANS_ZERO : 256, first = 0, last = most - 1;
    while (first < most - 1 && !codes[first]) first++;
    while (last > first && !codes[last]) last--;
    unsigned k = best_rice(codes, first, last);
    put_bits(w, first, 8);
    put_bits(w, last, 8);
    put_bits(w, k, 2);
    put_bits(w, codes[first], 6);
    for (unsigned s = first + 1; s <= last; s++) {
        unsigned z = zigzag(codes[s] - codes[s - 1]);
        if (z >> k >= RICE_ONES) {
            put_bits(w, (1u << RICE_ONES) - 1, RICE_ONES);
            put_bits(w, z, 7);
        } else {
            put_bits(w, (1u << (z >> k)) - 1, (z >> k) + 1);
            put_bits(w, z & ((1u << k) - 1), k);
        }
    }
    if (keyed) {
        put_bits(w, codes[RANS_ZERO], 6);
        put_bits(w, codes[RANS_ESCAPE], 6);
    }
}

static bool read_table(bit_reader *r, uint8_t codes[256], bool keyed)
{
    memset(codes, 0, 256);
    unsigned first = get_bits(r, 8), last = get_bits(r, 8), k = get_bits(r, 2);
    if (r->failed || first > last || (keyed && last >= RANS_ZERO)) return false;
    int code = (int)get_bits(r, 6);
    codes[first] = (uint8_t)code;
    for (unsigned s = first + 1; s <= last; s++) {
        unsigned ones = 0, z;
        while (ones < RICE_ONES && get_bits(r, 1)) ones++;
        z = ones == RICE_ONES ? get_bits(r, 7) : ones << k | get_bits(r, k);
        code += z & 1 ? -(int)((z + 1) / 2) : (int)(z / 2);
        if (r->failed || code < 0 || code >= (int)WEIGHT_CODES) return false;
        codes[s] = (uint8_t)code;
    }
    if (keyed) {
        codes[RANS_ZERO] = (uint8_t)get_bits(r, 6);
        codes[RANS_ESCAPE] = (uint8_t)get_bits(r, 6);
    }
    return !r->failed;
}

/* ---- encoding */

static void prepare_entries(const uint16_t frequency[256], rans_encode_entry entries[256])
{
    uint32_t start = 0;
    for (unsigned s = 0; s < 256; s++) {
        uint32_t f = frequency[s];
        /* x / f == x * reciprocal >> 44 for every state: the reciprocal is too large by less than 1, and after
         * renormalising x < f << 20, so the product is too large by less than f << 20 <= 2^44 / f. */
        entries[s].reciprocal = f ? ((UINT64_C(1) << 44) + f - 1) / f : 0;
        entries[s].start = start;
        entries[s].complement = (uint16_t)(RANS_TOTAL - f);
        entries[s].frequency = (uint16_t)f;
        start += f;
    }
}

static inline uint32_t encode_one(uint32_t x, const rans_encode_entry *e, uint8_t **words)
{
    uint8_t *at = *words - 2;
    uint32_t over = x >> 20 >= e->frequency;
    base_store_le16(at, (uint16_t)x); /* written always, kept only when the state is over */
    *words = over ? at : at + 2;
    x = over ? x >> 16 : x;
    uint32_t q = (uint32_t)(x * e->reciprocal >> 44);
    return x + e->start + q * e->complement;
}

/* Last symbol first, words downwards from `words`; returns where the words begin. */
static uint8_t *encode_words(const rans_scratch *scratch, const uint8_t *symbols, const int8_t *classes, size_t n,
                             unsigned lanes, uint32_t *states, uint8_t *words)
{
    const rans_encode_entry *entries = scratch->entries[0];
    for (unsigned l = 0; l < lanes; l++) states[l] = RANS_LOW;
    size_t i = n;
    while (i % lanes) {
        i--;
        unsigned table = classes ? (unsigned)classes[i] & 1 : 0;
        states[i % lanes] = encode_one(states[i % lanes], &entries[table * 256 + symbols[i]], &words);
    }
    while (i) {
        i -= lanes;
        if (classes) {
            for (unsigned l = lanes; l-- > 0;)
                states[l] = encode_one(states[l], &entries[((unsigned)classes[i + l] & 1) * 256 + symbols[i + l]], &words);
        } else {
            for (unsigned l = lanes; l-- > 0;) states[l] = encode_one(states[l], &entries[symbols[i + l]], &words);
        }
    }
    return words;
}

/* The states cost about 16 bits a lane beyond what they hold: as many lanes as stay below 1/128 of the coded bits. */
static unsigned choose_lanes(const uint32_t counts[2][256], unsigned tables)
{
    double bits = 0;
    for (unsigned t = 0; t < tables; t++) bits += pack_entropy_bits(counts[t], 256);
    unsigned log = 0;
    while (log < 5 && (double)(2u << log) * 16 * 128 <= bits) log++;
    return log;
}

size_t rans_encode(rans_scratch *scratch, const uint8_t *symbols, const int8_t *classes, size_t n,
                   const uint32_t counts[2][256], bool keyed, const uint16_t *escapes, size_t escape_count,
                   uint8_t *dst)
{
    unsigned tables = classes ? 2 : 1, log = choose_lanes(counts, tables), lanes = 1u << log;
    uint32_t states[LANES_MOST];
    /* The length comes first and is not known yet: room for three bytes of it, moved together afterwards. */
    uint8_t *at = dst + 3, *body = at;
    *at++ = (uint8_t)(log | (tables - 1) << 3);
    if (keyed) {
        at += pack_put_varint(at, escape_count);
        for (size_t i = 0; i < escape_count; i++, at += 2) base_store_le16(at, escapes[i]);
    }
    bit_writer bits = {.at = at};
    for (unsigned t = 0; t < tables; t++) {
        uint16_t frequency[256];
        fit_codes(counts[t], scratch->codes[t]);
        write_table(&bits, scratch->codes[t], keyed);
        if (!frequencies(scratch->codes[t], frequency)) memset(frequency, 0, sizeof frequency);
        prepare_entries(frequency, scratch->entries[t]);
    }
    end_bits(&bits);
    at = bits.at;
    uint8_t *end = at + 4 * lanes + 2 * n + 2;
    uint8_t *words = encode_words(scratch, symbols, classes, n, lanes, states, end);
    for (unsigned l = 0; l < lanes; l++, at += 4) base_store_le32(at, states[l]);
    memmove(at, words, (size_t)(end - words));
    at += end - words;
    size_t length = (size_t)(at - body);
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

static bool prepare_slots(const uint8_t codes[256], uint32_t *slots)
{
    uint16_t frequency[256];
    if (!frequencies(codes, frequency)) return false;
    for (uint32_t s = 0; s < 256; s++) {
        uint32_t f = frequency[s];
        for (uint32_t i = 0; i < f; i++) slots[i] = s | (f - 1) << 8 | i << 20;
        slots += f;
    }
    return true;
}

/* The plain loop, and the end of every vector one: job->n symbols from `done` on. false: the words ran out. */
static bool decode_rest(rans_decode_job *job, size_t done)
{
    const uint8_t *words = job->words;
    for (size_t i = done; i < job->n; i++) {
        uint32_t x = job->states[i & (job->lanes - 1)];
        uint32_t slot = x & (RANS_TOTAL - 1);
        if (job->classes) slot |= ((uint32_t)job->classes[i] & 1) << RANS_BITS;
        uint32_t entry = job->slots[slot];
        x = ((entry >> 8 & 4095) + 1) * (x >> RANS_BITS) + (entry >> 20);
        job->symbols[i] = (uint8_t)entry;
        if (x < RANS_LOW) {
            if (job->end - words < 2) return false;
            x = x << 16 | base_load_le16(words);
            words += 2;
        }
        job->states[i & (job->lanes - 1)] = x;
    }
    job->words = words;
    return true;
}

static bool decode_all(rans_decode_job *job)
{
    size_t done = 0;
#if defined(__x86_64__)
    if (job->lanes >= 16 && pack_simd() == PACK_SIMD_AVX512) done = rans_decode_avx512(job);
    else if (job->lanes >= 8 && pack_simd() == PACK_SIMD_AVX2) done = rans_decode_avx2(job);
#endif
    return decode_rest(job, done);
}

const char *rans_decode(rans_scratch *scratch, const uint8_t *src, size_t bytes, uint8_t *symbols, const int8_t *classes,
                        size_t n, bool keyed, const uint8_t **escapes, size_t *escape_count)
{
    const uint8_t *at = src, *end = src + bytes;
    uint64_t length, count = 0;
    if (!pack_get_varint(&at, end, &length) || length != (uint64_t)(end - at) || !length)
        return "a coded chunk has another length than it says";
    unsigned flags = *at++;
    if (flags > 15 || (flags & 7) > 5) return "a coded chunk with unknown flags";
    unsigned lanes = 1u << (flags & 7), tables = 1 + (flags >> 3);
    if (tables == 2 && !classes) return "a coded chunk with two tables and no scales";
    if (keyed) {
        if (!pack_get_varint(&at, end, &count) || count > n || count > (uint64_t)(end - at) / 2)
            return "a coded chunk with too many escapes";
        *escapes = at;
        *escape_count = (size_t)count;
        at += 2 * count;
    }
    bit_reader bits = {.at = at, .end = end};
    for (unsigned t = 0; t < tables; t++)
        if (!read_table(&bits, scratch->codes[t], keyed)) return "a coded chunk with a broken table";
    at = bits.at;
    if (bits.held || (uint64_t)(end - at) < 4 * lanes || (end - at) % 2) return "a coded chunk is cut short";
    for (unsigned t = 0; t < tables; t++)
        if (!prepare_slots(scratch->codes[t], scratch->slots + t * RANS_TOTAL)) {
            /* A table without symbols is one that no element uses: encoding never makes the first one so. */
            if (t == 0 && tables == 1) return "a coded chunk with an empty table";
            memset(scratch->slots + t * RANS_TOTAL, 0, RANS_TOTAL * sizeof scratch->slots[0]);
        }
    uint32_t states[LANES_MOST];
    for (unsigned l = 0; l < lanes; l++, at += 4) {
        states[l] = base_load_le32(at);
        if (states[l] < RANS_LOW) return "a coded chunk with a state out of range";
    }
    rans_decode_job job = {.slots = scratch->slots, .words = at, .end = end, .states = states, .lanes = lanes,
                           .symbols = symbols, .classes = tables == 2 ? classes : NULL, .n = n};
    if (!decode_all(&job)) return "a coded chunk is cut short";
    if (job.words != end) return "a coded chunk is too long";
    for (unsigned l = 0; l < lanes; l++)
        if (states[l] != RANS_LOW) return "a coded chunk ends in another state than it began";
    return NULL;
}
