/* Many small tensors in one blob: a list of them, and their values by dtype, each dtype as one long vector. */
#include "base/utf8.h"
#include "pack/blob.h"

#include <stdlib.h>

#define PARTS_MOST (PACK_SECTIONS - 1)
#define LISTING_LEVEL 19 /* a few KiB, of which every byte counts */

/* The members of one dtype. */
typedef struct part { fpr_dtype dtype; uint64_t members, bytes; } part;

/* ---------------------------------------------------------------- the list, written */

typedef struct listing { uint8_t *bytes; size_t count; } listing;

static void put_number(listing *l, uint64_t value) { l->count += pack_put_varint(l->bytes + l->count, value); }

static uint64_t listing_bound(const pack_member *members, size_t count)
{
    uint64_t bound = 16 + PARTS_MOST * 11;
    for (size_t i = 0; i < count; i++) bound += 22 + 10 * (uint64_t)members[i].rank + members[i].name_bytes;
    return bound;
}

/* members: by dtype, then by place. */
static void write_listing(listing *l, const pack_member *members, size_t count, const part *parts, unsigned part_count,
                          bool reordered)
{
    l->bytes[l->count++] = reordered;
    put_number(l, part_count);
    for (unsigned p = 0; p < part_count; p++) {
        l->bytes[l->count++] = (uint8_t)parts[p].dtype;
        put_number(l, parts[p].members);
    }
    for (size_t i = 0; i < count; i++) l->bytes[l->count++] = (uint8_t)members[i].rank;
    for (size_t i = 0; i < count; i++)
        for (unsigned d = 0; d < members[i].rank; d++) put_number(l, members[i].shape[d]);
    for (size_t i = 0; i < count; i++)
        put_number(l, i && members[i].dtype == members[i - 1].dtype ? members[i].place - members[i - 1].place - 1
                                                                    : members[i].place);
    for (size_t i = 0; reordered && i < count; i++) put_number(l, members[i].header_place);
    for (size_t i = 0; i < count; i++) {
        memcpy(l->bytes + l->count, members[i].name, members[i].name_bytes);
        l->count += members[i].name_bytes;
        l->bytes[l->count++] = 0;
    }
}

/* ---------------------------------------------------------------- the parts, written */

static void blob_sink_add(listing *l, const void *bytes, size_t count)
{
    memcpy(l->bytes + l->count, bytes, count);
    l->count += count;
}

static int blob_sink(void *context, const void *bytes, size_t count)
{
    blob_sink_add(context, bytes, count);
    return 0;
}

/* A vector of all values as a blob of its own; *inner is NULL when it is better as bytes. */
static fpr_status encode_part(const part *p, const uint8_t *bytes, int level, uint64_t adaptive_values, unsigned threads,
                              pack_blob **inner, fpr_error *error)
{
    const uint64_t elements = p->bytes * 8 / pack_dtype_bits(p->dtype);
    const pack_input input = {.dtype = p->dtype,
                              .rank = 1,
                              .shape = &elements,
                              .bytes = bytes,
                              .size = p->bytes,
                              .level = level,
                              .lossless = true,
                              .adaptive_values = adaptive_values,
                              .must_beat = p->bytes};
    return pack_encode(&input, threads, inner, error);
}

static fpr_status add_part(pack_blob *blob, const part *p, const uint8_t *bytes, int level, uint64_t adaptive_values,
                           unsigned threads, fpr_error *error)
{
    if (!p->bytes) return FPR_OK;
    pack_blob *inner = NULL;
    fpr_status status = encode_part(p, bytes, level, adaptive_values, threads, &inner, error);
    if (!status) status = pack_add_coded(blob, PACK_PART_BYTES, bytes, p->bytes, level, error);
    if (status || !inner) return status;
    if (pack_blob_size(inner) < pack_last_section_bytes(blob)) {
        pack_drop_last_section(blob);
        pack_build_section *s = pack_add_section(blob, PACK_PART_BLOB, PACK_RAW, pack_blob_size(inner), 1);
        listing l = {.bytes = s ? base_alloc(pack_blob_size(inner), 1) : NULL};
        if (l.bytes) {
            status = pack_blob_write(inner, blob_sink, &l, error);
            s->pieces[0] = (pack_piece){l.bytes, l.count};
        } else {
            status = base_no_memory(error, pack_blob_size(inner));
        }
    }
    pack_blob_free(inner);
    return status;
}

