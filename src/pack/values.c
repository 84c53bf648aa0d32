/* Codes and restores a stream of values chunk by chunk: scales, keys, low bits, byte planes. */
#include "base/xxh.h"
#include "pack/blob.h"

#include <stdatomic.h>

#define KEYS_FIXED 4u /* mantissa bits and number of axes, top, number of extra keys */

typedef struct worker {
    rans_scratch *rans;
    pack_zstd zstd;
    uint8_t *memory; /* owns what follows */
    uint8_t *elements, *symbols, *planes, *out;
    int8_t *classes;
    size_t capacity; /* of out */
} worker;

static void workers_free(worker *workers, unsigned count)
{
    for (unsigned i = 0; workers && i < count; i++) {
        base_free(workers[i].rans);
        base_free(workers[i].memory);
        pack_zstd_free(&workers[i].zstd);
    }
    base_free(workers);
}

/* Everything a worker needs is allocated before the loop, so that the loop itself fails for few reasons. */
static worker *workers_new(unsigned count, uint64_t values, unsigned width, bool gather, unsigned planes, bool encoding)
{
    worker *workers = base_calloc(count, sizeof *workers);
    if (!workers) return NULL;
    uint64_t n = values < PACK_CHUNK ? values : PACK_CHUNK;
    n = (n + 63) & ~UINT64_C(63);
    for (unsigned i = 0; i < count; i++) {
        worker *w = &workers[i];
        w->capacity = encoding ? RANS_CHUNK_BOUND(n) : 0;
        if (encoding && pack_zstd_bound((size_t)n) > w->capacity) w->capacity = pack_zstd_bound((size_t)n);
        uint64_t bytes = n * ((gather ? width : 0) + 2 + planes) + w->capacity;
        w->rans = rans_scratch_new();
        w->memory = base_alloc_aligned(bytes, 1);
        if (!w->rans || !w->memory) {
            workers_free(workers, count);
            return NULL;
        }
        w->symbols = w->memory;
        w->classes = (int8_t *)(w->memory + n);
        w->planes = w->memory + 2 * n;
        w->elements = w->planes + planes * n;
        w->out = w->elements + (gather ? width * n : 0);
    }
    return workers;
}

/* ---- encoding */

typedef struct encode_job {
    const pack_values *values;
    const pack_plan *plan;
    int level;
    pack_blob *blob;
    bool hash_too; /* task 0 hashes the tensor, the others are chunks */
    worker *workers;
    unsigned low_bits;
    pack_build_section *keys, *low, *planes; /* planes: the first of plan->planes consecutive ones */
    atomic_bool no_memory;
} encode_job;

#define COUNTED 64u /* symbols that are looked at together, in vectors */

static void count_symbols(const uint8_t *symbols, const int8_t *classes, size_t n, uint32_t counts[2][256])
{
    uint32_t part[4][512];
    memset(part, 0, sizeof part);
    size_t i = 0;
    for (; i + COUNTED <= n; i += COUNTED) {
        uint16_t entry[COUNTED];
        for (unsigned l = 0; l < COUNTED; l++) entry[l] = symbols[i + l];
        for (unsigned l = 0; classes && l < COUNTED; l++) entry[l] = (uint16_t)(entry[l] | (classes[i + l] & 1) << 8);
        for (unsigned l = 0; l < COUNTED; l += 4) {
            part[0][entry[l]]++;
            part[1][entry[l + 1]]++;
            part[2][entry[l + 2]]++;
            part[3][entry[l + 3]]++;
        }
    }
    for (; i < n; i++) part[0][symbols[i] | (classes ? classes[i] & 1 : 0) << 8]++;
    for (unsigned t = 0; t < 2; t++)
        for (unsigned s = 0; s < 256; s++) {
            const unsigned e = t << 8 | s;
            counts[t][s] = part[0][e] + part[1][e] + part[2][e] + part[3][e];
        }
}

/* Symbols seen so seldom that they waste more by holding 1/4096 of the range than their keys cost when listed apart:
 * n log2(4096/4095) bits against 16 bits each. They become escapes. The common ones lie together: only a run that has
 * others than low .. high is looked at symbol by symbol. */
