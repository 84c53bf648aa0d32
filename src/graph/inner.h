/* What the parts of the room share; for src/graph alone. */
#ifndef FPR_GRAPH_INNER_H
#define FPR_GRAPH_INNER_H

#include "graph/graph.h"

/* How channels go through an operator, for the lattice. */
typedef enum graph_way {
    WAY_STOP,      /* nothing is known: all inputs are read, no output is constant */
    WAY_UNARY,     /* a function of each entry alone */
    WAY_NARY,      /* of the entries at the same place, broadcast as numpy does */
    WAY_NORM,      /* BatchNormalization, InstanceNormalization */
    WAY_CONV, WAY_CONVT, WAY_GEMM, WAY_MATMUL,
    WAY_POOL,      /* along space, channels apart */
    WAY_CONCAT, WAY_SPLIT, WAY_SLICE, WAY_PAD, WAY_RESIZE, WAY_RESHAPE, WAY_TRANSPOSE,
    WAY_BLOCKS,    /* DepthToSpace, SpaceToDepth: one channel at one end is a block of them at the other */
    WAY_CONSTANT, WAY_SHAPE
} graph_way;

typedef struct run run;

/* Of which kind its outputs are: that of the first input, of the second, always the same; or the operator says. */
typedef enum op_makes { LIKE_FIRST, LIKE_SECOND, MAKES_WHOLE, MAKES_TRUTH, MAKES_OWN } op_makes;

typedef struct op_row {
    const char *name;
    graph_way way;
    void (*run)(run *r);            /* NULL: not evaluated */
    double (*unary)(double x, const double *p); /* of WAY_UNARY */
    double (*binary)(double a, double b);       /* of WAY_NARY */
    op_makes makes;                 /* which kind of array */
} op_row;

extern const op_row graph_ops[];
extern const size_t graph_op_count;

typedef struct graph_value {
    uint32_t producer;   /* node, or ONNX_NONE */
    uint32_t tensor;     /* of the model, when it is constant; or ONNX_NONE */
    bool is_input, is_output, captured; /* captured: a subgraph reads it */
    uint32_t readers;    /* inputs of nodes that name it */
} graph_value;

struct graph {
    onnx_model *model;
    graph_weights weights;
    graph_value *values;     /* by name */
    onnx_name *names;        /* [tensor_count] what a tensor is called in the graph: initializer or output of Constant */
    const op_row **ops;      /* by node; NULL: not known */
    uint32_t *order;         /* nodes, producers before readers */
    uint32_t *inputs;        /* values of the model: inputs without initializer */
    size_t input_count;
    uint32_t *outputs;
    size_t output_count;
};

/* ---- constants.c */

const onnx_node *graph_node(const graph *g, uint32_t node);
/* A tensor's values as doubles, [elements]; floating-point and whole numbers. Caller frees. NULL with *error. */
double *graph_tensor_values(const graph *g, uint32_t tensor, fpr_error *error);
fpr_status graph_tensor_bytes(const graph *g, uint32_t tensor, void *dst, fpr_error *error);
bool graph_is_replaced(const graph *g, uint32_t tensor);
/* Whether a constant operand may not change: see graph_weights. */
bool graph_is_frozen(const graph *g, onnx_name operand);
double graph_load(fpr_dtype dtype, const uint8_t *p);
void graph_store(fpr_dtype dtype, uint8_t *p, double value); /* to nearest even */
bool graph_is_number(fpr_dtype dtype);

/* The attribute of the Constant that the value comes from when it is a single number there; NULL: it is none. */
const onnx_attribute *graph_number(const graph *g, onnx_name name);

int64_t graph_int(const graph *g, const onnx_node *n, const char *name, int64_t otherwise);
double graph_float(const graph *g, const onnx_node *n, const char *name, double otherwise);
/* NULL: not there. */
const int64_t *graph_ints(const graph *g, const onnx_node *n, const char *name, uint32_t *count);
bool graph_text_is(const graph *g, const onnx_node *n, const char *name, const char *text, bool otherwise);

/* ---- run.c: for the operators */

