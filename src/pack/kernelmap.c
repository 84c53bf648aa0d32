/* Kernels that are exactly zero, exactly two-level, or dense: 2 bits each, level pairs, a sign bit a weight.
 *
 * Works on bit patterns alone, so it is lossless by itself. */
#include "pack/blob.h"

#include <stdatomic.h>

#define CANCEL_EVERY 4096u   /* kernels between two looks at the cancel flag */
#define UNIT_LEAST 4u        /* weights of a unit that may be two-level: fewer are two-level by accident */
#define BLOCK_WEIGHTS 65536u /* weights restored by one task */

static inline uint64_t weight_pattern(const pack_layer *l, unsigned width, const uint8_t *bytes, uint64_t kernel,
                                      uint64_t s)
{
    uint64_t at =
        l->hwio ? (s * l->channels + kernel % l->channels) * l->filters + kernel / l->channels : kernel * l->k + s;
    return pack_pattern(bytes + at * width, width);
}

/* ---- sets of at most two patterns */

typedef struct pair {
    uint64_t pattern[2];
    unsigned count;
} pair;

static inline bool pair_add(pair *p, uint64_t pattern)
{
    for (unsigned i = 0; i < p->count; i++)
        if (p->pattern[i] == pattern) return true;
    if (p->count == 2) return false;
    p->pattern[p->count++] = pattern;
    return true;
}

static bool pair_join(pair *p, const pair *other)
{
    pair joined = *p;
    for (unsigned i = 0; i < other->count; i++)
        if (!pair_add(&joined, other->pattern[i])) return false;
    *p = joined;
    return true;
}

static bool all_zero(const uint8_t *p, size_t bytes)
{
    uint64_t any = 0;
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) any |= base_load_le64(p + i);
    for (; i < bytes; i++) any |= p[i];
    return any == 0;
}

/* The same for weights that lie together, with width as a constant. A kernel is mostly dense, which shows in its first
 * weights, dead, or of the two patterns of the kernel before it: those cases are quick. */
static inline __attribute__((always_inline)) bool close_pair(const uint8_t *at, uint64_t k, unsigned width, pair *p)
{
    const pair last = *p;
    uint64_t first = pack_pattern(at, width);
    if (k >= 3) {
        uint64_t second = pack_pattern(at + width, width), third = pack_pattern(at + 2 * width, width);
        if (first != second && second != third && first != third) return false;
    }
    p->count = 1;
    p->pattern[0] = first;
    if (first == 0 && all_zero(at, k * width)) return true;
    if (last.count == 2) {
        bool lower = false, upper = false, other = false;
        for (uint64_t s = 0; s < k; s++) {
            uint64_t w = pack_pattern(at + s * width, width);
            lower |= w == last.pattern[0];
            upper |= w == last.pattern[1];
            other |= w != last.pattern[0] && w != last.pattern[1];
        }
        if (!other) {
            if (lower && upper) *p = last;
            return true;
        }
    }
    for (uint64_t s = 1; s < k; s++)
        if (!pair_add(p, pack_pattern(at + s * width, width))) return false;
    return true;
}

/* The patterns of a kernel; false when there are more than two. *p holds those of the kernel looked at before, or count
 * 0. */
static inline bool kernel_pair(const pack_layer *l, unsigned width, const uint8_t *bytes, uint64_t kernel, pair *p)
{
    if (!l->hwio) {
        const uint8_t *at = bytes + kernel * l->k * width;
        return width == 4   ? close_pair(at, l->k, 4, p)
               : width == 2 ? close_pair(at, l->k, 2, p)
                            : close_pair(at, l->k, 8, p);
    }
    p->count = 0;
    for (uint64_t s = 0; s < l->k; s++)
        if (!pair_add(p, weight_pattern(l, width, bytes, kernel, s))) return false;
    return true;
}

static bool is_dead(const pair *p) { return p->count == 1 && p->pattern[0] == 0; }

