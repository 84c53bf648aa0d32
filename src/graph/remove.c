/* From channels that leave to what changes in the file: smaller tensors, counts in attributes, nodes without readers. */
#include "graph/change.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- recipes and edits */

static recipe *new_recipe(changes *c, recipe_kind kind, uint32_t tensor)
{
    if (c->recipe_count == c->recipe_capacity) {
        size_t capacity = c->recipe_capacity ? 2 * c->recipe_capacity : 32;
        recipe *grown = base_grow(c->recipes, capacity, sizeof *grown);
        if (!grown) return lattice_failed(&c->l, capacity * sizeof *grown), NULL;
        c->recipes = grown;
        c->recipe_capacity = capacity;
    }
    recipe *r = &c->recipes[c->recipe_count++];
    *r = (recipe){.kind = kind, .tensor = tensor};
    if (tensor == ONNX_NONE) return r;
    const onnx_tensor *t = &c->l.g->model->tensors[tensor];
    r->dtype = t->dtype;
    r->type = t->type;
    r->rank = t->rank < GRAPH_RANK_MAX ? t->rank : GRAPH_RANK_MAX;
    for (unsigned i = 0; i < r->rank; i++) r->dims[i] = t->shape[i];
    return r;
}

static edit *new_edit(changes *c, uint32_t node)
{
    if (c->edit_count == c->edit_capacity) {
        size_t capacity = c->edit_capacity ? 2 * c->edit_capacity : 32;
        edit *grown = base_grow(c->edits, capacity, sizeof *grown);
        if (!grown) return lattice_failed(&c->l, capacity * sizeof *grown), NULL;
        c->edits = grown;
        c->edit_capacity = capacity;
    }
    edit *e = &c->edits[c->edit_count++];
    *e = (edit){.node = node, .input = ONNX_NONE};
    return e;
}

static void change_int(changes *c, uint32_t node, const char *attribute, uint64_t value)
{
    edit *e = new_edit(c, node);
    if (!e) return;
    e->attribute = attribute;
    e->count = 1;
    e->values[0] = (int64_t)value;
}

/* A name that no value has: of the tensor, and a number. */
static char *fresh_name(const changes *c, const char *stem, size_t number)
{
    char *name = base_alloc(strlen(stem) + 48, 1);
    for (size_t i = number; name; i += c->recipe_count + 1) {
        snprintf(name, strlen(stem) + 48, "%s.small%zu", stem, i);
        if (!onnx_find_name(c->l.g->model, name)) return name;
    }
    return NULL;
}

/* The last recipe is input k of a node: in the place of the tensor where nobody else reads it, else under a new name. */
static void finish_recipe(changes *c, uint32_t node, uint32_t k)
{
    const graph *g = c->l.g;
    recipe *r = &c->recipes[c->recipe_count - 1];
    const onnx_node *n = graph_node(g, node);
    onnx_name name = k < n->input_count ? n->inputs[k] : 0;
    const graph_value *v = &g->values[name];
    r->elements = 1;
    for (unsigned i = 0; i < r->rank; i++) r->elements *= r->dims[i];
    r->bytes = r->elements * fpr_dtype_bits(r->dtype) / 8;
    bool own = name && r->tensor != ONNX_NONE && v->readers == 1 && !v->is_output && !v->captured && g->names[r->tensor] == name;
    if (own) {
        c->in_place[r->tensor] = (uint32_t)c->recipe_count;
        return;
    }
    const char *stem = name ? onnx_text_of(g->model, name) : onnx_text_of(g->model, n->inputs[1]);
    r->name = fresh_name(c, stem, c->recipe_count);
    edit *e = r->name ? new_edit(c, node) : NULL;
    if (!r->name) lattice_failed(&c->l, strlen(stem));
    if (!e) return;
    e->input = k;
    e->recipe = (uint32_t)c->recipe_count - 1;
}

