/* Profiles as files. PROFILE.md says the same in words. */
#include "collect/profile.h"

#include "file/file.h"

#include <math.h>

#define VERSION 1u
#define MAGIC "FPP1"
#define K_MAX 128u
#define BINS_MAX 4096u
enum { HALF = 1, RANGED = 2, COUNTED = 4, DEEP = 8 }; /* flags */

/* ---------------------------------------------------------------- writing */

typedef struct sink { uint8_t *bytes; size_t used, room; bool failed; } sink;

static uint8_t *reserve(sink *s, size_t count)
{
    if (s->failed) return NULL;
    if (s->room - s->used < count) {
        const size_t room = (s->room + count) * 2;
        uint8_t *longer = base_grow(s->bytes, room, 1);
        if (!longer) {
            s->failed = true;
            return NULL;
        }
        s->bytes = longer;
        s->room = room;
    }
    uint8_t *at = s->bytes + s->used;
    s->used += count;
    return at;
}

static void put(sink *s, uint64_t v, unsigned bytes)
{
    uint8_t *at = reserve(s, bytes);
    for (unsigned i = 0; at && i < bytes; i++) at[i] = (uint8_t)(v >> 8 * i);
}

static void put_double(sink *s, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    put(s, bits, 8);
}

static void put_text(sink *s, const char *text)
{
    size_t n = strlen(text);
    if (n > UINT16_MAX) n = UINT16_MAX;
    put(s, n, 2);
    uint8_t *at = reserve(s, n);
    if (at) memcpy(at, text, n);
}

static void put_varint(sink *s, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) put(s, (v & 0x7f) | 0x80, 1);
    put(s, v, 1);
}

/* A zero is followed by how many more zeros follow it. */
static void put_counts(sink *s, const uint64_t *counts, size_t n)
{
    for (size_t i = 0; i < n;) {
        put_varint(s, counts[i]);
        if (counts[i++]) continue;
        const size_t first = i;
        while (i < n && !counts[i]) i++;
        put_varint(s, i - first);
    }
}

static void put_layer(sink *s, const collect_profile *p, const collect_layer *l)
{
    put_text(s, l->name);
    put(s, l->kernel_rank, 1);
    for (unsigned d = 0; d < l->kernel_rank; d++) put(s, l->kernel_shape[d], 8);
    put(s, l->kernels, 8);
    if (p->deep) put_double(s, l->depth);
    put(s, l->finite, 1);
    if (!l->finite) return;
    put(s, l->sparse, 8);
    put_double(s, l->max_abs);
    put_double(s, l->variance_entropy);
    put_double(s, l->variance_entropy_clean);
    put_double(s, l->orthogonality);
    for (unsigned i = 0; i < l->k; i++) put_double(s, l->moments.mean[i]);
    for (unsigned i = 0; i < l->k; i++)
        for (unsigned j = i; j < l->k; j++) put_double(s, l->moments.scatter[i * l->k + j]);
    if (!p->counted || !collect_same_shape(l, &p->grid)) return;
    const size_t cells = p->grid.bins << COLLECT_ZOOM, before = s->used;
    put(s, 0, 4);
    for (unsigned c = 0; c < l->k; c++) put_counts(s, l->cells + c * cells, cells);
    put_counts(s, l->plane, COLLECT_SIDE * COLLECT_SIDE);
    if (!s->failed) base_store_le32(s->bytes + before, (uint32_t)(s->used - before - 4));
}

static uint64_t hash_of(const uint8_t *bytes, size_t count)
{
    file_hash *hash = file_hash_new();
    if (!hash) return 0;
    file_hash_add(hash, bytes, count);
    return file_hash_end(hash);
}

fpr_status collect_profile_write(const collect_profile *p, uint8_t **bytes, size_t *count, fpr_error *error)
{
    sink s = {0};
    uint8_t *head = reserve(&s, COLLECT_PROFILE_HEAD);
    if (head) memset(head, 0, COLLECT_PROFILE_HEAD);
    put_text(&s, p->name);
    put(&s, p->source_bytes, 8);
    put_double(&s, p->eps);
    if (p->ranged || p->counted) {
        put(&s, p->grid.kernel_rank, 1);
        for (unsigned d = 0; d < p->grid.kernel_rank; d++) put(&s, p->grid.kernel_shape[d], 8);
        put(&s, p->grid.basis, 8);
    }
    if (p->ranged) put_double(&s, p->extent[0]), put_double(&s, p->extent[1]);
    if (p->counted) {
        put_double(&s, p->grid.range[0]);
        put_double(&s, p->grid.range[1]);
        put(&s, p->grid.bins, 2);
        put(&s, COLLECT_ZOOM, 1);
        put(&s, COLLECT_SIDE, 1);
    }
    put(&s, p->layer_count, 4);
    for (size_t i = 0; i < p->layer_count; i++) put_layer(&s, p, &p->layers[i]);
    if (s.failed) {
        base_free(s.bytes);
        return base_no_memory(error, s.room * 2);
    }
    memcpy(s.bytes, MAGIC, 4);
    base_store_le16(s.bytes + 4, VERSION);
    base_store_le16(s.bytes + 6, (uint16_t)((p->half ? HALF : 0) | (p->ranged ? RANGED : 0) | (p->counted ? COUNTED : 0) |
                                            (p->deep ? DEEP : 0)));
    base_store_le64(s.bytes + 8, s.used);
    base_store_le64(s.bytes + 16, hash_of(s.bytes + COLLECT_PROFILE_HEAD, s.used - COLLECT_PROFILE_HEAD));
    *bytes = s.bytes;
    *count = s.used;
    return FPR_OK;
}