/* Order of floats as numbers, and of all their bit patterns: negative ones reversed. */
static uint64_t order(uint64_t pattern, unsigned width)
{
    uint64_t sign = UINT64_C(1) << (8 * width - 1), all = sign | (sign - 1);
    return pattern & sign ? ~pattern & all : pattern | sign;
}

/* Lower and upper level; a set of one pattern is both. */
static void levels_of(const pair *p, unsigned width, uint64_t level[2])
{
    level[0] = p->pattern[0];
    level[1] = p->count == 2 ? p->pattern[1] : p->pattern[0];
    if (order(level[0], width) > order(level[1], width)) {
        uint64_t swap = level[0];
        level[0] = level[1];
        level[1] = swap;
    }
}

static bool is_symmetric(const pair *p, unsigned width)
{
    uint64_t sign = UINT64_C(1) << (8 * width - 1);
    return p->count == 1 || (p->pattern[0] ^ p->pattern[1]) == sign;
}

/* ---- finding: one pass counts what each scope would take, another writes it down */

typedef struct scope_count {
    uint64_t kernels, pairs;
    bool symmetric;
} scope_count;

typedef struct finder {
    const pack_layer *layer;
    const uint8_t *bytes;
    unsigned width;
    pair layer_pair, *filter_pairs; /* [filters]; NULL where filters are too small to be units: there may be millions */
    scope_count scopes[4];          /* by fpr_scope */
    uint64_t dead;
} finder;

static uint64_t unit_weights(const pack_layer *l, fpr_scope scope)
{
    return scope == FPR_SCOPE_KERNEL   ? l->k
           : scope == FPR_SCOPE_FILTER ? l->channels * l->k
                                       : l->filters * l->channels * l->k;
}

/* The i-th kernel to look at: in the order in which the tensor lies in memory. */
static inline uint64_t visit(const pack_layer *l, uint64_t i)
{
    return l->hwio ? i % l->filters * l->channels + i / l->filters : i;
}

static void map_set(uint8_t *map, uint64_t kernel, unsigned value)
{
    map[kernel / 4] |= (uint8_t)(value << kernel % 4 * 2);
}

/* How many kernels of so many bytes, up to `most`, are nothing but zero bytes from the first on. */
static uint64_t zero_kernels(const uint8_t *at, uint64_t bytes, uint64_t most)
{
    enum { STRETCH = 64 };
    static const uint8_t zeros[STRETCH];
    const uint64_t all = bytes * most;
    uint64_t n = 0;
    while (n + STRETCH <= all && !memcmp(at + n, zeros, STRETCH)) n += STRETCH;
    while (n < all && !at[n]) n++;
    return n / bytes;
}

/* Also marks in the map, for now, what is dead, of at most two patterns, or dense. */
static void count_scopes(finder *f, uint8_t *map)
{
    const pack_layer *l = f->layer;
    pair last = {.count = 0};
    const uint64_t kernels = l->filters * l->channels;
    for (unsigned s = 1; s < 4; s++) f->scopes[s].symmetric = true;
    for (uint64_t i = 0; i < kernels; i++) {
        if (i % CANCEL_EVERY == 0 && base_cancelled()) return;
        if (!l->hwio) { /* in a pruned layer, most */
            const uint64_t zeros = zero_kernels(f->bytes + i * l->k * f->width, l->k * f->width, kernels - i);
            f->dead += zeros;
            i += zeros;
            if (i == kernels) break;
        }
        uint64_t kernel = visit(l, i), filter = kernel / l->channels;
        pair p = last;
        if (!kernel_pair(l, f->width, f->bytes, kernel, &p)) {
            map_set(map, kernel, PACK_DENSE);
            continue;
        }
        if (is_dead(&p)) {
            f->dead++;
            continue;
        }
        if (p.count == 2) last = p;
        map_set(map, kernel, PACK_TWO_LEVEL);
        f->scopes[FPR_SCOPE_KERNEL].kernels++;
        f->scopes[FPR_SCOPE_KERNEL].pairs++;
        f->scopes[FPR_SCOPE_KERNEL].symmetric &= is_symmetric(&p, f->width);
        if (f->filter_pairs) f->scopes[FPR_SCOPE_FILTER].kernels += pair_join(&f->filter_pairs[filter], &p);
        f->scopes[FPR_SCOPE_LAYER].kernels += pair_join(&f->layer_pair, &p);
    }
    f->scopes[FPR_SCOPE_LAYER].pairs = f->layer_pair.count != 0;
    f->scopes[FPR_SCOPE_LAYER].symmetric = is_symmetric(&f->layer_pair, f->width);
    for (uint64_t i = 0; i < l->filters && f->filter_pairs; i++) {
        f->scopes[FPR_SCOPE_FILTER].pairs += f->filter_pairs[i].count != 0;
        if (f->filter_pairs[i].count)
            f->scopes[FPR_SCOPE_FILTER].symmetric &= is_symmetric(&f->filter_pairs[i], f->width);
    }
}

