/* How a stream of values is best coded, judged from a sample: keys or whole planes, scales or none, one table or two.
 */
#include "pack/blob.h"

#define SAMPLE 8192u
#define SAMPLE_BLOCKS 16u
#define KEYS_MOST 16384u      /* keys of doubles, in two tables */
#define FEW 4096u             /* values of a small stream */
#define TRIAL 65536u          /* elements that zstd is tried on */
#define TABLE_SYMBOL_BITS 2.2 /* what an entry of a stored table takes, roughly */
#define TABLE_BITS 30.0

typedef struct sample {
    size_t n;
    uint8_t *elements;        /* [n] */
    int8_t *classes;          /* [n], when scaled */
    uint16_t *keys;           /* [n] with all the mantissa bits that a key may have */
    uint32_t *plain, *scaled; /* histograms of keys: [bins]; of keys less their scale: [2][bins] by table */
    unsigned bins;
} sample;

void pack_plan_free(pack_plan *plan)
{
    pack_scales_free(&plan->scales);
    memset(plan, 0, sizeof *plan);
}

static unsigned most_mantissa_bits(pack_element element) { return element.exponent_bits == 5 ? 3 : 2; }

static void sample_free(sample *s)
{
    base_free(s->elements);
    base_free(s->classes);
    base_free(s->keys);
    base_free(s->plain);
}

/* Evenly spaced blocks, the whole stream when it is small. */
static bool sample_take(const pack_values *v, const pack_scales *scales, sample *s)
{
    const unsigned width = v->element.width;
    memset(s, 0, sizeof *s);
    s->n = v->count < SAMPLE ? (size_t)v->count : SAMPLE;
    s->bins = v->element.exponent_bits ? 1u << (v->element.exponent_bits + most_mantissa_bits(v->element)) : 1;
    s->elements = base_alloc(s->n, width);
    s->classes = base_alloc(s->n, 1);
    s->keys = base_alloc(s->n, sizeof *s->keys);
    s->plain = base_calloc(3 * (uint64_t)s->bins, sizeof *s->plain);
    if (!s->elements || !s->classes || !s->keys || !s->plain) return false;
    s->scaled = s->plain + s->bins;
    unsigned blocks = v->count > SAMPLE ? SAMPLE_BLOCKS : 1;
    size_t part = s->n / blocks;
    for (unsigned b = 0; b < blocks; b++) {
        uint64_t first = blocks == 1 ? 0 : (v->count - part) / (blocks - 1) * b;
        uint8_t *to = s->elements + b * part * width;
        const uint8_t *from = pack_values_fetch(v, first, part, to);
        if (from != to) memcpy(to, from, part * width);
        if (scales->axis_count) pack_values_classes(v, scales, first, part, s->classes + b * part);
    }
    return true;
}

/* Every other one apart: keys are often those before them, and a count would wait for itself. */
static void count_keys(const uint16_t *keys, size_t n, unsigned bins, uint32_t *counts)
{
    uint32_t other[KEYS_MOST];
    size_t i = 0;
    memset(other, 0, bins * sizeof *other);
    for (; i + 2 <= n; i += 2) {
        counts[keys[i]]++;
        other[keys[i + 1]]++;
    }
    if (i < n) counts[keys[i]]++;
    for (unsigned b = 0; b < bins; b++) counts[b] += other[b];
}

static void sample_keys(const pack_values *v, const pack_scales *scales, sample *s)
{
    const unsigned mantissa = most_mantissa_bits(v->element);
    const uint32_t mask = s->bins - 1;
    uint16_t less[SAMPLE]; /* keys less their scale, with two tables those of the second above those of the first */
    const split_job job = {.width = v->element.width,
                           .exponent_bits = v->element.exponent_bits,
                           .mantissa_bits = mantissa,
                           .keyed = true,
                           .n = s->n,
                           .elements = s->elements};
    split_keys(&job, s->keys);
    count_keys(s->keys, s->n, s->bins, s->plain);
    if (!scales->axis_count) return;
    for (size_t i = 0; i < s->n; i++) {
        uint32_t key = s->keys[i], shift = (uint32_t)(s->classes[i] >> 1) << mantissa;
        key = key ? (key - shift) & mask : 0;
        less[i] = (uint16_t)(key + (s->classes[i] & 1) * s->bins);
    }
    count_keys(less, s->n, 2 * s->bins, s->scaled);
}