static void drop_rare(uint32_t counts[2][256], const split_job *split, const int8_t *classes)
{
    uint8_t map[2][256];
    unsigned low = 0, high = 255, most = RANS_FIRST;
    for (unsigned s = RANS_FIRST; s < 256; s++)
        if (counts[0][s] + counts[1][s] > counts[0][most] + counts[1][most]) most = s;
    for (unsigned t = 0; t < 2; t++)
        for (unsigned s = 0; s < 256; s++) {
            const bool rare = s >= RANS_FIRST && counts[t][s] && (uint64_t)counts[t][s] * 45000 < split->n;
            map[t][s] = rare ? RANS_ESCAPE : (uint8_t)s;
            if (!rare) continue;
            counts[t][RANS_ESCAPE] += counts[t][s];
            counts[t][s] = 0;
            if (s <= most && s >= low) low = s + 1;
            if (s >= most && s <= high) high = s - 1;
        }
    if (low == 0 && high == 255) return;
    uint8_t *symbols = split->symbols;
    for (size_t i = 0; i < split->n; i += COUNTED) {
        const size_t m = split->n - i < COUNTED ? split->n - i : COUNTED;
        if (m == COUNTED && low <= high) { /* else the most common one is rare in one table */
            uint8_t far = 0;
            for (unsigned l = 0; l < COUNTED; l++) far |= (uint8_t)(symbols[i + l] - low) > (uint8_t)(high - low);
            if (!far) continue;
        }
        for (size_t l = i; l < i + m; l++) symbols[l] = map[classes ? classes[l] & 1 : 0][symbols[l]];
    }
}

/* Keys outside the window that have symbols of their own. */
static void use_extras(const split_job *split)
{
    uint8_t *at = split->symbols, *end = at + split->n;
    for (; at < end && (at = memchr(at, RANS_ESCAPE, (size_t)(end - at))) != NULL; at++) {
        uint32_t key = split_key(split, (size_t)(at - split->symbols));
        for (unsigned e = 0; e < split->extra_count; e++)
            if (split->extras[e] == key) *at = (uint8_t)(RANS_FIRST + e);
    }
}

static bool encode_keys(const encode_job *job, worker *w, const split_job *split, bool last, pack_piece *piece)
{
    uint32_t counts[2][256];
    if (split->extra_count) use_extras(split);
    const int8_t *classes = job->plan->two_tables ? split->classes : NULL;
    count_symbols(split->symbols, classes, split->n, counts);
    drop_rare(counts, split, classes);
    size_t escapes = counts[0][RANS_ESCAPE] + (classes ? counts[1][RANS_ESCAPE] : 0), found = 0;
    uint16_t *keys = base_alloc(escapes, sizeof *keys);
    uint8_t *out = w->out;
    if (!keys) return false;
    const uint8_t *at = split->symbols, *end = at + split->n;
    for (; found < escapes && (at = memchr(at, RANS_ESCAPE, (size_t)(end - at))) != NULL; at++)
        keys[found++] = (uint16_t)split_key(split, (size_t)(at - split->symbols));
    const rans_keys alphabet = {RANS_FIRST + split->extra_count, split->mantissa_bits, split->top};
    uint64_t most = RANS_CHUNK_BOUND(split->n) + 2 * (uint64_t)escapes;
    uint8_t *larger = most > w->capacity ? base_alloc(most, 1) : NULL;
    if (larger) out = larger;
    bool done = most <= w->capacity || larger;
    if (done) {
        size_t bytes = rans_encode(w->rans, split->symbols, classes, split->n, (const uint32_t(*)[256])counts,
                                   &alphabet, keys, escapes, last, out);
        done = pack_copy_piece(piece, out, bytes);
    }
    base_free(larger);
    base_free(keys);
    return done;
}