static fpr_scope cheapest_scope(const finder *f)
{
    fpr_scope best = FPR_SCOPE_NONE;
    double least = 0, dense_bits = 8.0 * f->width * 0.82;
    for (fpr_scope s = FPR_SCOPE_LAYER; s <= FPR_SCOPE_KERNEL; s++) {
        const scope_count *c = &f->scopes[s];
        if (!c->kernels || unit_weights(f->layer, s) < UNIT_LEAST) continue;
        double saved = (double)c->kernels * (double)f->layer->k * (dense_bits - 1);
        saved -= (double)c->pairs * 8 * f->width * (c->symmetric ? 1 : 2);
        if (saved > least) {
            least = saved;
            best = s;
        }
    }
    return best;
}

static void store_level(uint8_t *dst, unsigned width, uint64_t pattern)
{
    for (unsigned i = 0; i < width; i++) dst[i] = (uint8_t)(pattern >> 8 * i);
}

static void add_levels(pack_kernels *k, unsigned width, const pair *p)
{
    uint64_t level[2];
    levels_of(p, width, level);
    if (k->symmetric)
        level[1] &= ~(UINT64_C(1) << (8 * width - 1)); /* a constant unit: its magnitude is the upper level */
    uint8_t *dst = k->levels + k->level_pairs++ * 2 * width;
    store_level(dst, width, k->symmetric ? level[1] | UINT64_C(1) << (8 * width - 1) : level[0]);
    store_level(dst + width, width, level[1]);
}

/* Makes the map final, and the levels of kernel scope as they come. The joined pairs are final, so membership is the
 * test. */
static void write_map(finder *f, pack_kernels *k)
{
    const pack_layer *l = f->layer;
    pair p = {.count = 0};
    for (uint64_t kernel = 0; kernel < l->filters * l->channels; kernel++) {
        if (!k->map[kernel / 4]) { /* four dead ones */
            kernel |= 3;
            continue;
        }
        unsigned value = pack_map_get(k->map, kernel);
        if (value == PACK_TWO_LEVEL) {
            pair unit = k->scope == FPR_SCOPE_FILTER ? f->filter_pairs[kernel / l->channels] : f->layer_pair;
            kernel_pair(l, f->width, f->bytes, kernel, &p);
            if (!k->scope || (k->scope != FPR_SCOPE_KERNEL && !pair_join(&unit, &p))) {
                value = PACK_DENSE;
                map_set(k->map, kernel, PACK_DENSE); /* 1 becomes 2: one bit more, one less */
                k->map[kernel / 4] &= (uint8_t) ~(1u << kernel % 4 * 2);
            }
        }
        k->dense += value == PACK_DENSE;
        k->two_level += value == PACK_TWO_LEVEL;
        if (value == PACK_TWO_LEVEL && k->scope == FPR_SCOPE_KERNEL) add_levels(k, f->width, &p);
    }
    if (k->scope == FPR_SCOPE_LAYER) add_levels(k, f->width, &f->layer_pair);
    if (k->scope == FPR_SCOPE_FILTER)
        for (uint64_t i = 0; i < l->filters; i++)
            if (f->filter_pairs[i].count) add_levels(k, f->width, &f->filter_pairs[i]);
}

