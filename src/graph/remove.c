/* From channels that leave to what changes in the file: smaller tensors, counts in attributes, nodes without readers. */
#include "graph/change.h"

#include <stdlib.h>

/* ---- nodes */

static void change_int(changes *c, uint32_t node, const char *attribute, uint64_t value)
{
    edit *e = changes_edit(c, node, attribute, 1);
    if (e) e->values[0] = (int64_t)value;
}

/* The input is one that is not given. */
static void drop_input(changes *c, uint32_t node, uint32_t input)
{
    edit *e = changes_edit(c, node, NULL, 0);
    if (!e) return;
    e->input = input;
    e->recipe = ONNX_NONE;
}

static void change_mixer(changes *c, uint32_t at)
{
    lattice *l = &c->l;
    const mixer *m = &l->mixers[at];
    const lane *x = &l->lanes[m->in], *y = &l->lanes[m->out];
    bool in = lane_changes(l, x), out = lane_changes(l, y), addend = false;
    for (uint64_t i = 0; i < m->ins * m->groups && in; i++)
        addend = addend || (m->reads[i] == READS_ADDEND && !lane_keeps(l, x, i) && !m->depthwise);
    if (!in && !out) return;
    uint64_t outs = lane_kept(l, y, 0, m->outs), ins = x->tracked ? lane_kept(l, x, 0, x->channels) : m->ins * m->groups;
    uint64_t groups = m->depthwise ? ins : m->groups;
    recipe *r = changes_recipe(c, RECIPE_WEIGHT, m->weight);
    if (!r) return;
    bool product = onnx_is_op(l->g->model, graph_node(l->g, m->node), "Gemm") ||
                   onnx_is_op(l->g->model, graph_node(l->g, m->node), "MatMul");
    unsigned out_axis = m->transposed;
    r->mixer = at;
    r->dims[out_axis] = product || !m->transposed ? outs : outs / groups;
    r->dims[!out_axis] = m->transposed ? ins : ins / groups;
    changes_finish(c, m->node, 1);
    if ((m->bias != ONNX_NONE && (out || addend)) || (m->bias == ONNX_NONE && addend)) {
        r = changes_recipe(c, RECIPE_BIAS, m->bias);
        if (!r) return;
        const onnx_tensor *t = &l->g->model->tensors[m->bias == ONNX_NONE ? m->weight : m->bias];
        r->mixer = at;
        r->dtype = t->dtype;
        r->type = t->type;
        if (m->bias == ONNX_NONE || !r->rank) r->rank = 1;
        r->dims[r->rank - 1] = outs;
        changes_finish(c, m->node, 2);
    } else if (m->zero_bias && out) {
        drop_input(c, m->node, 2);
    }
    if (m->depthwise && groups != m->groups) change_int(c, m->node, "group", groups);
}

/* Constant operands along the channels: of sums, of slopes, of normalizations. */
static void change_operands(changes *c, uint32_t node, const lane *y)
{
    const graph *g = c->l.g;
    const onnx_node *n = graph_node(g, node);
    bool norm = g->ops[node]->way == WAY_NORM;
    for (uint32_t k = 0; k < n->input_count && lane_changes(&c->l, y); k++) {
        uint32_t t = n->inputs[k] ? g->values[n->inputs[k]].tensor : ONNX_NONE;
        unsigned axis = 0;
        if (t == ONNX_NONE || (norm && k < 1)) continue;
        if (!norm && lattice_along(&c->l, t, y, &axis) != y->channels) continue;
        if (y->channels == 1) continue;
        recipe *r = changes_recipe(c, RECIPE_SLICE, t);
        if (!r) return;
        r->axis = axis;
        r->lane = n->outputs[0];
        r->dims[axis] = lane_kept(&c->l, y, 0, y->channels);
        changes_finish(c, node, k);
    }
}

/* A constant that a Reshape or Unsqueeze lays along the channels. */
static void change_constant(changes *c, uint32_t node)
{
    const onnx_node *n = graph_node(c->l.g, node);
    const lane *y = &c->l.lanes[n->outputs[0]];
    unsigned axis;
    recipe *r = lattice_constant_axis(&c->l, n, &axis) ? changes_recipe(c, RECIPE_SLICE, c->l.g->values[n->inputs[0]].tensor) : NULL;
    if (!r) return;
    r->axis = axis;
    r->lane = n->outputs[0];
    r->dims[axis] = lane_kept(&c->l, y, 0, y->channels);
    changes_finish(c, node, 0);
}

