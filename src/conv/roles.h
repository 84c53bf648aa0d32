/* What each tensor of a checkpoint is: by its name, its shape, the tensors beside it, and what the format says.
 *
 * Shapes alone mislead. A rank-3 tensor is a table as often as a convolution; anchors, masks and the moments of an
 * optimizer have the shapes of weights; and where a layer is kept as direction and length (weight normalization), or as
 * weights and mask (torch.nn.utils.prune), no single tensor is what the network computes with. What is wrongly left out
 * is stored like any tensor and listed; what is wrongly taken in would be pruned. So doubt means no. */
#ifndef FPR_CONV_ROLES_H
#define FPR_CONV_ROLES_H

#include "conv/conv.h"
#include "conv/names.h"

typedef struct conv_tensor {
    const char *name;
    size_t name_bytes;
    fpr_dtype dtype;
    unsigned rank;
    const uint64_t *shape;
    uint64_t elements;
    fpr_kind kind;
    fpr_layout layout; /* AUTO: the format does not say */
} conv_tensor;

typedef enum conv_part {
    CONV_PART_WEIGHT,    /* a layer if its shape is that of one */
    CONV_PART_BUFFER,    /* by its name no weights; --only takes it in */
    CONV_PART_OPTIMIZER, /* state of an optimizer */
    CONV_PART_DIRECTION, /* v of weight normalization, w = g v / |v| by rows of the first axis; its partner is g */
    CONV_PART_LENGTH,    /* g; its partner is v */
    CONV_PART_NORMED,    /* v, but normalized over other axes: not understood, left alone */
    CONV_PART_ORIGINAL,  /* weights beside a mask of their shape, its partner */
    CONV_PART_MASK,      /* its partner is the original */
    CONV_PART_OTHER      /* the format says that it is no convolution */
} conv_part;

/* Whether weights are computed from it and another tensor; matrices are, too. */
static inline bool conv_part_is_factor(conv_part part)
{
    return part == CONV_PART_DIRECTION || part == CONV_PART_LENGTH || part == CONV_PART_NORMED ||
           part == CONV_PART_ORIGINAL || part == CONV_PART_MASK;
}

#define CONV_NO_PARTNER SIZE_MAX

typedef struct conv_role {
    conv_part part;
    fpr_kind kind;
    fpr_layout layout;     /* AUTO: that of the file */
    size_t partner;        /* tensor number */
    uint64_t bias;         /* elements of the bias beside it, 0: none */
    bool depthwise_name;   /* it says depthwise */
    bool transposed_name;  /* it says transposed, or deconvolution */
    conv_up up_name;       /* its layer is called up..., which says so as often as not */
} conv_role;

/* roles[i] of tensors[i]. by_name: tensor numbers, sorted by name (memcmp, then length). */
void conv_roles(const conv_tensor *tensors, const size_t *by_name, size_t count, conv_role *roles);
typedef enum conv_evidence {
    CONV_TOLD,     /* by the format, of every tensor that may be weights */
    CONV_BY_SHAPE,
    CONV_CLOSE     /* by shape, and another layout does nearly as well */
} conv_evidence;

/* The layout that explains the file best, OIHW on a tie. Only what may be weights votes. */
fpr_layout conv_roles_layout(const conv_tensor *tensors, const conv_role *roles, size_t count, conv_evidence *evidence);

typedef struct conv_reading {
    fpr_layout layout; /* never AUTO */
    bool transposed;   /* --transposed names it */
    bool taken;        /* --only names it, and no layer: a buffer counts as weights */
} conv_reading;

/* Whether the tensor is a layer; fills *shape and *known. A mask, a length and the state of an optimizer never are. */
bool conv_role_layer(const conv_tensor *tensor, const conv_role *role, const conv_reading *reading,
                     fpr_layer_shape *shape, fpr_known *known);
/* Why a tensor that looks like a convolution is not treated as one, NULL: it does not look so, or is treated. */
const char *conv_role_lookalike(const conv_tensor *tensor, const conv_role *role, fpr_layout layout);

#endif