static bool encode_chunk(encode_job *job, uint64_t chunk, worker *w)
{
    const pack_values *v = job->values;
    const pack_plan *plan = job->plan;
    const uint64_t first = chunk * PACK_CHUNK;
    const size_t n = pack_chunk_size(v->count, chunk);
    const bool last = first + n == v->count;
    union {
        const uint8_t *in;
        uint8_t *out;
    } elements = {.in = pack_values_fetch(v, first, n, w->elements)};
    split_job split = {.width = v->element.width,
                       .exponent_bits = v->element.exponent_bits,
                       .mantissa_bits = plan->mantissa_bits,
                       .keyed = plan->keyed,
                       .top = plan->top,
                       .extra_count = plan->extra_count,
                       .extras = plan->extras,
                       .n = n,
                       .elements = elements.out,
                       .symbols = w->symbols};
    if (plan->scaled) {
        pack_values_classes(v, &plan->scales, first, n, w->classes);
        split.classes = w->classes;
    }
    if (job->low) {
        pack_piece *piece = &job->low->pieces[chunk];
        piece->count = (n * (uint64_t)job->low_bits + 7) / 8;
        piece->bytes = base_alloc(piece->count, 1);
        if (!piece->bytes) return false;
        split.low = piece->bytes;
    }
    for (unsigned p = 0; p < plan->planes; p++) {
        split.planes[p] = w->planes + p * ((n + 63) & ~(size_t)63);
        if (plan->encoding[p] != PACK_RAW) continue;
        pack_piece *piece = &job->planes[p].pieces[chunk];
        piece->bytes = base_alloc(n, 1);
        if (!piece->bytes) return false;
        piece->count = n;
        split.planes[p] = piece->bytes;
    }
    split_elements(&split);
    if (plan->keyed && !encode_keys(job, w, &split, last, &job->keys->pieces[chunk + 1])) return false;
    for (unsigned p = 0; p < plan->planes; p++) {
        pack_piece *piece = &job->planes[p].pieces[chunk];
        if (plan->encoding[p] == PACK_RAW) continue;
        if (!pack_chunk_write(plan->encoding[p], job->level, w->rans, &w->zstd, split.planes[p], n, last, w->out,
                              w->capacity, piece))
            return false;
        if (v->count > PACK_CHUNK || piece->count < n) continue;
        /* the only chunk did not gain: the estimate was off, and the whole section is raw after all */
        base_free(piece->bytes);
        job->planes[p].encoding = PACK_RAW;
        if (!pack_copy_piece(piece, split.planes[p], n)) return false;
    }
    return true;
}

static void encode_task(void *context, size_t index, unsigned worker_index)
{
    encode_job *job = context;
    if (job->hash_too && index == 0) {
        pack_blob_hash(job->blob);
        return;
    }
    if (atomic_load(&job->no_memory) || base_cancelled()) return;
    if (!encode_chunk(job, index - job->hash_too, &job->workers[worker_index])) atomic_store(&job->no_memory, true);
}

/* What the chunks of keys share. */
static bool add_prefix(const pack_plan *plan, pack_piece *piece)
{
    static const pack_scales none;
    const pack_scales *scales = plan->scaled ? &plan->scales : &none;
    piece->count = KEYS_FIXED + 2 * plan->extra_count + pack_scales_bytes(scales);
    uint8_t *at = piece->bytes = base_alloc(piece->count, 1);
    if (!at) return false;
    *at++ = (uint8_t)(plan->mantissa_bits | scales->axis_count << 4);
    base_store_le16(at, plan->top);
    at[2] = (uint8_t)plan->extra_count;
    at += 3;
    for (unsigned e = 0; e < plan->extra_count; e++, at += 2) base_store_le16(at, plan->extras[e]);
    pack_scales_write(scales, at);
    return true;
}

static bool add_sections(encode_job *job, uint64_t chunks)
{
    const pack_values *v = job->values;
    const pack_plan *plan = job->plan;
    if (plan->keyed) {
        job->keys = pack_add_section(job->blob, PACK_KEYS, PACK_RANS, v->count, chunks + 1);
        if (!job->keys || !add_prefix(plan, &job->keys->pieces[0])) return false;
        job->low_bits = split_low_bits(v->element.width, v->element.exponent_bits, plan->mantissa_bits);
        if (job->low_bits) {
            uint64_t bytes = (v->count * job->low_bits + 7) / 8;
            job->low = pack_add_section(job->blob, PACK_LOW, PACK_RAW, bytes, chunks);
            if (!job->low) return false;
        }
    }
    for (unsigned p = 0; p < plan->planes; p++) {
        pack_build_section *s = pack_add_section(job->blob, PACK_PLANE, plan->encoding[p], v->count, chunks);
        if (!s) return false;
        if (p == 0) job->planes = s;
    }
    return true;
}