#define GLANCE 7u          /* of a large layer, one stretch of kernels in so many is looked at first */
#define GLANCE_KERNELS 61u /* kernels of a stretch; odd, to meet every channel in turn */

/* Whether it is worth looking closer: some kernel is dead or two-level. Of large layers only a part is looked at, so
 * that a share of kernels too small to matter may be missed. */
static bool promising(const pack_layer *l, unsigned width, const uint8_t *bytes)
{
    const uint64_t kernels = l->filters * l->channels, skip = kernels < 2048 ? 0 : (GLANCE - 1) * GLANCE_KERNELS;
    for (uint64_t i = 0; i < kernels; i += skip)
        for (uint64_t end = i + GLANCE_KERNELS; i < end && i < kernels; i++) {
            pair p = {.count = 0};
            if (kernel_pair(l, width, bytes, visit(l, i), &p)) return true;
        }
    return false;
}

fpr_status pack_kernels_find(const uint8_t *bytes, pack_element element, const pack_layer *layer, pack_kernels *k,
                             bool *useful, fpr_error *error)
{
    memset(k, 0, sizeof *k);
    *useful = false;
    if (!promising(layer, element.width, bytes)) return FPR_OK;
    finder f = {.layer = layer, .bytes = bytes, .width = element.width};
    const uint64_t units = unit_weights(layer, FPR_SCOPE_FILTER) < UNIT_LEAST ? 0 : layer->filters;
    f.filter_pairs = units ? base_calloc(units, sizeof *f.filter_pairs) : NULL;
    k->map = base_calloc(layer->filters * layer->channels / 4 + 1, 1);
    fpr_status status = FPR_OK;
    if ((units && !f.filter_pairs) || !k->map) {
        status = base_no_memory(error, layer->filters * (layer->channels / 4) + units * sizeof *f.filter_pairs);
        goto out;
    }
    count_scopes(&f, k->map);
    if ((status = base_check_cancelled(error))) goto out;
    k->layer = *layer;
    k->scope = cheapest_scope(&f);
    *useful = k->scope || f.dead;
    if (!*useful) goto out;
    k->symmetric = k->scope && f.scopes[k->scope].symmetric;
    k->levels = base_alloc(k->scope ? f.scopes[k->scope].pairs : 0, 2 * (uint64_t)element.width);
    if (k->levels)
        write_map(&f, k);
    else
        status = base_no_memory(error, f.scopes[k->scope].pairs * 16);
out:
    base_free(f.filter_pairs);
    if (status || !*useful) pack_kernels_free(k);
    if (status) *useful = false;
    return status;
}

void pack_kernels_free(pack_kernels *k)
{
    base_free(k->map);
    base_free(k->levels);
    k->map = k->levels = NULL;
}

double pack_kernels_bits(const pack_kernels *k, pack_element element)
{
    uint64_t kernels = k->layer.filters * k->layer.channels;
    uint32_t scaled[3];
    double divide = kernels > UINT32_MAX ? 1024 : 1;
    scaled[0] = (uint32_t)((double)(kernels - k->dense - k->two_level) / divide);
    scaled[1] = (uint32_t)((double)k->two_level / divide);
    scaled[2] = (uint32_t)((double)k->dense / divide);
    return pack_entropy_bits(scaled, 3) * divide + 500 + (double)k->two_level * (double)k->layer.k +
           (double)k->level_pairs * 8 * element.width * (k->symmetric ? 1 : 2);
}

/* ---- encoding */

