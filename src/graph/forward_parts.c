/* From inputs to outputs, through what moves entries: along space, reshaped, cut into parts, put together. */
#include "graph/lattice.h"

/* ---- along space */

/* Whether a constant c stays the constant c. */
static bool stays(const lattice *l, const onnx_node *n, const op_row *op, double c)
{
    if (!strcmp(op->name, "AveragePool")) {
        uint32_t k;
        uint64_t kernel[3] = {2, 2, 2};
        graph_ints(l->g, n, "kernel_shape", &k);
        bool counts = graph_int(l->g, n, "count_include_pad", 0) && !graph_has_no_padding(l->g, n, k < 3 ? k : 3, kernel);
        return c == 0 || (!counts && !graph_int(l->g, n, "ceil_mode", 0));
    }
    if (op->run == run_reduce && strcmp(op->name, "ReduceMean") && strcmp(op->name, "ReduceMax") && strcmp(op->name, "ReduceMin"))
        return c == 0; /* sums, of amounts and squares too */
    if (op->way == WAY_RESIZE) return !graph_text_is(l->g, n, "coordinate_transformation_mode", "tf_crop_and_resize", false);
    if (op->way != WAY_PAD || !graph_text_is(l->g, n, "mode", "constant", true)) return true;
    int64_t count;
    bool given = n->input_count > 2 && n->inputs[2];
    double *value = lattice_list(l, n, 2, &count);
    double fill = value && count ? *value : graph_float(l->g, n, "value", 0);
    base_free(value);
    return (!given || value) && fill == c;
}

void lattice_forward_space(lattice *l, uint32_t node, const op_row *op)
{
    const onnx_node *n = graph_node(l->g, node);
    const lane *x = &l->lanes[n->inputs[0]], *y = &l->lanes[n->outputs[0]];
    if (lattice_output_is_read(l, n, 1)) lattice_stop(l, node); /* places of the largest values */
    for (uint32_t i = 0; i < y->channels; i++) {
        lattice_tie(l, x->first + i, y->first + i);
        l->leader[y->first + i] = l->leader[x->first + i];
        if (lattice_is_constant(l, x->first + i) && stays(l, n, op, l->constant[x->first + i]))
            lattice_set_constant(l, y->first + i, l->constant[x->first + i]);
    }
}

/* ---- parts and shapes: `count` channels of x from `from` on are y's from `to` on, each stretched to `times` */
static void pass_on(lattice *l, const lane *x, uint64_t from, const lane *y, uint64_t to, uint64_t count, uint64_t times)
{
    for (uint64_t i = 0; i < count; i++)
        for (uint64_t k = 0; k < times; k++) {
            uint64_t a = x->first + from + i, b = y->first + (to + i) * times + k, leader = l->leader[a];
            lattice_tie(l, a, b);
            l->leader[b] = leader >= from ? (uint32_t)((leader - from + to) * times + k) : (uint32_t)((to + i) * times + k);
            if (lattice_is_constant(l, a)) lattice_set_constant(l, b, l->constant[a]);
        }
}

/* All channels of x, one behind the other, again and again. */
static void pass_on_apart(lattice *l, const lane *x, const lane *y)
{
    for (uint32_t i = 0; i < y->channels; i++) {
        const uint32_t c = i % x->channels;
        lattice_tie(l, x->first + c, y->first + i);
        l->leader[y->first + i] = i - c + l->leader[x->first + c];
        if (lattice_is_constant(l, x->first + c)) lattice_set_constant(l, y->first + i, l->constant[x->first + c]);
    }
}

static void forward_constant(lattice *l, uint32_t node)
{
    const onnx_node *n = graph_node(l->g, node);
    const lane *y = &l->lanes[n->outputs[0]];
    const uint32_t tensor = l->g->values[n->inputs[0]].tensor;
    if (l->g->model->tensors[tensor].elements != y->channels) {
        lattice_stop(l, node);
        return;
    }
    double *values = graph_tensor_values(l->g, tensor, NULL);
    uint64_t *key = base_alloc(y->channels, sizeof *key);
    if (!values || !key) lattice_failed(l, y->channels * sizeof *key);
    for (uint32_t i = 0; i < y->channels && !l->status; i++) {
        lattice_set_constant(l, y->first + i, values[i]);
        l->leader[y->first + i] = 0;
        memcpy(&key[i], &values[i], sizeof *key);
    }
    if (!l->status) lattice_refine(l, l->leader + y->first, key, y->channels);
    base_free(values);
    base_free(key);
}

