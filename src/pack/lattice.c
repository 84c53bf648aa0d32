/* The codec `lattice`: weights that lie on a lattice, as the step and the indices of the points. FORMAT.md, section 9.
 *
 * The weights come rounded already. Their indices are found again, and every weight is seen to be the one that its
 * index restores. */
#include "pack/lattice_code.h"
#include "pack/blob.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#define FLAG_TRANSFORMED 1u
#define FLAG_TRELLIS 2u
#define FLAG_MIXED 4u
#define FLAG_QUICK 8u
#define FLAG_BLENDED 16u
#define FLAG_SIGNS 32u
#define FLAG_RESUMED 64u
#define FLAGS 127u
#define BLENDED_READER 4u
#define PREFIX 10u        /* flags, start, step */
#define SAMPLED 65536u    /* weights that the first mean is taken from */

typedef struct worker {
    lattice_coder *coder;
    int32_t *indices; /* of a chunk */
    uint8_t *dead, *out;
} worker;

typedef struct job {
    lattice_shape shape;
    lattice lattice;
    lattice_code_shape code;
    union {
        const uint8_t *in;
        uint8_t *out;
    } bytes;
    worker *workers;
    size_t capacity;
    atomic_bool no_memory, astray; /* a weight that is no point */
    pack_piece *pieces;            /* encoding */
    const uint8_t *coded;          /* decoding */
    uint64_t *begin;               /* [chunks][2]: where, and how many bytes */
    const char **wrong;
} job;

static uint64_t chunk_weights(const job *j)
{
    const uint64_t kernels = lattice_kernels(&j->shape), of = lattice_chunk_kernels(&j->shape);
    return (kernels < of ? kernels : of) * j->shape.k;
}

static void workers_free(worker *workers, unsigned count)
{
    for (unsigned i = 0; workers && i < count; i++) {
        lattice_coder_free(workers[i].coder);
        base_free(workers[i].indices);
        base_free(workers[i].dead);
        base_free(workers[i].out);
    }
    base_free(workers);
}

static worker *workers_new(const job *j, unsigned count)
{
    worker *workers = base_calloc(count, sizeof *workers);
    const uint64_t n = chunk_weights(j);
    for (unsigned i = 0; workers && i < count; i++) {
        worker *w = &workers[i];
        w->coder = lattice_coder_new(&j->code, j->pieces != NULL);
        w->indices = base_alloc(n, sizeof *w->indices);
        w->dead = base_calloc(n / j->shape.k, 1);
        w->out = base_alloc(j->capacity, 1);
        if (!w->coder || !w->indices || !w->dead || !w->out) {
            workers_free(workers, count);
            return NULL;
        }
    }
    return workers;
}

static void set_code(job *j, unsigned flags, unsigned start)
{
    j->lattice.transformed = flags & FLAG_TRANSFORMED;
    j->lattice.trellis = flags & FLAG_TRELLIS;
    j->code = (lattice_code_shape){.channels = j->shape.channels,
                                   .k = j->shape.k,
                                   .row = j->shape.row,
                                   .way = flags & FLAG_QUICK     ? LATTICE_QUICK
                                          : flags & FLAG_BLENDED ? LATTICE_BLENDED
                                                                 : LATTICE_MIXED,
                                   .signs = flags & FLAG_SIGNS,
                                   .resumed = flags & FLAG_RESUMED,
                                   .trellis = j->lattice.trellis,
                                   .start = start};
}

/* ---- encoding */

/* The points of a batch of kernels. false: some weight is none. */
static bool find_points(const job *j, uint64_t first, uint64_t n, int32_t *points)
{
    double w[LATTICE_BATCH], x[LATTICE_BATCH];
    const size_t count = (size_t)(n * j->shape.k);
    lattice_load(&j->shape, j->bytes.in, first, n, w);
    memcpy(x, w, count * sizeof *x);
    lattice_scale(&j->shape, &j->lattice, n, x);
    if (!lattice_points(&j->shape, n, x, points)) return false;
    lattice_values(&j->shape, &j->lattice, n, points, x);
    return memcmp(w, x, count * sizeof *x) == 0;
}

static bool is_zero(const int32_t *points, uint64_t k)
{
    for (uint64_t i = 0; i < k; i++)
        if (points[i]) return false;
    return true;
}

