/* A tensor's description, and its values: raw bytes, or a typed field that is decoded while it is read. */
#include "onnx/inner.h"

#include <inttypes.h>

/* Fields of TensorProto. */
enum {
    FIELD_DIMS = 1, FIELD_TYPE = 2, FIELD_FLOAT = 4, FIELD_INT32 = 5, FIELD_STRING = 6, FIELD_INT64 = 7, FIELD_NAME = 8,
    FIELD_RAW = 9, FIELD_DOUBLE = 10, FIELD_UINT64 = 11, FIELD_EXTERNAL = 13, FIELD_LOCATION = 14
};

static const struct type_row {
    const char *skipped; /* why it is no tensor of a safetensors file; NULL */
    uint32_t field;      /* where its values stand when they are not raw */
    fpr_dtype dtype;
    uint8_t items;       /* of the field for one element */
    bool is_signed;      /* of int32_data: the range of its values */
} types[] = {
    [ONNX_FLOAT] = {NULL, FIELD_FLOAT, FPR_F32, 1, false},
    [ONNX_UINT8] = {NULL, FIELD_INT32, FPR_U8, 1, false},
    [ONNX_INT8] = {NULL, FIELD_INT32, FPR_I8, 1, true},
    [ONNX_UINT16] = {NULL, FIELD_INT32, FPR_U16, 1, false},
    [ONNX_INT16] = {NULL, FIELD_INT32, FPR_I16, 1, true},
    [ONNX_INT32] = {NULL, FIELD_INT32, FPR_I32, 1, true},
    [ONNX_INT64] = {NULL, FIELD_INT64, FPR_I64, 1, false},
    [ONNX_STRING] = {"string", FIELD_STRING, 0, 0, false},
    [ONNX_BOOL] = {NULL, FIELD_INT32, FPR_BOOL, 1, false},
    [ONNX_FLOAT16] = {NULL, FIELD_INT32, FPR_F16, 1, false},
    [ONNX_DOUBLE] = {NULL, FIELD_DOUBLE, FPR_F64, 1, false},
    [ONNX_UINT32] = {NULL, FIELD_UINT64, FPR_U32, 1, false},
    [ONNX_UINT64] = {NULL, FIELD_UINT64, FPR_U64, 1, false},
    [ONNX_COMPLEX64] = {NULL, FIELD_FLOAT, FPR_C64, 2, false},
    [ONNX_COMPLEX128] = {"complex128", FIELD_DOUBLE, 0, 0, false},
    [ONNX_BFLOAT16] = {NULL, FIELD_INT32, FPR_BF16, 1, false},
    [ONNX_FLOAT8E4M3FN] = {NULL, FIELD_INT32, FPR_F8_E4M3, 1, false},
    [ONNX_FLOAT8E4M3FNUZ] = {NULL, FIELD_INT32, FPR_F8_E4M3FNUZ, 1, false},
    [ONNX_FLOAT8E5M2] = {NULL, FIELD_INT32, FPR_F8_E5M2, 1, false},
    [ONNX_FLOAT8E5M2FNUZ] = {NULL, FIELD_INT32, FPR_F8_E5M2FNUZ, 1, false},
    [ONNX_UINT4] = {"uint4", FIELD_INT32, 0, 0, false},
    [ONNX_INT4] = {"int4", FIELD_INT32, 0, 0, false},
    [ONNX_FLOAT4E2M1] = {"float4e2m1", FIELD_INT32, 0, 0, false},
    [ONNX_FLOAT8E8M0] = {NULL, FIELD_INT32, FPR_F8_E8M0, 1, false},
    [ONNX_UINT2] = {"uint2", FIELD_INT32, 0, 0, false},
    [ONNX_INT2] = {"int2", FIELD_INT32, 0, 0, false},
};

/* ---- values of a typed field, one after the other */

typedef struct values {
    wire *w;
    uint64_t end, chunk_end; /* chunk_end 0: before a tag */
    uint32_t field;
    wire_type type;          /* of an item */
} values;

static wire_type item_type(uint32_t field)
{
    return field == FIELD_FLOAT ? WIRE_FIXED32 : field == FIELD_DOUBLE ? WIRE_FIXED64 : WIRE_VARINT;
}

