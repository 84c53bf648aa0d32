/* Lists of whole numbers that are computed from how many channels a value has, as exporters write `chunk`, `view` and
 * sizes "as large as that one": Shape, a few entries of it, sums and quotients of them. When channels leave, such a list
 * follows by itself where it names the very value that it shapes; it can be written down as it was where nothing else is
 * in it; what else reads one keeps the channels that it counts. */
#include "graph/lattice.h"

static const count_entry none = {0, false, false}, fixed = {0, false, true};

/* How many entries a short list has for inputs of both sizes; -1: it is none. */
static int length_of(const lattice *l, onnx_name name)
{
    const array *a = &l->shape[0][name], *b = &l->shape[1][name];
    if (l->g->values[name].tensor != ONNX_NONE) {
        const onnx_tensor *t = &l->g->model->tensors[l->g->values[name].tensor];
        return t->rank < 2 && t->elements <= GRAPH_RANK_MAX ? (int)t->elements : -1;
    }
    return a->known && b->known && a->rank < 2 && b->rank < 2 && a->count == b->count && a->count <= GRAPH_RANK_MAX
               ? (int)a->count : -1;
}

static count_entry entry_of(const lattice *l, onnx_name name, unsigned i)
{
    if (l->counts[name]) return l->counts[name][i];
    return l->steady[name] || l->g->values[name].tensor != ONNX_NONE ? fixed : none;
}

/* Keeps the channels of all that a list counts. */
static void block_counted(lattice *l, onnx_name list, uint32_t node)
{
    for (unsigned i = 0; lattice_is_counted(l, list) && i < GRAPH_RANK_MAX; i++)
        if (l->counts[list][i].of) lattice_block(l, l->counts[list][i].of, node);
}

static void block_inputs(lattice *l, uint32_t node)
{
    const onnx_node *n = graph_node(l->g, node);
    for (uint32_t k = 0; k < n->input_count; k++) block_counted(l, n->inputs[k], node);
}

/* What the output's entries are; those that count nothing are not kept. */
static void set_entries(lattice *l, uint32_t node, const count_entry *e, int count)
{
    const onnx_node *n = graph_node(l->g, node);
    const graph_value *v = &l->g->values[n->outputs[0]];
    bool any = false;
    for (int i = 0; i < count; i++) any = any || e[i].of;
    if (!any) return;
    count_entry *kept = base_calloc(GRAPH_RANK_MAX, sizeof *kept);
    if (!kept) {
        lattice_failed(l, GRAPH_RANK_MAX * sizeof *kept);
        return;
    }
    memcpy(kept, e, (size_t)count * sizeof *kept);
    l->counts[n->outputs[0]] = kept;
    if (v->is_output || v->captured) block_counted(l, n->outputs[0], node);
}

static void count_shape(lattice *l, uint32_t node)
{
    const onnx_node *n = graph_node(l->g, node);
    const lane *v = lattice_lane_in(l, n, 0);
    const int count = length_of(l, n->outputs[0]);
    count_entry e[GRAPH_RANK_MAX] = {{0}};
    int64_t from = graph_int(l->g, n, "start", 0);
    if (!v->tracked) return;
    if (from < 0) from += v->rank;
    if (from < 0) from = 0;
    if (count < 0) {
        lattice_block(l, n->inputs[0], node);
        return;
    }
    const int64_t at = (int64_t)v->axis - from;
    if (at >= 0 && at < count) e[at] = (count_entry){n->inputs[0], true, true};
    set_entries(l, node, e, count);
}

/* Entries that are taken as they are, one list behind the other; false: which, is not known. */
static bool count_moved(lattice *l, const onnx_node *n, count_entry *e, int count)
{
    const onnx_model *m = l->g->model;
    int64_t listed, ends;
    int have = 0;
    if (onnx_is_op(m, n, "Concat")) {
        for (uint32_t k = 0; k < n->input_count; k++) {
            const int part = length_of(l, n->inputs[k]);
            if (part < 0 || have + part > count) return false;
            for (int i = 0; i < part; i++) e[have++] = entry_of(l, n->inputs[k], (unsigned)i);
        }
        return have == count;
    }
    const int from = length_of(l, n->inputs[0]);
    for (uint32_t k = 1; k < n->input_count; k++)
        if (lattice_is_counted(l, n->inputs[k])) return false;
    if (from < 0) return false;
    if (onnx_is_op(m, n, "Gather")) {
        double *index = lattice_list(l, n, 1, &listed);
        bool good = index && listed == count;
        for (int i = 0; good && i < count; i++) {
            const double at = index[i] < 0 ? index[i] + from : index[i];
            good = at >= 0 && at < from;
            if (good) e[i] = entry_of(l, n->inputs[0], (unsigned)at);
        }
        base_free(index);
        return good;
    }
    if (onnx_is_op(m, n, "Slice")) {
        double *starts = lattice_list(l, n, 1, &listed), *end = lattice_list(l, n, 2, &ends);
        const bool good = starts && end && listed == 1 && (n->input_count < 5 || !n->inputs[4]);
        const double at = !good ? 0 : *starts < 0 ? *starts + from : *starts;
        base_free(starts);
        base_free(end);
        if (!good || at < 0 || at + count > from) return false;
        for (int i = 0; i < count; i++) e[i] = entry_of(l, n->inputs[0], (unsigned)at + (unsigned)i);
        return true;
    }
    for (int i = 0; i < count && from == count; i++) e[i] = entry_of(l, n->inputs[0], (unsigned)i);
    return from == count;
}

