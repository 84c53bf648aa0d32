/* Channels of what moves entries and computes nothing: reshaped, cut into parts, padded, resized. */
#include "graph/lattice.h"

#include <math.h>

uint64_t lattice_stretch(const lattice *l, onnx_name in, onnx_name out, unsigned *axis)
{
    uint64_t found = 0;
    unsigned at[2] = {0, 0};
    const lane *v = &l->lanes[in];
    for (unsigned s = 0; s < 2; s++) {
        const array *x = &l->shape[s][in], *y = &l->shape[s][out];
        if (!x->known || !y->known || x->rank <= v->axis || x->dims[v->axis] != (int64_t)v->channels || !x->count) return 0;
        int64_t before = 1, after = 1, prefix = 1;
        uint64_t stretch = 0;
        for (unsigned i = 0; i < v->axis; i++) before *= x->dims[i];
        for (unsigned i = v->axis + 1; i < x->rank; i++) after *= x->dims[i];
        for (unsigned i = 0; i < y->rank; prefix *= y->dims[i++]) {
            if (prefix != before || y->dims[i] % (int64_t)v->channels) continue;
            int64_t factor = y->dims[i] / (int64_t)v->channels, rest = 1;
            for (unsigned k = i + 1; k < y->rank; k++) rest *= y->dims[k];
            if (factor < 1 || factor * rest != after || (stretch && factor != 1)) continue;
            if (stretch == 1) continue; /* the first axis that keeps it */
            stretch = (uint64_t)factor;
            at[s] = i;
        }
        if (!stretch || (s && (stretch != found || at[0] != at[1]))) return 0;
        found = stretch;
    }
    *axis = at[0];
    return found;
}

/* The target of a Reshape must follow when channels leave: it is open there, or a constant that can be rewritten. A
 * Squeeze that names no axes would take the channels' one too when a single channel is left. */
static bool reshape_follows(const lattice *l, const onnx_node *n, const op_row *op, unsigned axis)
{
    uint32_t attribute;
    int64_t count;
    const lane *v = lattice_lane_in(l, n, 0);
    bool given = n->input_count > 1 && n->inputs[1];
    if (op->run == run_squeeze) return given || graph_ints(l->g, n, "axes", &attribute);
    if (op->run != run_reshape) return true;
    if (!given) return false;
    double *list = lattice_list(l, n, 1, &count);
    const array *shape = &l->shape[0][n->inputs[1]];
    double target = list && count > axis ? list[axis] : !list && shape->data && shape->count > axis ? shape->data[axis] : 1;
    base_free(list);
    return lattice_list_follows(l, n->inputs[0], n->inputs[1], axis) || target == -1 || (target == 0 && axis == v->axis) || (list && target > 1);
}

static bool is_real(fpr_dtype d) { return d == FPR_F32 || d == FPR_F64 || d == FPR_F16 || d == FPR_BF16; }

bool lattice_spreads_apart(const lattice *l, onnx_name in, onnx_name out)
{
    const lane *v = &l->lanes[in];
    const array *first = &l->shape[0][out];
    for (unsigned s = 0; s < 2; s++) {
        const array *x = &l->shape[s][in], *y = &l->shape[s][out];
        if (!x->known || !y->known || y->rank != 2 || x->rank < 2 || x->rank != v->axis + 1 || x->dims[0] != y->dims[0] || !x->count ||
            x->count != y->count || x->dims[v->axis] != (int64_t)v->channels || y->dims[1] != first->dims[1])
            return false;
    }
    return true;
}

bool lattice_constant_axis(const lattice *l, const onnx_node *n, unsigned *axis)
{
    const uint32_t tensor = n->input_count && n->inputs[0] ? l->g->values[n->inputs[0]].tensor : ONNX_NONE;
    const onnx_tensor *t = tensor == ONNX_NONE ? NULL : &l->g->model->tensors[tensor];
    if (!t || t->skipped || !is_real(t->dtype) || t->rank > GRAPH_RANK_MAX || t->elements < 2) return false;
    for (*axis = 0; *axis + 1 < t->rank && t->shape[*axis] == 1; ++*axis) {}
    return t->shape[*axis] == t->elements;
}