fpr_status pack_values_encode(const pack_values *values, const pack_plan *plan, int level, unsigned threads,
                              pack_blob *blob, fpr_error *error)
{
    uint64_t chunks = pack_chunk_count(values->count);
    if (!chunks) return FPR_OK;
    encode_job job = {
        .values = values, .plan = plan, .level = level, .blob = blob, .hash_too = !blob->hashed && chunks > 1};
    if (!add_sections(&job, chunks)) return base_no_memory(error, 4096);
    threads = pack_threads(threads, chunks + job.hash_too);
    job.workers = workers_new(threads, values->count, values->element.width, values->map != NULL, plan->planes, true);
    if (!job.workers) return base_no_memory(error, PACK_CHUNK * 8);
    base_parallel(threads, (size_t)chunks + job.hash_too, encode_task, &job);
    workers_free(job.workers, threads);
    return atomic_load(&job.no_memory) ? base_no_memory(error, PACK_CHUNK * 8) : base_check_cancelled(error);
}

/* ---- decoding */

typedef struct decode_job {
    const pack_values *values;
    pack_scales scales;
    bool scaled, keyed;
    unsigned mantissa_bits, low_bits, plane_count;
    uint16_t top;
    unsigned extra_count;
    uint16_t extras[EXTRA_KEYS];
    pack_chunks keys, planes[8];
    const uint8_t *low;
    worker *workers;
    const char **wrong; /* [chunks] */
    atomic_bool no_memory;
} decode_job;

static const char *decode_keys(const decode_job *job, uint64_t chunk, worker *w, const int8_t *classes, size_t n,
                               const uint8_t **escapes, size_t *count)
{
    const uint64_t begin = job->keys.begin[chunk], end = job->keys.begin[chunk + 1];
    const rans_keys alphabet = {RANS_FIRST + job->extra_count, job->mantissa_bits, job->top};
    return rans_decode(w->rans, job->keys.bytes + begin, (size_t)(end - begin), chunk + 1 == job->keys.count,
                       w->symbols, classes, n, &alphabet, escapes, count);
}

static const char *decode_chunk(decode_job *job, uint64_t chunk, worker *w, bool *no_memory)
{
    const pack_values *v = job->values;
    const uint64_t first = chunk * PACK_CHUNK;
    const size_t n = pack_chunk_size(v->count, chunk);
    const char *wrong = NULL;
    const uint8_t *escapes = NULL;
    size_t escape_count = 0;
    split_job merge = {.width = v->element.width,
                       .exponent_bits = v->element.exponent_bits,
                       .mantissa_bits = job->mantissa_bits,
                       .keyed = job->keyed,
                       .top = job->top,
                       .extra_count = job->extra_count,
                       .extras = job->extras,
                       .n = n,
                       .symbols = w->symbols};
    merge.elements = v->map ? w->elements : v->bytes + first * v->element.width;
    if (job->scaled) {
        pack_values_classes(v, &job->scales, first, n, w->classes);
        merge.classes = w->classes;
    }
    if (job->keyed) wrong = decode_keys(job, chunk, w, merge.classes, n, &escapes, &escape_count);
    for (unsigned p = 0; p < job->plane_count && !wrong; p++) {
        union {
            const uint8_t *in;
            uint8_t *out;
        } plane;
        uint8_t *scratch = w->planes + p * ((n + 63) & ~(size_t)63);
        wrong = pack_chunk_read(&job->planes[p], chunk, w->rans, &w->zstd, scratch, &plane.in, no_memory);
        merge.planes[p] = plane.out; /* merging only reads them */
    }
    if (wrong) return wrong;
    union {
        const uint8_t *in;
        uint8_t *out;
    } low = {.in = job->low ? job->low + first / 8 * job->low_bits : NULL};
    merge.low = low.out;
    wrong = split_merge(&merge, escapes, escape_count);
    if (!wrong && v->map) pack_values_put(v, first, n, merge.elements);
    return wrong;
}

static void decode_task(void *context, size_t index, unsigned worker_index)
{
    decode_job *job = context;
    if (base_cancelled()) return;
    bool no_memory = false;
    job->wrong[index] = decode_chunk(job, index, &job->workers[worker_index], &no_memory);
    if (no_memory) atomic_store(&job->no_memory, true);
}

