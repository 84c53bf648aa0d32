/* Zip archives: APPNOTE.TXT 6.3 of PKWARE, sections 4.3.7 (local headers), 4.3.12 (directory), 4.3.14 to 4.3.16 (its
 * end, zip64) and 4.5.3 (the zip64 extra field). */
#include "source/zip.h"

#include "source/inflate.h"

#include <stdlib.h>

#define LOCAL_BYTES 30
#define ENTRY_BYTES 46
#define END_BYTES 22
#define END64_BYTES 56
#define LOCATOR_BYTES 20
#define COMMENT_MOST 65535
/* No deflated byte holds more than this many (zlib's FAQ: 1032:1). */
#define DEFLATE_MOST 1032

struct zip_archive {
    const file_source *file;
    uint8_t *directory;  /* the names stand in it */
    zip_member *members;
    uint32_t *by_name;   /* [count] members, sorted */
    size_t count;
    uint64_t directory_at; /* in the file: where the members end */
    inflate_pool *inflaters;
};

typedef struct zip_end {
    uint64_t at; /* of the first record that ends the directory */
    uint64_t count, bytes, offset;
} zip_end;

static fpr_status bad(fpr_error *error, uint64_t at, const char *what)
{
    base_fail(error, FPR_BAD_HEADER, "%s", what);
    base_error_at(error, at);
    return FPR_BAD_HEADER;
}

static fpr_status bad_member(fpr_error *error, const zip_member *m, const char *what)
{
    base_fail(error, FPR_BAD_HEADER, "the archive's member \"%.*s\" %s",
              (int)(m->name_bytes < 200 ? m->name_bytes : 200), m->name, what);
    base_error_at(error, m->header);
    return FPR_BAD_HEADER;
}

bool zip_probe(const uint8_t *head, size_t n)
{
    return n >= 4 && head[0] == 'P' && head[1] == 'K' &&
           ((head[2] == 3 && head[3] == 4) || (head[2] == 5 && head[3] == 6));
}

/* ---------------------------------------------------------------- the end of the directory */

/* The zip64 record, where its locator stands in front of the end record. */
static fpr_status read_end64(const file_source *file, const uint8_t *locator, uint64_t locator_at, zip_end *end,
                             fpr_error *error)
{
    uint8_t r[END64_BYTES];
    const uint64_t at = base_load_le64(locator + 8);
    if (at > locator_at || locator_at - at < END64_BYTES)
        return bad(error, locator_at, "the archive's zip64 locator points outside");
    const fpr_status status = file_source_read(file, at, r, sizeof r, error);
    if (status) return status;
    if (base_load_le32(r) != 0x06064b50 || base_load_le64(r + 4) != locator_at - at - 12)
        return bad(error, at, "the archive's zip64 record is broken");
    const zip_end wide = {at, base_load_le64(r + 32), base_load_le64(r + 40), base_load_le64(r + 48)};
    if ((end->count != 0xffff && end->count != wide.count) || (end->bytes != 0xffffffff && end->bytes != wide.bytes) ||
        (end->offset != 0xffffffff && end->offset != wide.offset))
        return bad(error, at, "the archive's two end records differ");
    *end = wide;
    return FPR_OK;
}

/* The end record is the last thing in the file, but for a comment whose length it tells. */
static fpr_status find_end(const file_source *file, zip_end *end, fpr_error *error)
{
    const uint64_t size = file_source_size(file), most = LOCATOR_BYTES + END_BYTES + COMMENT_MOST;
    const size_t n = (size_t)(size < most ? size : most);
    uint8_t *tail = base_alloc(n, 1);
    if (!tail) return base_no_memory(error, n);
    fpr_status status = file_source_read(file, size - n, tail, n, error);
    size_t i = n >= END_BYTES ? n - END_BYTES + 1 : 0;
    bool found = false;
    while (!status && i-- > 0 && !found)
        found = base_load_le32(tail + i) == 0x06054b50 && base_load_le16(tail + i + 20) == n - i - END_BYTES;
    if (!status && !found)
        status = bad(error, size, "is a zip archive without an end: it is cut short, or was never written to its end");
    if (!status) {
        i++;
        const uint8_t *r = tail + i;
        *end = (zip_end){size - n + i, base_load_le16(r + 10), base_load_le32(r + 12), base_load_le32(r + 16)};
        if (base_load_le16(r + 4) || base_load_le16(r + 6) || base_load_le16(r + 8) != base_load_le16(r + 10))
            status = bad(error, end->at, "the archive is one of several parts");
        if (!status && i >= LOCATOR_BYTES && base_load_le32(r - LOCATOR_BYTES) == 0x07064b50)
            status = read_end64(file, r - LOCATOR_BYTES, end->at - LOCATOR_BYTES, end, error);
    }
    base_free(tail);
    return status;
}

