/* Small tensors of a shard that share one blob: which ones, and the blob. */
#include "job/prune.h"

#include <stdio.h>
#include <stdlib.h>

#define POOL_NAME "__filterprune_pool__"
#define FEWEST 4u          /* members: fewer cost more together than apart */
#define DTYPES_MOST 15u
#define ADAPTIVE_LEVEL 3   /* from here on the adaptive code is tried: there are few values in a pool */

/* By itself, with --max-error and where the input has a pool. */
static bool is_wanted(const prune_job *job, const writer_tensor *t, size_t count)
{
    const fpr_options *o = job->options;
    if (job->dense || o->pool != FPR_POOL_AUTO) return !job->dense && o->pool == FPR_POOL_ALWAYS;
    for (size_t i = 0; i < count; i++)
        if (!strcmp(t[i].source->codec, "pool")) return true;
    return o->max_error > 0;
}

/* What is certain to stay as it is, and has a name that a C string holds. Of an empty tensor the other dimensions must not
 * overflow. */
static bool may_join(const writer_tensor *t)
{
    uint64_t product = 1;
    for (unsigned d = 0; d < t->source->rank; d++)
        if (t->source->shape[d] && !base_multiply(product, t->source->shape[d], &product)) return false;
    return t->lossless && t->bytes <= PACK_POOL_MEMBER_BYTES && t->source->rank <= 64 && product <= UINT32_MAX &&
           strlen(t->source->name) == t->source->name_bytes && strcmp(t->source->name, "__metadata__") &&
           strcmp(t->source->codec, "lattice"); /* which is kept as it is */
}

/* What fills up as tensors join. */
typedef struct room {
    bool seen[FPR_DTYPE_COUNT];
    unsigned dtypes;
    uint64_t bytes, names;
} room;

static bool join(room *r, const writer_tensor *t)
{
    /* The list has room for a MiB; numbers take up to ten bytes each. */
    const uint64_t listed = t->source->name_bytes + 32 + 10 * (uint64_t)t->source->rank;
    const bool fresh = !r->seen[t->dtype];
    if (!may_join(t) || r->bytes + t->bytes > PACK_POOL_BYTES || r->names + listed > PACK_POOL_BYTES ||
        r->dtypes + fresh > DTYPES_MOST)
        return false;
    r->seen[t->dtype] = true;
    r->dtypes += fresh;
    r->bytes += t->bytes;
    r->names += listed;
    return true;
}

void pool_choose(prune_job *job, size_t begin, size_t count)
{
    writer_tensor *t = job->tensors + begin;
    const bool wanted = is_wanted(job, t, count);
    room r = {.bytes = 0};
    size_t members = 0;
    bool all_empty = true;
    for (size_t i = 0; i < count; i++) {
        t[i].pooled = false;
        if (!wanted || t[i].dropped) continue;
        t[i].pooled = join(&r, &t[i]);
        /* Empty tensors have their order from what lies between them: without that, it would be another. */
        all_empty &= t[i].pooled || t[i].bytes;
        members += t[i].pooled;
    }
    for (size_t i = 0; (members < FEWEST || !all_empty) && i < count; i++) t[i].pooled = false;
}

/* The number behind the name of a pool: 0 for the bare name, SIZE_MAX when it is no such name. */
static size_t number_of(const char *name)
{
    char spelled[POOL_NAME_BYTES];
    if (strncmp(name, POOL_NAME, sizeof POOL_NAME - 1)) return SIZE_MAX;
    const unsigned long long number = strtoull(name + sizeof POOL_NAME - 1, NULL, 10);
    snprintf(spelled, sizeof spelled, number ? POOL_NAME "%llu" : POOL_NAME, number);
    return strcmp(name, spelled) ? SIZE_MAX : (size_t)number;
}