void lattice_forward_concat(lattice *l, uint32_t node)
{
    const onnx_node *n = graph_node(l->g, node);
    const lane *y = &l->lanes[n->outputs[0]];
    int64_t axis = graph_int(l->g, n, "axis", 1);
    uint64_t at = 0;
    if (axis < 0) axis += y->rank;
    for (uint32_t k = 0; k < n->input_count; k++) {
        const lane *x = &l->lanes[n->inputs[k]];
        if (axis == (int64_t)y->axis) {
            pass_on(l, x, 0, y, at, x->channels, 1);
            at += x->channels;
            continue;
        }
        if (x->channels != y->channels) {
            lattice_stop(l, node);
            return;
        }
        for (uint32_t i = 0; i < y->channels; i++) {
            bool same = lattice_is_constant(l, x->first + i) && (!k || (lattice_is_constant(l, y->first + i) &&
                                                                l->constant[y->first + i] == l->constant[x->first + i]));
            lattice_tie(l, x->first + i, y->first + i);
            l->leader[y->first + i] = i;
            if (same) lattice_set_constant(l, y->first + i, l->constant[x->first + i]);
            else l->flags[y->first + i] &= (uint8_t)~CONSTANT;
        }
    }
}

void lattice_forward_parts(lattice *l, uint32_t node)
{
    const onnx_node *n = graph_node(l->g, node);
    const lane *x = &l->lanes[n->inputs[0]];
    for (uint32_t k = 0; k < n->output_count; k++) {
        bool fits;
        const lane *y = &l->lanes[n->outputs[k]];
        uint64_t from = lattice_part(l, n, k, &fits);
        if (n->outputs[k] && y->tracked && fits) pass_on(l, x, from, y, 0, y->channels, 1);
        else lattice_stop(l, node);
    }
}

/* One channel of SpaceToDepth is a block of them, which is what it is; a block becomes one of DepthToSpace, constant where
 * all of it is the same. The channels of a block can only leave together. */
void lattice_forward_blocks(lattice *l, uint32_t node, const op_row *op)
{
    const onnx_node *n = graph_node(l->g, node);
    const lane *x = &l->lanes[n->inputs[0]], *y = &l->lanes[n->outputs[0]];
    const bool joins = op->run == run_depth_to_space;
    const lane *many = joins ? x : y, *few = joins ? y : x;
    const uint32_t size = many->channels / few->channels;
    uint64_t *key = base_alloc(few->channels, sizeof *key);
    if (!key) {
        lattice_failed(l, few->channels * sizeof *key);
        return;
    }
    for (uint32_t i = 0; i < many->channels; i++) {
        const uint64_t at = lattice_block_of(l, n, i, many->channels, few->channels);
        lattice_tie(l, many->first + i, few->first + at);
        if (joins) continue;
        l->leader[y->first + i] = i - (uint32_t)at + l->leader[x->first + at];
        if (lattice_is_constant(l, x->first + at)) lattice_set_constant(l, y->first + i, l->constant[x->first + at]);
    }
    /* Channels at the same place of all blocks are few apart where they are apart, else next to each other. */
    const bool beside = size > 1 && lattice_block_of(l, n, 1, many->channels, few->channels) == 0;
    for (uint32_t i = 0; joins && i < y->channels; i++) l->leader[y->first + i] = 0;
    for (uint32_t k = 0; joins && k < size && !l->status; k++) {
        for (uint32_t i = 0; i < y->channels; i++) {
            const uint64_t e = x->first + (beside ? i * size + k : k * y->channels + i), first = x->first + (beside ? i * size : i);
            key[i] = lattice_key(l, e);
            if (lattice_is_constant(l, e) && lattice_is_constant(l, first) && l->constant[e] == l->constant[first] &&
                (!k || lattice_is_constant(l, y->first + i)))
                lattice_set_constant(l, y->first + i, l->constant[e]);
            else l->flags[y->first + i] &= (uint8_t)~CONSTANT;
        }
        lattice_refine(l, l->leader + y->first, key, y->channels);
    }
    base_free(key);
}

void lattice_forward_reshape(lattice *l, uint32_t node)
{
    const onnx_node *n = graph_node(l->g, node);
    const lane *x = &l->lanes[n->inputs[0]], *y = &l->lanes[n->outputs[0]];
    if (l->g->values[n->inputs[0]].tensor != ONNX_NONE) forward_constant(l, node);
    else if (lattice_spreads_apart(l, n->inputs[0], n->outputs[0])) pass_on_apart(l, x, y);
    else pass_on(l, x, 0, y, 0, x->channels, y->channels / x->channels);
}
