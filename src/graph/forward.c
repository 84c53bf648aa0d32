/* From inputs to outputs: which channels are constant, which equal another one of their value, which go together. */
#include "graph/lattice.h"

#include <math.h>

/* ---- one operand after the other */

/* Limits of a Clip may be computed from constants. */
static bool parameters_of(const lattice *l, const onnx_node *n, double p[2])
{
    if (graph_unary_parameters(l->g, n, p)) return true;
    for (uint32_t k = 0; k < 2; k++) {
        int64_t count;
        p[k] = k ? INFINITY : -INFINITY;
        if (k + 1 >= n->input_count || !n->inputs[k + 1]) continue;
        double *limit = lattice_list(l, n, k + 1, &count);
        const bool good = limit && count == 1;
        if (good) p[k] = *limit;
        base_free(limit);
        if (!good) return false;
    }
    return true;
}

static void forward_unary(lattice *l, uint32_t node, const op_row *op)
{
    const onnx_node *n = graph_node(l->g, node);
    const lane *x = &l->lanes[n->inputs[0]], *y = &l->lanes[n->outputs[0]];
    double p[2];
    bool cast = !strcmp(op->name, "Cast");
    int64_t to = cast ? graph_int(l->g, n, "to", 0) : ONNX_FLOAT;
    bool whole = to == ONNX_FLOAT || to == ONNX_DOUBLE;
    if (!parameters_of(l, n, p) || lattice_output_is_read(l, n, 1) ||
        (!whole && to != ONNX_FLOAT16 && to != ONNX_BFLOAT16)) {
        lattice_stop(l, node);
        return;
    }
    for (uint32_t i = 0; i < y->channels; i++) {
        lattice_tie(l, x->first + i, y->first + i);
        l->leader[y->first + i] = l->leader[x->first + i];
        if (!lattice_is_constant(l, x->first + i)) continue;
        double c = op->unary(l->constant[x->first + i], p);
        if (whole || c == 0) lattice_set_constant(l, y->first + i, c); /* narrower types round */
    }
}

/* A constant operand per channel of y: its value where it is the same at every place, else NaN. */
static double *operand_values(lattice *l, uint32_t tensor, const lane *y)
{
    unsigned axis = 0;
    const onnx_tensor *t = &l->g->model->tensors[tensor];
    uint64_t along = lattice_along(l, tensor, y, &axis), inner = 1;
    double *all = along ? graph_tensor_values(l->g, tensor, NULL) : NULL;
    double *values = all && t->elements ? base_alloc(y->channels, sizeof *values) : NULL;
    for (unsigned i = axis + 1; i < t->rank; i++) inner *= t->shape[i];
    if (t->rank < y->rank - y->axis) inner = t->elements; /* lies behind the channels' axis as a whole */
    for (uint32_t c = 0; values && c < y->channels; c++) values[c] = all[along == 1 ? 0 : c * inner];
    for (uint64_t i = 0; values && i < t->elements; i++) {
        uint64_t c = along == 1 ? 0 : i / inner % along;
        if (all[i] != values[c]) values[c] = (double)NAN;
    }
    for (uint32_t c = 1; values && along == 1 && c < y->channels; c++) values[c] = values[0];
    base_free(all);
    return values;
}

typedef struct operand {
    const lane *value;  /* NULL: a constant, or uniform */
    double *constant;   /* [channels] */
    bool uniform;       /* not known, and the same for all channels */
} operand;

static bool find_operand(lattice *l, const onnx_node *n, uint32_t i, const lane *y, operand *o)
{
    *o = (operand){0};
    uint32_t tensor = l->g->values[n->inputs[i]].tensor;
    const onnx_attribute *number = graph_number(l->g, n->inputs[i]);
    if (number) {
        o->constant = base_alloc(y->channels, sizeof *o->constant);
        bool whole = !strcmp(onnx_text_of(l->g->model, number->name), "value_int");
        for (uint32_t c = 0; o->constant && c < y->channels; c++)
            o->constant[c] = whole ? (double)number->i : (double)number->f;
        return o->constant;
    }
    if (tensor != ONNX_NONE) {
        o->constant = operand_values(l, tensor, y);
        return o->constant;
    }
    o->uniform = !l->lanes[n->inputs[i]].tracked && lattice_is_uniform(l, n->inputs[i], y);
    if (o->uniform) return true;
    const lane *v = o->value = &l->lanes[n->inputs[i]];
    return v->tracked && v->rank - v->axis == y->rank - y->axis && (v->channels == y->channels || v->channels == 1);
}