/* ---- the key: which of the shapes is cheapest */

/* Keys with fewer mantissa bits: neighbours added up. */
static void fold(const uint32_t *from, unsigned bins, unsigned by, uint32_t *to)
{
    memset(to, 0, (bins >> by) * sizeof *to);
    for (unsigned i = 0; i < bins; i++) to[i >> by] += from[i];
}

/* What a table takes, and what is lost by storing it roughly: symbol by symbol, or for keys by octave as well. */
static double table_bits(const uint32_t *counts, unsigned bins, unsigned mantissa, bool keys)
{
    unsigned present = 0;
    uint64_t n = 0;
    for (unsigned i = 0; i < bins; i++) {
        present += counts[i] != 0;
        n += counts[i];
    }
    double fine = TABLE_BITS + TABLE_SYMBOL_BITS * (present < 256 ? present : 256);
    double coarse = TABLE_BITS + TABLE_SYMBOL_BITS * (present >> mantissa) + 0.013 * (double)n;
    return keys && mantissa && coarse < fine ? coarse : fine;
}

/* Bits of the whole stream at the order-0 entropy of its sample. A sample underestimates entropy by (symbols - 1) / 2n
 * nats a symbol (Miller 1955); coding the whole sample with its own table does not. */
static double stream_bits(const uint32_t *counts, unsigned bins, double grow)
{
    unsigned present = 0;
    for (unsigned i = 0; i < bins; i++) present += counts[i] != 0;
    double missing = present && grow > 1 ? (present - 1) * 0.5 * 1.4426950408889634 : 0;
    return (pack_entropy_bits(counts, bins) + missing) * grow;
}

/* The window: `size` keys downwards from `top`, modulo bins, chosen to hold most of the sample. Returns how many of the
 * sample are outside; *distinct is the number of keys that they are. */
static uint64_t best_window(const uint32_t *counts, unsigned bins, unsigned size, unsigned margin, unsigned *top,
                            unsigned *distinct)
{
    *distinct = 0;
    *top = bins - 1;
    if (size >= bins) return 0;
    uint64_t held = 0, best = 0, total = 0;
    unsigned lowest = 0, highest = bins - 1;
    while (lowest < highest && !counts[lowest]) lowest++;
    while (highest > lowest && !counts[highest]) highest--;
    if (highest - lowest + margin < size) {
        *top = (highest + margin) % bins;
        return 0;
    }
    for (unsigned i = 0; i < bins; i++) total += counts[i];
    for (unsigned i = 0; i < size; i++) held += counts[bins - 1 - i];
    for (unsigned t = bins - 1, steps = 0; steps < bins; steps++, t = t ? t - 1 : bins - 1) {
        if (counts[t] && held > best) {
            best = held;
            *top = t;
        }
        held -= counts[t];
        held += counts[(t + bins - size) % bins];
    }
    /* some room above for keys that the sample missed, as far as it costs nothing below */
    for (unsigned i = 0; i < margin && !counts[(*top + 1 + bins - size) % bins]; i++) *top = (*top + 1) % bins;
    for (unsigned i = size; i < bins; i++) *distinct += counts[(*top + bins - i) % bins] != 0;
    return total - best;
}

#define LISTED_BITS 24.0 /* a key that is listed apart: 16 bits, and the symbol that says so */

typedef struct key_choice {
    double bits;
    unsigned mantissa;
    bool scaled, two_tables;
} key_choice;

