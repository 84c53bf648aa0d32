/* Values of a pickle as they are built. */
#include "source/pickle_machine.h"

fpr_status machine_bad(machine *w, const char *what) { return pickle_bad(w->in, w->error, what); }

/* Makes an array as large as needed, twice as large as it was. */
static fpr_status grow(machine *w, pickle_ref **array, size_t *room, size_t needed, size_t most)
{
    if (needed <= *room) return FPR_OK;
    if (needed > most) return machine_bad(w, "needs more than 1,048,576 places at a time");
    size_t larger = *room ? *room : 256;
    while (larger < needed) larger *= 2;
    pickle_ref *grown = base_grow(*array, larger, sizeof *grown);
    if (!grown) return base_no_memory(w->error, larger * sizeof *grown);
    *array = grown;
    *room = larger;
    return FPR_OK;
}

fpr_status machine_push(machine *w, pickle_ref v)
{
    const fpr_status status = grow(w, &w->stack, &w->stack_room, w->depth + 1, PICKLE_STACK_MOST);
    if (!status) w->stack[w->depth++] = v;
    return status;
}

/* What lies below the last mark is out of reach. */
size_t machine_floor(const machine *w) { return w->mark_count ? w->marks[w->mark_count - 1] : 0; }

fpr_status machine_pop(machine *w, pickle_ref *v)
{
    *v = PICKLE_ABSENT;
    if (w->depth <= machine_floor(w)) return machine_bad(w, "takes more from its stack than is there");
    *v = w->stack[--w->depth];
    return FPR_OK;
}

fpr_status machine_top(machine *w, pickle_ref *v)
{
    *v = PICKLE_ABSENT;
    if (w->depth <= machine_floor(w)) return machine_bad(w, "looks at an empty stack");
    *v = w->stack[w->depth - 1];
    return FPR_OK;
}

/* Takes the last mark away; what lay above it is stack[*begin..depth). */
fpr_status machine_unmark(machine *w, size_t *begin)
{
    *begin = 0;
    if (!w->mark_count) return machine_bad(w, "lacks a mark");
    *begin = w->marks[--w->mark_count];
    return FPR_OK;
}

fpr_status machine_new_node(machine *w, pickle_kind kind, pickle_ref *v)
{
    return pickle_node_new(w->p, kind, v, w->in, w->error);
}

pickle_node *machine_node(machine *w, pickle_ref v) { return &w->p->nodes[v]; }

fpr_status machine_mark(machine *w)
{
    const fpr_status status = grow(w, &w->marks, &w->mark_room, w->mark_count + 1, PICKLE_STACK_MOST);
    if (!status) w->marks[w->mark_count++] = (uint32_t)w->depth;
    return status;
}

fpr_status machine_remember(machine *w, uint64_t place)
{
    pickle_ref v;
    fpr_status status = machine_top(w, &v);
    if (!status && place >= PICKLE_NODES_MOST) return machine_bad(w, "remembers more than 1,048,576 values");
    if (!status) status = grow(w, &w->memo, &w->memo_room, (size_t)place + 1, PICKLE_NODES_MOST);
    if (status) return status;
    while (w->memo_count <= place) w->memo[w->memo_count++] = PICKLE_ABSENT;
    if (w->memo[place] == PICKLE_ABSENT) w->memo_set++;
    w->memo[place] = v;
    return FPR_OK;
}

fpr_status machine_recall(machine *w, uint64_t place)
{
    if (place >= w->memo_count || w->memo[place] == PICKLE_ABSENT) return machine_bad(w, "refers to what it has not remembered");
    return machine_push(w, w->memo[place]);
}

/* ---------------------------------------------------------------- containers */