static bool operand_constant(const lattice *l, const operand *o, uint32_t i, double *c)
{
    if (!o->value) {
        *c = o->uniform ? (double)NAN : o->constant[i];
        return isfinite(*c);
    }
    uint64_t e = o->value->first + (o->value->channels == 1 ? 0 : i);
    *c = l->constant[e];
    return lattice_is_constant(l, e);
}

/* PRelu: x >= 0 stays. */
static double apply(const op_row *op, double a, double b) { return op->binary ? op->binary(a, b) : a < 0 ? a * b : a; }

/* Sum so far (its constants in c, NaN: none) and one more operand. */
static void take_operand(lattice *l, const op_row *op, const operand *o, double *c, const lane *y, uint64_t *key, bool first)
{
    bool absorbs = op->binary && !strcmp(op->name, "Mul");
    for (uint32_t i = 0; i < y->channels; i++) {
        double v;
        bool known = operand_constant(l, o, i, &v);
        uint64_t element = o->value ? o->value->first + (o->value->channels == 1 ? 0 : i) : 0;
        if (o->value) key[i] = lattice_key(l, element);
        else if (o->uniform) key[i] = 0;
        else if (known) memcpy(&key[i], &v, sizeof v);
        else key[i] = UINT64_C(0x7ff8) << 48 | i; /* differs from place to place: equals nothing */
        if (o->value && o->value->channels == y->channels) lattice_tie(l, element, y->first + i);
        if (first) c[i] = known ? v : (double)NAN;
        else if (absorbs && (c[i] == 0 || (known && v == 0))) c[i] = 0;
        else c[i] = known && isfinite(c[i]) ? apply(op, c[i], v) : (double)NAN;
    }
    if (first)
        for (uint32_t i = 0; i < y->channels; i++) l->leader[y->first + i] = 0;
    lattice_refine(l, l->leader + y->first, key, y->channels);
}

static void forward_nary(lattice *l, uint32_t node, const op_row *op)
{
    const onnx_node *n = graph_node(l->g, node);
    const lane *y = &l->lanes[n->outputs[0]];
    double *c = base_alloc(y->channels, sizeof *c);
    uint64_t *key = base_alloc(y->channels, sizeof *key);
    if (!c || !key) lattice_failed(l, y->channels * sizeof *key);
    /* Before opset 7 shapes were lined up in another way. */
    bool good = !onnx_find_attribute(l->g->model, n, "axis") && (op->binary || l->g->model->opset >= 7);
    for (uint32_t i = 0; i < n->input_count && !l->status && good; i++) {
        operand o = {0};
        good = n->inputs[i] && find_operand(l, n, i, y, &o);
        if (good && o.value && o.value->channels != y->channels) lattice_block(l, n->inputs[i], node);
        if (good) take_operand(l, op, &o, c, y, key, i == 0);
        base_free(o.constant);
    }
    for (uint32_t i = 0; i < y->channels && !l->status && good; i++) lattice_set_constant(l, y->first + i, c[i]);
    if (!good) lattice_stop(l, node);
    base_free(c);
    base_free(key);
}

/* What single precision makes of the deviations of a constant from its own mean, divided by sqrt(eps), stays below 1e-6. */
#define STEADY_MAX 16.0