/* What the chunks of keys share; `*prefix` is its length. */
static fpr_status open_prefix(decode_job *job, const uint8_t *src, uint64_t n, uint64_t *prefix, fpr_error *error)
{
    const pack_values *v = job->values;
    const uint8_t *at = src, *end = src + n;
    if (n < KEYS_FIXED) return pack_bad(error, "keys are cut short");
    job->mantissa_bits = at[0] & 15;
    const unsigned axes = at[0] >> 4;
    job->top = base_load_le16(at + 1);
    job->extra_count = at[3];
    at += KEYS_FIXED;
    const unsigned bits = v->element.exponent_bits + job->mantissa_bits;
    if (bits > 16 || bits >= 8 * v->element.width) return pack_bad(error, "keys of more bits than the format has");
    if (job->extra_count > EXTRA_KEYS || (uint64_t)(end - at) < 2 * job->extra_count)
        return pack_bad(error, "too many extra keys");
    for (unsigned e = 0; e < job->extra_count; e++, at += 2) job->extras[e] = base_load_le16(at);
    uint64_t span = v->map ? v->layer.filters * v->layer.channels * v->layer.k : v->count;
    fpr_status status = pack_scales_read(&at, end, axes, span, &job->scales, error);
    job->scaled = job->scales.axis_count != 0;
    *prefix = (uint64_t)(at - src);
    return status;
}

/* Takes the sections of the stream, in their order, and checks their sizes. */
static fpr_status open_sections(decode_job *job, const uint8_t *blob, const pack_head *head, unsigned *section,
                                fpr_error *error)
{
    const pack_values *v = job->values;
    const pack_section *s = &head->sections[*section], *end = head->sections + head->section_count;
    fpr_status status;
    if (s < end && s->kind == PACK_KEYS) {
        uint64_t prefix = 0;
        if (!v->element.exponent_bits) return pack_bad(error, "keys for a dtype without exponent");
        if (s->encoding != PACK_RANS || s->raw != v->count)
            return pack_bad(error, "keys of another size than the tensor");
        job->keyed = true;
        if ((status = open_prefix(job, blob + s->at, s->stored, &prefix, error)) != FPR_OK) return status;
        if ((status = pack_chunks_open(blob, s++, prefix, &job->keys, error)) != FPR_OK) return status;
        job->low_bits = split_low_bits(v->element.width, v->element.exponent_bits, job->mantissa_bits);
        if (job->low_bits) {
            uint64_t bits = v->count * job->low_bits; /* below the bits of the tensor */
            if (s == end || s->kind != PACK_LOW || s->encoding != PACK_RAW || s->raw != (bits + 7) / 8)
                return pack_bad(error, "low bits of another size than the tensor");
            job->low = blob + s->at;
            if (bits % 8 && job->low[s->raw - 1] >> bits % 8)
                return pack_bad(error, "low bits end in other bits than zero");
            s++;
        }
    }
    unsigned planes = split_planes(v->element.width, v->element.exponent_bits, job->mantissa_bits, job->keyed);
    for (; job->plane_count < planes; job->plane_count++, s++) {
        if (s == end || s->kind != PACK_PLANE || s->raw != v->count) return pack_bad(error, "a plane is missing");
        if ((status = pack_chunks_open(blob, s, 0, &job->planes[job->plane_count], error)) != FPR_OK) return status;
    }
    *section = (unsigned)(s - head->sections);
    return FPR_OK;
}

static void close_sections(decode_job *job)
{
    pack_scales_free(&job->scales);
    pack_chunks_close(&job->keys);
    for (unsigned p = 0; p < job->plane_count; p++) pack_chunks_close(&job->planes[p]);
}

fpr_status pack_values_decode(const pack_values *values, const uint8_t *blob, const pack_head *head, unsigned *section,
                              unsigned threads, fpr_error *error)
{
    uint64_t chunks = pack_chunk_count(values->count);
    if (!chunks) return FPR_OK;
    if (*section < head->section_count && head->sections[*section].kind == PACK_ADAPTIVE)
        return pack_adaptive_decode(values, blob, head, section, threads, error);
    decode_job job = {.values = values};
    fpr_status status = open_sections(&job, blob, head, section, error);
    if (status) goto out;
    threads = pack_threads(threads, chunks);
    job.workers =
        workers_new(threads, values->count, values->element.width, values->map != NULL, job.plane_count, false);
    job.wrong = base_calloc(chunks, sizeof *job.wrong);
    if (!job.workers || !job.wrong) {
        status = base_no_memory(error, PACK_CHUNK * 8);
    } else {
        base_parallel(threads, (size_t)chunks, decode_task, &job);
        status = base_check_cancelled(error);
        for (uint64_t i = 0; i < chunks && !status; i++)
            if (job.wrong[i])
                status =
                    atomic_load(&job.no_memory) ? base_no_memory(error, PACK_CHUNK) : pack_bad(error, job.wrong[i]);
    }
    workers_free(job.workers, threads);
    base_free(job.wrong);
out:
    close_sections(&job);
    return status;
}