static fpr_status new_cell(machine *w, uint32_t *cell)
{
    pickle *p = w->p;
    if (p->cell_count == p->cell_room) {
        if (p->cell_room >= PICKLE_CELLS_MOST) return machine_bad(w, "fills more than 3,145,728 places");
        size_t room = p->cell_room ? p->cell_room * 2 : 1024;
        if (room > PICKLE_CELLS_MOST) room = PICKLE_CELLS_MOST;
        pickle_cell *grown = base_grow(p->cells, room, sizeof *grown);
        if (!grown) return base_no_memory(w->error, room * sizeof *grown);
        p->cells = grown;
        p->cell_room = room;
    }
    *cell = (uint32_t)p->cell_count++;
    return FPR_OK;
}

/* Appends to the container whose first, last and count stand in a node. */
static fpr_status append(machine *w, pickle_ref container, pickle_ref value)
{
    uint32_t cell = 0;
    const fpr_status status = new_cell(w, &cell);
    if (status) return status;
    pickle_node *n = machine_node(w, container);
    w->p->cells[cell] = (pickle_cell){value, 0};
    if (n->b) w->p->cells[n->b].next = cell;
    else n->a = cell;
    n->b = cell;
    if (n->kind != PICKLE_NONE) n->c++; /* of an object's items none are counted */
    return FPR_OK;
}

static fpr_status append_all(machine *w, pickle_ref container, size_t begin)
{
    fpr_status status = FPR_OK;
    for (size_t i = begin; !status && i < w->depth; i++) status = append(w, container, w->stack[i]);
    w->depth = begin;
    return status;
}

fpr_status machine_push_new(machine *w, pickle_kind kind, size_t begin)
{
    pickle_ref v;
    fpr_status status = machine_new_node(w, kind, &v);
    if (!status) status = append_all(w, v, begin);
    return status ? status : machine_push(w, v);
}

/* The node that holds an object's items and state. */
fpr_status machine_more_of(machine *w, pickle_ref object, pickle_ref *more)
{
    *more = machine_node(w, object)->c;
    if (*more) return FPR_OK;
    const fpr_status status = machine_new_node(w, PICKLE_NONE, more);
    if (status) return status;
    machine_node(w, *more)->c = PICKLE_ABSENT;
    machine_node(w, object)->c = *more;
    return FPR_OK;
}

pickle_kind machine_kind(machine *w, pickle_ref v) { return pickle_kind_of(w->p, v); }

/* Keys and values from begin on to the dictionary, or object like one, below them. */
fpr_status machine_set_items(machine *w, size_t begin)
{
    if (begin <= machine_floor(w) || (w->depth - begin) % 2) return machine_bad(w, "sets items of nothing, or half of one");
    pickle_ref target = w->stack[begin - 1];
    fpr_status status = FPR_OK;
    if (machine_kind(w, target) == PICKLE_OBJECT) status = machine_more_of(w, target, &target);
    else if (machine_kind(w, target) != PICKLE_DICT) return machine_bad(w, "sets items of what is no dictionary");
    return status ? status : append_all(w, target, begin);
}

fpr_status machine_add_items(machine *w, size_t begin)
{
    if (begin <= machine_floor(w)) return machine_bad(w, "appends to nothing");
    const pickle_ref target = w->stack[begin - 1];
    if (machine_kind(w, target) == PICKLE_LIST || machine_kind(w, target) == PICKLE_SET) return append_all(w, target, begin);
    if (machine_kind(w, target) != PICKLE_OBJECT) return machine_bad(w, "appends to what is no list");
    w->depth = begin; /* of an object like a list nothing is asked */
    return FPR_OK;
}

/* ---------------------------------------------------------------- objects */