/* BatchNormalization by given statistics, InstanceNormalization by those of each channel: a constant deviates by nothing. */
static void forward_norm(lattice *l, uint32_t node, const op_row *op)
{
    const onnx_node *n = graph_node(l->g, node);
    const lane *x = &l->lanes[n->inputs[0]], *y = &l->lanes[n->outputs[0]];
    double *p[4] = {0}, eps = graph_float(l->g, n, "epsilon", 1e-5);
    const bool own = op->run == run_instance_norm;
    const uint32_t parameters = own ? 2 : 4;
    uint64_t *key = base_alloc(y->channels, sizeof *key);
    if (!key) lattice_failed(l, y->channels * sizeof *key);
    bool good = n->input_count > parameters && !graph_int(l->g, n, "training_mode", 0) && !lattice_output_is_read(l, n, 1) && (!own || eps > 0);
    for (uint32_t k = 0; k < parameters && good; k++) {
        uint32_t t = l->g->values[n->inputs[k + 1]].tensor;
        good = t != ONNX_NONE && l->g->model->tensors[t].elements == y->channels;
        if (good) good = (p[k] = graph_tensor_values(l->g, t, NULL)) != NULL;
    }
    for (uint32_t i = 0; i < y->channels && good; i++) l->leader[y->first + i] = l->leader[x->first + i];
    for (uint32_t k = 0; k < parameters && good && !l->status; k++) {
        memcpy(key, p[k], y->channels * sizeof *key);
        lattice_refine(l, l->leader + y->first, key, y->channels);
    }
    for (uint32_t i = 0; i < y->channels && good && !l->status; i++) {
        double by = own ? p[0][i] / sqrt(eps) : p[0][i] / sqrt(p[3][i] + eps), c = l->constant[x->first + i];
        lattice_tie(l, x->first + i, y->first + i);
        const bool constant = lattice_is_constant(l, x->first + i), steady = own && constant && fabs(c) <= STEADY_MAX * sqrt(eps);
        if (!own && constant) lattice_set_constant(l, y->first + i, (c - p[2][i]) * by + p[1][i]);
        else if (steady || (p[0][i] == 0 && isfinite(by))) lattice_set_constant(l, y->first + i, p[1][i]);
    }
    if (!good) lattice_stop(l, node);
    for (int k = 0; k < 4; k++) base_free(p[k]);
    base_free(key);
}

/* ---- convolutions and matrix products */

uint64_t lattice_weight_at(const mixer *m, uint64_t o, uint64_t i)
{
    if (!m->transposed) return (o * m->ins + i) * m->taps;
    uint64_t per = m->outs / m->groups, group = o / per;
    return ((group * m->ins + i) * per + o % per) * m->taps;
}

typedef struct weighing {
    const uint8_t *weights, *bias; /* as stored */
    size_t size, bias_size;
    fpr_dtype dtype, bias_dtype;
} weighing;

static double weight_value(const weighing *w, uint64_t at) { return graph_load(w->dtype, w->weights + at * w->size); }

static double bias_value(const weighing *w, const mixer *m, const lattice *l, uint64_t o)
{
    if (m->bias == ONNX_NONE || m->beta == 0) return 0;
    uint64_t at = l->g->model->tensors[m->bias].elements == 1 ? 0 : o;
    return m->beta * graph_load(w->bias_dtype, w->bias + at * w->bias_size);
}

/* Whether the type of the bias holds it. */
static bool bias_holds(const weighing *w, const mixer *m, double value)
{
    const fpr_dtype dtype = m->bias == ONNX_NONE ? w->dtype : w->bias_dtype;
    uint8_t stored[8];
    graph_store(dtype, stored, value);
    return isfinite(graph_load(dtype, stored));
}

