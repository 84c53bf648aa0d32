/* The list of what is different in the file: recipes of tensors, edits of nodes. */
#include "graph/change.h"

#include <stdio.h>

void *changes_append(lattice *l, changes_list *list, size_t size)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 32;
        void *grown = base_grow(list->items, capacity, size);
        if (!grown) return lattice_failed(l, capacity * size), NULL;
        list->items = grown;
        list->capacity = capacity;
    }
    return memset((char *)list->items + list->count++ * size, 0, size);
}

recipe *changes_recipe(changes *c, recipe_kind kind, uint32_t tensor)
{
    recipe *r = changes_append(&c->l, &c->recipes, sizeof *r);
    if (!r) return NULL;
    *r = (recipe){.kind = kind, .tensor = tensor};
    if (tensor == ONNX_NONE) return r;
    const onnx_tensor *t = &c->l.g->model->tensors[tensor];
    r->dtype = t->dtype;
    r->type = t->type;
    r->rank = t->rank < GRAPH_RANK_MAX ? t->rank : GRAPH_RANK_MAX;
    for (unsigned i = 0; i < r->rank; i++) r->dims[i] = t->shape[i];
    return r;
}

edit *changes_edit(changes *c, uint32_t node, const char *attribute, uint32_t count)
{
    int64_t *values = base_calloc(count, sizeof *values);
    edit *e = values ? changes_append(&c->l, &c->edits, sizeof *e) : NULL;
    if (!values) lattice_failed(&c->l, count * sizeof *values);
    if (e) *e = (edit){.node = node, .input = ONNX_NONE, .attribute = attribute, .count = count, .values = values};
    else base_free(values);
    return e;
}

/* A name that no value has: of the tensor, and a number. */
static char *fresh_name(const changes *c, const char *stem, size_t number)
{
    char *name = base_alloc(strlen(stem) + 48, 1);
    for (size_t i = number; name; i += c->recipes.count + 1) {
        snprintf(name, strlen(stem) + 48, "%s.small%zu", stem, i);
        if (!onnx_find_name(c->l.g->model, name)) return name;
    }
    return NULL;
}

void changes_finish(changes *c, uint32_t node, uint32_t k)
{
    const graph *g = c->l.g;
    recipe *r = recipe_at(c, c->recipes.count - 1);
    const onnx_node *n = graph_node(g, node);
    onnx_name name = k < n->input_count ? n->inputs[k] : 0;
    const graph_value *v = &g->values[name];
    r->elements = 1;
    for (unsigned i = 0; i < r->rank; i++) r->elements *= r->dims[i];
    r->bytes = r->elements * fpr_dtype_bits(r->dtype) / 8;
    bool own = name && r->tensor != ONNX_NONE && v->readers == 1 && !v->is_output && !v->captured && g->names[r->tensor] == name;
    if (own) {
        c->in_place[r->tensor] = (uint32_t)c->recipes.count;
        return;
    }
    const char *stem = onnx_text_of(g->model, name ? name : n->inputs[n->input_count > 1]);
    r->name = fresh_name(c, stem, c->recipes.count);
    edit *e = r->name ? changes_edit(c, node, NULL, 0) : NULL;
    if (!r->name) lattice_failed(&c->l, strlen(stem));
    if (!e) return;
    e->input = k;
    e->recipe = (uint32_t)c->recipes.count - 1;
}