struct run {
    const graph *g;
    const onnx_node *node;
    const op_row *op;
    array *values;        /* by name */
    uint32_t *left;       /* readers that are still to come, by name */
    uint64_t held;        /* bytes of the data of all values, at most GRAPH_RUN_BYTES */
    bool shapes;          /* they alone are wanted, and the data of short lists, which may be shapes */
    bool lacking;         /* some input has no data: outputs get none */
    bool unknown;         /* set by an operator whose output shape cannot be told */
    array_kind kind;      /* of the outputs; an operator of MAKES_OWN sets it */
    const volatile int *cancel;
    fpr_error *error;
    fpr_status status;
};

#define RUN_BYTES_MAX (UINT64_C(8) << 30) /* of the shape of one array */

const array *run_in(const run *r, uint32_t input);  /* NULL: not given */
/* The data of a small input of whole numbers; NULL when not there or not known. */
const double *run_list(run *r, uint32_t input, int64_t *count);
/* A list of whole numbers that was an attribute and became an input; own: [2 GRAPH_RANK_MAX] room for the attribute's. */
const double *run_either(run *r, const char *attribute, uint32_t input, double *own, int64_t *count);
/* An axis that may count from the end; -1 with an error when it is out of range. */
int run_axis(run *r, double axis, unsigned rank);
/* Along one axis, the others being held: entries of a line, their distance, how many times `inner` lines there are. */
typedef struct run_lines { uint64_t n, inner, outer; } run_lines;
static inline run_lines run_lines_of(const array *x, unsigned axis)
{
    run_lines l = {(uint64_t)x->dims[axis], 1, 1};
    for (unsigned i = 0; i < axis; i++) l.outer *= (uint64_t)x->dims[i];
    for (unsigned i = axis + 1; i < x->rank; i++) l.inner *= (uint64_t)x->dims[i];
    return l;
}
/* Makes an output. NULL: there is nothing to compute, because shapes are all that is wanted or because of an error. */
double *run_out(run *r, uint32_t output, unsigned rank, const int64_t *dims);
void run_let_go(run *r, array *a); /* frees its data */
void run_fail(run *r, const char *why);
/* Whether the work goes on: no error, not cancelled. */
bool run_goes_on(run *r);

/* alpha and beta, or the limits of Clip; false when they are not constant. */
bool graph_unary_parameters(const graph *g, const onnx_node *n, double p[2]);
array_kind run_kind_of(int32_t type); /* ONNX_* */
/* The numbers that the type holds; false: none of whole numbers of 8, 16 or 32 bits. */
bool run_limits(int32_t type, double *least, double *most);
void run_unary(run *r);
void run_cast(run *r);
void run_mod(run *r);
void run_where(run *r);
void run_nary(run *r);
void run_norm(run *r);
void run_conv(run *r);
void run_conv_transpose(run *r);
void run_gemm(run *r);
void run_matmul(run *r);
void run_pool(run *r);
void run_global_pool(run *r);
void run_reduce(run *r);
void run_concat(run *r);
void run_split(run *r);
void run_slice(run *r);
void run_pad(run *r);
void run_resize(run *r);
void run_flatten(run *r);
void run_reshape(run *r);
void run_squeeze(run *r);
void run_unsqueeze(run *r);
void run_transpose(run *r);
void run_depth_to_space(run *r);
void run_space_to_depth(run *r);
void run_shape(run *r);
void run_gather(run *r);
void run_gather_elements(run *r);
void run_gather_nd(run *r);
void run_scatter_nd(run *r);
void run_tile(run *r);
void run_range(run *r);
void run_size(run *r);
void run_triangle(run *r);
void run_arg(run *r);
void run_cumulative(run *r);
void run_top(run *r);
void run_recurrent(run *r);
void run_einsum(run *r);
void run_grid_sample(run *r);
void run_affine_grid(run *r);
void run_softmax(run *r);
void run_fill(run *r);
void run_expand(run *r);
void run_prelu(run *r);
void run_instance_norm(run *r);
void run_layer_norm(run *r);
void run_group_norm(run *r);
void run_lrn(run *r);
void run_lp_norm(run *r);
void run_quantize(run *r);
void run_dequantize(run *r);

/* Windows of convolutions and pools along one axis. */
typedef struct window {
    int64_t kernel, stride, dilation, before, after; /* padding */
} window;
/* By the node's attributes for an input of that shape; false with the run's error. */
bool run_windows(run *r, unsigned spatial, const int64_t *in, const int64_t *kernel, window *w);
/* Whether no window can reach over a border. */
bool graph_has_no_padding(const graph *g, const onnx_node *n, unsigned spatial, const uint64_t *kernel);

#endif
