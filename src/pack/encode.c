/* Chooses the codec of a tensor by estimates, has it encoded, and puts the blob together. */
#include "base/xxh.h"
#include "pack/blob.h"

#define WORTH_LEAST 64u /* no blob is smaller than this */

void pack_blob_free(pack_blob *blob)
{
    if (!blob) return;
    for (unsigned i = 0; i < blob->section_count; i++) {
        pack_build_section *s = &blob->sections[i];
        for (uint64_t p = 0; p < s->piece_count; p++) base_free(s->pieces[p].bytes);
        base_free(s->pieces);
    }
    base_free(blob);
}

uint64_t pack_blob_size(const pack_blob *blob) { return blob->total; }

unsigned pack_blob_reader(const pack_blob *blob) { return blob->head.info.reader; }

const char *pack_blob_codec(const pack_blob *blob) { return blob->head.info.codec; }

fpr_status pack_blob_write(const pack_blob *blob, fpr_write write, void *context, fpr_error *error)
{
    static const uint8_t zeros[8];
    uint64_t written = blob->head.bytes;
    bool failed = write(context, blob->head_bytes, blob->head.bytes) != 0;
    for (unsigned i = 0; i < blob->section_count && !failed; i++) {
        const pack_build_section *s = &blob->sections[i];
        for (uint64_t p = 0; p < s->piece_count && !failed; p++) {
            failed = s->pieces[p].count && write(context, s->pieces[p].bytes, (size_t)s->pieces[p].count) != 0;
            written += s->pieces[p].count;
        }
    }
    if (!failed && written < blob->total) failed = write(context, zeros, (size_t)(blob->total - written)) != 0;
    return failed ? base_fail(error, FPR_IO, "a packed tensor could not be written") : FPR_OK;
}

/* ---- the section table */

static bool section_check(const pack_build_section *s, uint32_t *check)
{
    if (s->piece_count == 1) {
        *check = (uint32_t)XXH3_64bits(s->pieces[0].bytes, (size_t)s->pieces[0].count);
        return true;
    }
    XXH3_state_t *state = XXH3_createState();
    if (!state) return false;
    XXH3_64bits_reset(state);
    for (uint64_t p = 0; p < s->piece_count; p++)
        XXH3_64bits_update(state, s->pieces[p].bytes, (size_t)s->pieces[p].count);
    *check = (uint32_t)XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return true;
}

bool pack_blob_finish(pack_blob *blob)
{
    if (!blob->hashed) pack_blob_hash(blob);
    blob->head.section_count = blob->section_count;
    blob->total = 0;
    for (unsigned i = 0; i < blob->section_count; i++) {
        const pack_build_section *from = &blob->sections[i];
        pack_section *to = &blob->head.sections[i];
        *to = (pack_section){.kind = from->kind, .encoding = from->encoding, .raw = from->raw};
        for (uint64_t p = 0; p < from->piece_count; p++) to->stored += from->pieces[p].count;
        if (pack_has_check(to->kind, to->encoding) && !section_check(from, &to->check)) return false;
        blob->total += to->stored;
    }
    pack_head_write(&blob->head, blob->head_bytes);
    blob->total = (blob->total + blob->head.bytes + 7) & ~UINT64_C(7);
    return true;
}

/* ---- the choice */

typedef struct choice {
    pack_values whole, dense;
    pack_kernels kernels;
    bool has_kernels;
    /* the stream that is coded in the end: of the whole tensor, or of the dense kernels */
    uint8_t *colours;
    unsigned colour_count, index_encoding;
    pack_plan plan;
    bool palette;
    double bits;
    unsigned threads; /* that look for it */
} choice;

static void choice_free(choice *c)
{
    pack_kernels_free(&c->kernels);
    base_free(c->dense.index);
    base_free(c->colours);
    pack_plan_free(&c->plan);
}

