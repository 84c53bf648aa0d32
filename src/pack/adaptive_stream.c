/* A stream of floats as two sections: the heads of its values under the adaptive code, and the bits below them. */
#include "pack/adaptive.h"
#include "pack/blob.h"

#include <stdatomic.h>

#define FLAG_HWIO 1u /* of the prefix: values come in OIHW order, but lie in HWIO order */
#define FLAG_ZEROS 2u
#define PREFIX_MOST 24u
#define LOOKED 65536u /* values that the distance above is found from */

typedef struct worker {
    adaptive *coder;
    uint8_t *memory; /* owns what follows */
    uint16_t *heads;
    uint8_t *elements, *out;
} worker;

typedef struct job {
    pack_values values; /* with the layer that says in which order, when `ordered` */
    bool ordered;       /* by kernels: gathered or HWIO. Else the values are as they lie. */
    adaptive_shape shape;
    unsigned low_bits;
    worker *workers;
    size_t capacity; /* of out */
    atomic_bool no_memory, grown;
    /* encoding */
    pack_piece *heads, *lows; /* [chunks] */
    /* decoding */
    const uint8_t *coded, *low;
    uint64_t *begin; /* [chunks][2]: where, and how many bytes */
    const char **wrong;
} job;

static unsigned low_bits(pack_element e) { return 8 * e.width - 1 - e.exponent_bits - ADAPTIVE_MANTISSA; }

/* Of so many values. The product cannot overflow: the tensor itself has more bits. */
static uint64_t low_bytes(uint64_t count, unsigned bits) { return (count * bits + 7) / 8; }

static void workers_free(worker *workers, unsigned count)
{
    for (unsigned i = 0; workers && i < count; i++) {
        base_free(workers[i].coder);
        base_free(workers[i].memory);
    }
    base_free(workers);
}

static worker *workers_new(const job *j, unsigned count)
{
    worker *workers = base_calloc(count, sizeof *workers);
    const uint64_t n = (pack_chunk_size(j->values.count, 0) + 63) & ~UINT64_C(63);
    for (unsigned i = 0; workers && i < count; i++) {
        worker *w = &workers[i];
        w->coder = adaptive_new(&j->shape);
        w->memory = base_alloc_aligned(n * (2 + (j->ordered ? j->values.element.width : 0)) + j->capacity, 1);
        if (!w->coder || !w->memory) {
            workers_free(workers, count);
            return NULL;
        }
        w->heads = (uint16_t *)(void *)w->memory;
        w->elements = w->memory + 2 * n;
        w->out = w->elements + (j->ordered ? n * j->values.element.width : 0);
    }
    return workers;
}

/* ---- values */

static inline void store(uint8_t *p, unsigned width, uint64_t x)
{
    if (width == 4)
        base_store_le32(p, (uint32_t)x);
    else if (width == 2)
        base_store_le16(p, (uint16_t)x);
    else
        base_store_le64(p, x);
}

static const uint8_t *fetch(const job *j, uint64_t first, size_t n, uint8_t *scratch)
{
    if (!j->ordered) return j->values.bytes + first * j->values.element.width;
    pack_values_gather(&j->values, first, n, scratch);
    return scratch;
}

static void heads_of(const job *j, const uint8_t *elements, size_t n, uint16_t *heads)
{
    const unsigned width = j->values.element.width;
    for (size_t i = 0; i < n; i++) heads[i] = (uint16_t)(pack_pattern(elements + i * width, width) >> j->low_bits);
}

static void pack_lows(const job *j, const uint8_t *elements, size_t n, uint8_t *dst)
{
    const unsigned width = j->values.element.width, bits = j->low_bits;
    const uint64_t mask = (UINT64_C(1) << bits) - 1;
    uint64_t held = 0; /* fewer than 8 bits between values, and a value has at most 50 */
    unsigned count = 0;
    for (size_t i = 0; i < n; i++) {
        held |= (pack_pattern(elements + i * width, width) & mask) << count;
        for (count += bits; count >= 8; count -= 8, held >>= 8) *dst++ = (uint8_t)held;
    }
    if (count) *dst = (uint8_t)held;
}