/* One shape of key: its histograms (both tables' when tables is 2) into work, and what it would take. */
static double shape_bits(const sample *s, const pack_scales *scales, unsigned most, unsigned by, unsigned shape,
                         double grow, uint32_t *work, bool *spread)
{
    const unsigned bins = s->bins >> by, tables = shape == 2 ? 2 : 1, mantissa = most - by;
    uint32_t *sum = work + 2 * s->bins;
    if (shape == 0) {
        fold(s->plain, s->bins, by, work);
        memcpy(sum, work, bins * sizeof *sum);
    } else {
        fold(s->scaled, s->bins, by, work);
        fold(s->scaled + s->bins, s->bins, by, work + bins);
        for (unsigned i = 0; i < bins; i++) sum[i] = work[i] + work[bins + i];
        if (tables == 1) memcpy(work, sum, bins * sizeof *sum);
    }
    double bits = 0;
    for (unsigned t = 0; t < tables; t++)
        bits += stream_bits(work + t * bins, bins, grow) + table_bits(work + t * bins, bins, mantissa, true);
    unsigned top, distinct;
    sum[0] = 0; /* key 0 has a symbol of its own */
    uint64_t outside = best_window(sum, bins, 256 - RANS_FIRST, 0, &top, &distinct);
    *spread |= outside != 0;
    bits += distinct <= EXTRA_KEYS ? 16.0 * distinct : LISTED_BITS * (double)outside * grow;
    return shape ? bits + 8.0 * (double)pack_scales_bytes(scales) : bits;
}

static void choose_key(const pack_values *v, const pack_scales *scales, const sample *s, uint32_t *work,
                       key_choice *best)
{
    const unsigned most = most_mantissa_bits(v->element);
    const double grow = (double)v->count / (double)s->n;
    bool spread = false;
    best->bits = 1e300;
    /* Without mantissa bits the tables are smaller, which tells in small tensors and where keys spread far. */
    for (unsigned by = 0; by <= (spread || v->count < FEW ? most : 0); by += most) {
        double apart = (double)v->count * by; /* mantissa bits that are not in the key */
        for (unsigned shape = 0; shape < (scales->axis_count ? 3u : 1u); shape++) {
            double bits = apart + shape_bits(s, scales, most, by, shape, grow, work, &spread);
            if (bits < best->bits) *best = (key_choice){bits, most - by, shape != 0, shape == 2};
        }
    }
    best->bits -= (double)v->count * (most - best->mantissa); /* counted with the planes from here on */
}

typedef struct seen_key {
    uint32_t key, count;
} seen_key;

/* Keys of the sample outside the window, the most frequent first. */
static void choose_extras(const pack_values *v, const sample *s, unsigned mask, pack_plan *plan)
{
    seen_key seen[256];
    unsigned count = 0;
    const unsigned by = most_mantissa_bits(v->element) - plan->mantissa_bits;
    for (size_t i = 0; i < s->n; i++) {
        uint32_t key = (uint32_t)s->keys[i] >> by,
                 shift = plan->scaled ? (uint32_t)(s->classes[i] >> 1) << plan->mantissa_bits : 0;
        if (!key || ((plan->top + shift - key) & mask) < 256 - RANS_FIRST - EXTRA_KEYS) continue;
        unsigned at = 0;
        while (at < count && seen[at].key != key) at++;
        if (at == count) {
            if (count == 256) continue;
            seen[count++] = (seen_key){key, 0};
        }
        seen[at].count++;
        for (; at && seen[at - 1].count < seen[at].count; at--) {
            seen_key swap = seen[at];
            seen[at] = seen[at - 1];
            seen[at - 1] = swap;
        }
    }
    while (plan->extra_count < EXTRA_KEYS && plan->extra_count < count && seen[plan->extra_count].count >= 2) {
        plan->extras[plan->extra_count] = (uint16_t)seen[plan->extra_count].key;
        plan->extra_count++;
    }
}

