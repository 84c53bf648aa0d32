/* The opcodes of Python's pickletools as a table: an argument, and what each does to the machine. */
#include "source/pickle_machine.h"

#include <errno.h>
#include <stdlib.h>

typedef struct argument {
    uint64_t n;
    pickle_ref text, second;
} argument;

typedef fpr_status (*action)(machine *w, const argument *a);

/* ---------------------------------------------------------------- opcodes: numbers, texts, constants */

static fpr_status push_integer(machine *w, int64_t n)
{
    if (n >= 0 && n < (int64_t)(MACHINE_SMALL - 1)) return machine_push(w, MACHINE_SMALL | (pickle_ref)n);
    pickle_ref v;
    const fpr_status status = machine_new_node(w, PICKLE_INTEGER, &v);
    if (status) return status;
    machine_node(w, v)->a = (uint32_t)(uint64_t)n;
    machine_node(w, v)->b = (uint32_t)((uint64_t)n >> 32);
    return machine_push(w, v);
}

static fpr_status do_none(machine *w, const argument *a) { (void)a; return machine_push(w, NODE_NONE); }
static fpr_status do_false(machine *w, const argument *a) { (void)a; return machine_push(w, NODE_FALSE); }
static fpr_status do_true(machine *w, const argument *a) { (void)a; return machine_push(w, NODE_TRUE); }
static fpr_status do_float(machine *w, const argument *a) { (void)a; return machine_push(w, NODE_NUMBER); }
static fpr_status do_bytes(machine *w, const argument *a) { (void)a; return machine_push(w, NODE_BYTES); }
static fpr_status do_unsigned(machine *w, const argument *a) { return push_integer(w, (int64_t)a->n); }
static fpr_status do_signed(machine *w, const argument *a) { return push_integer(w, (int32_t)(uint32_t)a->n); }
static fpr_status do_text(machine *w, const argument *a) { return machine_push(w, a->text); }

/* I and L: decimal digits; I01 and I00 are True and False. */
static fpr_status do_digits(machine *w, const argument *a)
{
    (void)a;
    char line[1024], *end;
    const fpr_status status = pickle_line(w->in, line, sizeof line, w->error);
    if (status) return status;
    if (!strcmp(line, "00") || !strcmp(line, "01")) return machine_push(w, line[1] == '1' ? NODE_TRUE : NODE_FALSE);
    errno = 0;
    const long long n = strtoll(line, &end, 10);
    if (end == line || (*end && strcmp(end, "L") != 0)) return machine_bad(w, "spells a number that is none");
    return errno ? machine_push(w, NODE_NUMBER) : push_integer(w, n);
}

/* LONG1, LONG4: two's complement, so many bytes, little-endian. */
static fpr_status do_long(machine *w, const argument *a)
{
    uint8_t b[8];
    if (a->n > INT32_MAX) return machine_bad(w, "holds a number of negative length");
    if (a->n > sizeof b) {
        const fpr_status status = pickle_skip(w->in, a->n, w->error);
        return status ? status : machine_push(w, NODE_NUMBER);
    }
    const fpr_status status = pickle_bytes(w->in, b, (size_t)a->n, w->error);
    if (status) return status;
    const bool negative = a->n && b[a->n - 1] & 0x80;
    memset(b + a->n, negative ? 0xff : 0, sizeof b - (size_t)a->n);
    return push_integer(w, (int64_t)base_load_le64(b));
}

/* ---------------------------------------------------------------- opcodes: stack and memo */

static fpr_status do_proto(machine *w, const argument *a)
{
    return a->n > 5 ? machine_bad(w, "is of a protocol that is not known") : FPR_OK;
}

static fpr_status do_nothing(machine *w, const argument *a) { (void)w; (void)a; return FPR_OK; }

static fpr_status do_mark(machine *w, const argument *a) { (void)a; return machine_mark(w); }

static fpr_status do_pop(machine *w, const argument *a)
{
    (void)a;
    pickle_ref v;
    if (w->mark_count && w->depth == machine_floor(w)) {
        w->mark_count--;
        return FPR_OK;
    }
    return machine_pop(w, &v);
}