/* Points to indices, from a state on; false: it has no such points. `to` may be `points`. */
static bool follow(unsigned *state, const int32_t *points, uint64_t n, int32_t *to)
{
    for (uint64_t s = 0; s < n; s++) {
        int32_t index;
        if (!lattice_index_of(*state, points[s], &index)) return false;
        *state = lattice_next(*state, index);
        if (to) to[s] = index;
    }
    return true;
}

/* The path of a chunk of which kernels were taken out: the state behind each of them is one in which the kernels up to the next
 * one are points. A wrong state seldom gets further than a few weights. */
static bool resume(const job *j, uint64_t n, worker *w)
{
    const uint64_t k = j->shape.k;
    unsigned state = 0;
    for (uint64_t i = 0, end; i < n; i = end) {
        int32_t *points = w->indices + i * k;
        w->dead[i] = is_zero(points, k);
        uint64_t from = i + w->dead[i];
        for (end = from; end < n && !is_zero(w->indices + end * k, k); end++) w->dead[end] = 0;
        const size_t count = (size_t)((end - from) * k);
        unsigned begin = state, tried = 0, reached = state;
        for (; w->dead[i] && tried < 8; tried++, reached = begin = (state + tried) % 8)
            if (follow(&reached, w->indices + from * k, count, NULL)) break;
        if (w->dead[i]) w->dead[i] = (uint8_t)(1 | begin << 1);
        if (!follow(&begin, w->indices + from * k, count, w->indices + from * k)) return false;
        state = begin;
    }
    return true;
}

/* The chunk's points, as indices, in w->indices; and which kernels are dead. */
static bool find_indices(const job *j, uint64_t first, uint64_t n, worker *w)
{
    const uint64_t k = j->shape.k, step = lattice_batch_kernels(&j->shape);
    const uint8_t *dead = j->lattice.dead;
    unsigned state = 0;
    for (uint64_t at = 0; at < n; at += step)
        if (!find_points(j, first + at, n - at < step ? n - at : step, w->indices + at * k)) return false;
    if (j->code.resumed) return resume(j, n, w);
    for (uint64_t i = 0; i < n; i++) {
        int32_t *points = w->indices + i * k;
        const bool left_out = !j->lattice.trellis || (dead && (dead[(first + i) / 8] >> (first + i) % 8 & 1));
        w->dead[i] = k > 1 && left_out && is_zero(points, k);
        if (!w->dead[i] && j->lattice.trellis && !follow(&state, points, k, points)) return false;
    }
    return true;
}

static void encode_chunk(void *context, size_t chunk, unsigned worker_index)
{
    job *j = context;
    worker *w = &j->workers[worker_index];
    const uint64_t of = lattice_chunk_kernels(&j->shape), first = chunk * of;
    const uint64_t left = lattice_kernels(&j->shape) - first, n = left < of ? left : of;
    if (atomic_load(&j->astray)) return;
    if (!find_indices(j, first, n, w)) {
        atomic_store(&j->astray, true);
        return;
    }
    const lattice_chunk coded = {first, n, w->indices, w->dead};
    const size_t bytes = lattice_encode_chunk(w->coder, &coded, w->out, j->capacity);
    if (bytes == SIZE_MAX) {
        atomic_store(&j->astray, true); /* more than the weights themselves take: no gain */
        return;
    }
    const size_t length = n == left ? 0 : pack_varint_bytes(bytes);
    pack_piece *piece = &j->pieces[chunk];
    piece->bytes = base_alloc(length + bytes, 1);
    if (!piece->bytes) {
        atomic_store(&j->no_memory, true);
        return;
    }
    piece->count = length + bytes;
    if (length) pack_put_varint(piece->bytes, bytes);
    memcpy(piece->bytes + length, w->out, bytes);
}

/* What magnitude indices have, from a sample. */
static unsigned find_start(const job *j)
{
    const uint64_t kernels = lattice_kernels(&j->shape), step = lattice_batch_kernels(&j->shape), k = j->shape.k;
    const uint64_t batches = (kernels + step - 1) / step, skip = batches / (SAMPLED / (step * k) + 1) + 1;
    double x[LATTICE_BATCH];
    int32_t points[LATTICE_BATCH];
    uint64_t sum = 0, count = 0;
    for (uint64_t b = 0; b < batches; b += skip) {
        const uint64_t first = b * step, n = kernels - first < step ? kernels - first : step;
        lattice_load(&j->shape, j->bytes.in, first, n, x);
        lattice_scale(&j->shape, &j->lattice, n, x);
        if (!lattice_points(&j->shape, n, x, points)) return 0;
        for (uint64_t i = 0; i < n * k; i++) {
            sum += (uint64_t)abs(points[i]);
            count += points[i] != 0 || k == 1;
        }
    }
    return count ? lattice_start((j->lattice.trellis ? 8 : 16) * sum / count) : 0;
}