static bool packed_item(values *v, uint64_t *item)
{
    if (v->type == WIRE_VARINT) {
        if (!wire_varint(v->w, v->chunk_end, item)) return false;
    } else {
        uint8_t raw[8] = {0};
        unsigned bytes = v->type == WIRE_FIXED32 ? 4 : 8;
        if (v->chunk_end - v->w->at < bytes)
            return wire_fail(v->w, v->w->at, "packed values of %u bytes do not fill their field", bytes);
        if (!wire_copy(v->w, v->w->at, raw, bytes)) return false;
        v->w->at += bytes;
        *item = base_load_le64(raw);
    }
    if (v->w->at == v->chunk_end) v->chunk_end = 0;
    return true;
}

/* false at the end of the message, or when the wire failed. */
static bool next_item(values *v, uint64_t *item)
{
    wire_field f;
    if (v->chunk_end) return packed_item(v, item);
    while (wire_next(v->w, v->end, &f)) {
        if (f.number != v->field) continue;
        if (f.type == WIRE_BYTES) {
            if (!f.bytes) continue;
            v->w->at = f.offset;
            v->chunk_end = f.offset + f.bytes;
            return packed_item(v, item);
        }
        if (f.type != v->type) return wire_fail(v->w, f.begin, "a value of wire type %u", (unsigned)f.type);
        *item = f.value;
        return true;
    }
    return false;
}

/* Whether a value of int32_data fits its type, which may be narrower. */
static bool fits(const struct type_row *row, uint64_t item)
{
    unsigned bits = fpr_dtype_bits(row->dtype);
    int64_t value = (int32_t)(uint32_t)item;
    if (row->dtype == FPR_BOOL) return value == 0 || value == 1;
    if (row->is_signed) return value >= -(INT64_C(1) << (bits - 1)) && value < INT64_C(1) << (bits - 1);
    return value >= 0 && value < INT64_C(1) << bits;
}

/* Counts the items, checks their range, and notes where to go on. */
static bool scan_values(onnx_building *b, onnx_tensor *t)
{
    const struct type_row *row = &types[t->type];
    uint64_t want = t->elements * row->items, count = 0, item;
    onnx_list marks = {0};
    values v = {&b->w, t->span.offset + t->span.bytes, 0, t->typed_field, item_type(t->typed_field)};
    bool good = true;
    b->w.at = t->span.offset;
    for (;; count++) {
        onnx_mark mark = {b->w.at, v.chunk_end};
        if (!next_item(&v, &item)) break;
        good = count < want && (t->typed_field != FIELD_INT32 || fits(row, item)) &&
               (t->type != ONNX_UINT32 || item <= UINT32_MAX);
        if (!good) break;
        if (count % ONNX_MARK == 0) {
            onnx_mark *place = onnx_append(&marks, sizeof mark);
            if (!place) good = onnx_building_failed(b);
            if (!place) break;
            *place = mark;
        }
    }
    if (!b->w.status && count != want && good)
        good = wire_fail(&b->w, t->span.begin, "%" PRIu64 " values, and its shape has %" PRIu64, count, want);
    else if (!b->w.status && !good)
        wire_fail(&b->w, t->span.begin, count < want ? "a value is out of its type's range"
                                                     : "more values than its shape has");
    onnx_mark *kept = b->w.status ? NULL : onnx_take(&b->memory, marks.count, sizeof *kept);
    if (kept && marks.count) memcpy(kept, marks.items, marks.count * sizeof *kept);
    if (!kept && !b->w.status) onnx_building_failed(b);
    t->marks = kept;
    base_free(marks.items);
    b->w.at = v.end;
    return !b->w.status;
}

/* ---- external data */

typedef struct external {
    onnx_name location;
    bool has_location, has_length;
    uint64_t offset, length;
} external;

static bool decimal(const onnx_text *text, uint64_t *value)
{
    uint64_t v = 0;
    if (!text->bytes || strlen(text->text) != text->bytes) return false;
    for (const char *p = text->text; *p; p++) {
        if (*p < '0' || *p > '9' || !base_multiply(v, 10, &v) || !base_add(v, (uint64_t)(*p - '0'), &v)) return false;
    }
    *value = v;
    return true;
}

