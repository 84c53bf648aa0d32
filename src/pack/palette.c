/* Palettes: few distinct bit patterns, as in weights that were dequantized; sorted, and an index of 1, 2, 4 or 8 bits.
 */
#include "pack/blob.h"

#include <stdatomic.h>

#define COLOURS 256u
#define SLOTS 1024u
#define BLOCK 4096u  /* values at a time, on the stack */
#define TRIAL 65536u /* values that the encodings are tried on, in so many stretches */
#define TRIAL_PARTS 8u

typedef struct colour_table {
    uint64_t pattern[SLOTS];
    uint16_t index[SLOTS]; /* 0: free, else 1 + place */
    unsigned count;
} colour_table;

static inline uint64_t pattern_at(const uint8_t *p, unsigned width)
{
    return width == 4 ? base_load_le32(p) : width == 2 ? base_load_le16(p) : width == 1 ? *p : base_load_le64(p);
}

static void pattern_store(uint8_t *p, unsigned width, uint64_t pattern)
{
    for (unsigned i = 0; i < width; i++) p[i] = (uint8_t)(pattern >> 8 * i);
}

static inline unsigned slot_of(const colour_table *t, uint64_t pattern)
{
    unsigned slot = (unsigned)((pattern * UINT64_C(0x9e3779b97f4a7c15)) >> 54);
    while (t->index[slot] && t->pattern[slot] != pattern) slot = (slot + 1) % SLOTS;
    return slot;
}

/* false: it would be the 257th colour. */
static inline bool colour_add(colour_table *t, uint64_t pattern)
{
    unsigned slot = slot_of(t, pattern);
    if (t->index[slot]) return true;
    if (t->count == COLOURS) return false;
    t->pattern[slot] = pattern;
    t->index[slot] = (uint16_t)++t->count;
    return true;
}

static void colour_list(const colour_table *t, unsigned width, uint8_t *colours)
{
    uint64_t sorted[COLOURS] = {0};
    unsigned n = 0;
    for (unsigned s = 0; s < SLOTS; s++) {
        if (!t->index[s]) continue;
        unsigned i = n++;
        for (; i && sorted[i - 1] > t->pattern[s]; i--) sorted[i] = sorted[i - 1];
        sorted[i] = t->pattern[s];
    }
    for (unsigned i = 0; i < n; i++) pattern_store(colours + i * width, width, sorted[i]);
}

/* ---- which there are, by all threads: each has a table for the parts that it looks at */

#define PART (64 * BLOCK)

typedef struct search {
    const pack_values *values;
    colour_table *tables; /* [threads] */
    atomic_bool many;     /* more than a table holds */
} search;

static void search_part(void *context, size_t part, unsigned worker)
{
    search *s = context;
    const pack_values *v = s->values;
    const unsigned width = v->element.width;
    const uint64_t begin = part * (uint64_t)PART, end = v->count - begin < PART ? v->count : begin + PART;
    uint8_t block[BLOCK * 8];
    for (uint64_t first = begin; first < end && !atomic_load_explicit(&s->many, memory_order_relaxed); first += BLOCK) {
        const size_t n = end - first < BLOCK ? (size_t)(end - first) : BLOCK;
        const uint8_t *p = pack_values_fetch(v, first, n, block);
        for (size_t i = 0; i < n; i++)
            if (!colour_add(&s->tables[worker], pattern_at(p + i * width, width))) {
                atomic_store(&s->many, true);
                return;
            }
    }
}

/* In tables[0]; none: more than COLOURS. */
static void search_all(search *s, unsigned threads)
{
    base_parallel(threads, (size_t)((s->values->count + PART - 1) / PART), search_part, s);
    bool few = !atomic_load(&s->many);
    for (unsigned i = 1; i < threads; i++)
        for (unsigned slot = 0; slot < SLOTS && few; slot++)
            if (s->tables[i].index[slot]) few = colour_add(&s->tables[0], s->tables[i].pattern[slot]);
    if (!few) s->tables[0].count = 0;
}

static fpr_status search_values(const pack_values *v, unsigned threads, search *s, fpr_error *error)
{
    threads = pack_threads(threads, v->count / PART + 1);
    *s = (search){.values = v, .tables = base_calloc(threads, sizeof *s->tables)};
    if (!s->tables) return base_no_memory(error, threads * sizeof *s->tables);
    search_all(s, threads);
    return FPR_OK;
}