static void change_node(changes *c, uint32_t node)
{
    const graph *g = c->l.g;
    const onnx_node *n = graph_node(g, node);
    const op_row *op = g->ops[node];
    if (c->l.mixer_of[node] != ONNX_NONE) {
        change_mixer(c, c->l.mixer_of[node]);
        return;
    }
    const lane *y = op && n->output_count ? &c->l.lanes[n->outputs[0]] : NULL;
    if (!y || !y->tracked) return;
    if (op->way == WAY_RESHAPE && lane_changes(&c->l, y)) change_constant(c, node);
    if (op->way == WAY_NARY || op->way == WAY_NORM) change_operands(c, node, y);
    changes_range(c, node, op);
}

/* ---- what nobody reads any more */

static void drop_orphans(changes *c)
{
    const graph *g = c->l.g;
    const onnx_model *m = g->model;
    uint32_t *readers = base_calloc(m->name_count, sizeof *readers);
    if (!readers) {
        lattice_failed(&c->l, m->name_count * sizeof *readers);
        return;
    }
    for (size_t i = 0; i < m->name_count; i++) readers[i] = g->values[i].readers;
    for (size_t i = 0; i < c->edits.count; i++) {
        const edit *e = edit_at(c, i);
        const onnx_node *n = graph_node(g, e->node);
        if (e->input < n->input_count) readers[n->inputs[e->input]]--;
    }
    for (size_t i = m->node_count; i-- > 0;) {
        const onnx_node *n = graph_node(g, g->order[i]);
        const graph_value *v = n->output_count == 1 ? &g->values[n->outputs[0]] : NULL;
        bool constant = v && (v->tensor != ONNX_NONE || onnx_is_op(m, n, "Constant") || lattice_is_counted(&c->l, n->outputs[0]) ||
                              c->l.steady[n->outputs[0]]);
        if (!constant || !v->readers || readers[n->outputs[0]] || v->is_output || v->captured) continue;
        c->dropped[g->order[i]] = 1; /* Constant, or Identity of one, or a list that stands in the file now */
        for (uint32_t k = 0; k < n->input_count; k++) readers[n->inputs[k]]--;
    }
    for (size_t i = 0; i < m->initializer_count; i++) {
        const graph_value *v = &g->values[m->tensors[i].name];
        c->orphaned[i] = v->readers && !readers[m->tensors[i].name] && !v->is_output && !v->captured;
    }
    base_free(readers);
}

/* ---- all of it */

static int compare_edits(const void *a, const void *b)
{
    const edit *x = a, *y = b;
    return x->node != y->node ? (x->node > y->node) - (x->node < y->node) : (x->input > y->input) - (x->input < y->input);
}

fpr_status graph_remove(const graph *g, int64_t side, const volatile int *cancel, graph_removal *removal, fpr_error *error)
{
    *removal = (graph_removal){0};
    changes *c = base_calloc(1, sizeof *c);
    if (!c) return base_no_memory(error, sizeof *c);
    removal->changes = c;
    lattice *l = &c->l;
    fpr_status status = lattice_open(l, g, cancel, error);
    c->in_place = base_calloc(g->model->tensor_count, sizeof *c->in_place);
    c->dropped = base_calloc(g->model->node_count, 1);
    c->orphaned = base_calloc(g->model->initializer_count, 1);
    if (!status && (!c->in_place || !c->dropped || !c->orphaned)) lattice_failed(l, g->model->node_count);
    if (!l->status) lattice_forward(l);
    if (!l->status) lattice_backward(l);
    if (!l->status) lattice_decide(l);
    for (size_t i = 0; i < g->model->node_count && !l->status; i++) change_node(c, g->order[i]);
    if (!l->status) drop_orphans(c);
    if (!l->status) changes_describe(c, side, removal);
    status = l->status;
    if (!status && c->edits.count) qsort(c->edits.items, c->edits.count, sizeof(edit), compare_edits);
    if (status) graph_removal_free(removal);
    return status;
}

void graph_removal_free(graph_removal *removal)
{
    changes *c = removal->changes;
    base_free(removal->layers);
    base_free(removal->stops);
    if (c) {
        for (size_t i = 0; i < c->recipes.count; i++) base_free(recipe_at(c, i)->name), base_free(recipe_at(c, i)->list);
        for (size_t i = 0; i < c->edits.count; i++) base_free(edit_at(c, i)->values);
        base_free(c->recipes.items);
        base_free(c->edits.items);
        base_free(c->in_place);
        base_free(c->dropped);
        base_free(c->orphaned);
        lattice_close(&c->l);
        base_free(c);
    }
    *removal = (graph_removal){0};
}