static void set_window(const pack_values *v, const sample *s, const key_choice *key, uint32_t *work, pack_plan *plan)
{
    const unsigned by = most_mantissa_bits(v->element) - key->mantissa, bins = s->bins >> by,
                   margin = 2u << key->mantissa;
    unsigned top, distinct;
    fold(key->scaled ? s->scaled : s->plain, s->bins, by, work);
    if (key->scaled) {
        fold(s->scaled + s->bins, s->bins, by, work + bins);
        for (unsigned i = 0; i < bins; i++) work[i] += work[bins + i];
    }
    work[0] = 0;
    uint64_t outside = best_window(work, bins, 256 - RANS_FIRST, margin, &top, &distinct);
    plan->top = (uint16_t)top;
    if (!outside) return;
    best_window(work, bins, 256 - RANS_FIRST - EXTRA_KEYS, margin, &top, &distinct);
    plan->top = (uint16_t)top;
    choose_extras(v, s, bins - 1, plan);
}

/* ---- planes */

/* Whether groups of eight bytes repeat: only then can matching beat entropy coding. */
static bool repeats(const sample *s, unsigned width)
{
    enum { TABLE = 2048 };
    uint64_t seen[TABLE];
    memset(seen, 0, sizeof seen);
    size_t step = width, bytes = s->n * width, groups = 0, found = 0;
    if (bytes < 16) return false;
    if (bytes > 2048 * step) bytes = 2048 * step;
    for (size_t at = 0; at + 8 <= bytes; at += step, groups++) {
        uint64_t group = base_load_le64(s->elements + at);
        size_t slot = (size_t)((group * UINT64_C(0x9e3779b97f4a7c15)) >> 53);
        if (seen[slot] == group + 1) found++;
        seen[slot] = group + 1;
    }
    return found * 64 > groups;
}

/* Bits of each plane of the whole stream under zstd, from one stretch in its middle. */
static fpr_status try_zstd(const pack_values *v, int level, const split_job *shape, unsigned planes, double bits[8],
                           fpr_error *error)
{
    size_t n = v->count < TRIAL ? (size_t)v->count : TRIAL;
    size_t capacity = pack_zstd_bound(n);
    uint8_t *memory = base_alloc((uint64_t)n * v->element.width + (planes + 2) * (uint64_t)n + capacity, 1);
    if (!memory) return base_no_memory(error, (uint64_t)n * v->element.width);
    uint8_t *out = memory + (uint64_t)n * v->element.width + (planes + 2) * (uint64_t)n;
    pack_zstd zstd = {0};
    split_job job = *shape;
    union {
        const uint8_t *in;
        uint8_t *out;
    } elements = {.in = pack_values_fetch(v, (v->count - n) / 2 / VALUES_INDEX * VALUES_INDEX, n, memory)};
    job.elements = elements.out; /* split only reads them */
    job.n = n;
    job.classes = NULL;
    for (unsigned p = 0; p < planes; p++) job.planes[p] = memory + (uint64_t)n * v->element.width + p * (uint64_t)n;
    job.symbols = memory + (uint64_t)n * v->element.width + planes * (uint64_t)n;
    job.low = job.symbols + n;
    split_elements(&job);
    fpr_status status = FPR_OK;
    for (unsigned p = 0; p < planes && !status; p++) {
        size_t bytes = pack_zstd_frame(&zstd, level, job.planes[p], n, out, capacity);
        if (!bytes) status = base_no_memory(error, capacity);
        bits[p] = 8.0 * (double)bytes * ((double)v->count / (double)n);
    }
    pack_zstd_free(&zstd);
    base_free(memory);
    return status;
}

/* The byte of every step-th element that lies `shift` bits up. */
static void count_plane(const sample *s, const split_job *shape, unsigned shift, size_t step, uint32_t counts[256])
{
    const unsigned width = shape->width, turn = shape->exponent_bits ? 8 * width - 1 : 0;
    for (size_t i = 0; i < s->n; i += step) {
        const uint8_t *e = s->elements + i * width;
        uint64_t x = width == 4   ? base_load_le32(e)
                     : width == 2 ? base_load_le16(e)
                     : width == 1 ? *e
                                  : base_load_le64(e);
        if (turn) x = x << 1 | x >> turn;
        counts[x >> shift & 255]++;
    }
}