static fpr_status check_end(const zip_end *end, fpr_error *error)
{
    if (end->offset > end->at || end->bytes != end->at - end->offset)
        return bad(error, end->at, "the archive's directory does not end where its end record begins");
    if (end->bytes > ZIP_DIRECTORY_MOST) {
        base_fail(error, FPR_BAD_HEADER, "the archive's directory has %llu bytes, more than %u",
                  (unsigned long long)end->bytes, ZIP_DIRECTORY_MOST);
        return FPR_BAD_HEADER;
    }
    if (end->count > end->bytes / ENTRY_BYTES)
        return bad(error, end->at, "the archive counts more members than its directory can hold");
    if (!end->count) return bad(error, end->at, "is a zip archive without members");
    return FPR_OK;
}

/* ---------------------------------------------------------------- the directory */

/* The wide numbers of an entry, in the order of APPNOTE 4.5.3: only those whose narrow one is full. */
static bool widen(const uint8_t *extra, size_t n, zip_member *m)
{
    uint64_t *full[] = {&m->size, &m->stored, &m->header};
    bool wide = m->size == 0xffffffff || m->stored == 0xffffffff || m->header == 0xffffffff;
    while (wide && n >= 4) {
        const unsigned id = base_load_le16(extra);
        size_t bytes = base_load_le16(extra + 2);
        extra += 4;
        n -= 4;
        if (bytes > n) return false;
        if (id == 1) {
            const uint8_t *p = extra;
            for (unsigned i = 0; i < 3; i++) {
                if (*full[i] != 0xffffffff) continue;
                if (bytes < 8) return false;
                *full[i] = base_load_le64(p);
                p += 8;
                bytes -= 8;
            }
            return true;
        }
        extra += bytes;
        n -= bytes;
    }
    return !wide;
}

static fpr_status read_entry(zip_archive *zip, const uint8_t *p, size_t left, zip_member *m, size_t *bytes,
                             fpr_error *error)
{
    const uint64_t at = zip->directory_at + (uint64_t)(p - zip->directory);
    if (left < ENTRY_BYTES || base_load_le32(p) != 0x02014b50)
        return bad(error, at, "the archive's directory holds fewer members than it counts");
    const size_t name = base_load_le16(p + 28), extra = base_load_le16(p + 30), comment = base_load_le16(p + 32);
    if (name + extra + comment > left - ENTRY_BYTES)
        return bad(error, at, "an entry of the archive's directory is longer than the directory");
    const unsigned flags = base_load_le16(p + 8), method = base_load_le16(p + 10);
    *m = (zip_member){.name = (const char *)p + ENTRY_BYTES, .name_bytes = (uint32_t)name, .deflated = method == 8,
                      .size = base_load_le32(p + 24), .stored = base_load_le32(p + 20), .header = base_load_le32(p + 42)};
    *bytes = ENTRY_BYTES + name + extra + comment;
    if (!widen(p + ENTRY_BYTES + name, extra, m)) return bad(error, at, "an entry of the archive's directory is broken");
    if (flags & 1) return bad_member(error, m, "is encrypted");
    if (method != 0 && method != 8) return bad_member(error, m, "is compressed by a method other than deflate");
    if (!m->deflated && m->size != m->stored) return bad_member(error, m, "has two sizes");
    if (m->deflated && m->size / DEFLATE_MOST > m->stored)
        return bad_member(error, m, "claims more bytes than it can inflate to");
    return FPR_OK;
}

/* The local header in front of a member's bytes: the same member as the directory says, in its place. */
static fpr_status read_local(zip_archive *zip, zip_member *m, fpr_error *error)
{
    uint8_t r[LOCAL_BYTES + 512];
    const uint64_t room = zip->directory_at;
    if (m->header > room || room - m->header < LOCAL_BYTES)
        return bad_member(error, m, "lies outside of the archive");
    const uint64_t most = room - m->header;
    const size_t n = most < sizeof r ? (size_t)most : sizeof r;
    const fpr_status status = file_source_read(zip->file, m->header, r, n, error);
    if (status) return status;
    if (base_load_le32(r) != 0x04034b50) return bad_member(error, m, "has no header where the directory says");
    const size_t name = base_load_le16(r + 26), extra = base_load_le16(r + 28);
    if (name != m->name_bytes || base_load_le16(r + 8) != (m->deflated ? 8 : 0) || base_load_le16(r + 6) & 1)
        return bad_member(error, m, "has a header that differs from the directory");
    bool same = most - LOCAL_BYTES >= name + extra;
    for (size_t i = 0, part; same && i < name; i += part) {
        uint8_t far[512];
        const uint8_t *there = r + LOCAL_BYTES + i;
        part = name - i < sizeof far ? name - i : sizeof far;
        if (LOCAL_BYTES + i + part > n) {
            const fpr_status read = file_source_read(zip->file, m->header + LOCAL_BYTES + i, far, part, error);
            if (read) return read;
            there = far;
        }
        same = !memcmp(there, m->name + i, part);
    }
    if (!same) return bad_member(error, m, "has another name in its header than in the directory");
    const uint32_t size = base_load_le32(r + 22), stored = base_load_le32(r + 18);
    if (!(base_load_le16(r + 6) & 8) && ((size && size != 0xffffffff && size != m->size) ||
                                        (stored && stored != 0xffffffff && stored != m->stored)))
        return bad_member(error, m, "has another size in its header than in the directory");
    m->data = m->header + LOCAL_BYTES + name + extra;
    if (m->stored > room - m->data) return bad_member(error, m, "runs over the archive's directory");
    return FPR_OK;
}