/* ---------------------------------------------------------------- reading: whatever is asked of a source that is at fault
 * is 0, and tells at the end */

typedef struct feed { const uint8_t *at; size_t left; bool bad; } feed;

static uint64_t get(feed *f, unsigned bytes)
{
    uint64_t v = 0;
    if (f->left < bytes) f->bad = true;
    if (f->bad) return 0;
    for (unsigned i = 0; i < bytes; i++) v |= (uint64_t)f->at[i] << 8 * i;
    f->at += bytes;
    f->left -= bytes;
    return v;
}

static double get_double(feed *f)
{
    const uint64_t bits = get(f, 8);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* A number that must be finite. */
static double get_finite(feed *f)
{
    const double v = get_double(f);
    f->bad |= !isfinite(v);
    return v;
}

static char *get_text(feed *f)
{
    const size_t n = (size_t)get(f, 2);
    if (f->left < n || memchr(f->at, 0, n)) f->bad = true;
    if (f->bad) return NULL;
    char *text = base_copy_text((const char *)f->at, n);
    f->at += n;
    f->left -= n;
    return text;
}

static uint64_t get_varint(feed *f)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (!f->left) break;
        const uint8_t byte = *f->at++;
        f->left--;
        if (shift == 63 && byte > 1) break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return v;
    }
    f->bad = true;
    return 0;
}

/* Their sum must not exceed most. */
static void get_counts(feed *f, uint64_t *counts, size_t n, uint64_t most)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n && !f->bad;) {
        const uint64_t v = get_varint(f);
        counts[i++] = v;
        f->bad |= v > most - sum;
        sum += f->bad ? 0 : v;
        if (v) continue;
        const uint64_t zeros = get_varint(f);
        f->bad |= zeros > n - i;
        if (f->bad) return;
        memset(counts + i, 0, (size_t)zeros * sizeof *counts);
        i += (size_t)zeros;
    }
}

/* rank, shape, and the product as k; false where it is none. */
static bool get_shape(feed *f, unsigned *rank, uint64_t shape[3], unsigned *k)
{
    uint64_t product = 1;
    *rank = (unsigned)get(f, 1);
    if (*rank < 1 || *rank > 3) return false;
    for (unsigned d = 0; d < *rank; d++) {
        shape[d] = get(f, 8);
        if (shape[d] < 1 || shape[d] > K_MAX || (product *= shape[d]) > K_MAX) return false;
    }
    *k = (unsigned)product;
    return product >= 2;
}

static fpr_status get_moments(feed *f, collect_layer *l, fpr_error *error)
{
    const unsigned k = l->k;
    if (fpr_moments_init(&l->moments, k)) return base_no_memory(error, (uint64_t)k * (k + 1) * sizeof(double));
    l->moments.count = l->kernels;
    for (unsigned i = 0; i < k; i++) l->moments.mean[i] = get_finite(f);
    for (unsigned i = 0; i < k; i++)
        for (unsigned j = i; j < k; j++)
            l->moments.scatter[i * k + j] = l->moments.scatter[j * k + i] = get_finite(f);
    return FPR_OK;
}

/* Cells component by component, then the plane: in none of them more coefficients than kernels. */
static fpr_status get_cells(feed *f, const collect_profile *p, collect_layer *l, bool wanted, fpr_error *error)
{
    const size_t cells = p->grid.bins << COLLECT_ZOOM, plane = COLLECT_SIDE * COLLECT_SIDE;
    const uint64_t bytes = get(f, 4);
    f->bad |= bytes > f->left;
    if (f->bad) return FPR_OK;
    feed own = {f->at, (size_t)bytes, false};
    f->at += bytes;
    f->left -= (size_t)bytes;
    if (!wanted) return FPR_OK;
    l->cells = base_calloc((uint64_t)l->k * cells, sizeof *l->cells);
    l->plane = base_calloc(plane, sizeof *l->plane);
    if (!l->cells || !l->plane) return base_no_memory(error, l->k * cells * sizeof *l->cells);
    for (unsigned c = 0; c < l->k && !own.bad; c++) get_counts(&own, l->cells + c * cells, cells, l->kernels);
    get_counts(&own, l->plane, plane, l->kernels);
    f->bad |= own.bad || own.left;
    return FPR_OK;
}