/* Chooses the encoding of the planes below the key (or of all of them), and adds up what they take. */
static fpr_status plan_planes(const pack_values *v, int level, bool eager, const split_job *shape, const sample *s,
                              bool matches, uint8_t encoding[8], double *bits, fpr_error *error)
{
    unsigned planes = split_planes(shape->width, shape->exponent_bits, shape->mantissa_bits, shape->keyed);
    double zstd[8] = {0};
    if (matches) {
        fpr_status status = try_zstd(v, level, shape, planes, zstd, error);
        if (status) return status;
    }
    /* Below one part in a hundred coding costs more time than the bytes are worth, unless asked for. */
    const double worth = eager ? 1.0 : 0.99;
    /* A quarter of the sample tells a plane of noise from any other. */
    const size_t step = s->n > SAMPLE / 2 ? 4 : 1;
    const size_t looked = (s->n + step - 1) / step;
    for (unsigned p = 0; p < planes; p++) {
        uint32_t counts[256] = {0};
        count_plane(s, shape, 8 * (planes - 1 - p), step, counts);
        double raw = 8.0 * (double)v->count,
               rans = stream_bits(counts, 256, (double)v->count / (double)looked) + table_bits(counts, 256, 0, false) + 80,
               best = raw;
        encoding[p] = PACK_RAW;
        if (rans < best * worth) {
            best = rans;
            encoding[p] = PACK_RANS;
        }
        if (matches && zstd[p] < best * worth) {
            best = zstd[p];
            encoding[p] = PACK_ZSTD;
        }
        *bits += best + 64;
    }
    return FPR_OK;
}

static fpr_status plan_sampled(const pack_values *v, int level, bool eager, sample *s, pack_plan *plan,
                               fpr_error *error)
{
    const pack_element element = v->element;
    bool matches = eager || repeats(s, element.width);
    split_job whole = {.width = element.width, .exponent_bits = element.exponent_bits};
    uint8_t encoding[8] = {0};
    double whole_bits = 0, keyed_bits = 0;
    fpr_status status = FPR_OK;
    plan->keyed = element.exponent_bits != 0;
    if (!plan->keyed || matches)
        status = plan_planes(v, level, eager, &whole, s, matches, encoding, &whole_bits, error);
    if (status) return status;
    if (plan->keyed) {
        uint32_t *work = base_alloc(3 * (uint64_t)s->bins, sizeof *work);
        if (!work) return base_no_memory(error, s->bins * 12);
        key_choice key = {0};
        sample_keys(v, &plan->scales, s);
        choose_key(v, &plan->scales, s, work, &key);
        plan->mantissa_bits = key.mantissa;
        plan->scaled = key.scaled;
        plan->two_tables = key.two_tables;
        set_window(v, s, &key, work, plan);
        base_free(work);
        split_job below = whole;
        below.keyed = true;
        below.mantissa_bits = key.mantissa;
        keyed_bits =
            key.bits + 100 + (double)v->count * split_low_bits(element.width, element.exponent_bits, key.mantissa);
        status = plan_planes(v, level, eager, &below, s, matches, plan->encoding, &keyed_bits, error);
        if (status) return status;
    }
    if (!plan->keyed || (matches && whole_bits < keyed_bits)) {
        plan->keyed = plan->scaled = plan->two_tables = false;
        plan->mantissa_bits = 0;
        memcpy(plan->encoding, encoding, 8);
        keyed_bits = whole_bits;
    }
    plan->planes = split_planes(element.width, element.exponent_bits, plan->mantissa_bits, plan->keyed);
    plan->bits = keyed_bits;
    return FPR_OK;
}

fpr_status pack_values_plan(const pack_values *v, int level, bool eager, pack_plan *plan, fpr_error *error)
{
    memset(plan, 0, sizeof *plan);
    if (!v->count) return FPR_OK;
    fpr_status status = pack_scales_fit(v, &plan->scales, error);
    if (status) return status;
    sample s;
    if (!sample_take(v, &plan->scales, &s))
        status = base_no_memory(error, SAMPLE * 16);
    else
        status = plan_sampled(v, level, eager, &s, plan, error);
    sample_free(&s);
    if (status) pack_plan_free(plan);
    return status;
}
