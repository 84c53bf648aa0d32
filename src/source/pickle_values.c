/* What a pickle has built: looking at it. */
#include "source/pickle.h"

#define SMALL 0x80000000u /* the value is the number in the other bits */

static const pickle_node *node(const pickle *p, pickle_ref v)
{
    return v & SMALL ? NULL : &p->nodes[v];
}

void pickle_free(pickle *p)
{
    base_free(p->nodes);
    base_free(p->cells);
    base_free(p->texts);
    memset(p, 0, sizeof *p);
}

pickle_kind pickle_kind_of(const pickle *p, pickle_ref v)
{
    if (v == PICKLE_ABSENT) return PICKLE_NONE;
    return v & SMALL ? PICKLE_INTEGER : (pickle_kind)p->nodes[v].kind;
}

const char *pickle_text(const pickle *p, pickle_ref v, size_t *bytes)
{
    if (pickle_kind_of(p, v) != PICKLE_TEXT || node(p, v)->a == UINT32_MAX) return NULL;
    if (bytes) *bytes = node(p, v)->b;
    return p->texts + node(p, v)->a;
}

bool pickle_text_is(const pickle *p, pickle_ref v, const char *text)
{
    size_t bytes;
    const char *own = pickle_text(p, v, &bytes);
    return own && bytes == strlen(text) && !memcmp(own, text, bytes);
}

bool pickle_integer(const pickle *p, pickle_ref v, int64_t *integer)
{
    switch (pickle_kind_of(p, v)) {
    case PICKLE_FALSE: *integer = 0; return true;
    case PICKLE_TRUE: *integer = 1; return true;
    case PICKLE_INTEGER: break;
    default: return false;
    }
    *integer = v & SMALL ? (int64_t)(v & ~SMALL) : (int64_t)((uint64_t)node(p, v)->b << 32 | node(p, v)->a);
    return true;
}

static bool is_container(pickle_kind kind)
{
    return kind == PICKLE_TUPLE || kind == PICKLE_LIST || kind == PICKLE_SET || kind == PICKLE_DICT;
}

uint32_t pickle_first(const pickle *p, pickle_ref v)
{
    const pickle_kind kind = pickle_kind_of(p, v);
    if (is_container(kind)) return node(p, v)->a;
    if (kind == PICKLE_OBJECT && node(p, v)->c) return p->nodes[node(p, v)->c].a;
    return 0;
}

size_t pickle_count(const pickle *p, pickle_ref v)
{
    const pickle_kind kind = pickle_kind_of(p, v);
    return is_container(kind) && kind != PICKLE_DICT ? node(p, v)->c : 0;
}

pickle_ref pickle_item(const pickle *p, pickle_ref v, size_t i)
{
    if (i >= pickle_count(p, v)) return PICKLE_ABSENT;
    uint32_t cell = node(p, v)->a;
    while (i--) cell = p->cells[cell].next;
    return p->cells[cell].value;
}

bool pickle_is_dictionary(const pickle *p, pickle_ref v)
{
    const pickle_kind kind = pickle_kind_of(p, v);
    return kind == PICKLE_DICT || (kind == PICKLE_OBJECT && pickle_first(p, v));
}

pickle_ref pickle_get(const pickle *p, pickle_ref dictionary, const char *key)
{
    pickle_ref found = PICKLE_ABSENT;
    if (!pickle_is_dictionary(p, dictionary)) return found;
    for (uint32_t cell = pickle_first(p, dictionary); cell;) {
        const uint32_t value = p->cells[cell].next;
        if (pickle_text_is(p, p->cells[cell].value, key)) found = p->cells[value].value;
        cell = p->cells[value].next;
    }
    return found;
}

bool pickle_names(const pickle *p, pickle_ref v, const char **module, const char **name)
{
    if (pickle_kind_of(p, v) == PICKLE_OBJECT) v = node(p, v)->a;
    if (pickle_kind_of(p, v) != PICKLE_CLASS) return false;
    *module = pickle_text(p, node(p, v)->a, NULL);
    *name = pickle_text(p, node(p, v)->b, NULL);
    return *module && *name;
}

bool pickle_is_called(const pickle *p, pickle_ref v, const char *module, const char *name)
{
    const char *own_module, *own_name;
    return pickle_names(p, v, &own_module, &own_name) && !strcmp(own_module, module) && !strcmp(own_name, name);
}

pickle_ref pickle_arguments(const pickle *p, pickle_ref object)
{
    return pickle_kind_of(p, object) == PICKLE_OBJECT ? node(p, object)->b : PICKLE_ABSENT;
}

pickle_ref pickle_state(const pickle *p, pickle_ref object)
{
    if (pickle_kind_of(p, object) != PICKLE_OBJECT || !node(p, object)->c) return PICKLE_ABSENT;
    return p->nodes[node(p, object)->c].c;
}
