/* From outputs to inputs: which channels are read; then which leave. */
#include "graph/lattice.h"

#include <math.h>

static bool is_read(const lattice *l, uint64_t e) { return l->flags[e] & READ; }
static bool is_removed(const lattice *l, uint64_t e) { return l->flags[lattice_class(l, e)] & REMOVED; }

/* What an output needs of an input at the same place: nothing where it is constant anyway. */
static void pass_back(lattice *l, uint64_t out, uint64_t in)
{
    if (is_read(l, out) && !lattice_is_constant(l, out)) l->flags[in] |= READ;
}

/* ---- readers */

static void mixer_reads(lattice *l, mixer *m)
{
    const lane *x = &l->lanes[m->in], *y = &l->lanes[m->out];
    uint64_t per = m->outs / m->groups;
    if (!x->tracked) return;
    for (uint64_t o = 0; o < m->outs; o++)
        for (uint64_t i = 0; i < m->ins; i++) {
            if (!lattice_is_live(m, o, i)) continue;
            uint64_t channel = o / per * m->ins + i, e = x->first + channel;
            bool wanted = is_read(l, y->first + o) && !lattice_is_constant(l, y->first + o);
            if (m->large[channel]) wanted = true;
            if (!lattice_is_constant(l, e) || m->large[channel]) {
                if (wanted) m->reads[channel] = READS_LIVE;
            } else if (l->constant[e] != 0) {
                m->reads[channel] = m->folds && m->has_bias_input ? READS_ADDEND : READS_CARRIED;
            }
            if (wanted) l->flags[e] |= READ;
        }
}

static void backward_node(lattice *l, uint32_t node)
{
    const onnx_node *n = graph_node(l->g, node);
    const op_row *op = l->g->ops[node];
    if (l->mixer_of[node] != ONNX_NONE) {
        mixer_reads(l, &l->mixers[l->mixer_of[node]]);
        return;
    }
    const lane *y = op && n->output_count ? &l->lanes[n->outputs[0]] : NULL;
    if (!y || !y->tracked) return; /* what it reads is blocked */
    if (op->way == WAY_BLOCKS) {
        const lane *x = &l->lanes[n->inputs[0]], *many = x->channels > y->channels ? x : y, *few = many == x ? y : x;
        for (uint64_t i = 0; i < many->channels; i++) {
            const uint64_t deep = many->first + i, flat = few->first + lattice_block_of(l, n, i, many->channels, few->channels);
            pass_back(l, many == x ? flat : deep, many == x ? deep : flat);
        }
        return;
    }
    uint64_t at = 0, count = op->way == WAY_SPLIT ? n->output_count : n->input_count;
    for (uint32_t k = 0; k < count; k++) {
        bool split = op->way == WAY_SPLIT, fits;
        const lane *x = &l->lanes[n->inputs[split ? 0 : k]], *part = split ? &l->lanes[n->outputs[k]] : y;
        if (!x->tracked || !part->tracked) continue;
        uint64_t from = op->way == WAY_SPLIT || op->way == WAY_SLICE ? lattice_part(l, n, split ? k : 0, &fits) : 0;
        bool joined = op->way == WAY_CONCAT && x->channels != y->channels;
        if (op->way == WAY_CONCAT && n->input_count == 1) joined = false;
        if (op->way == WAY_CONCAT) {
            int64_t axis = graph_int(l->g, n, "axis", 1);
            joined = (axis < 0 ? axis + (int64_t)y->rank : axis) == (int64_t)y->axis;
        }
        const bool apart = op->way == WAY_RESHAPE && lattice_spreads_apart(l, n->inputs[0], n->outputs[0]);
        uint64_t stretch = op->way == WAY_RESHAPE ? y->channels / x->channels : 1;
        for (uint64_t i = 0; i < part->channels; i++) {
            if (joined && i >= x->channels) break;
            uint64_t in = x->channels == 1 && op->way == WAY_NARY ? 0 : joined ? i : apart ? i % x->channels : (i + from) / stretch;
            pass_back(l, part->first + (joined ? at + i : i), x->first + in);
        }
        if (joined) at += x->channels;
    }
}