static void merge(const job *j, const uint16_t *heads, const uint8_t *low, size_t n, uint8_t *elements)
{
    const unsigned width = j->values.element.width, bits = j->low_bits;
    const uint64_t mask = (UINT64_C(1) << bits) - 1;
    uint64_t held = 0;
    unsigned count = 0;
    for (size_t i = 0; i < n; i++) {
        for (; count < bits; count += 8) held |= (uint64_t)*low++ << count;
        store(elements + i * width, width, (uint64_t)heads[i] << bits | (held & mask));
        held >>= bits;
        count -= bits;
    }
}

/* The heads of a chunk, kernel by kernel when some are missing in between. */
static void code_runs(const job *j, worker *w, uint64_t first, size_t n, bool decoding)
{
    const pack_values *v = &j->values;
    pack_cursor c = {0};
    if (v->map) c = pack_values_seek(v, first);
    for (size_t at = 0, run; at < n; at += run) {
        uint64_t place = first + at;
        run = n - at;
        if (v->map) {
            run = (size_t)pack_values_run(v, &c, run);
            place = c.kernel * v->layer.k + c.place;
            c.place += run;
        }
        if (decoding)
            adaptive_decode(w->coder, place, w->heads + at, run);
        else
            adaptive_encode(w->coder, place, w->heads + at, run);
    }
}

/* ---- encoding */

/* How the values lie in their layer; a tensor that is none is a row of weights of equal rank. */
static void set_order(job *j)
{
    const pack_layer *l = &j->values.layer;
    j->ordered = j->values.map || (l->filters && l->hwio);
    j->shape.channels = l->filters ? l->flat ? l->k : l->channels : 1;
    j->shape.k = l->filters && !l->flat ? l->k : 1;
}

/* What all values have to be known for. */
static bool survey(job *j)
{
    const pack_values *v = &j->values;
    const size_t most = pack_chunk_size(v->count, 0);
    const unsigned exponents = v->element.exponent_bits, magnitude = (1u << (exponents + ADAPTIVE_MANTISSA)) - 1;
    uint8_t *scratch = base_alloc(most, 2 + (j->ordered ? v->element.width : 0));
    if (!scratch) return false;
    uint16_t *heads = (uint16_t *)(void *)scratch;
    for (uint64_t chunk = 0; chunk < pack_chunk_count(v->count); chunk++) {
        const size_t n = pack_chunk_size(v->count, chunk);
        heads_of(j, fetch(j, chunk * PACK_CHUNK, n, scratch + 2 * most), n, heads);
        if (!chunk) j->shape.above = adaptive_find_above(heads, n < LOOKED ? n : LOOKED, exponents, j->shape.k);
        for (size_t i = 0; i < n; i++) {
            const unsigned m = heads[i] & magnitude;
            if (m >> ADAPTIVE_MANTISSA > j->shape.top) j->shape.top = m >> ADAPTIVE_MANTISSA;
            j->shape.zeros |= m == 0;
        }
    }
    base_free(scratch);
    return true;
}

static void encode_heads(void *context, size_t chunk, unsigned worker_index)
{
    job *j = context;
    worker *w = &j->workers[worker_index];
    const size_t n = pack_chunk_size(j->values.count, chunk);
    const uint64_t first = chunk * PACK_CHUNK;
    const bool last = first + n == j->values.count;
    if (base_cancelled()) { /* nothing of it is used then */
        atomic_store(&j->grown, true);
        return;
    }
    heads_of(j, fetch(j, first, n, w->elements), n, w->heads);
    adaptive_begin_encoding(w->coder, w->out, j->capacity);
    code_runs(j, w, first, n, false);
    const size_t bytes = adaptive_end_encoding(w->coder), length = last ? 0 : pack_varint_bytes(bytes);
    pack_piece *piece = &j->heads[chunk];
    if (!bytes) {
        atomic_store(&j->grown, true);
        return;
    }
    piece->bytes = base_alloc(length + bytes, 1);
    if (!piece->bytes) {
        atomic_store(&j->no_memory, true);
        return;
    }
    piece->count = length + bytes;
    if (!last) pack_put_varint(piece->bytes, bytes);
    memcpy(piece->bytes + length, w->out, bytes);
}

