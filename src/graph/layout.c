/* Which axis of every value its channels lie along, and which convolutions and matrix products mix them. */
#include "graph/lattice.h"

#include <math.h>

/* More elements than this, and no channel is looked at: a short file may name long sums of wide values. */
static uint64_t elements_max(const graph *g)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < g->model->file_count; i++) bytes += file_source_size(g->model->files[i]);
    return (UINT64_C(1) << 22) + bytes / 4 < UINT32_MAX ? (UINT64_C(1) << 22) + bytes / 4 : UINT32_MAX;
}

/* A constant does not need a lane of its own. */
static bool is_constant(const lattice *l, onnx_name name)
{
    return l->g->values[name].tensor != ONNX_NONE || graph_number(l->g, name);
}

/* The widest operand gives the lane; one of a single channel is broadcast along it. */
static void layout_nary(lattice *l, const onnx_node *n)
{
    const lane *best = NULL;
    unsigned rank = 0;
    for (uint32_t i = 0; i < n->input_count; i++) {
        const lane *v = lattice_lane_in(l, n, i);
        if (n->inputs[i] && is_constant(l, n->inputs[i])) continue;
        if (!v->tracked && l->shape[0][n->inputs[i]].known) continue;
        if (!v->tracked) return;
        rank = v->rank > rank ? v->rank : rank;
        if (!best || v->channels > best->channels) best = v;
    }
    /* A constant of more channels or axes than the values have would make more of them. */
    for (uint32_t i = 0; best && i < n->input_count; i++) {
        uint32_t t = l->g->values[n->inputs[i]].tensor;
        unsigned axis;
        if (n->inputs[i] && t != ONNX_NONE && !lattice_along(l, t, best, &axis)) return;
        if (t == ONNX_NONE && !graph_number(l->g, n->inputs[i]) && !lattice_lane_in(l, n, i)->tracked &&
            !lattice_is_uniform(l, n->inputs[i], best))
            return;
    }
    if (best && rank == best->rank) lattice_set_lane(l, n->outputs[0], rank, best->axis, best->channels);
}

static void layout_concat(lattice *l, const onnx_node *n)
{
    uint64_t sum = 0;
    const lane *first = lattice_lane_in(l, n, 0);
    int64_t axis = graph_int(l->g, n, "axis", 1);
    for (uint32_t i = 0; i < n->input_count; i++) {
        const lane *v = lattice_lane_in(l, n, i);
        if (!v->tracked || v->rank != first->rank || v->axis != first->axis) return;
        sum += v->channels;
    }
    if (axis < 0) axis += first->rank;
    lattice_set_lane(l, n->outputs[0], first->rank, first->axis, axis == (int64_t)first->axis ? sum : first->channels);
}

/* Which axes a reduction folds, as bits; ~0 when that is not constant. */
static unsigned reduced_axes(const lattice *l, const onnx_node *n, unsigned rank)
{
    uint32_t count;
    int64_t listed;
    const int64_t *ints = graph_ints(l->g, n, "axes", &count);
    double *list = ints ? NULL : lattice_list(l, n, 1, &listed);
    unsigned gone = ints || list ? 0 : ~0u;
    for (int64_t i = 0; i < (ints ? (int64_t)count : list ? listed : 0); i++) {
        double a = ints ? (double)ints[i] : list[i];
        if (a < 0) a += rank;
        gone |= a >= 0 && a < GRAPH_RANK_MAX ? 1u << (unsigned)a : ~0u;
    }
    base_free(list);
    return gone;
}

static void layout_pool(lattice *l, const onnx_node *n, const op_row *op)
{
    const lane *v = lattice_lane_in(l, n, 0);
    unsigned rank = v->rank, axis = v->axis;
    if (op->run == run_reduce) {
        unsigned gone = reduced_axes(l, n, rank);
        if (gone >> axis & 1) return;
        if (!graph_int(l->g, n, "keepdims", 1))
            for (unsigned i = 0; i < v->rank; i++)
                if (gone >> i & 1) rank--, axis -= i < v->axis;
    } else if (axis != 1) {
        return;
    }
    if (v->tracked) lattice_set_lane(l, n->outputs[0], rank, axis, v->channels);
}