/* A palette when it is estimated smaller than planes, for either stream. */
static fpr_status choose_stream(choice *c, const pack_values *values, int level, bool eager, fpr_error *error)
{
    double palette_bits = 0;
    fpr_status status = pack_palette_find(values, c->threads, &c->colours, &c->colour_count, error);
    if (!status && c->colour_count)
        status =
            pack_palette_plan(values, c->colours, c->colour_count, level, &c->index_encoding, &palette_bits, error);
    if (!status) status = pack_values_plan(values, level, eager, &c->plan, error);
    if (status) return status;
    c->palette = c->colour_count && palette_bits < c->plan.bits;
    c->bits = c->palette ? palette_bits : c->plan.bits;
    return FPR_OK;
}

static fpr_status choose(const pack_input *input, bool eager, choice *c, fpr_error *error)
{
    pack_layer layer;
    bool hwio = input->layer && input->layer->layout == FPR_LAYOUT_HWIO;
    union {
        const uint8_t *in;
        uint8_t *out;
    } bytes = {.in = input->bytes};
    c->whole = (pack_values){.bytes = bytes.out, .element = pack_element_of(input->dtype)};
    c->whole.count = input->size / c->whole.element.width;
    fpr_status status = FPR_OK;
    if (input->layer && c->whole.element.exponent_bits && input->dtype != FPR_C64 &&
        pack_layer_of(input->rank, input->shape, hwio, &layer)) {
        c->whole.layer = layer;
        status = pack_kernels_find(input->bytes, c->whole.element, &layer, &c->kernels, &c->has_kernels, error);
    }
    if (!status && !c->has_kernels) status = choose_stream(c, &c->whole, input->level, eager, error);
    if (status || !c->has_kernels) return status;
    c->dense = c->whole;
    c->dense.count = c->kernels.dense * layer.k;
    c->dense.map = c->kernels.map;
    if (!pack_values_index(&c->dense)) return base_no_memory(error, c->dense.count / VALUES_INDEX * 8);
    return c->dense.count ? choose_stream(c, &c->dense, input->level, eager, error) : FPR_OK;
}

#define CLEARLY 8u /* one kernel in so many */

/* Few kernels that are zero or two-level may cost more to tell apart than they save: then the whole tensor is coded as
 * one stream after all. */
static fpr_status choose_again(const pack_input *input, bool eager, choice *c, fpr_error *error)
{
    if (!c->has_kernels) return FPR_OK;
    double bits = c->bits + pack_kernels_bits(&c->kernels, c->whole.element);
    const uint64_t kernels = c->whole.layer.filters * c->whole.layer.channels;
    /* Many such kernels, and dense ones of too many values for a palette: nothing else comes close. */
    if ((kernels - c->kernels.dense) * CLEARLY >= kernels && c->dense.count && !c->colour_count) {
        c->bits = bits;
        return FPR_OK;
    }
    choice other = {.whole = c->whole, .threads = c->threads};
    fpr_status status = choose_stream(&other, &other.whole, input->level, eager, error);
    if (status || other.bits >= bits) {
        c->bits = bits;
        choice_free(&other);
        return status;
    }
    choice_free(c);
    *c = other;
    return FPR_OK;
}

static const pack_values *stream_of(const choice *c) { return c->has_kernels ? &c->dense : &c->whole; }

/* What a tensor is best coded by, by estimates. eager: match finding is tried on everything. */
static fpr_status choose_best(const pack_input *input, bool eager, choice *c, fpr_error *error)
{
    fpr_status status = choose(input, eager, c, error);
    return status ? status : choose_again(input, eager, c, error);
}

/* Whether the adaptive code is worth a trial: for floats whose lower bits are noise, as far as time allows. */
static bool may_adapt(const pack_input *input, const choice *c)
{
    const uint64_t count = stream_of(c)->count;
    if (c->palette || !count || count > input->adaptive_values || !c->plan.keyed) return false;
    for (unsigned p = 0; p < c->plan.planes; p++)
        if (c->plan.encoding[p] != PACK_RAW) return false;
    return true;
}

