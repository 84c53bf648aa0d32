/* An ONNX graph in memory: what computes what, values of it in double precision, which channels are dead, and the file
 * without them.
 *
 * Words. A value is what a name stands for; its channels lie along one axis (1 after a convolution, the last one after
 * a matrix product of more than two axes). A channel is constant when every entry of it is the same number whatever
 * the inputs are, and unread when no output depends on it. Knows nothing of pruning or of reports. */
#ifndef FPR_GRAPH_H
#define FPR_GRAPH_H

#include "onnx/onnx.h"

#define GRAPH_RANK_MAX 8u
#define GRAPH_KEPT_MAX (2 * GRAPH_RANK_MAX) /* entries of the longest list that shapes anything: padding at both ends */

/* What a node does; GRAPH_UNKNOWN stops removal and cannot be evaluated. */
typedef enum graph_op graph_op;

typedef struct graph graph;

/* The values of tensors that are not those of the file: pruned ones. NULL members for none. */
typedef struct graph_weights {
    /* Whether the tensor of that name is replaced; its dense bytes then come from read. */
    bool (*has)(void *context, const char *name, size_t name_bytes, uint64_t bytes);
    fpr_status (*read)(void *context, const char *name, size_t name_bytes, void *dst, uint64_t bytes, fpr_error *error);
    /* NULL, or whether the tensor of that name can not be changed: what only would with its channels is not removed, and
     * nothing is concluded from its values. */
    bool (*frozen)(void *context, const char *name, size_t name_bytes);
    void *context;
} graph_weights;

/* Takes the model over, also on failure. Every value has one producer, none depends on itself, every input is there;
 * FPR_BAD_HEADER otherwise. weights may be NULL. */
fpr_status graph_open(onnx_model *model, const graph_weights *weights, graph **g, fpr_error *error);
void graph_close(graph *g); /* NULL allowed */
const onnx_model *graph_model(const graph *g);
/* The tensor that a value is when it is constant; ONNX_NONE. */
uint32_t graph_tensor(const graph *g, onnx_name name);
/* The numbers that a value is, when it is a constant of at most GRAPH_LIST_MAX of them: a tensor, or a Constant that names
 * them by an attribute. Caller frees. NULL: it is none. */
#define GRAPH_LIST_MAX 64
double *graph_list(const graph *g, onnx_name name, int64_t *count);

/* ---- arrays: values of a graph in double precision, whole numbers among them */

typedef enum array_kind { ARRAY_REAL, ARRAY_WHOLE, ARRAY_TRUTH /* 0 or 1 */ } array_kind;

typedef struct array {
    bool known;       /* its shape is */
    array_kind kind;  /* of the type that its entries have in the file */
    unsigned rank;
    int64_t dims[GRAPH_RANK_MAX];
    uint64_t count;
    double *data;     /* NULL: only the shape is known; owned */
} array;

void array_free(array *a);

/* ---- run.c: the plain evaluator */

/* The inputs of the graph that are no initializers, in the file's order. */
size_t graph_input_count(const graph *g);
int32_t graph_input_type(const graph *g, size_t input); /* ONNX_* */
/* The shape that input has when dimensions that the file leaves open take these sizes: batch for the first axis, side
 * for every axis from the third on (doubled along the last one when it is named differently); the second one as its
 * first reader wants it. false: not a tensor of known rank. */
bool graph_input_shape(const graph *g, size_t input, int64_t batch, int64_t side, array *shape);
/* FPR_DIFFERS with the first input that is longer along some axis in one graph than in the other, of another rank or kind;
 * what a graph leaves open is as the other one wants it. */
fpr_status graph_same_inputs(const graph *a, const graph *b, fpr_error *error);
/* Whether some input has an open dimension from the third one on. */
bool graph_is_open(const graph *g);
#define GRAPH_RUN_BYTES (UINT64_C(2) << 30) /* of data at a time, of all values together */
/* Evaluates every output of the graph, in the file's order; outputs[i] is owned by the caller. inputs[i].data NULL:
 * shapes alone. values (may be NULL): the shapes of all values by name, [name_count], with the data of lists of at
 * most GRAPH_KEPT_MAX entries where that is known (array_free each). An operator that is
 * not known leaves its outputs unknown when only shapes are wanted, else it is an error that names it (FPR_USAGE), as is
 * data beyond the bound above. */
fpr_status graph_run(const graph *g, const array *inputs, array *outputs, size_t output_count, array *values,
                     const volatile int *cancel, fpr_error *error);
size_t graph_output_count(const graph *g);
const char *graph_output_name(const graph *g, size_t output);

/* ---- norms.c: what BatchNormalization makes of filters */

typedef struct graph_norm {
    const char *weight;  /* the tensor of a convolution's weights; as long as the graph */
    uint64_t count;      /* of filters */
    double *scale;       /* [count] |gamma| / sqrt(variance + eps) of the BatchNormalization that alone reads the output; */
} graph_norm;            /* NULL: another node does */
/* Of every convolution whose weights are constant. graph_norms_free. */
fpr_status graph_norms(const graph *g, graph_norm **norms, size_t *count, fpr_error *error);
void graph_norms_free(graph_norm *norms, size_t count); /* NULL allowed */

/* ---- remove.c: the graph without the channels that nobody needs */

typedef struct graph_layer {       /* a convolution or matrix product with constant weights */
    const char *name, *weight, *op; /* of the node, of its weights; as long as the graph */
    uint64_t in_before, in_after, out_before, out_after; /* channels */
    uint64_t dead, constant, unread, merged; /* of the filters that leave: why */
    uint64_t parameters_before, parameters_after; /* weights and bias */
    uint64_t macs_before, macs_after;        /* multiply-adds for the given inputs; 0: the shape is not known */
} graph_layer;

typedef struct graph_stop {        /* what kept channels that nobody needs otherwise */
    const char *op, *node;         /* "output of the graph" and the like; "range of the bias": it could not take a constant up */
    uint64_t channels;
} graph_stop;

typedef struct graph_removal {
    graph_layer *layers;           /* in the order of evaluation */
    size_t layer_count;
    graph_stop *stops;
    size_t stop_count;
    uint64_t channels;             /* that leave, over all layers' filters */
    void *changes;                 /* for graph_write */
} graph_removal;

/* Decides which channels leave. side: of open dimensions, for the multiply-adds. Memory: a few bytes a channel of every
 * value, one bit a kernel, one tensor. */
fpr_status graph_remove(const graph *g, int64_t side, const volatile int *cancel, graph_removal *removal,
                        fpr_error *error);
void graph_removal_free(graph_removal *removal);
/* Writes the model without them, with the weights given: every byte else as it was. Data of tensors stands within the
 * file, which protobuf limits to 2 GiB: FPR_USAGE beyond, as where weights that are added
 * up are beyond their type. sink gets the bytes in order. */
typedef fpr_status (*graph_sink)(void *context, const void *bytes, uint64_t count, fpr_error *error);
fpr_status graph_write(const graph *g, const graph_removal *removal, graph_sink sink, void *context, fpr_error *error);

#endif
