/* Fields of protobuf messages, from a window over a file or from memory. */
#include "onnx/wire.h"

#include <stdarg.h>
#include <stdio.h>

#define WINDOW_BYTES (256u << 10)
#define FIELD_MAX ((UINT64_C(1) << 29) - 1)

fpr_status wire_open(wire *w, const file_source *file, fpr_error *error)
{
    uint64_t size = file_source_size(file);
    *w = (wire){.file = file, .error = error, .capacity = size < WINDOW_BYTES ? (size_t)size + 1 : WINDOW_BYTES};
    w->window = base_alloc(w->capacity, 1);
    if (!w->window) w->status = base_no_memory(error, w->capacity);
    return w->status;
}

void wire_open_memory(wire *w, const uint8_t *bytes, size_t count, uint64_t offset, fpr_error *error)
{
    *w = (wire){.error = error, .at = offset, .window_at = offset, .window_bytes = count};
    /* Never written to: only a window over a file is. */
    memcpy(&w->window, &bytes, sizeof bytes);
}

void wire_close(wire *w)
{
    if (w->file) base_free(w->window);
    *w = (wire){0};
}

bool wire_fail(wire *w, uint64_t offset, const char *format, ...)
{
    char text[200];
    va_list arguments;
    if (w->status) return false;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    w->status = base_fail(w->error, FPR_BAD_HEADER, "%s", text);
    base_error_at(w->error, offset);
    return false;
}

/* Moves the window so that it begins at offset; at least one byte is there, because callers stay before an end that
 * lies within the file. */
static bool refill(wire *w, uint64_t offset)
{
    if (!w->file) return wire_fail(w, offset, "the message ends early");
    uint64_t size = file_source_size(w->file);
    if (offset >= size) return wire_fail(w, offset, "the file ends within a message");
    size_t count = size - offset < w->capacity ? (size_t)(size - offset) : w->capacity;
    w->status = file_source_read(w->file, offset, w->window, count, w->error);
    w->window_at = offset;
    w->window_bytes = w->status ? 0 : count;
    return !w->status;
}

static bool next_byte(wire *w, uint64_t end, uint8_t *byte)
{
    if (w->status) return false;
    if (w->at >= end) return wire_fail(w, w->at, "a field runs past the end of its message");
    if (w->at < w->window_at || w->at - w->window_at >= w->window_bytes) {
        if (!refill(w, w->at)) return false;
    }
    *byte = w->window[w->at++ - w->window_at];
    return true;
}

bool wire_varint(wire *w, uint64_t end, uint64_t *value)
{
    uint64_t begin = w->at, v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = 0;
        if (!next_byte(w, end, &byte)) return false;
        if (shift == 63 && byte > 1) return wire_fail(w, begin, "a number of more than 64 bits");
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = v;
            return true;
        }
    }
    return wire_fail(w, begin, "a number of more than ten bytes");
}

bool wire_copy(wire *w, uint64_t offset, void *dst, uint64_t count)
{
    uint8_t *p = dst;
    while (count && !w->status) {
        if (offset < w->window_at || offset - w->window_at >= w->window_bytes) {
            /* More than a window: straight to where it goes. */
            if (w->file && count >= w->capacity) {
                w->status = file_source_read(w->file, offset, p, count, w->error);
                break;
            }
            if (!refill(w, offset)) break;
        }
        size_t from = (size_t)(offset - w->window_at), here = w->window_bytes - from;
        if (here > count) here = (size_t)count;
        memcpy(p, w->window + from, here);
        p += here;
        offset += here;
        count -= here;
    }
    return !w->status;
}

static bool fixed(wire *w, uint64_t end, wire_field *f, unsigned bytes)
{
    uint8_t raw[8] = {0};
    if (end - w->at < bytes) return wire_fail(w, w->at, "a field runs past the end of its message");
    if (!wire_copy(w, w->at, raw, bytes)) return false;
    f->value = base_load_le64(raw);
    f->bytes = bytes;
    w->at += bytes;
    return true;
}

bool wire_next(wire *w, uint64_t end, wire_field *f)
{
    uint64_t tag;
    if (w->status || w->at == end) return false;
    f->begin = w->at;
    if (!wire_varint(w, end, &tag)) return false;
    if (tag >> 3 < 1 || tag >> 3 > FIELD_MAX) return wire_fail(w, f->begin, "field number %llu is out of range",
                                                               (unsigned long long)(tag >> 3));
    f->number = (uint32_t)(tag >> 3);
    f->type = (wire_type)(tag & 7);
    f->offset = w->at;
    switch (f->type) {
    case WIRE_VARINT:
        if (!wire_varint(w, end, &f->value)) return false;
        f->bytes = w->at - f->offset;
        return true;
    case WIRE_FIXED64: return fixed(w, end, f, 8);
    case WIRE_FIXED32: return fixed(w, end, f, 4);
    case WIRE_BYTES:
        if (!wire_varint(w, end, &f->bytes)) return false;
        f->offset = w->at;
        if (f->bytes > end - w->at)
            return wire_fail(w, f->begin, "field %u of %llu bytes runs past the end of its message", f->number,
                             (unsigned long long)f->bytes);
        w->at += f->bytes;
        return true;
    default: return wire_fail(w, f->begin, "wire type %u, which ONNX does not use", (unsigned)f->type);
    }
}

unsigned wire_varint_bytes(uint64_t value)
{
    unsigned n = 1;
    while (value >>= 7) n++;
    return n;
}

void wire_put_varint(file_text *text, uint64_t value)
{
    uint8_t raw[10];
    unsigned n = 0;
    do {
        raw[n] = (uint8_t)(value & 0x7f);
        value >>= 7;
        raw[n++] |= value ? 0x80 : 0;
    } while (value);
    file_text_add(text, raw, n);
}

void wire_put_tag(file_text *text, uint32_t number, wire_type type)
{
    wire_put_varint(text, (uint64_t)number << 3 | (unsigned)type);
}

void wire_put_bytes(file_text *text, uint32_t number, const void *bytes, size_t count)
{
    wire_put_tag(text, number, WIRE_BYTES);
    wire_put_varint(text, count);
    file_text_add(text, bytes, count);
}