/* Patterns that are not the upper level are the lower one, so one comparison makes a bit. */
static void make_signs(const pack_kernels *k, const uint8_t *bytes, unsigned width, uint8_t *signs)
{
    const pack_layer *l = &k->layer;
    uint64_t bit = 0, next = 0, upper = 0, last_filter = UINT64_MAX;
    if (k->scope == FPR_SCOPE_LAYER) upper = pack_pattern(k->levels + width, width);
    for (uint64_t kernel = 0; kernel < l->filters * l->channels; kernel++) {
        if (pack_map_get(k->map, kernel) != PACK_TWO_LEVEL) continue;
        if (k->scope == FPR_SCOPE_KERNEL || (k->scope == FPR_SCOPE_FILTER && kernel / l->channels != last_filter)) {
            last_filter = kernel / l->channels;
            upper = pack_pattern(k->levels + (2 * next++ + 1) * width, width);
        }
        for (uint64_t s = 0; s < l->k; s++, bit++)
            signs[bit / 8] |= (uint8_t)((weight_pattern(l, width, bytes, kernel, s) == upper) << bit % 8);
    }
}

fpr_status pack_kernels_encode(const pack_kernels *k, const uint8_t *bytes, pack_element element, int level,
                               unsigned threads, pack_blob *blob, fpr_error *error)
{
    (void)threads;
    const uint64_t kernels = k->layer.filters * k->layer.channels, width = element.width;
    blob->head.hwio = k->layer.hwio;
    blob->head.symmetric = k->symmetric;
    blob->head.scope = (uint8_t)k->scope;
    fpr_status status = pack_add_coded(blob, PACK_CLASSES, k->map, (kernels + 3) / 4, level, error);
    if (status || !k->two_level) return status;
    if (k->symmetric) { /* the upper levels alone */
        uint8_t *upper = base_alloc(k->level_pairs, width);
        if (!upper) return base_no_memory(error, k->level_pairs * width);
        for (uint64_t i = 0; i < k->level_pairs; i++) memcpy(upper + i * width, k->levels + (2 * i + 1) * width, width);
        status = pack_add_coded(blob, PACK_LEVELS, upper, k->level_pairs * width, level, error);
        base_free(upper);
    } else {
        status = pack_add_coded(blob, PACK_LEVELS, k->levels, k->level_pairs * 2 * width, level, error);
    }
    if (status) return status;
    uint64_t sign_bytes = (k->two_level * k->layer.k + 7) / 8;
    uint8_t *signs = base_calloc(sign_bytes, 1);
    if (!signs) return base_no_memory(error, sign_bytes);
    make_signs(k, bytes, element.width, signs);
    status = pack_add_coded(blob, PACK_SIGNS, signs, sign_bytes, level, error);
    base_free(signs);
    return status;
}

/* ---- decoding */

typedef struct restorer {
    pack_kernels kernels;
    unsigned width;
    uint8_t *signs, *dst;
    uint64_t block;        /* kernels of one task */
    uint64_t *ordinal;     /* [blocks] two-level kernels before the block */
    uint64_t *filter_pair; /* [filters] of scope filter: which pair */
    atomic_bool idle_sign; /* a bit that shows in no weight is not one */
} restorer;

static uint64_t kernels_of(const pack_layer *l) { return l->filters * l->channels; }