static bool lane_changes(const lattice *l, const lane *v)
{
    return v->tracked && lane_kept(l, v, 0, v->channels) != v->channels;
}

/* ---- nodes */

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
    recipe *r = new_recipe(c, RECIPE_WEIGHT, m->weight);
    if (!r) return;
    bool product = onnx_is_op(l->g->model, graph_node(l->g, m->node), "Gemm") ||
                   onnx_is_op(l->g->model, graph_node(l->g, m->node), "MatMul");
    unsigned out_axis = m->transposed;
    r->mixer = at;
    r->dims[out_axis] = product || !m->transposed ? outs : outs / groups;
    r->dims[!out_axis] = m->transposed ? ins : ins / groups;
    finish_recipe(c, m->node, 1);
    if ((m->bias != ONNX_NONE && (out || addend)) || (m->bias == ONNX_NONE && addend)) {
        r = new_recipe(c, RECIPE_BIAS, m->bias);
        if (!r) return;
        const onnx_tensor *t = &l->g->model->tensors[m->bias == ONNX_NONE ? m->weight : m->bias];
        r->mixer = at;
        r->dtype = t->dtype;
        r->type = t->type;
        if (m->bias == ONNX_NONE || !r->rank) r->rank = 1;
        r->dims[r->rank - 1] = outs;
        finish_recipe(c, m->node, 2);
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
        recipe *r = new_recipe(c, RECIPE_SLICE, t);
        if (!r) return;
        r->axis = axis;
        r->lane = n->outputs[0];
        r->dims[axis] = lane_kept(&c->l, y, 0, y->channels);
        finish_recipe(c, node, k);
    }
}

static recipe *new_list(changes *c, const onnx_node *n, uint32_t input, int64_t count, const double *values)
{
    uint32_t t = input < n->input_count && n->inputs[input] ? c->l.g->values[n->inputs[input]].tensor : ONNX_NONE;
    recipe *r = new_recipe(c, RECIPE_LIST, t);
    if (!r) return NULL;
    if (t == ONNX_NONE || r->dtype != FPR_I32) r->dtype = FPR_I64, r->type = ONNX_INT64;
    r->rank = 1;
    r->dims[0] = (uint64_t)count;
    for (int64_t i = 0; i < count; i++) r->list[i] = (int64_t)values[i];
    return r;
}

/* The sizes of the parts, as an attribute or an input, whichever the version of the operator has. */
static void change_split(changes *c, uint32_t node)
{
    const lattice *l = &c->l;
    const onnx_node *n = graph_node(l->g, node);
    const lane *x = &l->lanes[n->inputs[0]];
    double sizes[2 * GRAPH_RANK_MAX] = {0};
    bool changes_any = false;
    int64_t axis = graph_int(l->g, n, "axis", 0);
    if ((axis < 0 ? axis + (int64_t)x->rank : axis) != (int64_t)x->axis || n->output_count > 2 * GRAPH_RANK_MAX) return;
    for (uint32_t k = 0; k < n->output_count; k++) {
        const lane *y = &l->lanes[n->outputs[k]];
        sizes[k] = (double)lane_kept(l, y, 0, y->channels);
        changes_any = changes_any || lane_changes(l, y);
    }
    if (!changes_any) return;
    if (l->g->model->opset >= 13) {
        if (new_list(c, n, 1, n->output_count, sizes)) finish_recipe(c, node, 1);
        return;
    }
    edit *e = new_edit(c, node);
    if (!e) return;
    e->attribute = "split";
    e->is_list = true;
    e->count = n->output_count;
    for (uint32_t k = 0; k < n->output_count; k++) e->values[k] = (int64_t)sizes[k];
}

static void put_range(double *starts, double *ends, int64_t i, uint64_t from, uint64_t count)
{
    starts[i] = (double)from;
    ends[i] = (double)(from + count);
}

