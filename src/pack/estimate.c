/* How a stream of values is best coded, judged from a sample: keys or whole planes, scales or none, one table or two. */
#include "pack/blob.h"

#define SAMPLE 16384u
#define SAMPLE_BLOCKS 16u
#define TRIAL 65536u         /* elements that zstd is tried on */
#define TABLE_SYMBOL_BITS 3.0 /* what a present symbol costs in a stored table, roughly */
#define TABLE_BITS 40.0

typedef struct sample {
    size_t n;
    uint8_t *elements; /* [n] */
    int8_t *classes;   /* [n], when scaled */
    uint8_t *plane;    /* [n] */
    uint32_t *plain, *scaled; /* histograms of keys: [bins]; [2][bins] by table */
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
    base_free(s->plane);
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
    s->plane = base_alloc(s->n, 1);
    s->plain = base_calloc(3 * (uint64_t)s->bins, sizeof *s->plain);
    if (!s->elements || !s->classes || !s->plane || !s->plain) return false;
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

static void sample_keys(const pack_values *v, const pack_scales *scales, sample *s)
{
    const unsigned mantissa = most_mantissa_bits(v->element);
    split_job job = {.width = v->element.width, .exponent_bits = v->element.exponent_bits, .mantissa_bits = mantissa,
                     .keyed = true, .n = s->n, .elements = s->elements};
    for (size_t i = 0; i < s->n; i++) {
        uint32_t key = split_key(&job, i);
        s->plain[key]++;
        if (!scales->axis_count) continue;
        uint32_t shift = (uint32_t)(s->classes[i] >> 1) << mantissa;
        if (key) key = (key - shift) & (s->bins - 1);
        s->scaled[(s->classes[i] & 1 ? s->bins : 0) + key]++;
    }
}

/* ---- the key: which of the shapes is cheapest */

/* Keys with fewer mantissa bits: neighbours added up. */
static void fold(const uint32_t *from, unsigned bins, unsigned by, uint32_t *to)
{
    memset(to, 0, (bins >> by) * sizeof *to);
    for (unsigned i = 0; i < bins; i++) to[i >> by] += from[i];
}

static double table_bits(const uint32_t *counts, unsigned bins)
{
    unsigned present = 0;
    for (unsigned i = 0; i < bins; i++) present += counts[i] != 0;
    return present ? TABLE_BITS + TABLE_SYMBOL_BITS * (present < 256 ? present : 256) : TABLE_BITS;
}

/* Estimated bits of all keys from the histograms of the sample. */
static double key_bits(const uint32_t *counts, unsigned bins, unsigned tables, double grow)
{
    double bits = 0;
    for (unsigned t = 0; t < tables; t++)
        bits += pack_entropy_bits(counts + t * bins, bins) * grow + table_bits(counts + t * bins, bins);
    return bits;
}

/* The window of 254 keys that holds most of the sample; among equals the middle one. */
static uint16_t best_window(const uint32_t *counts, unsigned tables, unsigned bins)
{
    if (bins <= RANS_ZERO) return 0;
    uint64_t held = 0, best = 0;
    unsigned first = 0, last = 0;
    for (unsigned start = 0; start < bins; start++) {
        if (start == 0) {
            for (unsigned i = 0; i < RANS_ZERO; i++)
                for (unsigned t = 0; t < tables; t++) held += counts[t * bins + i];
        } else {
            for (unsigned t = 0; t < tables; t++) {
                held -= counts[t * bins + start - 1];
                held += counts[t * bins + (start + RANS_ZERO - 1) % bins];
            }
        }
        if (held > best) {
            best = held;
            first = last = start;
        } else if (held == best && start == last + 1) {
            last = start;
        }
    }
    return (uint16_t)((first + last) / 2);
}

typedef struct key_choice { double bits; unsigned mantissa; bool scaled, two_tables; } key_choice;

static void choose_key(const pack_values *v, const pack_scales *scales, const sample *s, uint32_t *work, key_choice *best)
{
    const unsigned most = most_mantissa_bits(v->element);
    const double grow = (double)v->count / (double)s->n;
    best->bits = 1e300;
    for (int full = 1; full >= 0; full--) {
        unsigned mantissa = full ? most : 0, bins = s->bins >> (most - mantissa);
        double apart = (double)v->count * (most - mantissa); /* mantissa bits that are not in the key */
        for (unsigned shape = 0; shape < (scales->axis_count ? 3u : 1u); shape++) {
            unsigned tables = shape == 2 ? 2 : 1;
            if (shape == 0) {
                fold(s->plain, s->bins, most - mantissa, work);
            } else {
                fold(s->scaled, s->bins, most - mantissa, work);
                fold(s->scaled + s->bins, s->bins, most - mantissa, work + bins);
                if (tables == 1)
                    for (unsigned i = 0; i < bins; i++) work[i] += work[bins + i];
            }
            double bits = apart + key_bits(work, bins, tables, grow) + (shape ? 8.0 * (double)pack_scales_bytes(scales) + 64 : 0);
            if (bits < best->bits) *best = (key_choice){bits, mantissa, shape != 0, tables == 2};
        }
    }
    best->bits -= (double)v->count * (most - best->mantissa); /* counted with the planes from here on */
}

static void set_window(const sample *s, const key_choice *key, unsigned most, uint32_t *work, pack_plan *plan)
{
    unsigned by = most - key->mantissa, bins = s->bins >> by;
    fold(key->scaled ? s->scaled : s->plain, s->bins, by, work);
    work[0] = 0; /* key 0 has a symbol of its own */
    if (key->scaled) {
        fold(s->scaled + s->bins, s->bins, by, work + bins);
        work[bins] = 0;
    }
    plan->window = best_window(work, key->scaled ? 2 : 1, bins);
}

/* ---- planes */

/* Whether groups of eight bytes repeat: only then can matching beat entropy coding. */
static bool repeats(const sample *s, unsigned width)
{
    enum { TABLE = 4096 };
    uint64_t seen[TABLE];
    memset(seen, 0, sizeof seen);
    size_t step = width, bytes = s->n * width, groups = 0, found = 0;
    if (bytes < 16) return false;
    if (bytes > 32768) bytes = 32768;
    for (size_t at = 0; at + 8 <= bytes; at += step, groups++) {
        uint64_t group = base_load_le64(s->elements + at);
        size_t slot = (size_t)((group * UINT64_C(0x9e3779b97f4a7c15)) >> 52);
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
    union { const uint8_t *in; uint8_t *out; } elements = {.in = pack_values_fetch(v, (v->count - n) / 2 / VALUES_INDEX * VALUES_INDEX, n, memory)};
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

/* Chooses the encoding of the planes below the key (or of all of them), and adds up what they take. */
static fpr_status plan_planes(const pack_values *v, int level, const split_job *shape, const sample *s, bool matches,
                              uint8_t encoding[8], double *bits, fpr_error *error)
{
    unsigned planes = split_planes(shape->width, shape->exponent_bits, shape->mantissa_bits, shape->keyed);
    double zstd[8] = {0}, grow = (double)v->count / (double)s->n;
    if (matches) {
        fpr_status status = try_zstd(v, level, shape, planes, zstd, error);
        if (status) return status;
    }
    /* Below one part in a hundred an entropy coder costs more time than the bytes are worth, unless asked for. */
    const double worth = level >= 10 ? 1.0 : 0.99;
    for (unsigned p = 0; p < planes; p++) {
        uint32_t counts[256] = {0};
        unsigned shift = 8 * (planes - 1 - p);
        for (size_t i = 0; i < s->n; i++) {
            const uint8_t *e = s->elements + i * shape->width;
            uint64_t x = 0;
            for (unsigned b = shape->width; b-- > 0;) x = x << 8 | e[b];
            if (shape->exponent_bits) x = x << 1 | x >> (8 * shape->width - 1);
            counts[x >> shift & 255]++;
        }
        double raw = 8.0 * (double)v->count, rans = pack_entropy_bits(counts, 256) * grow + table_bits(counts, 256) + 80;
        double best = raw;
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

static fpr_status plan_sampled(const pack_values *v, int level, sample *s, pack_plan *plan, fpr_error *error)
{
    const pack_element element = v->element;
    bool matches = level >= 10 || repeats(s, element.width);
    split_job whole = {.width = element.width, .exponent_bits = element.exponent_bits};
    uint8_t encoding[8] = {0};
    double whole_bits = 0, keyed_bits = 0;
    fpr_status status = FPR_OK;
    plan->keyed = element.exponent_bits != 0;
    if (!plan->keyed || matches) status = plan_planes(v, level, &whole, s, matches, encoding, &whole_bits, error);
    if (status) return status;
    if (plan->keyed) {
        const unsigned most = most_mantissa_bits(element);
        uint32_t *work = base_alloc(2 * (uint64_t)s->bins, sizeof *work);
        if (!work) return base_no_memory(error, s->bins * 8);
        key_choice key = {0};
        sample_keys(v, &plan->scales, s);
        choose_key(v, &plan->scales, s, work, &key);
        set_window(s, &key, most, work, plan);
        base_free(work);
        plan->mantissa_bits = key.mantissa;
        plan->scaled = key.scaled;
        plan->two_tables = key.two_tables;
        split_job below = whole;
        below.keyed = true;
        below.mantissa_bits = key.mantissa;
        keyed_bits = key.bits + 100 + (double)v->count * split_low_bits(element.width, element.exponent_bits, key.mantissa);
        status = plan_planes(v, level, &below, s, matches, plan->encoding, &keyed_bits, error);
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

fpr_status pack_values_plan(const pack_values *v, int level, pack_plan *plan, fpr_error *error)
{
    memset(plan, 0, sizeof *plan);
    if (!v->count) return FPR_OK;
    fpr_status status = pack_scales_fit(v, &plan->scales, error);
    if (status) return status;
    sample s;
    if (!sample_take(v, &plan->scales, &s)) status = base_no_memory(error, SAMPLE * 16);
    else status = plan_sampled(v, level, &s, plan, error);
    sample_free(&s);
    if (status) pack_plan_free(plan);
    return status;
}
