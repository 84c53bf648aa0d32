/* What is different in the file that is written; for src/graph alone. */
#ifndef FPR_GRAPH_CHANGE_H
#define FPR_GRAPH_CHANGE_H

#include "graph/lattice.h"

typedef enum recipe_kind {
    RECIPE_SLICE,  /* the lines of channels that stay, along one axis */
    RECIPE_WEIGHT, /* of a mixer: kernels that stay, what leaves folded in */
    RECIPE_BIAS,   /* of a mixer: with the constant addends */
    RECIPE_LIST    /* whole numbers */
} recipe_kind;

typedef struct recipe {      /* a tensor that is made when it is written */
    recipe_kind kind;
    uint32_t tensor;         /* what it is made from; ONNX_NONE: a new bias */
    fpr_dtype dtype;
    int32_t type;
    unsigned rank, axis;
    uint64_t dims[GRAPH_RANK_MAX];
    uint64_t elements, bytes;
    onnx_name lane;          /* of RECIPE_SLICE: whose channels */
    uint32_t mixer;
    int64_t *list;           /* [elements] of RECIPE_LIST; owned */
    char *name;              /* of a new initializer; NULL: in the place of the old one. Owned */
} recipe;

typedef struct edit {        /* of a node */
    uint32_t node;
    uint32_t input;          /* gets a new name; ONNX_NONE: an attribute changes */
    uint32_t recipe;         /* whose name it is; ONNX_NONE: none, the input is not given */
    const char *attribute;   /* a whole number, or a list of them */
    bool is_list;
    uint32_t count;
    int64_t *values;         /* owned */
} edit;

typedef struct changes_list { void *items; size_t count, capacity; } changes_list;

typedef struct changes {
    lattice l;
    changes_list recipes, edits; /* edits: by node, ascending */
    uint32_t *in_place;      /* [tensor_count] recipe + 1 */
    uint8_t *dropped;        /* [node_count] nodes that nobody reads any more */
    uint8_t *orphaned;       /* [initializer_count] */
} changes;

static inline recipe *recipe_at(const changes *c, size_t i) { return (recipe *)c->recipes.items + i; }
static inline edit *edit_at(const changes *c, size_t i) { return (edit *)c->edits.items + i; }

/* ---- changes.c: each NULL when out of memory, which the lattice's status then says */

void *changes_append(lattice *l, changes_list *list, size_t size); /* room for one more, zeroed */
recipe *changes_recipe(changes *c, recipe_kind kind, uint32_t tensor);
edit *changes_edit(changes *c, uint32_t node, const char *attribute, uint32_t count);
/* The last recipe is input k of a node: in the place of the tensor where nobody else reads it, else under a new name. */
void changes_finish(changes *c, uint32_t node, uint32_t k);

/* ---- ranges.c: Split, Slice, Reshape, Resize */

void changes_range(changes *c, uint32_t node, const op_row *op);

/* ---- describe.c */

void changes_describe(changes *c, int64_t side, graph_removal *removal);

/* ---- recipe.c */

/* The values of a tensor as its recipe makes it, dense; caller frees. NULL with *error. */
uint8_t *recipe_make(const changes *c, const recipe *r, fpr_error *error);
static inline bool lane_keeps(const lattice *l, const lane *v, uint64_t channel)
{
    return !v->tracked || !(l->flags[v->first + channel] & REMOVED);
}
uint64_t lane_kept(const lattice *l, const lane *v, uint64_t from, uint64_t count);
static inline bool lane_changes(const lattice *l, const lane *v)
{
    return v->tracked && lane_kept(l, v, 0, v->channels) != v->channels;
}

#endif