static void change_slice(changes *c, uint32_t node)
{
    const lattice *l = &c->l;
    const onnx_node *n = graph_node(l->g, node);
    const lane *x = &l->lanes[n->inputs[0]], *y = &l->lanes[n->outputs[0]];
    bool fits;
    int64_t count, axes_count = 0;
    uint32_t attribute, ends_attribute;
    uint64_t from = lattice_part(l, n, 0, &fits), before = lane_kept(l, x, 0, from), size = lane_kept(l, y, 0, y->channels);
    if (!lane_changes(l, x) || y->channels == x->channels) return;
    const int64_t *s = graph_ints(l->g, n, "starts", &attribute), *t = graph_ints(l->g, n, "ends", &ends_attribute);
    const int64_t *a = graph_ints(l->g, n, "axes", &ends_attribute);
    double *starts = s ? NULL : lattice_list(l, n, 1, &count), *ends = s ? NULL : lattice_list(l, n, 2, &count);
    double *axes = s ? NULL : lattice_list(l, n, 3, &axes_count);
    for (int64_t i = 0; starts && ends && i < count && i < 2 * (int64_t)GRAPH_RANK_MAX; i++) {
        double d = axes ? axes[i] : (double)i;
        if ((d < 0 ? d + x->rank : d) != x->axis) continue;
        put_range(starts, ends, i, before, size);
        if (new_list(c, n, 1, count, starts)) finish_recipe(c, node, 1);
        if (new_list(c, n, 2, count, ends)) finish_recipe(c, node, 2);
    }
    for (uint32_t i = 0; s && t && i < attribute && attribute <= 2 * GRAPH_RANK_MAX; i++) {
        int64_t d = a ? a[i] : (int64_t)i;
        if ((d < 0 ? d + (int64_t)x->rank : d) != (int64_t)x->axis) continue;
        edit *e[2] = {new_edit(c, node), NULL};
        for (int side = 0; side < 2; side++) {
            edit *one = side ? new_edit(c, node) : e[0];
            if (!one) return;
            one->attribute = side ? "ends" : "starts";
            one->is_list = true;
            one->count = attribute;
            for (uint32_t k = 0; k < attribute; k++) one->values[k] = side ? t[k] : s[k];
            one->values[i] = (int64_t)(side ? before + size : before);
        }
    }
    base_free(starts);
    base_free(ends);
    base_free(axes);
}

/* A constant target that names the number of channels. */
static void change_target(changes *c, uint32_t node, uint32_t input)
{
    const lattice *l = &c->l;
    const onnx_node *n = graph_node(l->g, node);
    const lane *y = &l->lanes[n->outputs[0]];
    int64_t count;
    double *list = lane_changes(l, y) ? lattice_list(l, n, input, &count) : NULL;
    if (list && count > (int64_t)y->axis && count <= (int64_t)GRAPH_RANK_MAX && list[y->axis] == y->channels) {
        list[y->axis] = (double)lane_kept(l, y, 0, y->channels);
        if (new_list(c, n, input, count, list)) finish_recipe(c, node, input);
    }
    base_free(list);
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
    if (op->way == WAY_NARY || op->way == WAY_NORM) change_operands(c, node, y);
    if (op->way == WAY_SPLIT) change_split(c, node);
    if (op->way == WAY_SLICE) change_slice(c, node);
    if (op->run == run_reshape) change_target(c, node, 1);
    if (op->way == WAY_RESIZE && n->input_count > 3 && n->inputs[3]) change_target(c, node, 3);
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
    for (size_t i = 0; i < c->edit_count; i++) {
        const onnx_node *n = graph_node(g, c->edits[i].node);
        if (c->edits[i].input < n->input_count) readers[n->inputs[c->edits[i].input]]--;
    }
    for (size_t i = m->node_count; i-- > 0;) {
        const onnx_node *n = graph_node(g, g->order[i]);
        const graph_value *v = n->output_count == 1 ? &g->values[n->outputs[0]] : NULL;
        if (!v || v->tensor == ONNX_NONE || !v->readers || readers[n->outputs[0]] || v->is_output || v->captured) continue;
        c->dropped[g->order[i]] = 1; /* Constant, or Identity of a constant */
        for (uint32_t k = 0; k < n->input_count; k++) readers[n->inputs[k]]--;
    }
    for (size_t i = 0; i < m->initializer_count; i++) {
        const graph_value *v = &g->values[m->tensors[i].name];
        c->orphaned[i] = v->readers && !readers[m->tensors[i].name] && !v->is_output && !v->captured;
    }
    base_free(readers);
}