fpr_status pack_palette_find(const pack_values *v, unsigned threads, uint8_t **colours, unsigned *count, fpr_error *error)
{
    const unsigned width = v->element.width;
    search s;
    fpr_status status = search_values(v, threads, &s, error);
    *colours = NULL;
    *count = status ? 0 : s.tables->count;
    if (*count && !(*colours = base_alloc(COLOURS, width))) status = base_no_memory(error, COLOURS * width);
    if (*colours) colour_list(s.tables, width, *colours);
    base_free(s.tables);
    return status;
}

fpr_status pack_colours(const void *bytes, fpr_dtype dtype, uint64_t count, unsigned threads, unsigned *colours,
                        fpr_error *error)
{
    union {
        const void *in;
        uint8_t *out;
    } read_only = {.in = bytes};
    const pack_values values = {.bytes = read_only.out, .element = pack_element_of(dtype), .count = count};
    search s;
    const fpr_status status = search_values(&values, threads, &s, error);
    *colours = status ? 0 : s.tables->count;
    base_free(s.tables);
    return status;
}

static unsigned index_bits(unsigned count) { return count <= 2 ? 1 : count <= 4 ? 2 : count <= 16 ? 4 : 8; }

static void table_of(const uint8_t *colours, unsigned count, unsigned width, colour_table *t)
{
    memset(t, 0, sizeof *t);
    for (unsigned i = 0; i < count; i++) colour_add(t, pattern_at(colours + i * width, width));
}

/* Indices of the values first .. first + n - 1, packed into (n * bits + 7) / 8 bytes; first * bits is a multiple of 8.
 */
static void make_indices(const pack_values *v, const colour_table *t, unsigned bits, uint64_t first, size_t n,
                         uint8_t *dst)
{
    const unsigned width = v->element.width;
    uint8_t block[BLOCK * 8];
    for (size_t done = 0; done < n; done += BLOCK) {
        size_t part = n - done < BLOCK ? n - done : BLOCK;
        const uint8_t *p = pack_values_fetch(v, first + done, part, block);
        if (bits == 8) {
            for (size_t i = 0; i < part; i++)
                *dst++ = (uint8_t)(t->index[slot_of(t, pattern_at(p + i * width, width))] - 1);
            continue;
        }
        unsigned held = 0, count = 0;
        for (size_t i = 0; i < part; i++) {
            held |= (t->index[slot_of(t, pattern_at(p + i * width, width))] - 1u) << count;
            if ((count += bits) == 8) {
                *dst++ = (uint8_t)held;
                held = count = 0;
            }
        }
        if (count) *dst++ = (uint8_t)held;
    }
}

fpr_status pack_palette_plan(const pack_values *v, const uint8_t *colours, unsigned count, int level,
                             unsigned *encoding, double *bits, fpr_error *error)
{
    *encoding = PACK_RAW;
    *bits = 8.0 * count * v->element.width + 200;
    if (count <= 1) return FPR_OK;
    const unsigned width = index_bits(count);
    const size_t n = v->count < TRIAL ? (size_t)v->count : TRIAL, bytes = (n * width + 7) / 8;
    const size_t capacity = pack_zstd_bound(bytes);
    uint8_t *memory = base_alloc(bytes + capacity, 1);
    if (!memory) return base_no_memory(error, bytes + capacity);
    colour_table table;
    table_of(colours, count, v->element.width, &table);
    const size_t parts = v->count > n ? TRIAL_PARTS : 1, part = n / parts;
    for (size_t i = 0; i < parts; i++) {
        uint64_t first = parts > 1 ? (v->count - part) / (parts - 1) * i / 8 * 8 : 0;
        make_indices(v, &table, width, first, part, memory + i * part * width / 8);
    }
    uint32_t counts[256] = {0};
    for (size_t i = 0; i < bytes; i++) counts[memory[i]]++;
    double grow = (double)v->count / (double)n, best = 8.0 * (double)bytes * grow;
    double rans = pack_entropy_bits(counts, 256) * grow + 1000;
    pack_zstd zstd = {0};
    size_t frame = pack_zstd_frame(&zstd, level, memory, bytes, memory + bytes, capacity);
    pack_zstd_free(&zstd);
    base_free(memory);
    if (!frame) return base_no_memory(error, capacity);
    if (rans < best) {
        best = rans;
        *encoding = PACK_RANS;
    }
    if (8.0 * (double)frame * grow < best) {
        best = 8.0 * (double)frame * grow;
        *encoding = PACK_ZSTD;
    }
    *bits += best;
    return FPR_OK;
}

/* ---- encoding */

typedef struct palette_worker {
    rans_scratch *rans;
    pack_zstd zstd;
    uint8_t *indices, *out;
    size_t capacity;
} palette_worker;