/* ---------------------------------------------------------------- order */

static int compare_names(const zip_member *a, const char *name, size_t bytes)
{
    const size_t n = a->name_bytes < bytes ? a->name_bytes : bytes;
    const int c = memcmp(a->name, name, n);
    return c ? c : (a->name_bytes > bytes) - (a->name_bytes < bytes);
}

static int by_name(const void *a, const void *b, void *members)
{
    const zip_member *all = members, *right = all + *(const uint32_t *)b;
    return compare_names(all + *(const uint32_t *)a, right->name, right->name_bytes);
}

static int by_place(const void *a, const void *b, void *members)
{
    const zip_member *all = members;
    const uint64_t left = all[*(const uint32_t *)a].header, right = all[*(const uint32_t *)b].header;
    return (left > right) - (left < right);
}

/* No two members lie on the same bytes, and none has the name of another. */
static fpr_status sort(zip_archive *zip, fpr_error *error)
{
    uint32_t *order = zip->by_name;
    for (size_t i = 0; i < zip->count; i++) order[i] = (uint32_t)i;
    qsort_r(order, zip->count, sizeof *order, by_place, zip->members);
    for (size_t i = 1; i < zip->count; i++) {
        const zip_member *before = &zip->members[order[i - 1]], *m = &zip->members[order[i]];
        if (m->header < before->data + before->stored) return bad_member(error, m, "lies on the bytes of another");
    }
    qsort_r(order, zip->count, sizeof *order, by_name, zip->members);
    for (size_t i = 1; i < zip->count; i++) {
        const zip_member *m = &zip->members[order[i]];
        if (!compare_names(&zip->members[order[i - 1]], m->name, m->name_bytes))
            return bad_member(error, m, "is there twice");
    }
    return FPR_OK;
}

/* ---------------------------------------------------------------- the archive */

static fpr_status read_directory(zip_archive *zip, const zip_end *end, fpr_error *error)
{
    const size_t n = (size_t)end->bytes;
    zip->directory_at = end->offset;
    zip->directory = base_alloc(n, 1);
    zip->members = base_calloc(end->count, sizeof *zip->members);
    zip->by_name = base_alloc(end->count, sizeof *zip->by_name);
    zip->inflaters = inflate_pool_new();
    if (!zip->directory || !zip->members || !zip->by_name || !zip->inflaters)
        return base_no_memory(error, n + end->count * sizeof *zip->members);
    fpr_status status = file_source_read(zip->file, end->offset, zip->directory, n, error);
    size_t at = 0, bytes = 0;
    for (; !status && zip->count < end->count; zip->count++, at += bytes)
        status = read_entry(zip, zip->directory + at, n - at, &zip->members[zip->count], &bytes, error);
    if (!status && at != n)
        status = bad(error, end->offset + at, "the archive's directory is longer than its members");
    for (size_t i = 0; !status && i < zip->count; i++) status = read_local(zip, &zip->members[i], error);
    return status ? status : sort(zip, error);
}

fpr_status zip_open(const file_source *file, zip_archive **out, fpr_error *error)
{
    *out = NULL;
    zip_end end = {0};
    fpr_status status = find_end(file, &end, error);
    if (!status) status = check_end(&end, error);
    if (status) return status;
    zip_archive *zip = base_calloc(1, sizeof *zip);
    if (!zip) return base_no_memory(error, sizeof *zip);
    zip->file = file;
    status = read_directory(zip, &end, error);
    if (status)
        zip_close(zip);
    else
        *out = zip;
    return status;
}

void zip_close(zip_archive *zip)
{
    if (!zip) return;
    inflate_pool_free(zip->inflaters);
    base_free(zip->directory);
    base_free(zip->members);
    base_free(zip->by_name);
    base_free(zip);
}

size_t zip_count(const zip_archive *zip) { return zip->count; }

const zip_member *zip_at(const zip_archive *zip, size_t i) { return &zip->members[i]; }

const zip_member *zip_find(const zip_archive *zip, const char *name, size_t name_bytes)
{
    size_t low = 0, high = zip->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const zip_member *m = &zip->members[zip->by_name[middle]];
        const int c = compare_names(m, name, name_bytes);
        if (!c) return m;
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

fpr_status zip_read(zip_archive *zip, const zip_member *member, uint64_t from, uint64_t count, void *dst,
                    fpr_error *error)
{
    if (from > member->size || count > member->size - from)
        return bad_member(error, member, "is shorter than what is asked of it");
    if (!member->deflated) return file_source_read(zip->file, member->data + from, dst, count, error);
    return inflate_read(zip->inflaters, zip->file, member, from, count, dst, error);
}