void lattice_backward(lattice *l)
{
    const onnx_model *m = l->g->model;
    for (size_t i = 0; i < m->name_count; i++)
        for (uint32_t c = 0; l->lanes[i].tracked && l->lanes[i].block > BLOCK_INPUT && c < l->lanes[i].channels; c++)
            l->flags[l->lanes[i].first + c] |= READ;
    for (size_t i = m->node_count; i-- > 0 && !l->status;) backward_node(l, l->g->order[i]);
}

/* ---- what leaves */

enum { CLASS_BLOCKED = 1, CLASS_READ = 2, CLASS_ALONE = 4 /* read where no other channel equals it */ };

static void keep(lattice *l, uint64_t e) { l->flags[lattice_class(l, e)] |= KEPT; }
static void leave(lattice *l, uint64_t e) { l->flags[lattice_class(l, e)] |= REMOVED; }
static bool stay(lattice *l, uint64_t e)
{
    uint8_t *f = &l->flags[lattice_class(l, e)];
    bool changed = *f & REMOVED;
    *f &= (uint8_t)~REMOVED;
    *f |= KEPT;
    return changed;
}

/* What speaks against each class, at its root. */
static void weigh_classes(lattice *l, uint8_t *against)
{
    for (size_t n = 0; n < l->g->model->name_count; n++) {
        const lane *v = &l->lanes[n];
        for (uint32_t c = 0; v->tracked && v->block && c < v->channels; c++)
            against[lattice_class(l, v->first + c)] |= CLASS_BLOCKED;
    }
    for (size_t k = 0; k < l->mixer_count; k++) {
        const mixer *m = &l->mixers[k];
        const lane *x = &l->lanes[m->in];
        if (!x->tracked || m->depthwise) continue;
        for (uint64_t i = 0; i < m->ins * m->groups; i++) {
            if (m->reads[i] != READS_LIVE) continue;
            uint64_t e = x->first + i, twin = x->first + l->leader[e];
            bool alone = twin == e || l->leader[e] / m->ins != i / m->ins || lattice_is_constant(l, twin) ||
                         lattice_class(l, twin) == lattice_class(l, e);
            against[lattice_class(l, e)] |= alone ? CLASS_READ | CLASS_ALONE : CLASS_READ;
        }
    }
}

/* Channels that take over what others were read for stay. */
static void keep_twins(lattice *l, const uint8_t *against)
{
    for (size_t k = 0; k < l->mixer_count; k++) {
        const mixer *m = &l->mixers[k];
        const lane *x = &l->lanes[m->in];
        if (!x->tracked || m->depthwise) continue;
        for (uint64_t i = 0; i < m->ins * m->groups; i++) {
            uint8_t a = against[lattice_class(l, x->first + i)];
            if (m->reads[i] == READS_LIVE && !(a & (CLASS_BLOCKED | CLASS_ALONE))) keep(l, x->first + l->leader[x->first + i]);
        }
    }
}

/* At least one channel of a value, and as many of each group of a grouped convolution. */
static bool keep_lane_filled(lattice *l, const lane *v)
{
    for (uint32_t c = 0; c < v->channels; c++)
        if (!is_removed(l, v->first + c)) return false;
    return v->channels && stay(l, v->first);
}

static bool keep_groups_equal(lattice *l, const lane *v, uint64_t groups)
{
    uint64_t per = v->channels / groups, least = UINT64_MAX;
    bool changed = false;
    for (uint64_t g = 0; g < groups; g++) {
        uint64_t gone = 0;
        for (uint64_t c = 0; c < per; c++) gone += is_removed(l, v->first + g * per + c);
        if (gone < least) least = gone;
    }
    if (least == per) least = per - 1;
    for (uint64_t g = 0; g < groups; g++) {
        uint64_t gone = 0;
        for (uint64_t c = 0; c < per; c++) {
            uint64_t e = v->first + g * per + c;
            if (is_removed(l, e) && ++gone > least) changed = stay(l, e) || changed;
        }
    }
    return changed;
}