/* ---------------------------------------------------------------- all of it, written */

static int by_dtype(const void *a, const void *b)
{
    const pack_member *x = a, *y = b;
    if (x->dtype != y->dtype) return x->dtype < y->dtype ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

static unsigned find_parts(const pack_member *members, size_t count, part *parts)
{
    unsigned n = 0;
    for (size_t i = 0; i < count; i++) {
        if (!i || members[i].dtype != members[i - 1].dtype) parts[n++] = (part){.dtype = members[i].dtype};
        parts[n - 1].members++;
        parts[n - 1].bytes += members[i].bytes;
    }
    return n;
}

static fpr_status add_sections(pack_blob *blob, const pack_member *members, size_t count, const pack_pool_wish *wish,
                               uint8_t *dense, listing *l, fpr_error *error)
{
    part parts[FPR_DTYPE_COUNT];
    const unsigned part_count = find_parts(members, count, parts);
    uint64_t at = 0;
    for (size_t i = 0; i < count; at += members[i++].bytes)
        if (members[i].bytes) memcpy(dense + at, members[i].dense, (size_t)members[i].bytes);
    blob->bytes = dense;
    blob->size = at;
    write_listing(l, members, count, parts, part_count, wish->reordered);
    fpr_status status = pack_add_coded(blob, PACK_MEMBERS, l->bytes, l->count, LISTING_LEVEL, error);
    uint64_t from = 0;
    for (unsigned p = 0; !status && p < part_count; from += parts[p++].bytes) {
        /* Vectors are read from aligned memory. */
        uint8_t *own = base_alloc_aligned(parts[p].bytes, 1);
        if (!own) return base_no_memory(error, parts[p].bytes);
        memcpy(own, dense + from, (size_t)parts[p].bytes);
        status = add_part(blob, &parts[p], own, wish->level, wish->adaptive_values, wish->threads, error);
        base_free(own);
    }
    return status;
}

fpr_status pack_pool_encode(pack_member *members, size_t count, const pack_pool_wish *wish, pack_blob **blob,
                            fpr_error *error)
{
    uint64_t bytes = 0;
    *blob = NULL;
    for (size_t i = 0; i < count; i++) bytes += members[i].bytes;
    qsort(members, count, sizeof *members, by_dtype);
    listing l = {.bytes = base_alloc(listing_bound(members, count), 1)};
    uint8_t *dense = base_alloc_aligned(bytes, 1);
    pack_blob *b = base_calloc(1, sizeof *b);
    fpr_status status = l.bytes && dense && b ? FPR_OK : base_no_memory(error, bytes);
    if (!status) {
        b->head.codec = PACK_POOL;
        b->head.info = (pack_info){.dtype = FPR_U8, .rank = 1, .shape = {bytes}, .bytes = bytes, .lossless = true};
        status = add_sections(b, members, count, wish, dense, &l, error);
    }
    if (!status && !pack_blob_finish(b)) status = base_no_memory(error, 1024);
    if (b) b->bytes = NULL;
    base_free(l.bytes);
    base_free(dense);
    if (status) pack_blob_free(b);
    else *blob = b;
    return status;
}

/* ---------------------------------------------------------------- the list, read */

typedef struct reading {
    const uint8_t *at, *end;
    part parts[PARTS_MOST];
    unsigned part_count;
    bool reordered;
} reading;

static fpr_status read_parts(reading *r, uint64_t *members, fpr_error *error)
{
    uint64_t parts;
    *members = 0;
    if (r->at == r->end || *r->at > 1) return pack_bad(error, "unknown flags of a pool");
    r->reordered = *r->at++;
    if (!pack_get_varint(&r->at, r->end, &parts) || !parts || parts > PARTS_MOST)
        return pack_bad(error, "a pool without parts, or with too many");
    for (; r->part_count < parts; r->part_count++) {
        part *p = &r->parts[r->part_count];
        if (r->at == r->end || *r->at >= FPR_DTYPE_COUNT || (r->part_count && *r->at <= p[-1].dtype))
            return pack_bad(error, "the parts of a pool are not in order");
        p->dtype = (fpr_dtype)*r->at++;
        /* Every member takes three bytes of the list at least. */
        if (!pack_get_varint(&r->at, r->end, &p->members) || !p->members || p->members > (uint64_t)(r->end - r->at))
            return pack_bad(error, "a pool lists more members than it can hold");
        *members += p->members;
    }
    if (*members > (uint64_t)(r->end - r->at) / 3) return pack_bad(error, "a pool lists more members than it can hold");
    return FPR_OK;
}

/* Shapes, and the bytes that follow from them. */
static fpr_status read_shapes(reading *r, pack_pool *pool, fpr_error *error)
{
    pack_member *m = pool->members;
    uint64_t dims = 0, *shape;
    for (size_t i = 0; i < pool->count; i++) {
        m[i].rank = *r->at++; /* as many bytes are there as members */
        if (m[i].rank > PACK_RANK_MAX) return pack_bad(error, "a rank above 64");
        dims += m[i].rank;
    }
    if (dims > (uint64_t)(r->end - r->at)) return pack_bad(error, "the list of a pool is cut short");
    shape = pool->shapes = base_alloc(dims, sizeof *shape);
    if (!shape) return base_no_memory(error, dims * sizeof *shape);
    unsigned p = 0;
    for (size_t i = 0, in_part = 0; i < pool->count; i++, in_part++) {
        if (in_part == r->parts[p].members) in_part = 0, p++;
        m[i].dtype = r->parts[p].dtype;
        m[i].shape = shape;
        m[i].offset = pool->bytes;
        for (unsigned d = 0; d < m[i].rank; d++)
            if (!pack_get_varint(&r->at, r->end, shape++)) return pack_bad(error, "the list of a pool is cut short");
        if (!pack_dense_bytes(m[i].dtype, m[i].rank, m[i].shape, &m[i].bytes) || m[i].bytes > PACK_POOL_BYTES - pool->bytes)
            return pack_bad(error, "the members of a pool are larger than one can be");
        pool->bytes += m[i].bytes;
        r->parts[p].bytes += m[i].bytes;
    }
    return FPR_OK;
}

static fpr_status read_places(reading *r, pack_pool *pool, fpr_error *error)
{
    uint64_t before = 0, gap;
    unsigned p = 0;
    for (size_t i = 0, in_part = 0; i < pool->count; i++, in_part++) {
        pack_member *m = &pool->members[i];
        if (in_part == r->parts[p].members) in_part = 0, p++;
        if (!in_part) before = 0;
        if (!pack_get_varint(&r->at, r->end, &gap) || gap > PACK_PLACE_MOST)
            return pack_bad(error, "a member of a pool has no place");
        m->place = before + gap;
        before = m->place + 1;
        m->header_place = m->place;
    }
    for (size_t i = 0; r->reordered && i < pool->count; i++)
        if (!pack_get_varint(&r->at, r->end, &pool->members[i].header_place))
            return pack_bad(error, "a member of a pool has no place in the header");
    pool->reordered = r->reordered;
    return FPR_OK;
}

static fpr_status read_names(reading *r, pack_pool *pool, fpr_error *error)
{
    for (size_t i = 0; i < pool->count; i++) {
        const uint8_t *end = memchr(r->at, 0, (size_t)(r->end - r->at));
        if (!end) return pack_bad(error, "the list of a pool is cut short");
        pack_member *m = &pool->members[i];
        m->name = (const char *)r->at;
        m->name_bytes = (size_t)(end - r->at);
        r->at = end + 1;
        for (size_t at = 0, n; at < m->name_bytes; at += n) {
            uint32_t code;
            n = base_utf8(m->name + at, m->name_bytes - at, &code);
            if (!n) return pack_bad(error, "a name in a pool is not UTF-8");
        }
        if (!strcmp(m->name, "__metadata__")) return pack_bad(error, "a member of a pool is called __metadata__");
    }
    return r->at == r->end ? FPR_OK : pack_bad(error, "the list of a pool does not end where it should");
}

static fpr_status read_listing(reading *r, pack_pool *pool, fpr_error *error)
{
    uint64_t count;
    fpr_status status = read_parts(r, &count, error);
    if (status) return status;
    pool->members = base_calloc(count, sizeof *pool->members);
    if (!pool->members) return base_no_memory(error, count * sizeof *pool->members);
    pool->count = (size_t)count;
    status = read_shapes(r, pool, error);
    if (!status) status = read_places(r, pool, error);
    return status ? status : read_names(r, pool, error);
}

static fpr_status open_pool(const uint8_t *blob, const pack_head *head, reading *r, pack_pool *pool, fpr_error *error)
{
    memset(pool, 0, sizeof *pool);
    const pack_section *s = &head->sections[0];
    if (head->codec != PACK_POOL || head->info.dtype != FPR_U8 || head->info.rank != 1 || !head->info.lossless)
        return pack_bad(error, "is no pool of tensors");
    if (!head->section_count || s->kind != PACK_MEMBERS) return pack_bad(error, "a pool without a list");
    fpr_status status = pack_section_verify(blob, s, error);
    if (!status) status = pack_section_restore(blob, s, PACK_LISTING_BYTES, &pool->listing, error);
    if (status) return status;
    *r = (reading){.at = pool->listing, .end = pool->listing + s->raw};
    status = read_listing(r, pool, error);
    if (!status && pool->bytes != head->info.bytes) status = pack_bad(error, "the members of a pool do not fill it exactly");
    if (status) pack_pool_close(pool);
    return status;
}

fpr_status pack_pool_open(const uint8_t *blob, uint64_t stored_bytes, pack_pool *pool, fpr_error *error)
{
    pack_head head;
    reading r;
    memset(pool, 0, sizeof *pool);
    const fpr_status status = pack_head_read(blob, stored_bytes, stored_bytes, &head, error);
    return status ? status : open_pool(blob, &head, &r, pool, error);
}

void pack_pool_close(pack_pool *pool)
{
    base_free(pool->members);
    base_free(pool->shapes);
    base_free(pool->listing);
    memset(pool, 0, sizeof *pool);
}

bool pack_is_pool(const pack_info *info) { return !strcmp(info->codec, "pool"); }

uint64_t pack_pool_share(uint64_t stored, uint64_t bytes, const pack_member *m)
{
    /* Both are a few MiB at most. */
    return bytes ? stored * (m->offset + m->bytes) / bytes - stored * m->offset / bytes : 0;
}

/* ---------------------------------------------------------------- the parts, read */

/* A vector of all values of the part, which must be a blob of just that: no pool within a pool. */
static fpr_status decode_part(const uint8_t *blob, const pack_section *s, const part *p, unsigned threads, uint8_t *dst,
                              fpr_error *error)
{
    pack_head head;
    const uint8_t *inner = blob + s->at;
    fpr_status status = pack_head_read(inner, s->stored, s->stored, &head, error);
    if (status) return status;
    if (head.codec > PACK_PALETTE || head.info.dtype != p->dtype || head.info.rank != 1 || head.info.bytes != p->bytes ||
        !head.info.lossless)
        return pack_bad(error, "a part of a pool is another tensor than it should be");
    uint8_t *own = base_alloc_aligned(p->bytes, 1);
    if (!own) return base_no_memory(error, p->bytes);
    status = pack_decode_vector(inner, s->stored, threads, own, p->bytes, error);
    if (!status) memcpy(dst, own, (size_t)p->bytes);
    base_free(own);
    return status;
}

static fpr_status decode_bytes(const uint8_t *blob, const pack_section *s, const part *p, uint8_t *dst, fpr_error *error)
{
    uint8_t *bytes;
    if (s->raw != p->bytes) return pack_bad(error, "a part of a pool has another size than its members");
    const fpr_status status = pack_section_restore(blob, s, p->bytes, &bytes, error);
    if (status) return status;
    memcpy(dst, bytes, (size_t)p->bytes);
    base_free(bytes);
    return FPR_OK;
}

fpr_status pack_pool_decode(const uint8_t *blob, const pack_head *head, unsigned *section, unsigned threads, void *dst,
                            fpr_error *error)
{
    pack_pool pool;
    reading r;
    uint8_t *to = dst;
    fpr_status status = open_pool(blob, head, &r, &pool, error);
    if (status) return status;
    *section = 1;
    for (unsigned i = 0; !status && i < r.part_count; to += r.parts[i++].bytes) {
        if (!r.parts[i].bytes) continue;
        const pack_section *s = *section < head->section_count ? &head->sections[*section] : NULL;
        ++*section;
        if (s && s->kind == PACK_PART_BLOB && s->encoding == PACK_RAW)
            status = decode_part(blob, s, &r.parts[i], threads, to, error);
        else if (s && s->kind == PACK_PART_BYTES)
            status = decode_bytes(blob, s, &r.parts[i], to, error);
        else
            status = pack_bad(error, "a pool without one of its parts");
    }
    pack_pool_close(&pool);
    return status;
}