/* ---- mixers */

/* It mixes another axis than the one that its input's channels are taken to lie along, as of a picture whose channels come
 * last in the file: they all stay, and nothing is known of what it reads. */
static void read_blindly(lattice *l, mixer *m)
{
    lattice_block(l, m->in, m->node);
    m->in = 0;
}

static bool is_float(const lattice *l, uint32_t tensor)
{
    const onnx_tensor *t = &l->g->model->tensors[tensor];
    return !t->skipped && (t->dtype == FPR_F32 || t->dtype == FPR_F64 || t->dtype == FPR_F16 || t->dtype == FPR_BF16);
}

static bool describe_convolution(lattice *l, const onnx_node *n, const onnx_tensor *w, bool transposed, mixer *m)
{
    int64_t groups = graph_int(l->g, n, "group", 1);
    if (w->rank < 3 || w->rank > GRAPH_RANK_MAX || groups < 1 || (uint64_t)groups > w->shape[0]) return false;
    m->groups = (uint64_t)groups;
    m->transposed = transposed;
    m->taps = 1;
    for (unsigned i = 2; i < w->rank; i++) m->taps *= w->shape[i];
    const lane *v = lattice_lane_in(l, n, 0);
    if (w->shape[0] % m->groups || (v->tracked && v->rank != w->rank)) return false;
    if (v->tracked && v->axis != 1) read_blindly(l, m);
    m->outs = transposed ? w->shape[1] * m->groups : w->shape[0];
    m->ins = transposed ? w->shape[0] / m->groups : w->shape[1];
    m->folds = !transposed && graph_has_no_padding(l->g, n, w->rank - 2, w->shape + 2);
    m->depthwise = m->ins == 1 && m->groups > 1;
    m->has_bias_input = true;
    lattice_set_lane(l, m->out, w->rank, 1, m->outs);
    return true;
}

static bool describe_product(lattice *l, const onnx_node *n, const onnx_tensor *w, bool gemm, mixer *m)
{
    const lane *v = lattice_lane_in(l, n, 0);
    bool flipped = gemm && graph_int(l->g, n, "transB", 0);
    if (w->rank != 2 || (gemm && graph_int(l->g, n, "transA", 0))) return false;
    if (gemm) m->alpha = graph_float(l->g, n, "alpha", 1), m->beta = graph_float(l->g, n, "beta", 1);
    m->groups = m->taps = 1;
    m->outs = w->shape[!flipped];
    m->ins = w->shape[flipped];
    m->transposed = !flipped;
    m->folds = true;
    m->has_bias_input = gemm && m->beta != 0;
    unsigned rank = gemm ? 2 : v->tracked ? v->rank : l->shape[0][m->in].rank;
    if (rank >= 2) lattice_set_lane(l, m->out, rank, rank - 1, m->outs);
    if (v->tracked && v->axis != v->rank - 1) read_blindly(l, m);
    return rank >= 2;
}

/* Exporters that fold nothing compute the bias of a convolution that has none: a zero, expanded to as many as there are
 * filters. */
static bool is_zeros(const lattice *l, onnx_name name)
{
    const uint32_t producer = l->g->values[name].producer;
    const onnx_node *n = producer == ONNX_NONE ? NULL : graph_node(l->g, producer);
    int64_t count;
    if (!n || !l->steady[name] || !onnx_is_op(l->g->model, n, "Expand")) return false;
    double *value = lattice_list(l, n, 0, &count);
    const bool zeros = value && count == 1 && *value == 0;
    base_free(value);
    return zeros;
}