static void restore_block(void *context, size_t index, unsigned worker)
{
    restorer *r = context;
    (void)worker;
    const pack_layer *l = &r->kernels.layer;
    const unsigned width = r->width;
    uint64_t first = index * r->block, end = first + r->block;
    if (end > kernels_of(l)) end = kernels_of(l);
    uint64_t ordinal = r->ordinal[index];
    if (base_cancelled()) return;
    for (uint64_t kernel = first; kernel < end; kernel++) {
        if (pack_map_get(r->kernels.map, kernel) != PACK_TWO_LEVEL) continue;
        uint64_t which = r->kernels.scope == FPR_SCOPE_KERNEL   ? ordinal
                         : r->kernels.scope == FPR_SCOPE_FILTER ? r->filter_pair[kernel / l->channels]
                                                                : 0;
        const uint8_t *levels = r->kernels.levels + which * 2 * width;
        uint64_t bit = ordinal++ * l->k;
        uint64_t at = l->hwio ? kernel % l->channels * l->filters + kernel / l->channels : kernel * l->k;
        uint64_t step = l->hwio ? l->channels * l->filters : 1;
        const bool same = memcmp(levels, levels + width, width) == 0;
        for (uint64_t s = 0; s < l->k; s++, bit++, at += step) {
            const unsigned upper = r->signs[bit / 8] >> bit % 8 & 1;
            if (same && !upper) atomic_store(&r->idle_sign, true);
            memcpy(r->dst + at * width, levels + upper * width, width);
        }
    }
}

/* Counts classes by block; the map holds nothing else than 0, 1 and 2. */
static fpr_status count_classes(restorer *r, fpr_error *error)
{
    pack_kernels *k = &r->kernels;
    const uint64_t kernels = kernels_of(&k->layer);
    uint64_t seen_filter = UINT64_MAX;
    for (uint64_t kernel = 0; kernel < kernels; kernel++) {
        unsigned value = pack_map_get(k->map, kernel);
        if (kernel % r->block == 0) r->ordinal[kernel / r->block] = k->two_level;
        if (value == 3) return pack_bad(error, "a kernel of no known class");
        k->dense += value == PACK_DENSE;
        k->two_level += value == PACK_TWO_LEVEL;
        if (value != PACK_TWO_LEVEL) continue;
        uint64_t filter = kernel / k->layer.channels;
        if (k->scope == FPR_SCOPE_FILTER && filter != seen_filter) {
            seen_filter = filter;
            r->filter_pair[filter] = k->level_pairs++;
        }
    }
    if (k->scope == FPR_SCOPE_LAYER) k->level_pairs = k->two_level != 0;
    if (k->scope == FPR_SCOPE_KERNEL) k->level_pairs = k->two_level;
    if (kernels % 4 && k->map[kernels / 4] >> kernels % 4 * 2)
        return pack_bad(error, "the classes end in other bits than zero");
    if (!k->two_level != !k->scope) return pack_bad(error, "two-level kernels and a scope do not agree");
    if (k->scope && unit_weights(&k->layer, k->scope) < UNIT_LEAST)
        return pack_bad(error, "two levels for fewer than 4 weights");
    return FPR_OK;
}

static fpr_status read_map(restorer *r, const uint8_t *blob, const pack_section *s, const pack_section *end,
                           fpr_error *error)
{
    const uint64_t kernels = kernels_of(&r->kernels.layer);
    if (s == end || s->kind != PACK_CLASSES || s->raw != (kernels + 3) / 4)
        return pack_bad(error, "classes of another size than the layer");
    fpr_status status = pack_section_restore(blob, s, s->raw, &r->kernels.map, error);
    if (status) return status;
    uint64_t blocks = (kernels + r->block - 1) / r->block;
    r->ordinal = base_calloc(blocks, sizeof *r->ordinal);
    r->filter_pair =
        base_calloc(r->kernels.scope == FPR_SCOPE_FILTER ? r->kernels.layer.filters : 0, sizeof *r->filter_pair);
    if (!r->ordinal || !r->filter_pair) return base_no_memory(error, blocks * 8);
    return count_classes(r, error);
}