/* A name that no tensor of the shard has: of one more name than there are tensors, one is free. */
static fpr_status find_name(const prune_job *job, size_t begin, size_t count, char name[POOL_NAME_BYTES], fpr_error *error)
{
    uint8_t *taken = base_calloc(count + 1, 1);
    if (!taken) return base_no_memory(error, count + 1);
    for (size_t i = 0; i < count; i++) {
        const size_t number = number_of(job->tensors[begin + i].source->name);
        if (number <= count) taken[number] = 1;
    }
    size_t number = 0;
    while (taken[number]) number++;
    snprintf(name, POOL_NAME_BYTES, number ? POOL_NAME "%zu" : POOL_NAME, number);
    base_free(taken);
    return FPR_OK;
}

/* The members in data order, and whether the header has all tensors in that order. */
static size_t list_members(const prune_job *job, size_t begin, size_t count, const void *(*bytes)(void *, size_t), void *context,
                           const uint64_t *header_place, pack_member *members)
{
    size_t n = 0;
    uint64_t place = 0;
    for (size_t i = 0; i < count; i++) {
        const writer_tensor *t = &job->tensors[begin + i];
        if (t->dropped) continue;
        if (t->pooled)
            members[n++] = (pack_member){.name = t->source->name,
                                         .name_bytes = t->source->name_bytes,
                                         .dtype = t->dtype,
                                         .rank = t->source->rank,
                                         .shape = t->source->shape,
                                         .bytes = t->bytes,
                                         .dense = bytes(context, begin + i),
                                         .place = place,
                                         .header_place = header_place[i]};
        place++;
    }
    return n;
}

/* Of each tensor of the shard that is not dropped, its place in the header; whether that is another than in the data. */
static bool find_header_places(const prune_job *job, size_t shard, uint64_t *header_place)
{
    const size_t begin = model_shard_first(job->model, shard), count = model_shard_tensors(job->model, shard);
    const uint32_t *order = model_shard_order(job->model, shard);
    uint64_t at = 0, place = 0;
    bool reordered = false;
    for (size_t e = 0; e < count; e++)
        if (!job->tensors[begin + order[e]].dropped) header_place[order[e]] = at++;
    for (size_t i = 0; i < count; i++)
        if (!job->tensors[begin + i].dropped) reordered |= header_place[i] != place++;
    return reordered;
}

/* Each member is said to take its share of the pool. */
static void share_out(prune_job *job, size_t begin, size_t count, const pack_blob *blob)
{
    const writer_tensor *t = job->tensors + begin;
    uint64_t bytes = 0;
    pack_member m = {.offset = 0};
    for (size_t i = 0; i < count; i++) bytes += t[i].pooled ? t[i].bytes : 0;
    for (size_t i = 0; i < count; i++) {
        if (!t[i].pooled) continue;
        m.bytes = t[i].bytes;
        job->tensors[begin + i].stored = pack_pool_share(pack_blob_size(blob), bytes, &m);
        m.offset += m.bytes;
    }
}

fpr_status pool_make(prune_job *job, size_t shard, const void *(*bytes)(void *, size_t), void *context, writer_pool *pool,
                     fpr_error *error)
{
    const size_t begin = model_shard_first(job->model, shard), count = model_shard_tensors(job->model, shard);
    bool any = false;
    pool->blob = NULL;
    for (size_t i = 0; i < count; i++) any |= job->tensors[begin + i].pooled;
    if (!any) return FPR_OK;
    pack_member *members = base_alloc(count, sizeof *members);
    uint64_t *header_place = base_alloc(count, sizeof *header_place);
    fpr_status status = members && header_place ? FPR_OK : base_no_memory(error, count * sizeof *members);
    if (!status) {
        const pack_pool_wish wish = {.reordered = find_header_places(job, shard, header_place),
                                     .level = job->options->level,
                                     .adaptive_values = job->options->level >= ADAPTIVE_LEVEL ? UINT64_MAX : 0,
                                     .threads = job_threads(job->options)};
        const size_t n = list_members(job, begin, count, bytes, context, header_place, members);
        status = find_name(job, begin, count, pool->name, error);
        if (!status) status = pack_pool_encode(members, n, &wish, &pool->blob, error);
    }
    if (!status) share_out(job, begin, count, pool->blob);
    base_free(members);
    base_free(header_place);
    return status;
}