static void layout_mixer(lattice *l, uint32_t node, const op_row *op)
{
    const onnx_node *n = graph_node(l->g, node);
    if (n->input_count < 2 || !n->inputs[0] || !n->inputs[1] || !n->output_count || !n->outputs[0]) return;
    mixer m = {.node = node, .weight = l->g->values[n->inputs[1]].tensor, .in = n->inputs[0], .out = n->outputs[0]};
    m.bias = ONNX_NONE;
    m.alpha = m.beta = 1;
    bool dynamic = false;
    if (n->input_count > 2 && n->inputs[2]) {
        m.bias = l->g->values[n->inputs[2]].tensor;
        m.zero_bias = m.bias == ONNX_NONE && is_zeros(l, n->inputs[2]) && l->shape[0][n->inputs[2]].rank == 1;
        dynamic = m.bias == ONNX_NONE ? !m.zero_bias : !is_float(l, m.bias);
    }
    if (m.weight == ONNX_NONE || !is_float(l, m.weight)) return;
    const onnx_tensor *w = &l->g->model->tensors[m.weight];
    bool good = op->way == WAY_CONV || op->way == WAY_CONVT
                    ? describe_convolution(l, n, w, op->way == WAY_CONVT, &m)
                    : describe_product(l, n, w, op->way == WAY_GEMM, &m);
    if (!good || dynamic || !m.outs || !m.ins || !m.taps) return;
    uint64_t most = op->way == WAY_GEMM ? 1 : m.outs, have = m.bias == ONNX_NONE ? m.outs : l->g->model->tensors[m.bias].elements;
    if (have != m.outs && !(op->way == WAY_GEMM && have == most)) return;
    /* Along the columns: a bias for each row would be one of the batch. */
    const onnx_tensor *bias = m.bias == ONNX_NONE ? NULL : &l->g->model->tensors[m.bias];
    if (bias && bias->rank && bias->shape[bias->rank - 1] != have) return;
    const lane *v = &l->lanes[m.in];
    if (is_constant(l, n->inputs[0])) return;
    if (v->tracked && v->channels != m.ins * m.groups) return;
    m.live = base_calloc((m.outs * m.ins + 7) / 8, 1);
    m.reads = base_calloc(m.ins * m.groups, 1);
    m.large = base_calloc(m.ins * m.groups, 1);
    m.carrier = base_calloc(m.groups, sizeof *m.carrier);
    if (!m.live || !m.reads || !m.large || !m.carrier) lattice_failed(l, m.outs * m.ins / 8);
    l->mixer_of[node] = (uint32_t)l->mixer_count;
    l->mixers[l->mixer_count++] = m;
}

/* ---- all of them */

static void layout_node(lattice *l, uint32_t node)
{
    const onnx_node *n = graph_node(l->g, node);
    const op_row *op = l->g->ops[node];
    const lane *v = lattice_lane_in(l, n, 0);
    if (!op || !n->output_count) return;
    switch (op->way) {
    case WAY_UNARY:
        if (v->tracked) lattice_set_lane(l, n->outputs[0], v->rank, v->axis, v->channels);
        break;
    case WAY_NARY: layout_nary(l, n); break;
    case WAY_NORM:
        if (v->tracked && v->axis == 1) lattice_set_lane(l, n->outputs[0], v->rank, 1, v->channels);
        break;
    case WAY_CONV: case WAY_CONVT: case WAY_GEMM: case WAY_MATMUL: layout_mixer(l, node, op); break;
    case WAY_POOL: layout_pool(l, n, op); break;
    case WAY_CONCAT: layout_concat(l, n); break;
    case WAY_SPLIT: case WAY_SLICE: lattice_layout_parts(l, n); break;
    case WAY_PAD: case WAY_RESIZE: lattice_layout_space(l, n, op); break;
    case WAY_RESHAPE: lattice_layout_reshape(l, n, op); break;
    case WAY_TRANSPOSE: lattice_layout_transpose(l, n); break;
    case WAY_BLOCKS: lattice_layout_blocks(l, n, op); break;
    default: break;
    }
}

/* What is tracked and read as a whole anyway: ends of the graph. */
static void block_ends(lattice *l)
{
    const graph *g = l->g;
    for (size_t i = 0; i < g->model->value_count; i++) {
        const onnx_value *v = &g->model->values[i];
        if (v->field == 12) l->lanes[v->name].block = BLOCK_OUTPUT;
        if (v->field == 11 && g->values[v->name].tensor == ONNX_NONE) {
            l->lanes[v->name].block = BLOCK_INPUT;
            if (v->rank >= 2 && lattice_dim(l, v->name, 1)) lattice_set_lane(l, v->name, v->rank, 1, (uint64_t)lattice_dim(l, v->name, 1));
        }
    }
    for (size_t i = 0; i < g->model->name_count; i++)
        if (g->values[i].captured) l->lanes[i].block = BLOCK_SUBGRAPH;
}

