/* Elements, each one channel of one value: their classes, their constants, which equal another; and what stops them. */
#include "graph/lattice.h"

#include <math.h>

uint32_t lattice_class(const lattice *l, uint64_t element)
{
    uint32_t *p = l->parent, e = (uint32_t)element;
    while (p[e] != e) e = p[e] = p[p[e]];
    return e;
}

void lattice_tie(lattice *l, uint64_t a, uint64_t b)
{
    uint32_t x = lattice_class(l, a), y = lattice_class(l, b);
    if (x < y) l->parent[y] = x;
    else l->parent[x] = y;
}

void lattice_set_constant(lattice *l, uint64_t element, double c)
{
    if (!isfinite(c)) return;
    l->flags[element] |= CONSTANT;
    l->constant[element] = c == 0 ? 0 : c; /* no negative zero */
}

/* What an element equals: equal keys within a value mean equal channels. No finite number has the bits of a NaN. */
uint64_t lattice_key(const lattice *l, uint64_t element)
{
    uint64_t bits = UINT64_C(0x7ff8) << 48 | l->leader[element];
    if (lattice_is_constant(l, element)) memcpy(&bits, &l->constant[element], sizeof bits);
    return bits;
}

uint64_t lattice_scatter(uint64_t x)
{
    x ^= x >> 31;
    x *= UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 29;
}

/* Splits what has been equal so far by one more key: leader[i] becomes the first j <= i with the same leader and key. */
void lattice_refine(lattice *l, uint32_t *leader, const uint64_t *key, uint32_t n)
{
    uint64_t slots = 16;
    while (slots < 2 * (uint64_t)n) slots *= 2;
    uint32_t *table = base_calloc(slots, sizeof *table);
    if (!table) lattice_failed(l, slots * sizeof *table);
    for (uint32_t i = 0; table && i < n; i++) {
        uint64_t at = lattice_scatter(key[i] + lattice_scatter(leader[i])) & (slots - 1);
        while (table[at] && (leader[i] != leader[table[at] - 1] || key[i] != key[table[at] - 1])) at = (at + 1) & (slots - 1);
        if (!table[at]) table[at] = i + 1;
    }
    /* Leaders change only after all have been compared. */
    for (uint32_t i = n; table && i-- > 0;) {
        uint64_t at = lattice_scatter(key[i] + lattice_scatter(leader[i])) & (slots - 1);
        while (leader[i] != leader[table[at] - 1] || key[i] != key[table[at] - 1]) at = (at + 1) & (slots - 1);
        leader[i] = table[at] - 1;
    }
    base_free(table);
}

void lattice_stop(lattice *l, uint32_t node)
{
    const onnx_node *n = graph_node(l->g, node);
    const uint32_t read = onnx_is_op(l->g->model, n, "CastLike") ? 1 : n->input_count; /* of its second one, the type */
    for (uint32_t i = 0; i < read && i < n->input_count; i++) lattice_block(l, n->inputs[i], node);
    for (uint32_t k = 0; k < n->output_count; k++) lattice_block(l, n->outputs[k], node);
}

bool lattice_output_is_read(const lattice *l, const onnx_node *n, uint32_t output)
{
    if (output >= n->output_count || !n->outputs[output]) return false;
    const graph_value *v = &l->g->values[n->outputs[output]];
    return v->readers || v->is_output || v->captured;
}