static void encode_lows(void *context, size_t chunk, unsigned worker_index)
{
    job *j = context;
    const size_t n = pack_chunk_size(j->values.count, chunk);
    const uint8_t *elements = fetch(j, chunk * PACK_CHUNK, n, j->workers[worker_index].elements);
    pack_piece *piece = &j->lows[chunk];
    piece->count = low_bytes(n, j->low_bits);
    piece->bytes = base_alloc(piece->count, 1);
    if (!piece->bytes) {
        atomic_store(&j->no_memory, true);
        return;
    }
    pack_lows(j, elements, n, piece->bytes);
}

static bool add_prefix(const job *j, pack_piece *piece)
{
    uint8_t prefix[PREFIX_MOST], *at = prefix;
    *at++ = (uint8_t)((j->ordered && !j->values.map ? FLAG_HWIO : 0) | (j->shape.zeros ? FLAG_ZEROS : 0));
    base_store_le16(at, (uint16_t)j->shape.top);
    at[2] = (uint8_t)j->shape.above;
    at += 3;
    at += pack_put_varint(at, j->shape.channels);
    at += pack_put_varint(at, j->shape.k);
    return pack_copy_piece(piece, prefix, (uint64_t)(at - prefix));
}

fpr_status pack_adaptive_encode(const pack_values *values, uint64_t must_beat, unsigned threads, pack_blob *blob,
                                bool *added, fpr_error *error)
{
    *added = false;
    job j = {.values = *values, .low_bits = low_bits(values->element)};
    const uint64_t chunks = pack_chunk_count(values->count), lows = low_bytes(values->count, j.low_bits);
    if (!chunks || lows >= must_beat) return FPR_OK;
    j.shape.exponent_bits = values->element.exponent_bits;
    j.capacity = 2 * pack_chunk_size(values->count, 0); /* more is no gain */
    set_order(&j);
    if (!survey(&j)) return base_no_memory(error, PACK_CHUNK * 2);
    threads = pack_threads(threads, chunks);
    j.workers = workers_new(&j, threads);
    pack_build_section *coded = pack_add_section(blob, PACK_ADAPTIVE, PACK_RAW, 0, chunks + 1);
    pack_build_section *low = coded ? pack_add_section(blob, PACK_LOW, PACK_RAW, lows, chunks) : NULL;
    bool no_memory = !j.workers || !low || !add_prefix(&j, &coded->pieces[0]);
    if (!no_memory) {
        j.heads = coded->pieces + 1;
        j.lows = low->pieces;
        base_parallel(threads, (size_t)chunks, encode_heads, &j);
        for (uint64_t i = 0; i <= chunks; i++) coded->raw += coded->pieces[i].count;
        *added = !atomic_load(&j.grown) && coded->raw + lows < must_beat;
        /* The low bits are most of the tensor: they are not copied for nothing. */
        if (*added && !atomic_load(&j.no_memory)) base_parallel(threads, (size_t)chunks, encode_lows, &j);
        no_memory = atomic_load(&j.no_memory);
    }
    workers_free(j.workers, threads);
    return no_memory ? base_no_memory(error, PACK_CHUNK * 4) : base_check_cancelled(error);
}

/* ---- decoding */

static fpr_status open_prefix(job *j, const uint8_t **at, const uint8_t *end, fpr_error *error)
{
    const pack_values *v = &j->values;
    const uint64_t places = v->map ? v->layer.filters * v->layer.channels * v->layer.k : v->count;
    uint64_t per_filter;
    if (end - *at < 4) return pack_bad(error, "an adaptive section is cut short");
    const unsigned flags = (*at)[0];
    j->shape.top = base_load_le16(*at + 1);
    j->shape.above = (*at)[3];
    j->shape.zeros = flags & FLAG_ZEROS;
    *at += 4;
    if (!pack_get_varint(at, end, &j->shape.channels) || !pack_get_varint(at, end, &j->shape.k))
        return pack_bad(error, "an adaptive section is cut short");
    if (flags > (FLAG_HWIO | FLAG_ZEROS) || j->shape.top >> j->shape.exponent_bits || j->shape.above > ADAPTIVE_ABOVE)
        return pack_bad(error, "an adaptive section that is none");
    if (!base_multiply(j->shape.channels, j->shape.k, &per_filter) || !per_filter || per_filter > places)
        return pack_bad(error, "an adaptive section for another shape than the tensor's");
    j->ordered = v->map != NULL;
    if (!(flags & FLAG_HWIO)) return FPR_OK;
    if (v->map || v->count % per_filter) return pack_bad(error, "an adaptive section for another layout");
    j->ordered = true;
    j->values.layer = (pack_layer){v->count / per_filter, j->shape.channels, j->shape.k, .hwio = true};
    return FPR_OK;
}

