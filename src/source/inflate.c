/* Deflated members: each reader goes on where the last one of the same member stopped. */
#include "source/inflate.h"

#include <pthread.h>
#include <zlib.h>

#define READERS 4
#define INPUT_BYTES (32u << 10)
#define SKIP_BYTES (16u << 10)

typedef struct reader {
    z_stream stream;
    const zip_member *member; /* NULL: not begun */
    uint64_t taken;           /* of member->stored, from the file */
    uint64_t given;           /* of member->size */
    uint64_t age;             /* when it was last used */
    bool busy;
    uint8_t input[INPUT_BYTES];
} reader;

struct inflate_pool {
    pthread_mutex_t lock;
    pthread_cond_t idle;
    uint64_t clock;
    reader *readers[READERS]; /* made when they are needed */
};

static void *allocate(void *context, unsigned count, unsigned size)
{
    (void)context;
    return base_alloc(count, size);
}

static void release(void *context, void *block)
{
    (void)context;
    base_free(block);
}

inflate_pool *inflate_pool_new(void)
{
    inflate_pool *pool = base_calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->idle, NULL);
    return pool;
}

static void stop(reader *r)
{
    if (r->member) inflateEnd(&r->stream);
    r->member = NULL;
}

void inflate_pool_free(inflate_pool *pool)
{
    if (!pool) return;
    for (unsigned i = 0; i < READERS; i++) {
        if (pool->readers[i]) stop(pool->readers[i]);
        base_free(pool->readers[i]);
    }
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->idle);
    base_free(pool);
}

static fpr_status begin(reader *r, const zip_member *member, fpr_error *error)
{
    stop(r);
    memset(&r->stream, 0, sizeof r->stream);
    r->stream.zalloc = allocate;
    r->stream.zfree = release;
    r->taken = r->given = 0;
    if (inflateInit2(&r->stream, -MAX_WBITS) != Z_OK) return base_no_memory(error, sizeof r->input);
    r->member = member;
    return FPR_OK;
}

static fpr_status broken(const zip_member *m, const char *what, fpr_error *error)
{
    base_fail(error, FPR_BAD_HEADER, "the deflated member \"%.*s\" %s", (int)(m->name_bytes < 200 ? m->name_bytes : 200),
              m->name, what);
    base_error_at(error, m->data);
    return FPR_BAD_HEADER;
}

/* One call of zlib: up to room bytes to dst. *ended: the deflated stream has come to its end. */
static fpr_status step(reader *r, const file_source *file, uint8_t *dst, size_t room, size_t *made, bool *ended,
                       fpr_error *error)
{
    const zip_member *m = r->member;
    if (!r->stream.avail_in && r->taken < m->stored) {
        const uint64_t left = m->stored - r->taken;
        const size_t n = left < INPUT_BYTES ? (size_t)left : INPUT_BYTES;
        const fpr_status status = file_source_read(file, m->data + r->taken, r->input, n, error);
        if (status) return status;
        r->taken += n;
        r->stream.next_in = r->input;
        r->stream.avail_in = (unsigned)n;
    }
    r->stream.next_out = dst;
    r->stream.avail_out = (unsigned)room;
    const bool starved = !r->stream.avail_in;
    const int result = inflate(&r->stream, Z_NO_FLUSH);
    *made = room - r->stream.avail_out;
    *ended = result == Z_STREAM_END;
    if (result == Z_MEM_ERROR) return base_no_memory(error, sizeof r->input);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return broken(m, "is damaged", error);
    if (!*ended && !*made && starved) return broken(m, "ends too early", error);
    return FPR_OK;
}

/* After the last byte: nothing more may come out, and nothing may be left of the input. */
static fpr_status finish(reader *r, const file_source *file, bool ended, fpr_error *error)
{
    while (!ended) {
        uint8_t more;
        size_t made;
        const fpr_status status = step(r, file, &more, 1, &made, &ended, error);
        if (status) return status;
        if (made) return broken(r->member, "holds more than the directory says", error);
    }
    if (r->stream.avail_in || r->taken < r->member->stored)
        return broken(r->member, "ends before its bytes do", error);
    return FPR_OK;
}

/* Inflates the next count bytes; dst NULL: to nowhere. */
static fpr_status take(reader *r, const file_source *file, uint64_t count, uint8_t *dst, fpr_error *error)
{
    uint8_t aside[SKIP_BYTES];
    bool ended = false;
    while (count) {
        const size_t most = dst ? (1u << 30) : sizeof aside, room = count < most ? (size_t)count : most;
        size_t made;
        if (ended) return broken(r->member, "holds less than the directory says", error);
        const fpr_status status = step(r, file, dst ? dst : aside, room, &made, &ended, error);
        if (status) return status;
        r->given += made;
        count -= made;
        if (dst) dst += made;
    }
    return r->given == r->member->size ? finish(r, file, ended, error) : FPR_OK;
}

/* The idle reader that is best placed for bytes from `from` on: of the same member and not beyond, else a new one, else
 * the one that was used longest ago. Marked busy. */
static reader *choose(inflate_pool *pool, const zip_member *member, uint64_t from, fpr_error *error)
{
    pthread_mutex_lock(&pool->lock);
    reader *best = NULL;
    while (!best) {
        for (unsigned i = 0; i < READERS; i++) {
            if (!pool->readers[i] && !(pool->readers[i] = base_calloc(1, sizeof(reader)))) break;
            reader *r = pool->readers[i];
            if (r->busy) continue;
            const bool here = r->member == member && r->given <= from;
            const bool best_here = best && best->member == member && best->given <= from;
            if (!best || (here && !best_here) || (here == best_here && r->age < best->age)) best = r;
            if (here || !r->member) break;
        }
        if (!best && !pool->readers[0]) break;
        if (!best) pthread_cond_wait(&pool->idle, &pool->lock);
    }
    if (best) {
        best->busy = true;
        best->age = ++pool->clock;
    }
    pthread_mutex_unlock(&pool->lock);
    if (!best) base_no_memory(error, sizeof(reader));
    return best;
}

fpr_status inflate_read(inflate_pool *pool, const file_source *file, const zip_member *member, uint64_t from,
                        uint64_t count, void *dst, fpr_error *error)
{
    reader *r = choose(pool, member, from, error);
    if (!r) return FPR_NO_MEMORY;
    fpr_status status = FPR_OK;
    if (r->member != member || r->given > from) status = begin(r, member, error);
    if (!status && r->given < from) status = take(r, file, from - r->given, NULL, error);
    if (!status && count) status = take(r, file, count, dst, error);
    if (status || r->given == member->size) stop(r);
    pthread_mutex_lock(&pool->lock);
    r->busy = false;
    pthread_cond_signal(&pool->idle);
    pthread_mutex_unlock(&pool->lock);
    return status;
}