fpr_status pack_lattice_encode(const pack_input *input, lattice_way way, bool signs, unsigned threads, pack_blob *blob,
                               bool *added, fpr_error *error)
{
    static const uint8_t flag_of[] = {[LATTICE_MIXED] = FLAG_MIXED, [LATTICE_QUICK] = FLAG_QUICK, [LATTICE_BLENDED] = FLAG_BLENDED};
    *added = false;
    job j = {.lattice = *input->lattice, .bytes.in = input->bytes};
    const bool hwio = input->layer && input->layer->layout == FPR_LAYOUT_HWIO;
    if (!lattice_shape_of(input->dtype, input->rank, input->shape, hwio, &j.shape)) return FPR_OK;
    const uint64_t chunks = lattice_chunks(&j.shape);
    if (j.lattice.pruned && j.shape.k == 1) j.lattice.trellis = false; /* where all points are indices */
    const bool resumed = j.lattice.pruned && j.lattice.trellis;
    if (resumed) way = LATTICE_BLENDED;
    const unsigned flags = (j.lattice.transformed ? FLAG_TRANSFORMED : 0) | (j.lattice.trellis ? FLAG_TRELLIS : 0) |
                           (resumed ? FLAG_RESUMED : 0) | flag_of[way] | (signs ? FLAG_SIGNS : 0);
    set_code(&j, flags, find_start(&j));
    j.capacity = (size_t)chunk_weights(&j) * pack_element_of(input->dtype).width + 64;
    threads = pack_threads(threads, chunks);
    pack_build_section *s = pack_add_section(blob, PACK_LATTICE_SECTION, PACK_RAW, 0, chunks + 1);
    if (s) j.pieces = s->pieces + 1;
    j.workers = s ? workers_new(&j, threads) : NULL;
    uint8_t prefix[PREFIX] = {(uint8_t)flags, (uint8_t)j.code.start};
    uint64_t step;
    memcpy(&step, &j.lattice.step, sizeof step);
    base_store_le64(prefix + 2, step);
    bool no_memory = !j.workers || !s || !pack_copy_piece(&s->pieces[0], prefix, PREFIX);
    if (!no_memory) {
        base_parallel(threads, (size_t)chunks, encode_chunk, &j);
        for (uint64_t i = 0; i <= chunks; i++) s->raw += s->pieces[i].count;
        no_memory = atomic_load(&j.no_memory);
        *added = !atomic_load(&j.astray);
    }
    blob->head.codec = PACK_LATTICE;
    if (way == LATTICE_BLENDED) blob->head.info.reader = BLENDED_READER;
    blob->head.hwio = j.shape.hwio;
    workers_free(j.workers, threads);
    return no_memory ? base_no_memory(error, LATTICE_CHUNK * 8) : FPR_OK;
}

/* ---- decoding */

static fpr_status open_prefix(job *j, const uint8_t **at, const uint8_t *end, fpr_error *error)
{
    if (end - *at < (ptrdiff_t)PREFIX) return pack_bad(error, "a lattice is cut short");
    const unsigned flags = (*at)[0];
    const uint64_t step = base_load_le64(*at + 2);
    memcpy(&j->lattice.step, &step, sizeof step);
    if (flags > FLAGS || !(j->lattice.step > 0) || !isfinite(j->lattice.step))
        return pack_bad(error, "a lattice that is none");
    const unsigned way = flags & (FLAG_MIXED | FLAG_QUICK | FLAG_BLENDED);
    if (!way || way & (way - 1)) return pack_bad(error, "a lattice of a version that was never released");
    if (flags & FLAG_SIGNS && !(flags & FLAG_BLENDED)) return pack_bad(error, "signs in a lattice that has its own way with them");
    if (flags & FLAG_RESUMED && (!(flags & FLAG_BLENDED) || !(flags & FLAG_TRELLIS) || j->shape.k == 1))
        return pack_bad(error, "a path that goes on where there is none");
    if (flags & FLAG_TRANSFORMED && !j->shape.axes) return pack_bad(error, "a transform of kernels that have none");
    set_code(j, flags, (*at)[1]);
    *at += PREFIX;
    return FPR_OK;
}