/* The constant channel of a group of a mixer's inputs of the largest magnitude that leaves and is carried, or that
 * stays; its number + 1, 0: there is none. */
static uint64_t largest_constant(lattice *l, const mixer *m, uint64_t group, bool leaves)
{
    const lane *x = &l->lanes[m->in];
    uint64_t best = 0;
    for (uint64_t i = group * m->ins; i < (group + 1) * m->ins; i++) {
        uint64_t e = x->first + i;
        if (!lattice_is_constant(l, e) || l->constant[e] == 0 || is_removed(l, e) != leaves) continue;
        if (leaves && m->reads[i] != READS_CARRIED) continue;
        if (!best || fabs(l->constant[e]) > fabs(l->constant[x->first + best - 1])) best = i + 1;
    }
    return best;
}

#define CARRIER_LEAST (1.0 / 16) /* of the largest that it carries: what rounding does to it, it does so often to those */

/* Constant channels that leave a padded convolution need one of their kind that stays. */
static bool keep_carriers(lattice *l, mixer *m)
{
    const lane *x = &l->lanes[m->in];
    bool changed = false;
    for (uint64_t g = 0; g < m->groups && x->tracked && !m->depthwise; g++) {
        uint64_t carried = largest_constant(l, m, g, true), carrier = carried ? largest_constant(l, m, g, false) : 0;
        double least = carried ? CARRIER_LEAST * fabs(l->constant[x->first + carried - 1]) : 0;
        if (carried && (!carrier || fabs(l->constant[x->first + carrier - 1]) < least))
            changed = stay(l, x->first + carried - 1) || changed;
        m->carrier[g] = (uint32_t)carrier;
    }
    return changed;
}

static bool settle(lattice *l)
{
    bool changed = false;
    for (size_t n = 0; n < l->g->model->name_count; n++)
        if (l->lanes[n].tracked) changed = keep_lane_filled(l, &l->lanes[n]) || changed;
    for (size_t k = 0; k < l->mixer_count; k++) {
        mixer *m = &l->mixers[k];
        changed = keep_carriers(l, m) || changed;
        if (m->groups == 1 || m->depthwise) continue;
        if (l->lanes[m->in].tracked) changed = keep_groups_equal(l, &l->lanes[m->in], m->groups) || changed;
        changed = keep_groups_equal(l, &l->lanes[m->out], m->groups) || changed;
    }
    return changed;
}

#define ROUNDS_MAX 64u /* of giving channels back; each needs another only where one return forces the next */

void lattice_decide(lattice *l)
{
    uint8_t *against = base_calloc(l->elements, 1);
    if (!against) {
        lattice_failed(l, l->elements);
        return;
    }
    weigh_classes(l, against);
    keep_twins(l, against);
    for (uint64_t e = 0; e < l->elements; e++) {
        uint32_t c = lattice_class(l, e);
        bool read = (against[c] & CLASS_READ) && (against[c] & CLASS_ALONE);
        if (c == e && !(against[c] & CLASS_BLOCKED) && !read && !(l->flags[c] & KEPT)) leave(l, e);
    }
    unsigned rounds = 0;
    while (settle(l) && ++rounds < ROUNDS_MAX) {}
    for (uint64_t e = 0; e < l->elements && rounds == ROUNDS_MAX; e++) stay(l, e);
    base_free(against);
    /* The flag of the class, on every element. */
    for (uint64_t e = 0; e < l->elements; e++)
        if (is_removed(l, e)) l->flags[e] |= REMOVED;
}