/* Every entry is computed from what counts one value, or from that and other numbers. */
static bool count_computed(lattice *l, const onnx_node *n, count_entry *e, int count)
{
    count_entry all = fixed;
    for (uint32_t k = 0; k < n->input_count; k++) {
        const int part = n->inputs[k] ? length_of(l, n->inputs[k]) : 0;
        if (part < 0) return false;
        for (int i = 0; i < part; i++) {
            const count_entry one = entry_of(l, n->inputs[k], (unsigned)i);
            if (all.of && one.of && all.of != one.of) return false;
            if (one.of) all.of = one.of;
            all.fixed = all.fixed && one.fixed;
        }
    }
    for (int i = 0; i < count; i++) e[i] = all;
    return true;
}

bool lattice_list_follows(const lattice *l, onnx_name data, onnx_name list, unsigned axis)
{
    const count_entry *e = lattice_is_counted(l, list) ? l->counts[list] : NULL;
    bool follows = e && e[axis].of == data && e[axis].exact;
    for (unsigned i = 0; i < GRAPH_RANK_MAX && follows; i++) follows = i == axis || !e[i].of;
    return follows;
}

static bool is_one_of(const lattice *l, const onnx_node *n, const char *const *ops)
{
    while (*ops && !onnx_is_op(l->g->model, n, *ops)) ops++;
    return *ops;
}

/* A reader that is no list: whether the channels may leave in spite of it. */
static bool reader_copes(const lattice *l, const onnx_node *n)
{
    const onnx_model *m = l->g->model;
    const lane *y = n->output_count ? &l->lanes[n->outputs[0]] : NULL;
    if (!y || !y->tracked || lattice_is_counted(l, n->inputs[0])) return false;
    for (uint32_t k = 1; k < n->input_count; k++) {
        int64_t count;
        if (!lattice_is_counted(l, n->inputs[k])) continue;
        if (onnx_is_op(m, n, "Reshape") || (onnx_is_op(m, n, "Resize") && k == 3 && !onnx_find_attribute(m, n, "axes"))) {
            if (lattice_list_follows(l, n->inputs[0], n->inputs[k], y->axis)) continue;
        }
        /* Written down as they were, or as they have become. */
        double *values = onnx_is_op(m, n, "Reshape") || (onnx_is_op(m, n, "Slice") && k < 3) ? lattice_fixed(l, n->inputs[k], &count) : NULL;
        base_free(values);
        if (!values) return false;
    }
    return true;
}

/* Exporters compute even lists of padding from constants, at length. */
static bool is_steady(const lattice *l, uint32_t node)
{
    const onnx_node *n = graph_node(l->g, node);
    bool steady = l->g->ops[node] && l->g->ops[node]->run;
    const uint32_t data = onnx_is_op(l->g->model, n, "CastLike") ? 1 : n->input_count; /* of the other one only the type counts */
    for (uint32_t k = 0; k < data && k < n->input_count; k++)
        steady = steady && (!n->inputs[k] || l->steady[n->inputs[k]] || l->g->values[n->inputs[k]].tensor != ONNX_NONE);
    return steady;
}

void lattice_count(lattice *l, uint32_t node)
{
    static const char *const moving[] = {"Concat", "Gather", "Slice", "Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", NULL};
    static const char *const computing[] = {"Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Floor", "Ceil", NULL};
    const onnx_node *n = graph_node(l->g, node);
    count_entry e[GRAPH_RANK_MAX] = {{0}};
    bool counted = false;
    if (is_steady(l, node)) {
        for (uint32_t k = 0; k < n->output_count; k++) l->steady[n->outputs[k]] = n->outputs[k] != 0;
        return;
    }
    if (onnx_is_op(l->g->model, n, "Shape") && n->input_count && n->output_count) {
        count_shape(l, node);
        return;
    }
    for (uint32_t k = 0; k < n->input_count; k++) counted = counted || lattice_is_counted(l, n->inputs[k]);
    if (!counted) return;
    const int count = n->output_count == 1 ? length_of(l, n->outputs[0]) : -1;
    const bool list = count >= 0 && l->g->ops[node];
    if (list && ((is_one_of(l, n, moving) && count_moved(l, n, e, count)) ||
                 (is_one_of(l, n, computing) && count_computed(l, n, e, count))))
        set_entries(l, node, e, count);
    else if (!l->g->ops[node] || !reader_copes(l, n)) block_inputs(l, node);
}