static fpr_status open_chunks(job *j, const uint8_t *at, const uint8_t *end, fpr_error *error)
{
    const uint64_t chunks = lattice_chunks(&j->shape);
    /* Every chunk but the last has a byte at least, its length: an allocation that the stored bytes justify. */
    if (chunks - 1 > (uint64_t)(end - at)) return pack_bad(error, "a lattice is cut short");
    j->begin = base_alloc(chunks, 2 * sizeof *j->begin);
    if (!j->begin) return base_no_memory(error, chunks * 16);
    for (uint64_t i = 0; i < chunks; i++) {
        uint64_t bytes = (uint64_t)(end - at);
        if (i + 1 < chunks && (!pack_get_varint(&at, end, &bytes) || bytes > (uint64_t)(end - at)))
            return pack_bad(error, "a chunk of a lattice is cut short");
        j->begin[2 * i] = (uint64_t)(at - j->coded);
        j->begin[2 * i + 1] = bytes;
        at += bytes;
    }
    return FPR_OK;
}

static void decode_chunk(void *context, size_t chunk, unsigned worker_index)
{
    job *j = context;
    worker *w = &j->workers[worker_index];
    const uint64_t of = lattice_chunk_kernels(&j->shape), first = chunk * of;
    const uint64_t left = lattice_kernels(&j->shape) - first, n = left < of ? left : of;
    const lattice_chunk coded = {first, n, w->indices, w->dead};
    if (lattice_decode_chunk(w->coder, &coded, j->coded + j->begin[2 * chunk], (size_t)j->begin[2 * chunk + 1]))
        lattice_restore(&j->shape, &j->lattice, first, n, w->indices, w->out, j->bytes.out);
    else
        j->wrong[chunk] = "a chunk of a lattice does not end where its weights do";
}

static fpr_status decode_all(job *j, unsigned threads, fpr_error *error)
{
    const uint64_t chunks = lattice_chunks(&j->shape);
    threads = pack_threads(threads, chunks);
    j->workers = workers_new(j, threads);
    j->wrong = base_calloc(chunks, sizeof *j->wrong);
    fpr_status status = FPR_OK;
    if (!j->workers || !j->wrong) {
        status = base_no_memory(error, LATTICE_CHUNK * 8);
    } else {
        base_parallel(threads, (size_t)chunks, decode_chunk, j);
        for (uint64_t i = 0; i < chunks && !status; i++)
            if (j->wrong[i]) status = pack_bad(error, j->wrong[i]);
    }
    workers_free(j->workers, threads);
    base_free(j->wrong);
    return status;
}

fpr_status pack_lattice_decode(const uint8_t *blob, const pack_head *head, unsigned *section, unsigned threads,
                               void *dst, fpr_error *error)
{
    job j = {.bytes.out = dst};
    const pack_section *s = &head->sections[*section];
    if (!lattice_shape_of(head->info.dtype, head->info.rank, head->info.shape, head->hwio, &j.shape) ||
        j.shape.hwio != head->hwio)
        return pack_bad(error, "a lattice in a tensor that has none");
    if (!head->section_count || s->kind != PACK_LATTICE_SECTION || s->encoding != PACK_RAW)
        return pack_bad(error, "a lattice is missing");
    j.coded = blob + s->at;
    j.capacity = j.shape.hwio ? (size_t)chunk_weights(&j) * pack_element_of(j.shape.dtype).width : 1;
    const uint8_t *at = j.coded, *end = at + s->stored;
    fpr_status status = open_prefix(&j, &at, end, error);
    if (!status) status = open_chunks(&j, at, end, error);
    if (!status) status = decode_all(&j, threads, error);
    base_free(j.begin);
    (*section)++;
    return status;
}

fpr_status pack_lattice_of(const uint8_t *blob, uint64_t stored_bytes, lattice *l, fpr_error *error)
{
    pack_head head;
    job j = {.lattice = {0}};
    fpr_status status = pack_head_read(blob, stored_bytes, stored_bytes, &head, error);
    if (status) return status;
    if (head.codec != PACK_LATTICE || head.section_count != 1 ||
        !lattice_shape_of(head.info.dtype, head.info.rank, head.info.shape, head.hwio, &j.shape))
        return pack_bad(error, "a lattice is missing");
    const uint8_t *at = blob + head.bytes;
    status = open_prefix(&j, &at, at + head.sections[0].stored, error);
    *l = j.lattice;
    return status;
}