static void run_shapes(lattice *l)
{
    static const int64_t batches[2] = {2, 3}, sides[2] = {64, 96};
    const graph *g = l->g;
    array *inputs = base_calloc(g->input_count, sizeof *inputs);
    if (!inputs) lattice_failed(l, g->input_count * sizeof *inputs);
    for (unsigned s = 0; s < 2 && !l->status; s++) {
        l->shape[s] = base_calloc(g->model->name_count, sizeof(array));
        if (!l->shape[s]) lattice_failed(l, g->model->name_count * sizeof(array));
        for (size_t i = 0; i < g->input_count && !l->status; i++)
            if (!graph_input_shape(g, i, batches[s], sides[s], &inputs[i])) inputs[i] = (array){0};
        if (!l->status) l->status = graph_run(g, inputs, NULL, 0, l->shape[s], l->cancel, l->error);
    }
    base_free(inputs);
}

fpr_status lattice_open(lattice *l, const graph *g, const volatile int *cancel, fpr_error *error)
{
    *l = (lattice){.g = g, .cancel = cancel, .error = error};
    size_t names = g->model->name_count, nodes = g->model->node_count;
    l->lanes = base_calloc(names, sizeof *l->lanes);
    l->mixers = base_calloc(nodes, sizeof *l->mixers);
    l->mixer_of = base_alloc(nodes, sizeof *l->mixer_of);
    l->counts = base_calloc(names, sizeof *l->counts);
    l->steady = base_calloc(names, 1);
    if (!l->lanes || !l->mixers || !l->mixer_of || !l->counts || !l->steady) lattice_failed(l, names * sizeof *l->lanes);
    if (!l->status) memset(l->mixer_of, 0xff, nodes * sizeof *l->mixer_of);
    if (!l->status) run_shapes(l);
    if (!l->status) block_ends(l);
    for (size_t i = 0; i < nodes && !l->status; i++) {
        layout_node(l, g->order[i]);
        lattice_count(l, g->order[i]);
    }
    uint64_t most = elements_max(g);
    for (size_t i = 0; i < names && !l->status; i++) {
        l->lanes[i].first = l->elements;
        if (l->lanes[i].tracked) l->elements += l->lanes[i].channels;
        if (l->elements > most) l->status = base_fail(error, FPR_USAGE, "has more channels than removal looks at");
    }
    if (l->status) return l->status;
    l->constant = base_calloc(l->elements, sizeof *l->constant);
    l->flags = base_calloc(l->elements, sizeof *l->flags);
    l->parent = base_calloc(l->elements, sizeof *l->parent);
    l->leader = base_calloc(l->elements, sizeof *l->leader);
    if (!l->constant || !l->flags || !l->parent || !l->leader) lattice_failed(l, l->elements * sizeof *l->constant);
    return l->status;
}

void lattice_close(lattice *l)
{
    for (size_t i = 0; i < l->mixer_count; i++) {
        base_free(l->mixers[i].live);
        base_free(l->mixers[i].reads);
        base_free(l->mixers[i].large);
        base_free(l->mixers[i].carrier);
    }
    for (unsigned s = 0; s < 2 && l->g; s++) {
        for (size_t i = 0; l->shape[s] && i < l->g->model->name_count; i++) array_free(&l->shape[s][i]);
        base_free(l->shape[s]);
    }
    for (size_t i = 0; l->counts && i < l->g->model->name_count; i++) base_free(l->counts[i]);
    base_free(l->counts);
    base_free(l->steady);
    base_free(l->lanes);
    base_free(l->mixers);
    base_free(l->mixer_of);
    base_free(l->constant);
    base_free(l->flags);
    base_free(l->parent);
    base_free(l->leader);
    *l = (lattice){0};
}
