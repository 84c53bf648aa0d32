/* The pool of a packed checkpoint: small tensors whose entries are not in the header, but in one blob with their bytes. The
 * file is shown as if the header named them, each in its place. */
#include "source/packed.h"

#include <stdlib.h>

fpr_status packed_bad_key(fpr_error *error, const char *what)
{
    return base_fail(error, FPR_BAD_PACKED, "__metadata__ key '%s': %s", SOURCE_PACKED_KEY, what);
}

/* ---------------------------------------------------------------- which tensor is the pool */

static bool may_be_pool(const file_tensor *t)
{
    return t->dtype == FPR_U8 && t->rank == 1 && t->end - t->begin <= PACK_POOL_STORED_MOST;
}

/* Of a file that has lost its key: the first of its tensors that has bytes, if that says so itself. */
static fpr_status find_unnamed(const safetensors *s, const file_tensor **pool, fpr_error *error)
{
    const file_header *h = &s->header;
    size_t i = 0;
    while (i < h->tensor_count && h->tensors[i].begin == h->tensors[i].end) i++;
    if (i == h->tensor_count || !may_be_pool(&h->tensors[i])) return FPR_OK;
    uint8_t head[PACK_HEAD_MAX];
    pack_info info;
    const uint64_t stored = h->tensors[i].end - h->tensors[i].begin;
    const size_t n = stored < sizeof head ? (size_t)stored : sizeof head;
    const fpr_status status = file_source_read(s->base.files[0], h->data_begin + h->tensors[i].begin, head, n, error);
    if (!status && pack_is_blob(head, n) && !pack_peek(head, n, stored, &info, NULL) && pack_is_pool(&info))
        *pool = &h->tensors[i];
    return status;
}

static fpr_status find_pool(const safetensors *s, const file_tensor **pool, fpr_error *error)
{
    *pool = NULL;
    if (!s->base.own_key) return find_unnamed(s, pool, error);
    const file_value *name = file_value_get(s->key.root, "pool");
    if (s->states_data || !name) return FPR_OK;
    if (!file_value_is(name, FILE_STRING)) return packed_bad_key(error, "names no pool");
    for (size_t i = 0; i < s->header.tensor_count && !*pool; i++) {
        const file_tensor *t = &s->header.tensors[i];
        if (t->name_bytes == name->bytes && !memcmp(t->name, name->text, name->bytes)) *pool = t;
    }
    if (!*pool) return packed_bad_key(error, "names a pool that the file does not have");
    return may_be_pool(*pool) ? FPR_OK : packed_bad_key(error, "names a pool that is none");
}

/* ---------------------------------------------------------------- its members among the other tensors */

#define FREE UINT32_MAX

/* Members take the places that they name, the others those that are left, in their order. */
static fpr_status place_members(safetensors *s, const file_tensor *pool, file_tensor *tensors, uint32_t *moved,
                                fpr_error *error)
{
    const file_header *h = &s->header;
    const size_t count = h->tensor_count - 1 + s->pool.count;
    for (size_t i = 0; i < s->pool.count; i++) {
        const pack_member *m = &s->pool.members[i];
        if (m->place >= count || s->member[m->place])
            return base_fail(error, FPR_BAD_PACKED, "packed tensor: a member of a pool has no place of its own");
        s->member[m->place] = m;
        tensors[m->place] = (file_tensor){.name = m->name, .name_bytes = m->name_bytes, .dtype = m->dtype, .rank = m->rank, .shape = m->shape,
                                          .elements = m->bytes * 8 / fpr_dtype_bits(m->dtype), .begin = pool->begin, .end = pool->end};
    }
    for (size_t i = 0, at = 0; i < h->tensor_count; i++) {
        if (&h->tensors[i] == pool) continue;
        while (s->member[at]) at++;
        moved[i] = (uint32_t)at;
        tensors[at++] = h->tensors[i];
    }
    return FPR_OK;
}

static fpr_status place_in_header(safetensors *s, const file_tensor *pool, const uint32_t *moved, uint32_t *order,
                                  fpr_error *error)
{
    const file_header *h = &s->header;
    const size_t count = h->tensor_count - 1 + s->pool.count;
    if (!s->pool.reordered) {
        /* As the data. Then the entries that are there must be so, too. */
        for (size_t i = 0, last = 0; i < h->tensor_count; i++) {
            const size_t t = h->header_order[i];
            if (&h->tensors[t] == pool) continue;
            if (moved[t] < last) return base_fail(error, FPR_BAD_PACKED, "packed tensor: the pool says that header and data are in one order");
            last = moved[t];
        }
        for (size_t i = 0; i < count; i++) order[i] = (uint32_t)i;
        return FPR_OK;
    }
    for (size_t i = 0; i < count; i++) order[i] = FREE;
    for (size_t i = 0; i < s->pool.count; i++) {
        const pack_member *m = &s->pool.members[i];
        if (m->header_place >= count || order[m->header_place] != FREE)
            return base_fail(error, FPR_BAD_PACKED, "packed tensor: a member of a pool has no place of its own in the header");
        order[m->header_place] = (uint32_t)m->place;
    }
    for (size_t i = 0, at = 0; i < h->tensor_count; i++) {
        const size_t t = h->header_order[i];
        if (&h->tensors[t] == pool) continue;
        while (order[at] != FREE) at++;
        order[at] = moved[t];
    }
    return FPR_OK;
}