static fpr_status get_layer(feed *f, const collect_profile *p, collect_layer *l, bool with_counts, fpr_error *error)
{
    l->name = get_text(f);
    if (!f->bad && !l->name) return base_no_memory(error, UINT16_MAX);
    if (!get_shape(f, &l->kernel_rank, l->kernel_shape, &l->k)) f->bad = true;
    l->kernels = get(f, 8);
    l->depth = p->deep ? get_double(f) : NAN;
    f->bad |= l->depth < 0 || l->depth > 1;
    const uint64_t finite = get(f, 1);
    f->bad |= finite > 1 || l->kernels == 0;
    l->finite = finite == 1;
    l->variance_entropy = l->variance_entropy_clean = l->orthogonality = NAN;
    if (f->bad || !l->finite) return FPR_OK;
    l->sparse = get(f, 8);
    l->max_abs = get_finite(f);
    l->variance_entropy = get_double(f);
    l->variance_entropy_clean = get_double(f);
    l->orthogonality = get_double(f);
    f->bad |= l->sparse > l->kernels;
    fpr_status status = get_moments(f, l, error);
    if (status || f->bad || !p->counted || !collect_same_shape(l, &p->grid)) return status;
    return get_cells(f, p, l, with_counts, error);
}

static void get_grid(feed *f, collect_profile *p)
{
    collect_grid *g = &p->grid;
    if (p->ranged || p->counted) {
        if (!get_shape(f, &g->kernel_rank, g->kernel_shape, &g->k)) f->bad = true;
        g->basis = get(f, 8);
    }
    if (p->ranged) {
        p->extent[0] = get_finite(f);
        p->extent[1] = get_finite(f);
        f->bad |= p->extent[0] > p->extent[1];
    }
    if (p->counted) {
        g->range[0] = get_finite(f);
        g->range[1] = get_finite(f);
        g->bins = (unsigned)get(f, 2);
        f->bad |= g->range[0] > g->range[1] || g->bins < 2 || g->bins > BINS_MAX;
        f->bad |= get(f, 1) != COLLECT_ZOOM;
        f->bad |= get(f, 1) != COLLECT_SIDE;
    }
}

#define LEAST_LAYER 14u /* bytes of a layer: empty name, one dimension, kernels, a flag */

static fpr_status read_layers(feed *f, collect_profile *p, bool with_counts, fpr_error *error)
{
    const uint64_t layers = get(f, 4);
    f->bad |= layers > f->left / LEAST_LAYER;
    if (f->bad) return FPR_OK;
    p->layers = base_calloc(layers, sizeof *p->layers);
    if (!p->layers) return base_no_memory(error, layers * sizeof *p->layers);
    fpr_status status = FPR_OK;
    while (!status && !f->bad && p->layer_count < layers)
        status = get_layer(f, p, &p->layers[p->layer_count++], with_counts, error);
    return status;
}

bool collect_is_profile(const uint8_t *bytes, size_t count) { return count >= 4 && !memcmp(bytes, MAGIC, 4); }

fpr_status collect_profile_read(const uint8_t *bytes, size_t count, bool with_counts, collect_profile *p,
                                fpr_error *error)
{
    *p = (collect_profile){0};
    if (!collect_is_profile(bytes, count) || count < COLLECT_PROFILE_HEAD)
        return base_fail(error, FPR_BAD_PROFILE, "no profile: it does not begin as one");
    if (base_load_le16(bytes + 4) > VERSION)
        return base_fail(error, FPR_TOO_NEW, "a profile of version %u, this program reads up to %u",
                         (unsigned)base_load_le16(bytes + 4), VERSION);
    const unsigned flags = base_load_le16(bytes + 6);
    if (base_load_le64(bytes + 8) != count)
        return base_fail(error, FPR_BAD_PROFILE, "the profile should have %llu bytes and has %zu",
                         (unsigned long long)base_load_le64(bytes + 8), count);
    if (base_load_le64(bytes + 16) != hash_of(bytes + COLLECT_PROFILE_HEAD, count - COLLECT_PROFILE_HEAD))
        return base_fail(error, FPR_BAD_PROFILE, "checksum of the profile differs: it is damaged");
    p->half = flags & HALF;
    p->ranged = flags & RANGED;
    p->counted = flags & COUNTED;
    p->deep = flags & DEEP;
    feed f = {bytes + COLLECT_PROFILE_HEAD, count - COLLECT_PROFILE_HEAD, flags > 15 || !base_load_le16(bytes + 4)};
    p->name = get_text(&f);
    fpr_status status = f.bad || p->name ? FPR_OK : base_no_memory(error, UINT16_MAX);
    p->source_bytes = get(&f, 8);
    p->eps = get_finite(&f);
    get_grid(&f, p);
    if (!status) status = read_layers(&f, p, with_counts, error);
    if (!status && (f.bad || f.left)) status = base_fail(error, FPR_BAD_PROFILE, "the profile contradicts itself");
    if (status) collect_profile_free(p);
    return status;
}