static fpr_status read_levels(restorer *r, const uint8_t *blob, const pack_section *s, fpr_error *error)
{
    pack_kernels *k = &r->kernels;
    const unsigned width = r->width;
    const uint64_t one = k->symmetric ? width : 2 * (uint64_t)width;
    if (s->kind != PACK_LEVELS || s->raw != k->level_pairs * one)
        return pack_bad(error, "levels of another number than units");
    uint8_t *stored;
    fpr_status status = pack_section_restore(blob, s, s->raw, &stored, error);
    if (status || !k->symmetric) {
        k->levels = stored;
        return status;
    }
    k->levels = base_alloc(k->level_pairs, 2 * (uint64_t)width);
    if (!k->levels) {
        base_free(stored);
        return base_no_memory(error, k->level_pairs * 2 * width);
    }
    for (uint64_t i = 0; i < k->level_pairs; i++) {
        uint8_t *pairs = k->levels + 2 * i * width;
        memcpy(pairs, stored + i * width, width);
        memcpy(pairs + width, stored + i * width, width);
        pairs[width - 1] ^= 0x80;
    }
    base_free(stored);
    return FPR_OK;
}

static fpr_status read_signs(restorer *r, const uint8_t *blob, const pack_section *s, fpr_error *error)
{
    const uint64_t bits = r->kernels.two_level * r->kernels.layer.k;
    if (s->kind != PACK_SIGNS || s->raw != (bits + 7) / 8)
        return pack_bad(error, "signs of another number than weights");
    fpr_status status = pack_section_restore(blob, s, s->raw, &r->signs, error);
    if (status) return status;
    if (bits % 8 && r->signs[bits / 8] >> bits % 8) return pack_bad(error, "signs end in other bits than zero");
    return FPR_OK;
}

static fpr_status restore_dense(const restorer *r, const uint8_t *blob, const pack_head *head, unsigned *section,
                                pack_element element, unsigned threads, fpr_error *error)
{
    const pack_kernels *k = &r->kernels;
    pack_values values = {
        .bytes = r->dst, .element = element, .count = k->dense * k->layer.k, .layer = k->layer, .map = k->map};
    if (!values.count) return FPR_OK;
    if (!pack_values_index(&values)) return base_no_memory(error, values.count / VALUES_INDEX * 8);
    bool palette = *section < head->section_count && head->sections[*section].kind == PACK_COLOURS;
    fpr_status status = palette ? pack_palette_decode(&values, blob, head, section, threads, error)
                                : pack_values_decode(&values, blob, head, section, threads, error);
    base_free(values.index);
    return status;
}

fpr_status pack_kernels_decode(const uint8_t *blob, const pack_head *head, unsigned *section, unsigned threads,
                               void *dst, fpr_error *error)
{
    const pack_element element = pack_element_of(head->info.dtype);
    const pack_section *s = head->sections + *section, *end = head->sections + head->section_count;
    restorer r = {.width = element.width, .dst = dst};
    r.kernels.scope = (fpr_scope)head->scope;
    r.kernels.symmetric = head->symmetric;
    if (!element.exponent_bits || head->info.dtype == FPR_C64 ||
        !pack_layer_of(head->info.rank, head->info.shape, head->hwio, &r.kernels.layer))
        return pack_bad(error, "kernels in a tensor that is no layer");
    const pack_layer *l = &r.kernels.layer;
    r.block = BLOCK_WEIGHTS / l->k + 1;
    fpr_status status = read_map(&r, blob, s, end, error);
    s++;
    if (!status && r.kernels.two_level) {
        if (end - s < 2) status = pack_bad(error, "levels or signs are missing");
        if (!status) status = read_levels(&r, blob, s++, error);
        if (!status) status = read_signs(&r, blob, s++, error);
    }
    if (!status) {
        *section = (unsigned)(s - head->sections);
        memset(dst, 0, (size_t)head->info.bytes);
        if (r.kernels.two_level)
            base_parallel(threads, (size_t)((kernels_of(l) + r.block - 1) / r.block), restore_block, &r);
        status = base_cancelled() ? base_check_cancelled(error)
                 : atomic_load(&r.idle_sign) ? pack_bad(error, "a sign between equal levels")
                                           : restore_dense(&r, blob, head, section, element, threads, error);
    }
    pack_kernels_free(&r.kernels);
    base_free(r.signs);
    base_free(r.ordinal);
    base_free(r.filter_pair);
    return status;
}