/* ---- what is said about it */

static uint64_t multiply_adds(const lattice *l, const mixer *m, const array *values, uint64_t ins, uint64_t outs)
{
    const array *in = &values[m->in], *out = &values[m->out];
    if (!in->known || !out->known) return 0;
    uint64_t places = 1;
    const array *over = m->transposed && m->has_bias_input && m->taps > 1 ? in : out;
    const lane *v = over == in ? &l->lanes[m->in] : &l->lanes[m->out];
    for (unsigned i = 0; i < over->rank; i++) places *= i == v->axis ? 1 : (uint64_t)over->dims[i];
    return places * ins * outs * m->taps;
}

static void describe_layer(changes *c, uint32_t at, const array *values, graph_layer *g)
{
    const lattice *l = &c->l;
    const mixer *m = &l->mixers[at];
    const lane *x = &l->lanes[m->in], *y = &l->lanes[m->out];
    const onnx_model *model = l->g->model;
    const onnx_node *n = graph_node(l->g, m->node);
    uint64_t outs = lane_kept(l, y, 0, m->outs), ins = x->tracked ? lane_kept(l, x, 0, x->channels) : m->ins * m->groups;
    uint64_t groups = m->depthwise ? ins : m->groups;
    *g = (graph_layer){.name = onnx_text_of(model, n->name), .weight = onnx_text_of(model, l->g->names[m->weight]),
                       .op = onnx_text_of(model, n->op), .in_before = m->ins * m->groups, .in_after = ins,
                       .out_before = m->outs, .out_after = outs};
    for (uint64_t o = 0; o < m->outs; o++) {
        uint64_t e = y->first + o;
        if (lane_keeps(l, y, o)) continue;
        bool zero = (l->flags[e] & CONSTANT) && l->constant[e] == 0;
        if (l->flags[e] & CONSTANT) *(zero ? &g->dead : &g->constant) += 1;
        else if (l->flags[lattice_class(l, e)] & READ || l->flags[e] & READ) g->merged++;
        else g->unread++;
    }
    bool bias_before = m->bias != ONNX_NONE, bias_after = bias_before;
    for (size_t i = 0; i < c->recipe_count; i++)
        bias_after = bias_after || (c->recipes[i].kind == RECIPE_BIAS && c->recipes[i].mixer == at);
    g->parameters_before = m->outs * m->ins * m->taps + (bias_before ? m->outs : 0);
    g->parameters_after = outs * (ins / groups) * m->taps + (bias_after ? outs : 0);
    g->macs_before = multiply_adds(l, m, values, m->ins, m->outs);
    g->macs_after = multiply_adds(l, m, values, ins / groups, outs);
}