/* The sections. *added is false when those of the adaptive code would be no gain: the blob is then of no use. */
static fpr_status encode(const pack_input *input, const choice *c, bool adaptive, unsigned threads, pack_blob *blob,
                         bool *added, fpr_error *error)
{
    const pack_values *values = stream_of(c);
    fpr_status status = FPR_OK;
    blob->head.codec = c->has_kernels ? PACK_KERNELS : c->palette ? PACK_PALETTE : PACK_PLANES;
    if (c->has_kernels)
        status = pack_kernels_encode(&c->kernels, input->bytes, values->element, input->level, threads, blob, error);
    *added = true;
    if (status || !values->count) return status;
    if (adaptive) return pack_adaptive_encode(values, input->must_beat, threads, blob, added, error);
    if (c->palette)
        return pack_palette_encode(values, c->colours, c->colour_count, c->index_encoding, input->level, threads, blob,
                                   error);
    return pack_values_encode(values, &c->plan, input->level, threads, blob, error);
}

static pack_blob *blob_new(const pack_input *input)
{
    pack_blob *b = base_calloc(1, sizeof *b);
    if (!b) return NULL;
    b->bytes = input->bytes;
    b->size = input->size;
    b->head.info.dtype = input->dtype;
    b->head.info.rank = input->rank;
    for (unsigned i = 0; i < input->rank; i++) b->head.info.shape[i] = input->shape[i];
    b->head.info.bytes = input->size;
    b->head.info.lossless = input->lossless;
    return b;
}

#define EAGER_LEVEL 10        /* from here on time is for sale: everything is tried */
#define HELD_MOST (32u << 20) /* the best blob of a larger tensor is not kept while another is made, but made again */

/* A blob whose sections are made, if they were: the caller's when it is worth it. */
static fpr_status keep_if_smaller(const pack_input *input, pack_blob *b, fpr_status status, bool added,
                                  pack_blob **blob, fpr_error *error)
{
    if (!status && added && !pack_blob_finish(b)) status = base_no_memory(error, 1024);
    b->bytes = NULL;
    if (!status && added && b->total < input->must_beat && b->total < input->size)
        *blob = b;
    else
        pack_blob_free(b);
    return status;
}

/* One way to store a lattice; *blob only when it is smaller than input->must_beat. */
static fpr_status encode_lattice_so(const pack_input *input, lattice_way way, bool signs, unsigned threads, pack_blob **blob,
                                    fpr_error *error)
{
    bool added;
    *blob = NULL;
    pack_blob *b = blob_new(input);
    if (!b) return base_no_memory(error, sizeof *b);
    const fpr_status status = pack_lattice_encode(input, way, signs, threads, b, &added, error);
    return keep_if_smaller(input, b, status, added, blob, error);
}

#define SIGNS_SAVE 256u     /* signs are foretold, at a third of the speed, where that saves one byte in so many */
#define MIXED_WEIGHTS 2048u /* of so few, time does not matter */

/* From EAGER_LEVEL on: with signs where they tell something, and few weights by all that can be known of them. */
static fpr_status encode_lattice_eagerly(const pack_input *input, unsigned threads, pack_blob **best, fpr_error *error)
{
    fpr_status status = encode_lattice_so(input, LATTICE_BLENDED, false, threads, best, error);
    pack_input in = *input;
    const unsigned trials = in.size / pack_element_of(in.dtype).width <= MIXED_WEIGHTS ? 2 : 1;
    if (status || !*best || in.size > HELD_MOST) return status;
    for (unsigned mixed = 0; mixed < trials && !status; mixed++) {
        const uint64_t size = pack_blob_size(*best);
        pack_blob *other;
        in.must_beat = mixed ? size : size - size / SIGNS_SAVE;
        status = encode_lattice_so(&in, mixed ? LATTICE_MIXED : LATTICE_BLENDED, !mixed, threads, &other, error);
        if (!other) continue;
        pack_blob_free(*best);
        *best = other;
    }
    if (status) {
        pack_blob_free(*best);
        *best = NULL;
    }
    return status;
}

/* One blob of what was chosen; NULL when it is no smaller than must_beat. */
static fpr_status encode_one(const pack_input *input, const choice *c, bool adaptive, unsigned threads,
                             pack_blob **blob, fpr_error *error)
{
    *blob = NULL;
    /* An estimate can be off, but not by a tenth: what is clearly not worth it is not tried. */
    if (c->bits / 8 * 0.9 > (double)input->must_beat) return FPR_OK;
    bool added = false;
    pack_blob *b = blob_new(input);
    if (!b) return base_no_memory(error, sizeof *b);
    fpr_status status = encode(input, c, adaptive, threads, b, &added, error);
    return keep_if_smaller(input, b, status, added, blob, error);
}

