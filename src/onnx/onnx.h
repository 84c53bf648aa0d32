/* ONNX files as they are: messages found by their offsets, nothing copied that is a tensor's data.
 *
 * An own reader of the few messages of onnx.proto that matter here (ModelProto, GraphProto, NodeProto, AttributeProto,
 * TensorProto, ValueInfoProto); https://github.com/onnx/onnx/blob/main/onnx/onnx.proto numbers their fields. There is
 * no limit of 2 GiB, names are kept once, and what is not known keeps its place by its offset. Memory and time are
 * linear in the bytes outside tensors. Knows nothing of what a graph computes. */
#ifndef FPR_ONNX_H
#define FPR_ONNX_H

#include "file/file.h"
#include "onnx/wire.h"

/* A name: an index into onnx_model.names. 0 is the empty one, which as an input means "none". */
typedef uint32_t onnx_name;
#define ONNX_NONE UINT32_MAX /* no tensor, no node */

typedef struct onnx_text { const char *text; size_t bytes; } onnx_text; /* UTF-8; a NUL follows the last byte */

typedef struct onnx_span {
    uint64_t begin;         /* of the field: its tag */
    uint64_t offset, bytes; /* of the message within */
} onnx_span;

/* TensorProto.DataType */
enum {
    ONNX_UNDEFINED, ONNX_FLOAT, ONNX_UINT8, ONNX_INT8, ONNX_UINT16, ONNX_INT16, ONNX_INT32, ONNX_INT64, ONNX_STRING,
    ONNX_BOOL, ONNX_FLOAT16, ONNX_DOUBLE, ONNX_UINT32, ONNX_UINT64, ONNX_COMPLEX64, ONNX_COMPLEX128, ONNX_BFLOAT16,
    ONNX_FLOAT8E4M3FN, ONNX_FLOAT8E4M3FNUZ, ONNX_FLOAT8E5M2, ONNX_FLOAT8E5M2FNUZ, ONNX_UINT4, ONNX_INT4,
    ONNX_FLOAT4E2M1, ONNX_FLOAT8E8M0, ONNX_UINT2, ONNX_INT2
};

/* Where to go on reading values of a typed field, one for every ONNX_MARK of them. */
#define ONNX_MARK 65536u
typedef struct onnx_mark { uint64_t at, chunk_end; } onnx_mark; /* chunk_end 0: at stands before a tag */

typedef struct onnx_tensor {
    onnx_name name;
    int32_t type;           /* ONNX_* */
    unsigned rank;
    const uint64_t *shape;  /* [rank] */
    uint64_t elements;
    fpr_dtype dtype;        /* when skipped is NULL */
    uint64_t bytes;         /* dense, when skipped is NULL */
    const char *skipped;    /* why it cannot be a dense tensor: "string", "int4", ...; NULL */
    onnx_span span;
    uint32_t typed_field;   /* the field its values stand in; 0: raw, at raw_offset */
    uint32_t file;          /* index into onnx_model.files that raw_offset counts in; 0: the model */
    uint64_t raw_offset;
    const onnx_mark *marks; /* of a typed field */
} onnx_tensor;

typedef struct onnx_attribute {
    onnx_name name, text; /* text: of a STRING */
    int32_t type;         /* AttributeProto.AttributeType, or by the field that is there: 1 f 2 i 3 s 4 t 5 g ... */
    float f;
    int64_t i;
    uint32_t tensor;      /* index into onnx_model.tensors, or ONNX_NONE */
    bool has_graph, has_sparse;
    uint32_t int_count, float_count;
    const int64_t *ints;
    const float *floats;
    onnx_span span;
} onnx_attribute;

typedef struct onnx_node {
    onnx_name name, op, domain;
    uint32_t input_count, output_count, attribute_count;
    const onnx_name *inputs, *outputs;
    onnx_attribute *attributes;
    onnx_span span;
} onnx_node;

/* An input or output of the graph, or an inner value whose shape is stated. */
typedef struct onnx_value {
    onnx_name name;
    int32_t type;          /* ONNX_*; 0: no tensor, or not said */
    bool has_shape;
    unsigned rank;
    const int64_t *shape;  /* [rank]; -1: not a number */
    const onnx_name *axes; /* [rank]; the name of a dimension that has one, else 0 */
    uint32_t field;        /* of the graph: 11 input, 12 output, 13 value_info */
    onnx_span span;
} onnx_value;

typedef struct onnx_model {
    file_source **files;    /* [0] the model, then external data; owned */
    size_t file_count;
    onnx_text *names;
    size_t name_count;
    onnx_tensor *tensors;   /* initializers first, in the file's order, then those of attributes, then those of subgraphs, */
    size_t tensor_count, initializer_count, inner_count; /* inner_count of them, called by the way to them: subgraphs.c */
    onnx_name *sparse;      /* names of sparse initializers */
    size_t sparse_count;
    onnx_node *nodes;
    size_t node_count;
    onnx_value *values;     /* in the file's order */
    size_t value_count;
    onnx_span graph;
    uint64_t ir_version, opset; /* of the default domain; 0: not said */
    bool has_functions, has_subgraphs;
    void *memory;
} onnx_model;

/* Takes file over, also on failure. Checks every tensor: known type, dimensions that multiply to the bytes that are
 * there, external data within regular files beside or below the model. FPR_BAD_HEADER for what breaks the rules. */
fpr_status onnx_open(file_source *file, const volatile int *cancel, onnx_model **model, fpr_error *error);
void onnx_close(onnx_model *model); /* NULL allowed */
/* bytes [from, from + count) of a dense tensor that is not skipped; threads may read at the same time. */
fpr_status onnx_read(const onnx_model *model, const onnx_tensor *tensor, uint64_t from, uint64_t count, void *dst,
                     fpr_error *error);
static inline const char *onnx_text_of(const onnx_model *model, onnx_name name) { return model->names[name].text; }
bool onnx_is_utf8(const onnx_text *text);
/* The name that is spelled so; 0 when there is none. */
onnx_name onnx_find_name(const onnx_model *model, const char *text);
const onnx_attribute *onnx_find_attribute(const onnx_model *model, const onnx_node *node, const char *name);
/* Whether the node is `op` of ONNX's own operators. */
bool onnx_is_op(const onnx_model *model, const onnx_node *node, const char *op);

#endif
