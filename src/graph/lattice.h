/* The channels of a graph's values: which are constant, which are read, which go together; for src/graph alone.
 *
 * An element is one channel of one value. Elements that an operator needs at the same place (a sum's operands, a
 * channel before and after its activation, a depthwise filter) are one class and can only leave together. Mixing
 * operators (convolutions, matrix products) bound classes: they make a channel from all of what they read. */
#ifndef FPR_GRAPH_LATTICE_H
#define FPR_GRAPH_LATTICE_H

#include "graph/inner.h"

#define NO_BLOCK 0u           /* why a value's channels must stay */
#define BLOCK_INPUT 1u        /* an input of the graph */
#define BLOCK_OUTPUT 2u       /* an output of the graph */
#define BLOCK_SUBGRAPH 3u     /* a subgraph reads it */
#define BLOCK_NODE(n) ((n) + 4u) /* that node reads or makes it, and nothing is known of it */

enum { CONSTANT = 1, READ = 2, REMOVED = 4, KEPT = 8 };

typedef struct lane {         /* a value's channels */
    bool tracked;
    unsigned rank, axis;
    uint32_t channels;
    uint64_t first;           /* element of channel 0 */
    uint32_t block;           /* BLOCK_*: all of them stay */
} lane;

/* What a mixer needs a channel of its input for. */
enum { READS_NOTHING, READS_LIVE, READS_ADDEND /* a constant: part of the bias */, READS_CARRIED /* by a carrier */ };

typedef struct mixer {        /* a convolution or matrix product whose weights are constant */
    uint32_t node, weight, bias; /* tensors; bias ONNX_NONE: none yet */
    onnx_name in, out;        /* in 0: nothing is known of its channels */
    uint64_t outs, ins, groups, taps; /* ins: per group */
    bool transposed;          /* weights [ins of all groups][outs per group], else [outs][ins] */
    bool depthwise;           /* one input channel a group: its channels go together, nothing is mixed */
    bool folds;               /* a constant input is a constant addend of the output at every place */
    bool has_bias_input;      /* it could take one that counts */
    bool zero_bias;           /* it takes one that is computed, of zeros: as if it had none */
    double alpha, beta;       /* of Gemm: what the product and the bias are multiplied with; else 1 */
    uint8_t *live;            /* bit o * ins + i: some weight is not zero */
    uint8_t *reads;           /* [channels of in] READS_* */
    uint8_t *large;           /* [channels of in] constants that stay: with them a bias may be beyond its type */
    uint32_t *carrier;        /* [groups] channel + 1 that carries the constant ones which leave; 0: none */
} mixer;

typedef struct count_entry { /* of a short list of whole numbers */
    onnx_name of;             /* the value whose channels it counts, or is computed from; 0: none */
    bool exact;               /* it is their number itself */
    bool fixed;               /* the same whatever the inputs are */
} count_entry;

typedef struct lattice {
    const graph *g;
    lane *lanes;              /* by name */
    uint64_t elements;
    double *constant;         /* of CONSTANT elements */
    uint8_t *flags;
    uint32_t *parent;         /* of the class: union-find */
    uint32_t *leader;         /* the first channel of its value that always equals this one */
    mixer *mixers;
    size_t mixer_count;
    uint32_t *mixer_of;       /* by node, or ONNX_NONE */
    array *shape[2];          /* by name, for two sizes of input */
    count_entry **counts;     /* by name: [GRAPH_RANK_MAX] of lists that count channels; NULL: it is none */
    uint8_t *steady;          /* by name: computed from constants alone */
    const volatile int *cancel;
    fpr_error *error;
    fpr_status status;
} lattice;

/* ---- layout.c: which axis of each value its channels lie along */
fpr_status lattice_open(lattice *l, const graph *g, const volatile int *cancel, fpr_error *error);
void lattice_close(lattice *l);

/* ---- lanes.c */
/* All channels of the value stay, for that node. */
void lattice_block(lattice *l, onnx_name name, uint32_t node);
bool lattice_failed(lattice *l, uint64_t bytes);
/* The dimension is the same for inputs of both sizes; else 0. */
int64_t lattice_dim(const lattice *l, onnx_name name, unsigned axis);
/* Of a constant operand beside a value: how many entries lie along the value's channels: all of them, 1, or 0 when it
 * does not fit. */
uint64_t lattice_along(const lattice *l, uint32_t tensor, const lane *value, unsigned *axis);
/* Whether an entry of the list counts channels, or is computed from how many there are. */
bool lattice_is_counted(const lattice *l, onnx_name list);
/* The data of a list that is computed from how many channels there are and constants alone; NULL: it is none. Caller frees. */
double *lattice_fixed(const lattice *l, onnx_name list, int64_t *count);
/* Whether a value beside another is the same for all of its channels: broadcast along them, whatever it is. */
bool lattice_is_uniform(const lattice *l, onnx_name name, const lane *beside);
/* The data of a constant list of at most GRAPH_LIST_MAX numbers, or of one that is computed from how many channels there
 * are, or from constants; NULL when it is none. Caller frees. */
