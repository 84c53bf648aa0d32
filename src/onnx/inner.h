/* What the reader's parts share while a model is being built; for src/onnx alone. */
#ifndef FPR_ONNX_INNER_H
#define FPR_ONNX_INNER_H

#include "onnx/onnx.h"

/* ---- names.c: memory that is freed at once, names kept once */

typedef struct onnx_block { struct onnx_block *next; } onnx_block;

typedef struct onnx_memory {
    onnx_block *blocks;
    uint8_t *free;
    size_t left;
} onnx_memory;

/* Aligned for every type; NULL when out of memory. */
void *onnx_take(onnx_memory *memory, uint64_t count, uint64_t size);
void onnx_release(onnx_memory *memory);

typedef struct onnx_names {
    onnx_text *list;
    size_t count, capacity;
    uint32_t *table; /* open addressing; index + 1, 0 is free */
    size_t slots;    /* a power of two */
} onnx_names;

/* The index of a name, which is added when it is new; ONNX_NONE when out of memory. */
onnx_name onnx_intern(onnx_names *names, onnx_memory *memory, const char *text, size_t bytes);
/* The same, never added; ONNX_NONE when it is not there. */
onnx_name onnx_look_up(const onnx_names *names, const char *text, size_t bytes);

/* ---- a growing array */

typedef struct onnx_list {
    void *items;
    size_t count, capacity;
} onnx_list;

/* Room for one more item of that size, zeroed; NULL when out of memory. */
void *onnx_append(onnx_list *list, size_t size);

/* ---- read.c */

typedef struct onnx_building {
    onnx_model *model;
    onnx_memory memory;
    onnx_names names;
    wire w;
    onnx_list initializers, constants, inner, nodes, values, sparse, files;
    onnx_list words, ints, floats; /* of the message being read */
    onnx_list locations;           /* onnx_name of files[1 ..] */
    const volatile int *cancel;
    fpr_error *error;
} onnx_building;

/* In names.c, as others need them. */
bool onnx_building_failed(onnx_building *b); /* out of memory: false is returned, the status is set */
/* The text of a field of bytes, as a name. */
bool onnx_read_name(onnx_building *b, const wire_field *field, onnx_name *name);
bool onnx_expect(onnx_building *b, const wire_field *field, wire_type type, const char *what);

/* ---- tensor.c */

bool onnx_read_tensor(onnx_building *b, onnx_span span, onnx_tensor *tensor);

/* ---- external.c: the file of that name beside or below the model; the index of it in model.files */
bool onnx_open_external(onnx_building *b, onnx_name location, uint64_t at, uint32_t *index);

/* ---- subgraphs.c: fills b->inner */

bool onnx_read_subgraphs(onnx_building *b);

#endif