static int by_name(const void *a, const void *b)
{
    const file_tensor *x = *(const file_tensor *const *)a, *y = *(const file_tensor *const *)b;
    const size_t n = x->name_bytes < y->name_bytes ? x->name_bytes : y->name_bytes;
    const int order = memcmp(x->name, y->name, n);
    return order ? order : (x->name_bytes > y->name_bytes) - (x->name_bytes < y->name_bytes);
}

static fpr_status check_names(const file_tensor *tensors, size_t count, fpr_error *error)
{
    const file_tensor **sorted = base_alloc(count, sizeof *sorted);
    fpr_status status = sorted ? FPR_OK : base_no_memory(error, count * sizeof *sorted);
    for (size_t i = 0; !status && i < count; i++) sorted[i] = &tensors[i];
    if (!status && count) qsort(sorted, count, sizeof *sorted, by_name);
    for (size_t i = 1; !status && i < count; i++) {
        if (by_name(&sorted[i - 1], &sorted[i])) continue;
        status = base_fail(error, FPR_BAD_PACKED, "packed tensor: the pool holds a second tensor of this name");
        base_error_in_tensor(error, sorted[i]->name);
    }
    base_free(sorted);
    return status;
}

static fpr_status merge(safetensors *s, const file_tensor *pool, fpr_error *error)
{
    const size_t count = s->header.tensor_count - 1 + s->pool.count;
    if (count >= FREE) return base_fail(error, FPR_BAD_PACKED, "packed tensor: more tensors than a file can have");
    file_tensor *tensors = base_alloc(count, sizeof *tensors);
    uint32_t *order = base_alloc(count, sizeof *order), *moved = base_alloc(s->header.tensor_count, sizeof *moved);
    s->member = base_calloc(count, sizeof *s->member);
    fpr_status status = tensors && order && moved && s->member ? FPR_OK : base_no_memory(error, count * sizeof *tensors);
    if (!status) status = place_members(s, pool, tensors, moved, error);
    if (!status) status = place_in_header(s, pool, moved, order, error);
    if (!status) status = check_names(tensors, count, error);
    base_free(moved);
    if (status) {
        base_free(tensors);
        base_free(order);
        return status;
    }
    s->pool_offset = s->header.data_begin + pool->begin;
    s->pool_stored = pool->end - pool->begin;
    s->header.tensors = s->own_tensors = tensors;
    s->header.header_order = s->own_order = order;
    s->header.tensor_count = count;
    return FPR_OK;
}

static fpr_status read_pool(const safetensors *s, uint64_t offset, uint64_t stored, uint8_t **blob, fpr_error *error)
{
    *blob = base_alloc_aligned(stored, 1);
    return *blob ? file_source_read(s->base.files[0], offset, *blob, stored, error) : base_no_memory(error, stored);
}

fpr_status packed_pool(safetensors *s, fpr_error *error)
{
    const file_tensor *pool;
    uint8_t *blob = NULL;
    fpr_status status = find_pool(s, &pool, error);
    if (status || !pool) return status;
    const uint64_t stored = pool->end - pool->begin;
    status = read_pool(s, s->header.data_begin + pool->begin, stored, &blob, error);
    if (!status) status = pack_pool_open(blob, stored, &s->pool, error);
    if (!status) status = merge(s, pool, error);
    base_free(blob);
    if (status) base_error_in_tensor(error, pool->name);
    else s->base.packed = true;
    return status;
}

/* ---------------------------------------------------------------- what a member is, and its bytes */

void packed_show_member(const safetensors *s, size_t tensor, source_tensor *t)
{
    const pack_member *m = s->member[tensor];
    t->bytes = m->bytes;
    t->plain = false;
    t->packed = true;
    t->codec = "pool";
    t->member = true;
    t->offset = s->pool_offset;
    t->stored_bytes = pack_pool_share(s->pool_stored, s->pool.bytes, m);
}

fpr_status packed_decode_member(const source *base, size_t tensor, unsigned threads, void *dst, fpr_error *error)
{
    safetensors *s = (safetensors *)(uintptr_t)base; /* what it holds is the same before and after */
    const pack_member *m = s->member[tensor];
    fpr_status status = FPR_OK;
    pthread_mutex_lock(&s->pool_lock);
    if (!s->pool_dense) {
        uint8_t *blob = NULL, *dense = base_alloc_aligned(s->pool.bytes, 1);
        status = dense ? read_pool(s, s->pool_offset, s->pool_stored, &blob, error) : base_no_memory(error, s->pool.bytes);
        if (!status) status = pack_decode(blob, s->pool_stored, threads, dense, s->pool.bytes, error);
        base_free(blob);
        if (status) base_free(dense);
        else s->pool_dense = dense;
    }
    pthread_mutex_unlock(&s->pool_lock);
    if (!status && m->bytes) memcpy(dst, s->pool_dense + m->offset, (size_t)m->bytes);
    return status;
}

void packed_pool_close(safetensors *s)
{
    pack_pool_close(&s->pool);
    pthread_mutex_destroy(&s->pool_lock);
    base_free(s->pool_dense);
    base_free(s->own_tensors);
    base_free(s->own_order);
    base_free(s->member);
}