/* collections.OrderedDict and dict, of pairs or of a dictionary. */
static fpr_status fill_dictionary(machine *w, pickle_ref dictionary, pickle_ref arguments)
{
    const pickle *p = w->p;
    const pickle_ref from = pickle_item(p, arguments, 0);
    fpr_status status = FPR_OK;
    const bool pairs = machine_kind(w, from) == PICKLE_LIST || machine_kind(w, from) == PICKLE_TUPLE;
    if (!pairs && !pickle_is_dictionary(p, from)) return FPR_OK; /* the items come later */
    for (uint32_t cell = pickle_first(p, from); !status && cell; cell = p->cells[cell].next) {
        const pickle_ref item = p->cells[cell].value;
        if (!pairs) {
            status = append(w, dictionary, item);
            continue;
        }
        if (pickle_count(p, item) != 2) return machine_bad(w, "makes a dictionary of what are no pairs");
        status = append(w, dictionary, pickle_item(p, item, 0));
        if (!status) status = append(w, dictionary, pickle_item(p, item, 1));
    }
    return status;
}

fpr_status machine_push_object(machine *w, pickle_ref class, pickle_ref arguments)
{
    const pickle *p = w->p;
    pickle_ref v;
    fpr_status status;
    if (machine_kind(w, arguments) != PICKLE_TUPLE) return machine_bad(w, "calls with arguments that are no tuple");
    if (pickle_is_called(p, class, "collections", "OrderedDict") || pickle_is_called(p, class, "builtins", "dict") ||
        pickle_is_called(p, class, "__builtin__", "dict")) {
        status = machine_new_node(w, PICKLE_DICT, &v);
        if (!status) status = fill_dictionary(w, v, arguments);
        return status ? status : machine_push(w, v);
    }
    pickle_ref state = PICKLE_ABSENT;
    if (pickle_is_called(p, class, "copy_reg", "_reconstructor") || pickle_is_called(p, class, "copyreg", "_reconstructor")) {
        class = pickle_item(p, arguments, 0);
        state = pickle_item(p, arguments, 2); /* of the built-in class that it derives from: items of a dictionary */
    } else if (pickle_is_called(p, class, "copy_reg", "__newobj__") || pickle_is_called(p, class, "copyreg", "__newobj__")) {
        class = pickle_item(p, arguments, 0);
    }
    if (class == PICKLE_ABSENT) return machine_bad(w, "makes an object of no class");
    status = machine_new_node(w, PICKLE_OBJECT, &v);
    if (status) return status;
    machine_node(w, v)->a = class;
    machine_node(w, v)->b = arguments;
    if (machine_kind(w, state) == PICKLE_DICT && pickle_first(p, state)) {
        pickle_ref more;
        status = machine_more_of(w, v, &more);
        for (uint32_t cell = pickle_first(p, state); !status && cell; cell = p->cells[cell].next)
            status = append(w, more, p->cells[cell].value);
    }
    return status ? status : machine_push(w, v);
}

fpr_status machine_push_class(machine *w, pickle_ref module, pickle_ref name)
{
    pickle_ref v;
    if (machine_kind(w, module) != PICKLE_TEXT || machine_kind(w, name) != PICKLE_TEXT) return machine_bad(w, "names a class by what is no text");
    const fpr_status status = machine_new_node(w, PICKLE_CLASS, &v);
    if (status) return status;
    machine_node(w, v)->a = module;
    machine_node(w, v)->b = name;
    return machine_push(w, v);
}

/* ---------------------------------------------------------------- the whole */

/* The constants, and cell 0, which is none. */
fpr_status machine_begin(machine *w)
{
    static const pickle_kind constants[] = {[NODE_NONE] = PICKLE_NONE,     [NODE_FALSE] = PICKLE_FALSE,
                                            [NODE_TRUE] = PICKLE_TRUE,     [NODE_NUMBER] = PICKLE_NUMBER,
                                            [NODE_BYTES] = PICKLE_BYTES};
    pickle_ref v;
    uint32_t cell = 0;
    fpr_status status = new_cell(w, &cell);
    if (!status) w->p->cells[cell] = (pickle_cell){NODE_NONE, 0};
    for (size_t i = 0; !status && i < sizeof constants / sizeof *constants; i++) status = machine_new_node(w, constants[i], &v);
    return status;
}

void machine_end(machine *w)
{
    base_free(w->stack);
    base_free(w->marks);
    base_free(w->memo);
}
