/* Lanes of values, and what is constant beside them. */
#include "graph/lattice.h"

bool lattice_failed(lattice *l, uint64_t bytes)
{
    if (!l->status) l->status = base_no_memory(l->error, bytes);
    return false;
}

void lattice_block(lattice *l, onnx_name name, uint32_t node)
{
    lane *v = &l->lanes[name];
    if (name && v->block <= BLOCK_INPUT) v->block = BLOCK_NODE(node);
}

int64_t lattice_dim(const lattice *l, onnx_name name, unsigned axis)
{
    const array *a = &l->shape[0][name], *b = &l->shape[1][name];
    if (!a->known || !b->known || axis >= a->rank || axis >= b->rank || a->dims[axis] != b->dims[axis]) return 0;
    return a->dims[axis];
}

uint64_t lattice_along(const lattice *l, uint32_t tensor, const lane *value, unsigned *axis)
{
    const onnx_tensor *t = &l->g->model->tensors[tensor];
    unsigned back = value->rank - value->axis;
    if (t->rank > value->rank) return 0;
    if (t->rank < back) return 1;
    *axis = t->rank - back;
    uint64_t n = t->shape[*axis];
    return n == value->channels || n == 1 ? n : 0;
}

bool lattice_is_counted(const lattice *l, onnx_name list) { return list && l->counts[list]; }

double *lattice_fixed(const lattice *l, onnx_name list, int64_t *count)
{
    const array *x = &l->shape[0][list], *y = &l->shape[1][list];
    const double *a = x->data, *b = y->data;
    const bool counted = lattice_is_counted(l, list);
    if (!a || !b || !x->count || x->count != y->count || (!counted && !l->steady[list])) return NULL;
    const uint64_t n = x->count;
    for (uint64_t i = 0; i < n; i++)
        if ((counted && !l->counts[list][i].fixed) || a[i] != b[i]) return NULL;
    double *values = base_alloc(n, sizeof *values);
    if (values) memcpy(values, a, (size_t)n * sizeof *values);
    *count = (int64_t)n;
    return values;
}

bool lattice_is_uniform(const lattice *l, onnx_name name, const lane *beside)
{
    const array *a = &l->shape[0][name], *b = &l->shape[1][name];
    const unsigned back = beside->rank - beside->axis;
    if (!a->known || !b->known || a->rank != b->rank || a->rank > beside->rank) return false;
    return a->rank < back || lattice_dim(l, name, a->rank - back) == 1;
}

double *lattice_list(const lattice *l, const onnx_node *n, uint32_t input, int64_t *count)
{
    *count = 0;
    if (input >= n->input_count || !n->inputs[input]) return NULL;
    double *list = graph_list(l->g, n->inputs[input], count);
    return list ? list : lattice_fixed(l, n->inputs[input], count);
}

const lane *lattice_lane_in(const lattice *l, const onnx_node *n, uint32_t input)
{
    static const lane none;
    return input < n->input_count && n->inputs[input] ? &l->lanes[n->inputs[input]] : &none;
}

void lattice_set_lane(lattice *l, onnx_name name, unsigned rank, unsigned axis, uint64_t channels)
{
    lane *v = &l->lanes[name];
    if (!name || v->tracked || axis >= rank || rank > GRAPH_RANK_MAX || !channels || channels > UINT32_MAX) return;
    for (unsigned s = 0; s < 2; s++) {
        const array *a = &l->shape[s][name];
        if (a->known && (a->rank != rank || a->dims[axis] != (int64_t)channels)) return;
    }
    v->tracked = true;
    v->rank = rank;
    v->axis = axis;
    v->channels = (uint32_t)channels;
}