/* Parameters of channels that are given the axes they are broadcast along. */
static void layout_constant(lattice *l, const onnx_node *n, const op_row *op)
{
    const array *y = &l->shape[0][n->outputs[0]];
    unsigned own, axis = 0;
    if (!lattice_constant_axis(l, n, &own) || !y->known || (op->run != run_reshape && op->run != run_unsqueeze)) return;
    while (axis + 1 < y->rank && y->dims[axis] == 1) axis++;
    if (y->rank && y->dims[axis] == (int64_t)y->count && reshape_follows(l, n, op, axis))
        lattice_set_lane(l, n->outputs[0], y->rank, axis, y->count);
}

void lattice_layout_reshape(lattice *l, const onnx_node *n, const op_row *op)
{
    unsigned axis = 0;
    const lane *v = lattice_lane_in(l, n, 0);
    if (!n->output_count) return;
    if (l->g->values[n->inputs[0]].tensor != ONNX_NONE) layout_constant(l, n, op);
    if (!v->tracked) return;
    uint64_t stretch = lattice_stretch(l, n->inputs[0], n->outputs[0], &axis);
    if (!stretch && lattice_spreads_apart(l, n->inputs[0], n->outputs[0]))
        axis = 1, stretch = (uint64_t)l->shape[0][n->outputs[0]].dims[1] / v->channels;
    if (!stretch || !reshape_follows(l, n, op, axis)) return;
    lattice_set_lane(l, n->outputs[0], l->shape[0][n->outputs[0]].rank, axis, v->channels * stretch);
}

void lattice_layout_transpose(lattice *l, const onnx_node *n)
{
    const lane *v = lattice_lane_in(l, n, 0);
    uint32_t count;
    const int64_t *perm = graph_ints(l->g, n, "perm", &count);
    if (!v->tracked || (perm && count != v->rank)) return;
    for (unsigned i = 0; i < v->rank; i++)
        if ((perm ? perm[i] : (int64_t)(v->rank - 1 - i)) == (int64_t)v->axis) lattice_set_lane(l, n->outputs[0], v->rank, i, v->channels);
}

void lattice_layout_blocks(lattice *l, const onnx_node *n, const op_row *op)
{
    const lane *v = lattice_lane_in(l, n, 0);
    const int64_t b = graph_int(l->g, n, "blocksize", 0), made = lattice_dim(l, n->outputs[0], 1);
    if (!v->tracked || v->rank != 4 || v->axis != 1 || b < 1 || b > INT16_MAX || made < 1) return;
    const int64_t many = op->run == run_depth_to_space ? v->channels : made, few = op->run == run_depth_to_space ? made : v->channels;
    if (many == few * b * b) lattice_set_lane(l, n->outputs[0], 4, 1, (uint64_t)made);
}

uint64_t lattice_block_of(const lattice *l, const onnx_node *n, uint64_t deep, uint64_t many, uint64_t few)
{
    const bool beside = onnx_is_op(l->g->model, n, "DepthToSpace") && !graph_text_is(l->g, n, "mode", "DCR", true);
    return beside ? deep / (many / few) : deep % few;
}

uint64_t lattice_part(const lattice *l, const onnx_node *n, uint32_t output, bool *fits)
{
    const lane *v = &l->lanes[n->inputs[0]];
    uint64_t from = 0;
    uint32_t attribute;
    int64_t count, axes_count, axis = graph_int(l->g, n, "axis", 0);
    *fits = true;
    if (onnx_is_op(l->g->model, n, "Split")) {
        if (axis < 0) axis += v->rank;
        if (axis != (int64_t)v->axis) return 0;
        if (n->output_count > GRAPH_LIST_MAX) *fits = false;
        for (uint32_t k = 0; k <= output && *fits; k++) {
            int64_t size = lattice_dim(l, n->outputs[k], v->axis);
            if (size < 1) *fits = false;
            if (k < output) from += (uint64_t)size;
        }
        return from;
    }
    const int64_t *s = graph_ints(l->g, n, "starts", &attribute), *a = graph_ints(l->g, n, "axes", &attribute);
    double *starts = s ? NULL : lattice_list(l, n, 1, &count), *axes = s ? NULL : lattice_list(l, n, 3, &axes_count);
    double *steps = s ? NULL : lattice_list(l, n, 4, &axes_count);
    if (s) graph_ints(l->g, n, "starts", &attribute), count = attribute;
    if ((!s && !starts) || (!s && n->input_count > 3 && n->inputs[3] && !axes) ||
        (!s && n->input_count > 4 && n->inputs[4] && !steps))
        *fits = false;
    if (count > GRAPH_LIST_MAX) *fits = false;
    unsigned seen = 0; /* how often the channels' axis is named */
    for (int64_t i = 0; *fits && i < count; i++) {
        double d = a ? (double)a[i] : axes ? axes[i] : (double)i, begin = s ? (double)s[i] : starts[i];
        if (d < 0) d += v->rank;
        if (d != v->axis) continue;
        if ((steps && steps[i] != 1) || seen++) *fits = false;
        if (begin < 0) begin += v->channels;
        from = begin > 0 ? (uint64_t)fmin(begin, v->channels) : 0;
    }
    base_free(starts);
    base_free(axes);
    base_free(steps);
    return from;
}

