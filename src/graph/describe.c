/* What is said about a removal: layers before and after, and what stopped it. */
#include "graph/change.h"


static uint64_t multiply_adds(const lattice *l, const mixer *m, const array *values, uint64_t ins, uint64_t outs)
{
    const array *in = &values[graph_node(l->g, m->node)->inputs[0]], *out = &values[m->out];
    if (!in->known || !out->known) return 0;
    uint64_t places = 1;
    const array *over = m->transposed && m->has_bias_input && m->taps > 1 ? in : out;
    const unsigned axis = over == in ? 1 : l->lanes[m->out].axis;
    for (unsigned i = 0; i < over->rank; i++) places *= i == axis ? 1 : (uint64_t)over->dims[i];
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
    for (size_t i = 0; i < c->recipes.count; i++)
        bias_after = bias_after || (recipe_at(c, i)->kind == RECIPE_BIAS && recipe_at(c, i)->mixer == at);
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
    const size_t beyond = BLOCK_NODE(m->node_count), ends = beyond + m->node_count; /* of the nodes whose bias would be too large */
    uint64_t *count = base_calloc(ends, sizeof *count);
    changes_list stops = {0};
    if (!blocker || !count) lattice_failed(&c->l, l->elements * sizeof *blocker);
    for (size_t n = 0; n < m->name_count && !l->status; n++)
        for (uint32_t i = 0; l->lanes[n].tracked && l->lanes[n].block && i < l->lanes[n].channels; i++) {
            uint32_t root = lattice_class(l, l->lanes[n].first + i);
            if (l->lanes[n].block > blocker[root]) blocker[root] = l->lanes[n].block;
        }
    for (size_t k = 0; k < l->mixer_count && !l->status; k++)
        for (uint64_t i = 0; l->lanes[l->mixers[k].in].tracked && i < l->mixers[k].ins * l->mixers[k].groups; i++) {
            uint32_t root = lattice_class(l, l->lanes[l->mixers[k].in].first + i);
            if (l->mixers[k].large[i] && blocker[root] <= BLOCK_INPUT) blocker[root] = (uint32_t)beyond + l->mixers[k].node;
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
    for (size_t b = BLOCK_OUTPUT; b < ends && !l->status; b++) {
        if (!count[b]) continue;
        graph_stop *stop = changes_append(&c->l, &stops, sizeof *stop);
        if (!stop) break;
        const onnx_node *n = b >= BLOCK_NODE(0) ? graph_node(l->g, (uint32_t)(b - (b < beyond ? BLOCK_NODE(0) : beyond))) : NULL;
        const char *op = n ? onnx_text_of(m, n->op) : b == BLOCK_OUTPUT ? "output of the graph" : "subgraph";
        if (b >= beyond) op = "range of the bias";
        const char *node = n ? onnx_text_of(m, n->name) : "";
        if (n && !*node && n->output_count) node = onnx_text_of(m, n->outputs[0]);
        *stop = (graph_stop){op, node, count[b]};
    }
    removal->stops = stops.items;
    removal->stop_count = stops.count;
    base_free(blocker);
    base_free(count);
}

void changes_describe(changes *c, int64_t side, graph_removal *removal)
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