double *lattice_list(const lattice *l, const onnx_node *n, uint32_t input, int64_t *count);
/* The lane of an input; an untracked one when it is not given. */
const lane *lattice_lane_in(const lattice *l, const onnx_node *n, uint32_t input);
/* Leaves the value untracked where its shape is known and is another one. */
void lattice_set_lane(lattice *l, onnx_name name, unsigned rank, unsigned axis, uint64_t channels);

/* ---- layout_parts.c: of what moves entries */
void lattice_layout_reshape(lattice *l, const onnx_node *n, const op_row *op);
void lattice_layout_parts(lattice *l, const onnx_node *n);
void lattice_layout_space(lattice *l, const onnx_node *n, const op_row *op);
/* Of a Reshape or Unsqueeze of a constant with one axis longer than 1: that axis; false: it is none. */
bool lattice_constant_axis(const lattice *l, const onnx_node *n, unsigned *axis);
/* How a reshape stretches a channel: 1 keeps it, S makes S neighbours of it, 0 mixes. */
uint64_t lattice_stretch(const lattice *l, onnx_name in, onnx_name out, unsigned *axis);
void lattice_layout_transpose(lattice *l, const onnx_node *n);
void lattice_layout_blocks(lattice *l, const onnx_node *n, const op_row *op);
/* Of DepthToSpace and SpaceToDepth: which of the `few` channels where they are few the channel `deep` of the many belongs to. */
uint64_t lattice_block_of(const lattice *l, const onnx_node *n, uint64_t deep, uint64_t many, uint64_t few);
/* Whether a reshape flattens channels that come last: those of the places are behind each other, a channel's as far apart as
 * there are channels. */
bool lattice_spreads_apart(const lattice *l, onnx_name in, onnx_name out);
/* Where channels of an output of Split or Slice begin in its input. */
uint64_t lattice_part(const lattice *l, const onnx_node *n, uint32_t output, bool *fits);

/* ---- elements.c */
uint32_t lattice_class(const lattice *l, uint64_t element);
static inline bool lattice_is_constant(const lattice *l, uint64_t element) { return l->flags[element] & CONSTANT; }
/* Not where c is infinite or none. */
void lattice_set_constant(lattice *l, uint64_t element, double c);
/* Both can only leave together. */
void lattice_tie(lattice *l, uint64_t a, uint64_t b);
/* What an element equals: equal keys within a value mean equal channels. */
uint64_t lattice_key(const lattice *l, uint64_t element);
/* Splits what has been equal so far by one more key: leader[i] becomes the first j <= i with the same leader and key. */
void lattice_refine(lattice *l, uint32_t *leader, const uint64_t *key, uint32_t n);
uint64_t lattice_scatter(uint64_t x); /* a hash of it */
/* All that the node reads and makes stays. */
void lattice_stop(lattice *l, uint32_t node);
/* Whether somebody reads that output. */
bool lattice_output_is_read(const lattice *l, const onnx_node *n, uint32_t output);

/* ---- counts.c: lists that count channels; nodes in the order of evaluation */
void lattice_count(lattice *l, uint32_t node);
/* Whether the list names, at that axis and nowhere else, how many channels the data has, so that it follows by itself. */
bool lattice_list_follows(const lattice *l, onnx_name data, onnx_name list, unsigned axis);

/* ---- forward.c: constants and equals, from inputs to outputs; classes on the way */
void lattice_forward(lattice *l);
static inline bool lattice_is_live(const mixer *m, uint64_t o, uint64_t i)
{
    uint64_t bit = o * m->ins + i;
    return m->live[bit >> 3] >> (bit & 7) & 1;
}
/* Where the taps of kernel [o][i] begin in the weights, o and i as lattice_is_live counts them. */
uint64_t lattice_weight_at(const mixer *m, uint64_t o, uint64_t i);

/* ---- forward_parts.c: the same of nodes whose output is tracked */
void lattice_forward_space(lattice *l, uint32_t node, const op_row *op);
void lattice_forward_reshape(lattice *l, uint32_t node);
void lattice_forward_concat(lattice *l, uint32_t node);
void lattice_forward_parts(lattice *l, uint32_t node);
void lattice_forward_blocks(lattice *l, uint32_t node, const op_row *op);

/* ---- backward.c: who is read; what leaves */
void lattice_backward(lattice *l);
void lattice_decide(lattice *l);

#endif