/* One filter: its live kernels are noted; constant when nothing that changes reaches it. */
static void weigh_filter(lattice *l, mixer *m, const weighing *w, uint64_t o)
{
    const lane *x = &l->lanes[m->in], *y = &l->lanes[m->out];
    uint64_t group = o / (m->outs / m->groups);
    double c = bias_value(w, m, l, o), most = fabs(c / m->beta); /* of the bias, whichever constants are folded into it */
    bool changes = false;
    for (uint64_t i = 0; i < m->ins; i++) {
        uint64_t at = lattice_weight_at(m, o, i), e = x->first + group * m->ins + i, bit = o * m->ins + i;
        double sum = 0;
        bool some = false;
        for (uint64_t k = 0; k < m->taps; k++) {
            double v = weight_value(w, at + k);
            some = some || v != 0;
            sum += v;
        }
        if (!some) continue;
        if (!isfinite(sum)) {
            lattice_block(l, m->in, m->node);
            lattice_block(l, m->out, m->node);
        }
        m->live[bit >> 3] |= (uint8_t)(1u << (bit & 7));
        if (!x->tracked || !lattice_is_constant(l, e) || (l->constant[e] != 0 && !m->folds)) changes = true;
        else c += m->alpha * (l->constant[e] * sum);
        const bool folds = x->tracked && lattice_is_constant(l, e) && m->folds && m->has_bias_input && !m->depthwise;
        if (!folds || !isfinite(most)) continue;
        const double addend = fabs(m->alpha / m->beta * l->constant[e] * sum);
        if (bias_holds(w, m, most + addend)) most += addend;
        else m->large[group * m->ins + i] = 1;
    }
    if (!changes) lattice_set_constant(l, y->first + o, c);
}

/* Filters whose weights (as stored), bias and, for depthwise ones, input are the same. */
static void compare_filters(lattice *l, mixer *m, const weighing *w)
{
    const lane *x = &l->lanes[m->in], *y = &l->lanes[m->out];
    uint32_t *leader = l->leader + y->first;
    uint64_t *key = base_alloc(m->outs, sizeof *key), per = m->outs / m->groups;
    if (!key) lattice_failed(l, m->outs * sizeof *key);
    for (uint64_t o = 0; o < m->outs && key; o++) {
        leader[o] = m->depthwise && x->tracked ? (uint32_t)(lattice_scatter(lattice_key(l, x->first + o / per)) >> 33) : (uint32_t)(o / per);
        uint64_t h = 0, b = 0;
        double bias = bias_value(w, m, l, o);
        memcpy(&b, &bias, sizeof b);
        for (uint64_t i = 0; i < m->ins; i++) {
            const uint8_t *p = w->weights + lattice_weight_at(m, o, i) * w->size;
            for (uint64_t k = 0; k < m->taps * w->size; k++) h = (h ^ p[k]) * UINT64_C(0x100000001b3);
        }
        key[o] = lattice_scatter(h) ^ b;
    }
    if (!l->status) lattice_refine(l, leader, key, (uint32_t)m->outs);
    /* What has the same key is compared byte by byte. */
    for (uint64_t o = 0; o < m->outs && !l->status; o++) {
        uint64_t a = leader[o];
        bool same = bias_value(w, m, l, o) == bias_value(w, m, l, a) && a / per <= o / per &&
                    (m->depthwise || a / per == o / per);
        if (m->depthwise && same && a != o)
            same = x->tracked && lattice_key(l, x->first + o / per) == lattice_key(l, x->first + a / per);
        for (uint64_t i = 0; i < m->ins && same && a != o; i++)
            same = !memcmp(w->weights + lattice_weight_at(m, o, i) * w->size,
                           w->weights + lattice_weight_at(m, a, i) * w->size, m->taps * w->size);
        if (!same) leader[o] = (uint32_t)o;
    }
    base_free(key);
}

static void forward_mixer(lattice *l, mixer *m)
{
    const onnx_tensor *t = &l->g->model->tensors[m->weight];
    const onnx_tensor *b = m->bias == ONNX_NONE ? NULL : &l->g->model->tensors[m->bias];
    uint8_t *weights = base_alloc(t->bytes, 1), *bias = base_alloc(b ? b->bytes : 1, 1);
    if (!weights || !bias) lattice_failed(l, t->bytes);
    if (!l->status) l->status = graph_tensor_bytes(l->g, m->weight, weights, l->error);
    if (!l->status && b) l->status = graph_tensor_bytes(l->g, m->bias, bias, l->error);
    weighing w = {weights, bias, fpr_dtype_bits(t->dtype) / 8, b ? fpr_dtype_bits(b->dtype) / 8 : 1, t->dtype,
                  b ? b->dtype : t->dtype};
    for (uint64_t o = 0; o < m->outs && !l->status; o++) weigh_filter(l, m, &w, o);
    if (!l->status) compare_filters(l, m, &w);
    const lane *x = &l->lanes[m->in], *y = &l->lanes[m->out];
    if (m->depthwise && !x->tracked) lattice_block(l, m->out, m->node);
    for (uint64_t o = 0; o < m->outs && m->depthwise && x->tracked && !l->status; o++)
        lattice_tie(l, x->first + o / (m->outs / m->groups), y->first + o);
    base_free(weights);
    base_free(bias);
}