static fpr_status do_pop_mark(machine *w, const argument *a)
{
    (void)a;
    size_t begin;
    const fpr_status status = machine_unmark(w, &begin);
    if (!status) w->depth = begin;
    return status;
}

static fpr_status do_dup(machine *w, const argument *a)
{
    (void)a;
    pickle_ref v;
    const fpr_status status = machine_top(w, &v);
    return status ? status : machine_push(w, v);
}

static fpr_status do_put(machine *w, const argument *a) { return machine_remember(w, a->n); }
static fpr_status do_get(machine *w, const argument *a) { return machine_recall(w, a->n); }
static fpr_status do_memoize(machine *w, const argument *a) { (void)a; return machine_remember(w, w->memo_set); }

/* GET and PUT of protocol 0: the place in digits. */
static fpr_status place_line(machine *w, uint64_t *place)
{
    char line[16], *end;
    const fpr_status status = pickle_line(w->in, line, sizeof line, w->error);
    if (status) return status;
    if (*line < '0' || *line > '9') return machine_bad(w, "names a place that is none");
    *place = strtoull(line, &end, 10);
    return *end ? machine_bad(w, "names a place that is none") : FPR_OK;
}

static fpr_status do_put_line(machine *w, const argument *a)
{
    (void)a;
    uint64_t place = 0;
    const fpr_status status = place_line(w, &place);
    return status ? status : machine_remember(w, place);
}

static fpr_status do_get_line(machine *w, const argument *a)
{
    (void)a;
    uint64_t place = 0;
    const fpr_status status = place_line(w, &place);
    return status ? status : machine_recall(w, place);
}

static fpr_status do_stop(machine *w, const argument *a)
{
    (void)a;
    const fpr_status status = machine_pop(w, &w->p->root);
    w->stopped = !status;
    return status;
}

/* ---------------------------------------------------------------- opcodes: containers */

static fpr_status new_empty(machine *w, pickle_kind of) { return machine_push_new(w, of, w->depth); }
static fpr_status do_empty_tuple(machine *w, const argument *a) { (void)a; return new_empty(w, PICKLE_TUPLE); }
static fpr_status do_empty_list(machine *w, const argument *a) { (void)a; return new_empty(w, PICKLE_LIST); }
static fpr_status do_empty_dict(machine *w, const argument *a) { (void)a; return new_empty(w, PICKLE_DICT); }
static fpr_status do_empty_set(machine *w, const argument *a) { (void)a; return new_empty(w, PICKLE_SET); }

static fpr_status collect(machine *w, pickle_kind of)
{
    size_t begin;
    const fpr_status status = machine_unmark(w, &begin);
    if (status) return status;
    if (of == PICKLE_DICT && (w->depth - begin) % 2) return machine_bad(w, "sets half an item");
    return machine_push_new(w, of, begin);
}

static fpr_status do_tuple(machine *w, const argument *a) { (void)a; return collect(w, PICKLE_TUPLE); }
static fpr_status do_list(machine *w, const argument *a) { (void)a; return collect(w, PICKLE_LIST); }
static fpr_status do_dict(machine *w, const argument *a) { (void)a; return collect(w, PICKLE_DICT); }
static fpr_status do_frozenset(machine *w, const argument *a) { (void)a; return collect(w, PICKLE_SET); }

static fpr_status short_tuple(machine *w, size_t n)
{
    if (w->depth - machine_floor(w) < n) return machine_bad(w, "takes more from its stack than is there");
    return machine_push_new(w, PICKLE_TUPLE, w->depth - n);
}

static fpr_status do_tuple1(machine *w, const argument *a) { (void)a; return short_tuple(w, 1); }
static fpr_status do_tuple2(machine *w, const argument *a) { (void)a; return short_tuple(w, 2); }
static fpr_status do_tuple3(machine *w, const argument *a) { (void)a; return short_tuple(w, 3); }

static fpr_status do_append(machine *w, const argument *a)
{
    (void)a;
    return w->depth < machine_floor(w) + 2 ? machine_bad(w, "appends to nothing") : machine_add_items(w, w->depth - 1);
}