/* One StringStringEntryProto of external_data. */
static bool read_entry(onnx_building *b, const wire_field *entry, external *x)
{
    wire_field f;
    onnx_name key = 0, value = 0;
    uint64_t end = entry->offset + entry->bytes;
    b->w.at = entry->offset;
    while (wire_next(&b->w, end, &f)) {
        if (f.number != 1 && f.number != 2) continue;
        if (!onnx_expect(b, &f, WIRE_BYTES, "external data") || !onnx_read_name(b, &f, f.number == 1 ? &key : &value))
            return false;
    }
    if (b->w.status) return false;
    const onnx_text *k = &b->names.list[key], *v = &b->names.list[value];
    if (!strcmp(k->text, "location")) {
        x->location = value;
        x->has_location = true;
    } else if (!strcmp(k->text, "offset")) {
        if (!decimal(v, &x->offset)) return wire_fail(&b->w, entry->begin, "offset of external data is no number");
    } else if (!strcmp(k->text, "length")) {
        if (!decimal(v, &x->length)) return wire_fail(&b->w, entry->begin, "length of external data is no number");
        x->has_length = true;
    }
    return true;
}

static bool place_external(onnx_building *b, onnx_tensor *t, const external *x)
{
    if (!x->has_location) return wire_fail(&b->w, t->span.begin, "external data without a location");
    if (!onnx_open_external(b, x->location, t->span.begin, &t->file)) return false;
    uint64_t size = file_source_size(((file_source **)b->files.items)[t->file]), end;
    t->raw_offset = x->offset;
    if (t->skipped) return true;
    if (x->has_length && x->length != t->bytes)
        return wire_fail(&b->w, t->span.begin, "external data of %" PRIu64 " bytes, and its shape wants %" PRIu64,
                         x->length, t->bytes);
    if (!base_add(x->offset, t->bytes, &end) || end > size)
        return wire_fail(&b->w, t->span.begin, "external data ends behind its file of %" PRIu64 " bytes", size);
    return true;
}

/* ---- the message */

typedef struct description {
    bool has_raw, has_external, has_name;
    wire_field raw;
    external external;
    int64_t type, location;
} description;

/* dims is repeated, packed or not. */
static bool add_dims(onnx_building *b, const wire_field *f)
{
    wire *w = &b->w;
    uint64_t end = f->offset + f->bytes;
    if (f->type != WIRE_BYTES && !onnx_expect(b, f, WIRE_VARINT, "dims")) return false;
    w->at = f->offset;
    while (w->at < end) {
        uint64_t value, *place = onnx_append(&b->ints, sizeof *place);
        if (!place) return onnx_building_failed(b);
        if (!wire_varint(w, end, &value)) return false;
        *place = value;
    }
    return true;
}

static bool read_fields(onnx_building *b, onnx_tensor *t, description *d)
{
    wire_field f;
    uint64_t end = t->span.offset + t->span.bytes;
    b->w.at = t->span.offset;
    while (wire_next(&b->w, end, &f)) {
        switch (f.number) {
        case FIELD_DIMS:
            if (!add_dims(b, &f)) return false;
            break;
        case FIELD_TYPE:
        case FIELD_LOCATION:
            if (!onnx_expect(b, &f, WIRE_VARINT, "data_type")) return false;
            *(f.number == FIELD_TYPE ? &d->type : &d->location) = (int64_t)f.value;
            break;
        case FIELD_NAME:
            if (!onnx_expect(b, &f, WIRE_BYTES, "name") || !onnx_read_name(b, &f, &t->name)) return false;
            break;
        case FIELD_RAW:
            if (!onnx_expect(b, &f, WIRE_BYTES, "raw_data")) return false;
            d->has_raw = true;
            d->raw = f;
            break;
        case FIELD_EXTERNAL:
            if (!onnx_expect(b, &f, WIRE_BYTES, "external_data") || !read_entry(b, &f, &d->external)) return false;
            break;
        default: break;
        }
    }
    return !b->w.status;
}