/* ---- all of them */

/* Whether channels that leave would change a tensor that must not. */
static bool has_frozen(const lattice *l, const onnx_node *n, const op_row *op, bool mixes)
{
    const lane *y = &l->lanes[n->outputs[0]];
    bool frozen = false;
    unsigned axis;
    for (uint32_t k = 0; k < n->input_count && l->g->weights.frozen && !frozen; k++) {
        const uint32_t t = n->inputs[k] ? l->g->values[n->inputs[k]].tensor : ONNX_NONE;
        /* A parameter of one number is none of the file's own constants. */
        const bool along = mixes || op->way == WAY_NORM || (op->way == WAY_RESHAPE && !k) || (op->way == WAY_NARY && t != ONNX_NONE &&
            (t < l->g->model->initializer_count || (y->channels > 1 && lattice_along(l, t, y, &axis) == y->channels)));
        frozen = along && t != ONNX_NONE && graph_is_frozen(l->g, n->inputs[k]);
    }
    return frozen;
}

static void forward_node(lattice *l, uint32_t node)
{
    const onnx_node *n = graph_node(l->g, node);
    const op_row *op = l->g->ops[node];
    bool tracked = op && n->output_count && l->lanes[n->outputs[0]].tracked;
    if (op && (op->way == WAY_CONSTANT || op->way == WAY_SHAPE)) return;
    if (!tracked || has_frozen(l, n, op, l->mixer_of[node] != ONNX_NONE)) {
        lattice_stop(l, node);
        return;
    }
    /* What an operator is told beside its data has no channels. */
    for (uint32_t k = 1; k < n->input_count && op->way != WAY_NARY && op->way != WAY_CONCAT; k++) lattice_block(l, n->inputs[k], node);
    switch (op->way) {
    case WAY_UNARY: forward_unary(l, node, op); break;
    case WAY_NARY: forward_nary(l, node, op); break;
    case WAY_NORM: forward_norm(l, node, op); break;
    case WAY_CONV: case WAY_CONVT: case WAY_GEMM: case WAY_MATMUL:
        if (l->mixer_of[node] == ONNX_NONE) lattice_stop(l, node);
        else forward_mixer(l, &l->mixers[l->mixer_of[node]]);
        break;
    case WAY_BLOCKS: lattice_forward_blocks(l, node, op); break;
    case WAY_POOL: case WAY_PAD: case WAY_RESIZE: case WAY_TRANSPOSE: lattice_forward_space(l, node, op); break;
    case WAY_CONCAT: lattice_forward_concat(l, node); break;
    case WAY_SPLIT: case WAY_SLICE: lattice_forward_parts(l, node); break;
    case WAY_RESHAPE: lattice_forward_reshape(l, node); break;
    default: lattice_stop(l, node); break;
    }
}

void lattice_forward(lattice *l)
{
    for (uint64_t e = 0; e < l->elements; e++) l->parent[e] = (uint32_t)e;
    for (size_t i = 0; i < l->g->model->name_count; i++)
        for (uint32_t c = 0; l->lanes[i].tracked && c < l->lanes[i].channels; c++) l->leader[l->lanes[i].first + c] = c;
    for (size_t i = 0; i < l->g->model->node_count && !l->status; i++) {
        if (l->cancel && *l->cancel) l->status = base_fail(l->error, FPR_CANCELLED, "cancelled");
        else forward_node(l, l->g->order[i]);
    }
}