/* Channels that are constant or unread and stay, by what stops them. */
static void describe_stops(changes *c, graph_removal *removal)
{
    const lattice *l = &c->l;
    const onnx_model *m = l->g->model;
    uint32_t *blocker = base_calloc(l->elements + 1, sizeof *blocker);
    uint64_t *count = base_calloc(m->node_count + BLOCK_NODE(0), sizeof *count);
    if (!blocker || !count) lattice_failed(&c->l, l->elements * sizeof *blocker);
    for (size_t n = 0; n < m->name_count && !l->status; n++)
        for (uint32_t i = 0; l->lanes[n].tracked && l->lanes[n].block && i < l->lanes[n].channels; i++) {
            uint32_t root = lattice_class(l, l->lanes[n].first + i);
            if (l->lanes[n].block > blocker[root]) blocker[root] = l->lanes[n].block;
        }
    /* A filter that is dead or unread by its own layer's reckoning, and is there. */
    for (size_t k = 0; k < l->mixer_count && !l->status; k++) {
        const lane *y = &l->lanes[l->mixers[k].out];
        for (uint32_t o = 0; o < y->channels; o++) {
            uint64_t e = y->first + o;
            uint32_t b = blocker[lattice_class(l, e)];
            bool needless = (l->flags[e] & CONSTANT) || !(l->flags[e] & READ);
            if (needless && b > BLOCK_INPUT && lane_keeps(l, y, o)) count[b]++;
        }
    }
    for (size_t b = BLOCK_OUTPUT; b < m->node_count + BLOCK_NODE(0) && !l->status; b++) {
        if (!count[b]) continue;
        if (removal->stop_count % 64 == 0) {
            graph_stop *grown = base_grow(removal->stops, removal->stop_count + 64, sizeof *grown);
            if (!grown) lattice_failed(&c->l, sizeof *grown);
            if (!grown) break;
            removal->stops = grown;
        }
        const onnx_node *n = b >= BLOCK_NODE(0) ? graph_node(l->g, (uint32_t)b - BLOCK_NODE(0)) : NULL;
        const char *op = n ? onnx_text_of(m, n->op) : b == BLOCK_OUTPUT ? "output of the graph" : "subgraph";
        const char *node = n ? onnx_text_of(m, n->name) : "";
        if (n && !*node && n->output_count) node = onnx_text_of(m, n->outputs[0]);
        removal->stops[removal->stop_count++] = (graph_stop){op, node, count[b]};
    }
    base_free(blocker);
    base_free(count);
}

static void describe(changes *c, int64_t side, graph_removal *removal)
{
    lattice *l = &c->l;
    const graph *g = l->g;
    array *inputs = base_calloc(g->input_count, sizeof *inputs), *values = base_calloc(g->model->name_count, sizeof *values);
    removal->layers = base_calloc(l->mixer_count, sizeof *removal->layers);
    if (!inputs || !values || !removal->layers) lattice_failed(l, g->model->name_count * sizeof *values);
    for (size_t i = 0; i < g->input_count && !l->status; i++)
        if (!graph_input_shape(g, i, 1, side, &inputs[i])) inputs[i] = (array){0};
    if (!l->status) l->status = graph_run(g, inputs, NULL, 0, values, l->cancel, l->error);
    for (size_t k = 0; k < l->mixer_count && !l->status; k++) {
        describe_layer(c, (uint32_t)k, values, &removal->layers[removal->layer_count]);
        const graph_layer *d = &removal->layers[removal->layer_count++];
        removal->channels += d->out_before - d->out_after;
    }
    for (size_t i = 0; values && i < g->model->name_count; i++) array_free(&values[i]);
    base_free(values);
    base_free(inputs);
    if (!l->status) describe_stops(c, removal);
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
    if (!l->status) describe(c, side, removal);
    status = l->status;
    if (!status && c->edit_count) qsort(c->edits, c->edit_count, sizeof *c->edits, compare_edits);
    if (status) graph_removal_free(removal);
    return status;
}

void graph_removal_free(graph_removal *removal)
{
    changes *c = removal->changes;
    base_free(removal->layers);
    base_free(removal->stops);
    if (c) {
        for (size_t i = 0; i < c->recipe_count; i++) base_free(c->recipes[i].name);
        base_free(c->recipes);
        base_free(c->edits);
        base_free(c->in_place);
        base_free(c->dropped);
        base_free(c->orphaned);
        lattice_close(&c->l);
        base_free(c);
    }
    *removal = (graph_removal){0};
}