static fpr_status do_appends(machine *w, const argument *a)
{
    (void)a;
    size_t begin;
    const fpr_status status = machine_unmark(w, &begin);
    return status ? status : machine_add_items(w, begin);
}

static fpr_status do_setitem(machine *w, const argument *a)
{
    (void)a;
    return w->depth < machine_floor(w) + 3 ? machine_bad(w, "sets items of nothing") : machine_set_items(w, w->depth - 2);
}

static fpr_status do_setitems(machine *w, const argument *a)
{
    (void)a;
    size_t begin;
    const fpr_status status = machine_unmark(w, &begin);
    return status ? status : machine_set_items(w, begin);
}

/* ---------------------------------------------------------------- opcodes: classes and objects */

static fpr_status do_global(machine *w, const argument *a) { return machine_push_class(w, a->text, a->second); }

static fpr_status do_stack_global(machine *w, const argument *a)
{
    (void)a;
    pickle_ref module, name;
    fpr_status status = machine_pop(w, &name);
    if (!status) status = machine_pop(w, &module);
    return status ? status : machine_push_class(w, module, name);
}

static fpr_status do_reduce(machine *w, const argument *a)
{
    (void)a;
    pickle_ref arguments, class;
    fpr_status status = machine_pop(w, &arguments);
    if (!status) status = machine_pop(w, &class);
    return status ? status : machine_push_object(w, class, arguments);
}

static fpr_status do_newobj_ex(machine *w, const argument *a)
{
    pickle_ref keywords;
    const fpr_status status = machine_pop(w, &keywords);
    return status ? status : do_reduce(w, a);
}

/* OBJ: a mark, the class, the arguments. INST: the class by its names, the arguments behind a mark. */
static fpr_status do_inst(machine *w, const argument *a)
{
    fpr_status status = collect(w, PICKLE_TUPLE);
    if (!status) status = machine_push_class(w, a->text, a->second);
    if (status) return status;
    const pickle_ref class = w->stack[w->depth - 1], arguments = w->stack[w->depth - 2];
    w->depth -= 2;
    return machine_push_object(w, class, arguments);
}

static fpr_status do_obj(machine *w, const argument *a)
{
    (void)a;
    size_t begin;
    fpr_status status = machine_unmark(w, &begin);
    if (!status && begin == w->depth) return machine_bad(w, "makes an object of no class");
    if (!status) status = machine_push_new(w, PICKLE_TUPLE, begin + 1);
    if (status) return status;
    const pickle_ref arguments = w->stack[w->depth - 1], class = w->stack[w->depth - 2];
    w->depth -= 2;
    return machine_push_object(w, class, arguments);
}

static fpr_status do_build(machine *w, const argument *a)
{
    (void)a;
    pickle_ref state, target, more;
    fpr_status status = machine_pop(w, &state);
    if (!status) status = machine_top(w, &target);
    if (status || machine_kind(w, target) != PICKLE_OBJECT) return status; /* attributes of what needs none */
    status = machine_more_of(w, target, &more);
    if (!status) machine_node(w, more)->c = state;
    return status;
}

static fpr_status push_persistent(machine *w, pickle_ref id)
{
    pickle_ref v;
    /* Classes of PyTorch's old files come with their source: ("module", class, file, source). */
    if (pickle_count(w->p, id) >= 2 && pickle_text_is(w->p, pickle_item(w->p, id, 0), "module"))
        return machine_push(w, pickle_item(w->p, id, 1));
    const fpr_status status = machine_new_node(w, PICKLE_PERSISTENT, &v);
    if (status) return status;
    machine_node(w, v)->a = id;
    return machine_push(w, v);
}

static fpr_status do_persid(machine *w, const argument *a) { return push_persistent(w, a->text); }

static fpr_status do_binpersid(machine *w, const argument *a)
{
    (void)a;
    pickle_ref id;
    const fpr_status status = machine_pop(w, &id);
    return status ? status : push_persistent(w, id);
}

/* EXT: a class by a number that only the writer knows. */
static fpr_status do_extension(machine *w, const argument *a)
{
    pickle_ref v;
    (void)a;
    const fpr_status status = machine_new_node(w, PICKLE_CLASS, &v);
    return status ? status : machine_push(w, v);
}