/* Makes a blob and, when it is smaller than *best, puts it there, and its size into must_beat. *better tells. */
static fpr_status improve(pack_input *input, const choice *c, bool adaptive, unsigned threads, pack_blob **best,
                          bool *better, fpr_error *error)
{
    pack_blob *found;
    fpr_status status = encode_one(input, c, adaptive, threads, &found, error);
    *better = found != NULL;
    if (!found) return status;
    input->must_beat = pack_blob_size(found);
    pack_blob_free(*best);
    *best = found;
    return FPR_OK;
}


static void let_go(const pack_input *input, pack_blob **blob)
{
    if (input->size <= HELD_MOST) return;
    pack_blob_free(*blob);
    *blob = NULL;
}

/* Match finding on everything, against what the estimates gave. */
static fpr_status encode_eagerly(const pack_input *input, uint64_t must_beat, unsigned threads, pack_blob **best,
                                 bool *better, fpr_error *error)
{
    pack_input in = *input;
    in.must_beat = must_beat;
    choice c = {.threads = threads};
    fpr_status status = choose_best(&in, true, &c, error);
    if (!status) status = improve(&in, &c, false, threads, best, better, error);
    choice_free(&c);
    return status;
}

fpr_status pack_encode(const pack_input *input, unsigned threads, pack_blob **blob, fpr_error *error)
{
    *blob = NULL;
    if (input->size < WORTH_LEAST || input->must_beat <= WORTH_LEAST || input->rank > PACK_RANK_MAX) return FPR_OK;
    if (input->lattice) {
        const fpr_status made = input->level >= EAGER_LEVEL
                                    ? encode_lattice_eagerly(input, threads, blob, error)
                                    : encode_lattice_so(input, LATTICE_QUICK, false, threads, blob, error);
        if (made || *blob) return made;
    }
    const bool eager = input->level >= EAGER_LEVEL;
    pack_input in = *input;
    if (eager) {
        in.level = EAGER_LEVEL - 1;
        in.adaptive_values = UINT64_MAX;
    }
    choice c = {.threads = threads};
    bool plain = false, adaptive = false, eagerly = false;
    fpr_status status = choose_best(&in, false, &c, error);
    if (!status) status = improve(&in, &c, false, threads, blob, &plain, error);
    if (!status && may_adapt(&in, &c)) {
        let_go(input, blob);
        status = improve(&in, &c, true, threads, blob, &adaptive, error);
    }
    if (!status && eager) {
        let_go(input, blob);
        status = encode_eagerly(input, in.must_beat, threads, blob, &eagerly, error);
    }
    if (!status && !*blob && (plain || adaptive)) {
        in.must_beat = input->must_beat;
        status = encode_one(&in, &c, adaptive, threads, blob, error);
    }
    choice_free(&c);
    if (status) {
        pack_blob_free(*blob);
        *blob = NULL;
    }
    return status;
}

fpr_status pack_keep(const uint8_t *bytes, uint64_t stored_bytes, bool lossless, pack_blob **blob, fpr_error *error)
{
    *blob = NULL;
    pack_blob *b = base_calloc(1, sizeof *b);
    if (!b) return base_no_memory(error, sizeof *b);
    fpr_status status = pack_head_read(bytes, stored_bytes, stored_bytes, &b->head, error);
    if (!status) {
        const uint64_t rest = stored_bytes - b->head.bytes;
        b->head.info.lossless = lossless;
        pack_head_write(&b->head, b->head_bytes);
        b->total = stored_bytes;
        /* All sections as one: they are only to be written. */
        pack_build_section *s = pack_add_section(b, PACK_PLANE, PACK_RAW, rest, 1);
        if (!s || !pack_copy_piece(&s->pieces[0], bytes + b->head.bytes, rest)) status = base_no_memory(error, rest);
    }
    if (status) pack_blob_free(b);
    else *blob = b;
    return status;
}