typedef struct palette_job {
    const pack_values *values;
    colour_table table;
    unsigned bits, encoding;
    int level;
    pack_blob *blob;
    bool hash_too;
    pack_build_section *section;
    palette_worker *workers;
    atomic_bool no_memory;
    /* decoding */
    const uint8_t *colours;
    unsigned count;
    pack_chunks chunks;
    const char **wrong;
} palette_job;

static void workers_free(palette_worker *workers, unsigned count)
{
    for (unsigned i = 0; workers && i < count; i++) {
        base_free(workers[i].rans);
        base_free(workers[i].indices);
        pack_zstd_free(&workers[i].zstd);
    }
    base_free(workers);
}

static palette_worker *workers_new(unsigned count, bool encoding)
{
    palette_worker *workers = base_calloc(count, sizeof *workers);
    for (unsigned i = 0; workers && i < count; i++) {
        palette_worker *w = &workers[i];
        w->capacity = encoding ? RANS_CHUNK_BOUND(PACK_CHUNK) : 0;
        if (encoding && pack_zstd_bound(PACK_CHUNK) > w->capacity) w->capacity = pack_zstd_bound(PACK_CHUNK);
        w->rans = rans_scratch_new();
        w->indices = base_alloc(PACK_CHUNK + w->capacity, 1);
        if (!w->rans || !w->indices) {
            workers_free(workers, count);
            return NULL;
        }
        w->out = w->indices + PACK_CHUNK;
    }
    return workers;
}

static size_t chunk_values(const palette_job *job, uint64_t chunk, uint64_t *first)
{
    uint64_t per = PACK_CHUNK * 8 / job->bits;
    *first = chunk * per;
    uint64_t left = job->values->count - *first;
    return left < per ? (size_t)left : (size_t)per;
}

static void encode_task(void *context, size_t index, unsigned worker)
{
    palette_job *job = context;
    if (job->hash_too && index == 0) {
        pack_blob_hash(job->blob);
        return;
    }
    if (base_cancelled()) return;
    index -= job->hash_too;
    palette_worker *w = &job->workers[worker];
    uint64_t first;
    size_t n = chunk_values(job, index, &first);
    make_indices(job->values, &job->table, job->bits, first, n, w->indices);
    if (!pack_chunk_write(job->encoding, job->level, w->rans, &w->zstd, w->indices, (n * job->bits + 7) / 8,
                          first + n == job->values->count, w->out, w->capacity, &job->section->pieces[index]))
        atomic_store(&job->no_memory, true);
}

fpr_status pack_palette_encode(const pack_values *v, const uint8_t *colours, unsigned count, unsigned encoding,
                               int level, unsigned threads, pack_blob *blob, fpr_error *error)
{
    fpr_status status = pack_add_coded(blob, PACK_COLOURS, colours, (uint64_t)count * v->element.width, level, error);
    if (status || count <= 1) return status;
    palette_job job = {.values = v, .bits = index_bits(count), .encoding = encoding, .level = level, .blob = blob};
    table_of(colours, count, v->element.width, &job.table);
    uint64_t bytes = v->count / 8 * job.bits + (v->count % 8 * job.bits + 7) / 8;
    uint64_t chunks = pack_chunk_count(bytes);
    job.hash_too = !blob->hashed && chunks > 1;
    job.section = pack_add_section(blob, PACK_INDEX, encoding, bytes, chunks);
    if (!job.section) return base_no_memory(error, chunks * 16);
    threads = pack_threads(threads, chunks + job.hash_too);
    job.workers = workers_new(threads, true);
    if (!job.workers) return base_no_memory(error, PACK_CHUNK * 3);
    base_parallel(threads, (size_t)chunks + job.hash_too, encode_task, &job);
    workers_free(job.workers, threads);
    return atomic_load(&job.no_memory) ? base_no_memory(error, PACK_CHUNK * 2) : base_check_cancelled(error);
}

/* ---- decoding */

static const char *paint(const palette_job *job, const uint8_t *indices, uint64_t first, size_t n)
{
    const pack_values *v = job->values;
    const unsigned width = v->element.width, bits = job->bits, mask = (1u << bits) - 1, per = 8 / bits;
    uint8_t block[BLOCK * 8];
    for (size_t done = 0; done < n; done += BLOCK) {
        size_t part = n - done < BLOCK ? n - done : BLOCK;
        uint8_t *to = v->map ? block : v->bytes + (first + done) * width;
        for (size_t i = 0; i < part; i++) {
            size_t at = done + i;
            unsigned index = bits ? indices[at / per] >> at % per * bits & mask : 0;
            if (index >= job->count) return "an index past the palette";
            memcpy(to + i * width, job->colours + index * width, width);
        }
        if (v->map) pack_values_put(v, first + done, part, block);
    }
    if (n * bits % 8 && indices[n * bits / 8] >> n * bits % 8) return "indices end in other bits than zero";
    return NULL;
}