/* ---------------------------------------------------------------- the table */

/* What follows an opcode. TEXT and BYTES: a length of so many bytes, then as many; bytes are passed over. */
typedef enum argument_kind {
    ARGUMENT_NONE, ARGUMENT_NUMBER, ARGUMENT_SKIP, ARGUMENT_TEXT, ARGUMENT_BYTES,
    ARGUMENT_LINE, ARGUMENT_TWO_LINES, ARGUMENT_UNICODE_LINE, ARGUMENT_REPR_LINE
} argument_kind;

static const struct opcode {
    action act; /* NULL: no opcode */
    uint8_t argument, bytes;
} opcodes[256] = {
    ['('] = {do_mark, ARGUMENT_NONE, 0},
    ['.'] = {do_stop, ARGUMENT_NONE, 0},
    ['0'] = {do_pop, ARGUMENT_NONE, 0},
    ['1'] = {do_pop_mark, ARGUMENT_NONE, 0},
    ['2'] = {do_dup, ARGUMENT_NONE, 0},
    ['F'] = {do_float, ARGUMENT_LINE, 0},
    ['G'] = {do_float, ARGUMENT_SKIP, 8},
    ['I'] = {do_digits, ARGUMENT_NONE, 0},
    ['L'] = {do_digits, ARGUMENT_NONE, 0},
    ['J'] = {do_signed, ARGUMENT_NUMBER, 4},
    ['K'] = {do_unsigned, ARGUMENT_NUMBER, 1},
    ['M'] = {do_unsigned, ARGUMENT_NUMBER, 2},
    ['N'] = {do_none, ARGUMENT_NONE, 0},
    ['P'] = {do_persid, ARGUMENT_LINE, 0},
    ['Q'] = {do_binpersid, ARGUMENT_NONE, 0},
    ['R'] = {do_reduce, ARGUMENT_NONE, 0},
    ['S'] = {do_text, ARGUMENT_REPR_LINE, 0},
    ['T'] = {do_text, ARGUMENT_TEXT, 4},
    ['U'] = {do_text, ARGUMENT_TEXT, 1},
    ['V'] = {do_text, ARGUMENT_UNICODE_LINE, 0},
    ['X'] = {do_text, ARGUMENT_TEXT, 4},
    ['B'] = {do_bytes, ARGUMENT_BYTES, 4},
    ['C'] = {do_bytes, ARGUMENT_BYTES, 1},
    ['a'] = {do_append, ARGUMENT_NONE, 0},
    ['b'] = {do_build, ARGUMENT_NONE, 0},
    ['c'] = {do_global, ARGUMENT_TWO_LINES, 0},
    ['d'] = {do_dict, ARGUMENT_NONE, 0},
    ['e'] = {do_appends, ARGUMENT_NONE, 0},
    ['g'] = {do_get_line, ARGUMENT_NONE, 0},
    ['h'] = {do_get, ARGUMENT_NUMBER, 1},
    ['i'] = {do_inst, ARGUMENT_TWO_LINES, 0},
    ['j'] = {do_get, ARGUMENT_NUMBER, 4},
    ['l'] = {do_list, ARGUMENT_NONE, 0},
    ['o'] = {do_obj, ARGUMENT_NONE, 0},
    ['p'] = {do_put_line, ARGUMENT_NONE, 0},
    ['q'] = {do_put, ARGUMENT_NUMBER, 1},
    ['r'] = {do_put, ARGUMENT_NUMBER, 4},
    ['s'] = {do_setitem, ARGUMENT_NONE, 0},
    ['t'] = {do_tuple, ARGUMENT_NONE, 0},
    ['u'] = {do_setitems, ARGUMENT_NONE, 0},
    [')'] = {do_empty_tuple, ARGUMENT_NONE, 0},
    [']'] = {do_empty_list, ARGUMENT_NONE, 0},
    ['}'] = {do_empty_dict, ARGUMENT_NONE, 0},
    [0x80] = {do_proto, ARGUMENT_NUMBER, 1},
    [0x81] = {do_reduce, ARGUMENT_NONE, 0}, /* NEWOBJ */
    [0x82] = {do_extension, ARGUMENT_SKIP, 1},
    [0x83] = {do_extension, ARGUMENT_SKIP, 2},
    [0x84] = {do_extension, ARGUMENT_SKIP, 4},
    [0x85] = {do_tuple1, ARGUMENT_NONE, 0},
    [0x86] = {do_tuple2, ARGUMENT_NONE, 0},
    [0x87] = {do_tuple3, ARGUMENT_NONE, 0},
    [0x88] = {do_true, ARGUMENT_NONE, 0},
    [0x89] = {do_false, ARGUMENT_NONE, 0},
    [0x8a] = {do_long, ARGUMENT_NUMBER, 1},
    [0x8b] = {do_long, ARGUMENT_NUMBER, 4},
    [0x8c] = {do_text, ARGUMENT_TEXT, 1},
    [0x8d] = {do_text, ARGUMENT_TEXT, 8},
    [0x8e] = {do_bytes, ARGUMENT_BYTES, 8},
    [0x8f] = {do_empty_set, ARGUMENT_NONE, 0},
    [0x90] = {do_appends, ARGUMENT_NONE, 0},
    [0x91] = {do_frozenset, ARGUMENT_NONE, 0},
    [0x92] = {do_newobj_ex, ARGUMENT_NONE, 0},
    [0x93] = {do_stack_global, ARGUMENT_NONE, 0},
    [0x94] = {do_memoize, ARGUMENT_NONE, 0},
    [0x95] = {do_nothing, ARGUMENT_SKIP, 8}, /* FRAME */
    [0x96] = {do_bytes, ARGUMENT_BYTES, 8},
    [0x98] = {do_nothing, ARGUMENT_NONE, 0}, /* READONLY_BUFFER */
};

