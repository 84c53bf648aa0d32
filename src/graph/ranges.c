/* Lists of whole numbers that count channels: the sizes of parts, where slices begin, targets of shapes. */
#include "graph/change.h"

/* "To the end" is written as the largest number, which a double cannot hold. */
static int64_t whole(double v) { return v >= 0x1p63 ? INT64_MAX : v > -0x1p63 ? (int64_t)v : INT64_MIN; }

static recipe *new_list(changes *c, const onnx_node *n, uint32_t input, int64_t count, const double *values)
{
    uint32_t t = input < n->input_count && n->inputs[input] ? c->l.g->values[n->inputs[input]].tensor : ONNX_NONE;
    recipe *r = changes_recipe(c, RECIPE_LIST, t);
    if (!r) return NULL;
    if (t == ONNX_NONE || r->dtype != FPR_I32) r->dtype = FPR_I64, r->type = ONNX_INT64;
    r->rank = 1;
    r->dims[0] = (uint64_t)count;
    r->list = base_alloc((uint64_t)count, sizeof *r->list);
    if (!r->list) return lattice_failed(&c->l, (uint64_t)count * sizeof *r->list), NULL;
    for (int64_t i = 0; i < count; i++) r->list[i] = whole(values[i]);
    return r;
}

/* The sizes of the parts, as an attribute or an input, whichever the version of the operator has. */
static void change_split(changes *c, uint32_t node)
{
    const lattice *l = &c->l;
    const onnx_node *n = graph_node(l->g, node);
    const lane *x = &l->lanes[n->inputs[0]];
    double sizes[GRAPH_LIST_MAX] = {0};
    bool changes_any = false;
    int64_t axis = graph_int(l->g, n, "axis", 0);
    if ((axis < 0 ? axis + (int64_t)x->rank : axis) != (int64_t)x->axis || n->output_count > GRAPH_LIST_MAX) return;
    for (uint32_t k = 0; k < n->output_count; k++) {
        const lane *y = &l->lanes[n->outputs[k]];
        sizes[k] = (double)lane_kept(l, y, 0, y->channels);
        changes_any = changes_any || lane_changes(l, y);
    }
    if (!changes_any) return;
    if (l->g->model->opset >= 13) {
        if (new_list(c, n, 1, n->output_count, sizes)) changes_finish(c, node, 1);
        return;
    }
    edit *e = changes_edit(c, node, "split", n->output_count);
    if (e) e->is_list = true;
    for (uint32_t k = 0; e && k < n->output_count; k++) e->values[k] = (int64_t)sizes[k];
}

static void put_range(double *starts, double *ends, int64_t i, uint64_t from, uint64_t count)
{
    starts[i] = (double)from;
    ends[i] = (double)(from + count);
}

static bool counts_what_leaves(const lattice *l, onnx_name list)
{
    bool leaves = false;
    for (unsigned i = 0; lattice_is_counted(l, list) && i < GRAPH_RANK_MAX; i++)
        leaves = leaves || lane_changes(l, &l->lanes[l->counts[list][i].of]);
    return leaves;
}

/* Starts and ends as inputs. Those that are computed from channels that leave are written down. */
static void change_slice_inputs(changes *c, uint32_t node, bool cut, uint64_t before, uint64_t size)
{
    const lattice *l = &c->l;
    const onnx_node *n = graph_node(l->g, node);
    const lane *x = &l->lanes[n->inputs[0]];
    int64_t count = 0, axes_count = 0;
    double *starts = lattice_list(l, n, 1, &count), *ends = lattice_list(l, n, 2, &count), *axes = lattice_list(l, n, 3, &axes_count);
    bool changed[2] = {counts_what_leaves(l, n->inputs[1]), counts_what_leaves(l, n->inputs[2])};
    for (int64_t i = 0; starts && ends && cut && i < count; i++) {
        double d = axes ? axes[i] : (double)i;
        if ((d < 0 ? d + x->rank : d) != x->axis) continue;
        put_range(starts, ends, i, before, size);
        changed[0] = changed[1] = true;
    }
    for (uint32_t k = 0; k < 2 && starts && ends; k++)
        if (changed[k] && new_list(c, n, 1 + k, count, k ? ends : starts)) changes_finish(c, node, 1 + k);
    base_free(starts);
    base_free(ends);
    base_free(axes);
}

static void change_slice(changes *c, uint32_t node)
{
    const lattice *l = &c->l;
    const onnx_node *n = graph_node(l->g, node);
    const lane *x = &l->lanes[n->inputs[0]], *y = &l->lanes[n->outputs[0]];
    bool fits;
    uint32_t attribute, ends_attribute;
    uint64_t from = lattice_part(l, n, 0, &fits), before = lane_kept(l, x, 0, from), size = lane_kept(l, y, 0, y->channels);
    const bool cut = lane_changes(l, x) && y->channels != x->channels;
    const int64_t *s = graph_ints(l->g, n, "starts", &attribute), *t = graph_ints(l->g, n, "ends", &ends_attribute);
    const int64_t *a = graph_ints(l->g, n, "axes", &ends_attribute);
    if (!s && n->input_count > 2) change_slice_inputs(c, node, cut, before, size);
    for (uint32_t i = 0; s && t && cut && i < attribute; i++) {
        int64_t d = a ? a[i] : (int64_t)i;
        if ((d < 0 ? d + (int64_t)x->rank : d) != (int64_t)x->axis) continue;
        for (int side = 0; side < 2; side++) {
            edit *one = changes_edit(c, node, side ? "ends" : "starts", attribute);
            if (!one) return;
            one->is_list = true;
            for (uint32_t k = 0; k < attribute; k++) one->values[k] = side ? t[k] : s[k];
            one->values[i] = (int64_t)(side ? before + size : before);
        }
    }
}

/* A constant target that names the number of channels. */
static void change_target(changes *c, uint32_t node, uint32_t input)
{
    const lattice *l = &c->l;
    const onnx_node *n = graph_node(l->g, node);
    const lane *y = &l->lanes[n->outputs[0]];
    int64_t count;
    const bool counted = counts_what_leaves(l, n->inputs[input]) && !lattice_list_follows(l, n->inputs[0], n->inputs[input], y->axis);
    double *list = counted || lane_changes(l, y) ? lattice_list(l, n, input, &count) : NULL;
    const bool names = list && count > (int64_t)y->axis && count <= (int64_t)GRAPH_RANK_MAX && list[y->axis] == y->channels;
    if (names) list[y->axis] = (double)lane_kept(l, y, 0, y->channels);
    if (list && (names || counted)) {
        if (new_list(c, n, input, count, list)) changes_finish(c, node, input);
    }
    base_free(list);
}

void changes_range(changes *c, uint32_t node, const op_row *op)
{
    const onnx_node *n = graph_node(c->l.g, node);
    if (op->way == WAY_SPLIT) change_split(c, node);
    if (op->way == WAY_SLICE) change_slice(c, node);
    if (op->run == run_reshape) change_target(c, node, 1);
    /* Sizes of the axes that are named are never those of channels. */
    if (op->way == WAY_RESIZE && n->input_count > 3 && n->inputs[3] && !onnx_find_attribute(c->l.g->model, n, "axes"))
        change_target(c, node, 3);
}
