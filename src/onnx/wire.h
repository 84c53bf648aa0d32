/* The wire format of protobuf, read forward with offsets noted: a message is fields, each a number, a wire type and a
 * value, and nothing says where it ends but the field around it.
 *
 * Groups (wire types 3 and 4) were given up before ONNX began and are refused. Inside the room onnx and for its
 * callers that look into a message whose offsets they have. */
#ifndef FPR_ONNX_WIRE_H
#define FPR_ONNX_WIRE_H

#include "file/file.h"

typedef enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 } wire_type;

typedef struct wire {
    const file_source *file; /* NULL: all bytes are in the window */
    uint64_t at;
    uint8_t *window;
    uint64_t window_at;
    size_t window_bytes;     /* valid bytes in it */
    size_t capacity;
    fpr_error *error;
    fpr_status status;       /* sticks */
} wire;

typedef struct wire_field {
    uint32_t number;
    wire_type type;
    uint64_t begin;  /* of its tag */
    uint64_t value;  /* of WIRE_VARINT and the fixed ones */
    uint64_t offset; /* of the payload of WIRE_BYTES; of the value otherwise */
    uint64_t bytes;  /* of the payload, or of the value */
} wire_field;

/* A reader of a file from its beginning on. */
fpr_status wire_open(wire *w, const file_source *file, fpr_error *error);
/* A reader of bytes in memory, which are not changed; offsets count from `offset`. Nothing to close. */
void wire_open_memory(wire *w, const uint8_t *bytes, size_t count, uint64_t offset, fpr_error *error);
void wire_close(wire *w);
/* The next field of a message that ends at `end`, at which w->at stands then; false at the end and on an error
 * (w->status tells which). A payload ends before `end`. */
bool wire_next(wire *w, uint64_t end, wire_field *field);
/* One varint that ends before `end`. */
bool wire_varint(wire *w, uint64_t end, uint64_t *value);
/* Copies bytes; dst may be anything. */
bool wire_copy(wire *w, uint64_t offset, void *dst, uint64_t count);
/* An error about the byte w stands at or the one named. */
bool wire_fail(wire *w, uint64_t offset, const char *format, ...) BASE_PRINTF(3, 4);

/* ---- writing */

void wire_put_varint(file_text *text, uint64_t value);
void wire_put_tag(file_text *text, uint32_t number, wire_type type);
void wire_put_bytes(file_text *text, uint32_t number, const void *bytes, size_t count);
unsigned wire_varint_bytes(uint64_t value);

#endif