/* Where the chunks begin. */
static fpr_status open_chunks(job *j, const uint8_t *at, const uint8_t *end, fpr_error *error)
{
    const uint64_t chunks = pack_chunk_count(j->values.count);
    /* A chunk takes a byte at least: an allocation that the stored bytes justify. */
    if (chunks > (uint64_t)(end - at)) return pack_bad(error, "an adaptive section is cut short");
    j->begin = base_alloc(chunks, 2 * sizeof *j->begin);
    if (!j->begin) return base_no_memory(error, chunks * 16);
    for (uint64_t i = 0; i < chunks; i++) {
        uint64_t bytes = (uint64_t)(end - at);
        if (i + 1 < chunks && (!pack_get_varint(&at, end, &bytes) || bytes > (uint64_t)(end - at)))
            return pack_bad(error, "an adaptive chunk is cut short");
        j->begin[2 * i] = (uint64_t)(at - j->coded);
        j->begin[2 * i + 1] = bytes;
        at += bytes;
    }
    return FPR_OK;
}

static void decode_chunk(void *context, size_t chunk, unsigned worker_index)
{
    if (base_cancelled()) return;
    job *j = context;
    worker *w = &j->workers[worker_index];
    const size_t n = pack_chunk_size(j->values.count, chunk);
    const uint64_t first = chunk * PACK_CHUNK;
    adaptive_begin_decoding(w->coder, j->coded + j->begin[2 * chunk], (size_t)j->begin[2 * chunk + 1]);
    code_runs(j, w, first, n, true);
    if (!adaptive_end_decoding(w->coder)) {
        j->wrong[chunk] = "an adaptive chunk does not end where its values do";
        return;
    }
    uint8_t *elements = j->ordered ? w->elements : j->values.bytes + first * j->values.element.width;
    merge(j, w->heads, j->low + first / 8 * j->low_bits, n, elements);
    if (j->ordered) pack_values_put(&j->values, first, n, elements);
}

static fpr_status decode_all(job *j, unsigned threads, fpr_error *error)
{
    const uint64_t chunks = pack_chunk_count(j->values.count);
    threads = pack_threads(threads, chunks);
    j->workers = workers_new(j, threads);
    j->wrong = base_calloc(chunks, sizeof *j->wrong);
    fpr_status status = FPR_OK;
    if (!j->workers || !j->wrong) {
        status = base_no_memory(error, PACK_CHUNK * 4);
    } else {
        base_parallel(threads, (size_t)chunks, decode_chunk, j);
        status = base_check_cancelled(error);
        for (uint64_t i = 0; i < chunks && !status; i++)
            if (j->wrong[i]) status = pack_bad(error, j->wrong[i]);
    }
    workers_free(j->workers, threads);
    base_free(j->wrong);
    return status;
}

fpr_status pack_adaptive_decode(const pack_values *values, const uint8_t *blob, const pack_head *head,
                                unsigned *section, unsigned threads, fpr_error *error)
{
    const pack_section *s = &head->sections[*section], *low = s + 1, *end = head->sections + head->section_count;
    job j = {.values = *values, .low_bits = low_bits(values->element)};
    const unsigned used = (unsigned)(values->count * j.low_bits % 8); /* bits of the last byte */
    if (!values->element.exponent_bits) return pack_bad(error, "an adaptive section for a dtype without exponent");
    if (s->encoding != PACK_RAW || low >= end || low->kind != PACK_LOW || low->encoding != PACK_RAW ||
        low->raw != low_bytes(values->count, j.low_bits))
        return pack_bad(error, "low bits of another size than the tensor");
    j.shape.exponent_bits = values->element.exponent_bits;
    j.coded = blob + s->at;
    j.low = blob + low->at;
    if (used && j.low[low->raw - 1] >> used) return pack_bad(error, "low bits end in other bits than zero");
    const uint8_t *at = j.coded, *stop = at + s->stored;
    fpr_status status = open_prefix(&j, &at, stop, error);
    if (!status) status = open_chunks(&j, at, stop, error);
    if (!status) status = decode_all(&j, threads, error);
    base_free(j.begin);
    *section += 2;
    return status;
}