/* Dimensions after one of 0 may have any value that is not negative. */
static bool set_shape(onnx_building *b, onnx_tensor *t)
{
    const uint64_t *dims = b->ints.items;
    uint64_t *shape = onnx_take(&b->memory, b->ints.count, sizeof *shape);
    if (!shape) return onnx_building_failed(b);
    t->rank = (unsigned)b->ints.count;
    t->shape = shape;
    t->elements = 1;
    for (unsigned i = 0; i < t->rank; i++) {
        shape[i] = dims[i];
        if (dims[i] > INT64_MAX) return wire_fail(&b->w, t->span.begin, "a dimension is negative");
        if (!base_multiply(t->elements, dims[i], &t->elements))
            return wire_fail(&b->w, t->span.begin, "its dimensions multiply to more than 64 bits hold");
    }
    return true;
}

static bool place_values(onnx_building *b, onnx_tensor *t, const description *d)
{
    if (d->location == 1) return place_external(b, t, &d->external);
    if (t->skipped) return true;
    if (d->has_raw || !t->elements) {
        t->raw_offset = d->raw.offset;
        if (d->has_raw && d->raw.bytes != t->bytes)
            return wire_fail(&b->w, t->span.begin, "raw_data of %" PRIu64 " bytes, and its shape wants %" PRIu64,
                             d->raw.bytes, t->bytes);
        return true;
    }
    t->typed_field = types[t->type].field;
    return scan_values(b, t);
}

bool onnx_read_tensor(onnx_building *b, onnx_span span, onnx_tensor *t)
{
    description d = {0};
    t->span = span;
    b->ints.count = 0;
    if (!read_fields(b, t, &d) || !set_shape(b, t)) return false;
    if (d.type <= ONNX_UNDEFINED || d.type >= (int64_t)(sizeof types / sizeof *types))
        return wire_fail(&b->w, span.begin, "data type %" PRId64 " is not one of ONNX", d.type);
    t->type = (int32_t)d.type;
    t->skipped = types[t->type].skipped;
    t->dtype = types[t->type].dtype;
    uint64_t items;
    if (!t->skipped && (!base_multiply(t->elements, fpr_dtype_bits(t->dtype) / 8, &t->bytes) ||
                        !base_multiply(t->elements, 2, &items) || t->bytes > INT64_MAX))
        return wire_fail(&b->w, span.begin, "its dimensions multiply to more bytes than a file can have");
    return place_values(b, t, &d);
}

/* ---- reading */

static fpr_status read_typed(const onnx_model *model, const onnx_tensor *t, uint64_t from, uint64_t count, uint8_t *dst,
                             fpr_error *error)
{
    wire w;
    uint64_t item, item_bytes = t->bytes / t->elements / types[t->type].items, first = from / item_bytes;
    onnx_mark mark = t->marks[first / ONNX_MARK];
    fpr_status status = wire_open(&w, model->files[0], error);
    if (status) return status;
    values v = {&w, t->span.offset + t->span.bytes, mark.chunk_end, t->typed_field, item_type(t->typed_field)};
    w.at = mark.at;
    uint64_t at = first / ONNX_MARK * ONNX_MARK * item_bytes, end = from + count;
    for (; at < end && next_item(&v, &item); at += item_bytes) {
        uint8_t raw[8];
        base_store_le64(raw, item);
        for (uint64_t i = 0; i < item_bytes; i++)
            if (at + i >= from && at + i < end) dst[at + i - from] = raw[i];
    }
    status = w.status;
    if (!status && at < end) status = base_fail(error, FPR_CHANGED, "changed while it was read");
    wire_close(&w);
    return status;
}

fpr_status onnx_read(const onnx_model *model, const onnx_tensor *t, uint64_t from, uint64_t count, void *dst,
                     fpr_error *error)
{
    fpr_status status = FPR_OK;
    if (!count) return FPR_OK;
    if (t->typed_field)
        status = read_typed(model, t, from, count, dst, error);
    else
        status = file_source_read(model->files[t->file], t->raw_offset + from, dst, count, error);
    if (status) base_error_in_tensor(error, onnx_text_of(model, t->name));
    return status;
}