static void decode_task(void *context, size_t index, unsigned worker)
{
    palette_job *job = context;
    palette_worker *w = &job->workers[worker];
    uint64_t first;
    size_t n = chunk_values(job, index, &first);
    const uint8_t *indices;
    if (base_cancelled()) return;
    bool no_memory = false;
    job->wrong[index] = pack_chunk_read(&job->chunks, index, w->rans, &w->zstd, w->indices, &indices, &no_memory);
    if (no_memory) atomic_store(&job->no_memory, true);
    if (!job->wrong[index]) job->wrong[index] = paint(job, indices, first, n);
}

static void fill_one(const pack_values *v, const uint8_t *colour)
{
    const unsigned width = v->element.width;
    uint8_t block[BLOCK * 8];
    for (size_t i = 0; i < BLOCK; i++) memcpy(block + i * width, colour, width);
    for (uint64_t first = 0; first < v->count; first += BLOCK) {
        size_t n = v->count - first < BLOCK ? (size_t)(v->count - first) : BLOCK;
        if (v->map)
            pack_values_put(v, first, n, block);
        else
            memcpy(v->bytes + first * width, block, n * width);
    }
}

static fpr_status decode_indices(palette_job *job, const uint8_t *blob, const pack_section *s, unsigned threads,
                                 fpr_error *error)
{
    const pack_values *v = job->values;
    uint64_t bytes = v->count / 8 * job->bits + (v->count % 8 * job->bits + 7) / 8;
    if (s->raw != bytes) return pack_bad(error, "indices of another size than the tensor");
    fpr_status status = pack_chunks_open(blob, s, 0, &job->chunks, error);
    if (status) return status;
    uint64_t chunks = job->chunks.count;
    threads = pack_threads(threads, chunks);
    job->workers = workers_new(threads, false);
    job->wrong = base_calloc(chunks, sizeof *job->wrong);
    if (!job->workers || !job->wrong) {
        status = base_no_memory(error, PACK_CHUNK);
    } else {
        base_parallel(threads, (size_t)chunks, decode_task, job);
        status = base_check_cancelled(error);
        for (uint64_t i = 0; i < chunks && !status; i++)
            if (job->wrong[i])
                status =
                    atomic_load(&job->no_memory) ? base_no_memory(error, PACK_CHUNK) : pack_bad(error, job->wrong[i]);
    }
    workers_free(job->workers, threads);
    base_free(job->wrong);
    pack_chunks_close(&job->chunks);
    return status;
}

/* One palette has one spelling. */
static bool ascend(const uint8_t *colours, unsigned count, unsigned width)
{
    for (unsigned i = 1; i < count; i++)
        if (pattern_at(colours + (i - 1) * width, width) >= pattern_at(colours + i * width, width)) return false;
    return true;
}

fpr_status pack_palette_decode(const pack_values *v, const uint8_t *blob, const pack_head *head, unsigned *section,
                               unsigned threads, fpr_error *error)
{
    const pack_section *s = &head->sections[*section], *end = head->sections + head->section_count;
    const unsigned width = v->element.width;
    if (!v->count || s == end || s->kind != PACK_COLOURS) return pack_bad(error, "a palette is missing");
    if (!s->raw || s->raw % width || s->raw / width > COLOURS) return pack_bad(error, "a palette of no possible size");
    uint8_t *colours;
    fpr_status status = pack_section_restore(blob, s, COLOURS * 8, &colours, error);
    if (status) return status;
    palette_job job = {.values = v, .colours = colours, .count = (unsigned)(s->raw / width)};
    s++;
    if (!ascend(colours, job.count, width)) {
        status = pack_bad(error, "the colours of a palette do not ascend");
    } else if (job.count == 1) {
        fill_one(v, colours);
    } else if (s == end || s->kind != PACK_INDEX) {
        status = pack_bad(error, "the indices of a palette are missing");
    } else {
        job.bits = index_bits(job.count);
        status = decode_indices(&job, blob, s++, threads, error);
    }
    base_free(colours);
    *section = (unsigned)(s - head->sections);
    return status;
}