void lattice_layout_parts(lattice *l, const onnx_node *n)
{
    const lane *v = lattice_lane_in(l, n, 0);
    for (uint32_t k = 0; v->tracked && k < n->output_count; k++) {
        bool fits;
        int64_t size = lattice_dim(l, n->outputs[k], v->axis);
        uint64_t from = lattice_part(l, n, k, &fits);
        if (!fits || size < 1 || from + (uint64_t)size > v->channels) return;
        lattice_set_lane(l, n->outputs[k], v->rank, v->axis, (uint64_t)size);
    }
}

/* Whether nothing is known to be added in front of the channels or behind them. */
static bool pads_space_only(const lattice *l, const onnx_node *n, const lane *v)
{
    uint32_t attribute;
    int64_t count = 0, axes_count = 0;
    const int64_t *ints = graph_ints(l->g, n, "pads", &attribute);
    double *pads = ints ? NULL : lattice_list(l, n, 1, &count), *axes = ints ? NULL : lattice_list(l, n, 3, &axes_count);
    bool has_axes = !ints && n->input_count > 3 && n->inputs[3];
    if (ints) count = attribute;
    int64_t each = has_axes ? axes_count : (int64_t)v->rank;
    bool only = (ints || pads) && (axes || !has_axes) && count == 2 * each;
    for (int64_t i = 0; only && i < each; i++) {
        double axis = axes ? axes[i] : (double)i, before = ints ? (double)ints[i] : pads[i];
        double after = ints ? (double)ints[each + i] : pads[each + i];
        if ((axis < 0 ? axis + v->rank : axis) == v->axis) only = before == 0 && after == 0;
    }
    base_free(pads);
    base_free(axes);
    return only;
}

/* Whether the sizes that a Resize is given, if it is, can follow when channels leave. */
static bool sizes_follow(const lattice *l, const onnx_node *n, const lane *v)
{
    uint32_t attribute;
    int64_t count;
    if (onnx_is_op(l->g->model, n, "Upsample") || n->input_count < 4 || !n->inputs[3]) return true;
    const int64_t *axes = graph_ints(l->g, n, "axes", &attribute);
    for (uint32_t i = 0; axes && i < attribute; i++)
        if (axes[i] == (int64_t)v->axis || axes[i] + (int64_t)v->rank == (int64_t)v->axis) return false;
    if (axes || lattice_list_follows(l, n->inputs[0], n->inputs[3], v->axis)) return true;
    double *list = lattice_list(l, n, 3, &count);
    bool follows = list && count == (int64_t)v->rank && list[v->axis] == v->channels;
    base_free(list);
    return follows;
}

/* Padding along channels, or a size of channels that cannot be rewritten, stops. */
void lattice_layout_space(lattice *l, const onnx_node *n, const op_row *op)
{
    const lane *v = lattice_lane_in(l, n, 0);
    if (!v->tracked) return;
    const array *x = &l->shape[0][n->inputs[0]], *y = &l->shape[0][n->outputs[0]];
    if (!x->known || !y->known || x->rank != y->rank || lattice_dim(l, n->outputs[0], v->axis) != (int64_t)v->channels) return;
    if (op->way == WAY_PAD ? pads_space_only(l, n, v) : sizes_follow(l, n, v))
        lattice_set_lane(l, n->outputs[0], v->rank, v->axis, v->channels);
}