static fpr_status read_argument(machine *w, const struct opcode *op, argument *a)
{
    fpr_status status = FPR_OK;
    switch ((argument_kind)op->argument) {
    case ARGUMENT_NONE: return FPR_OK;
    case ARGUMENT_SKIP: return pickle_skip(w->in, op->bytes, w->error);
    case ARGUMENT_LINE: return pickle_line_new(w->p, w->in, PICKLE_PLAIN, &a->text, w->error);
    case ARGUMENT_UNICODE_LINE: return pickle_line_new(w->p, w->in, PICKLE_RAW_UNICODE, &a->text, w->error);
    case ARGUMENT_REPR_LINE: return pickle_line_new(w->p, w->in, PICKLE_REPR, &a->text, w->error);
    case ARGUMENT_TWO_LINES:
        status = pickle_line_new(w->p, w->in, PICKLE_PLAIN, &a->text, w->error);
        return status ? status : pickle_line_new(w->p, w->in, PICKLE_PLAIN, &a->second, w->error);
    case ARGUMENT_NUMBER: return pickle_number(w->in, op->bytes, &a->n, w->error);
    case ARGUMENT_TEXT:
    case ARGUMENT_BYTES: break;
    }
    status = pickle_number(w->in, op->bytes, &a->n, w->error);
    if (status) return status;
    return op->argument == ARGUMENT_TEXT ? pickle_text_new(w->p, w->in, a->n, &a->text, w->error)
                                         : pickle_skip(w->in, a->n, w->error);
}

fpr_status pickle_read(pickle_input *input, pickle *out, fpr_error *error)
{
    memset(out, 0, sizeof *out);
    machine w = {.p = out, .in = input, .error = error};
    fpr_status status = machine_begin(&w);
    while (!status && !w.stopped) {
        uint8_t code;
        argument a = {0, PICKLE_ABSENT, PICKLE_ABSENT};
        status = pickle_bytes(input, &code, 1, error);
        if (!status && !opcodes[code].act) status = machine_bad(&w, "holds an opcode that is none");
        if (!status) status = read_argument(&w, &opcodes[code], &a);
        if (!status) status = opcodes[code].act(&w, &a);
    }
    machine_end(&w);
    if (status) pickle_free(out);
    return status;
}
