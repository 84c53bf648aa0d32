/* Which dictionary of a PyTorch file is taken, and the names of its tensors: those of state_dict().
 *
 * What is walked: dictionaries, their keys joined with '.'; modules by _parameters, persistent _buffers and _modules;
 * modules of TorchScript by the lists in their code. No recursion: a frame for each one that is open. What refers to
 * itself is passed over, and the steps are bounded, because a few hundred bytes can name the same thing 2^100 times. */
#include "source/torch.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define MARK_OPEN 1     /* on the path from the top to where the walk is */
#define MARK_LOOKED 2   /* whether it is a module is known: */
#define MARK_MODULE 4
#define MARK_TAKEN 8    /* a tensor that is listed, or skipped by name */

enum { PART_ITEMS, PART_PARAMETERS, PART_BUFFERS, PART_MODULES, PART_TENSORS, PART_CHILDREN, PART_END };

typedef struct frame {
    pickle_ref v, state;  /* state: of a module */
    const char *tensors;  /* of a module of TorchScript */
    uint32_t cell;        /* the next key */
    uint8_t part;
    size_t prefix;        /* bytes of the path in front of its own keys */
    source_kind kind;
    uint64_t groups;
} frame;

typedef struct walk {
    torch_file *t;
    fpr_error *error;
    bool take;            /* add what is found; else count alone */
    uint64_t elements, tensors;
    uint64_t *steps;      /* left */
    char *path;
    size_t room;
    frame frames[TORCH_DEPTH_MOST];
    unsigned depth;
    uint64_t shape[DENSE_RANK_MOST], stride[DENSE_RANK_MOST];
} walk;

static const char *const known_keys[] = {"state_dict", "model_state_dict", "model", "network_weights", "net", "ema"};

static fpr_status bad(walk *w, const char *what) { return base_fail(w->error, FPR_BAD_HEADER, "%s", what); }

static fpr_status spend(walk *w, uint64_t steps)
{
    if (w->t->options->cancel && *w->t->options->cancel) return base_fail(w->error, FPR_CANCELLED, "cancelled");
    if (*w->steps < steps) return bad(w, "names more tensors than its bytes can hold: modules inside of each other many times");
    *w->steps -= steps;
    return FPR_OK;
}

/* The first key of what is a dictionary; 0: none. */
static uint32_t first_key(const pickle *p, pickle_ref v) { return pickle_is_dictionary(p, v) ? pickle_first(p, v) : 0; }

/* ---------------------------------------------------------------- modules */

/* What BUILD gave a module of torch.nn, or what a torch.fx graph is made with; absent: it is no module. */
static pickle_ref module_state(torch_file *t, pickle_ref v)
{
    const pickle *p = &t->pickle;
    if (pickle_kind_of(p, v) != PICKLE_OBJECT || t->scripted) return PICKLE_ABSENT;
    pickle_ref state = pickle_state(p, v);
    if (pickle_kind_of(p, state) == PICKLE_TUPLE) state = pickle_item(p, state, 0);
    if (pickle_is_called(p, v, "torch.fx.graph_module", "reduce_graph_module"))
        state = pickle_item(p, pickle_arguments(p, v), 0);
    if (pickle_kind_of(p, state) != PICKLE_DICT) return PICKLE_ABSENT;
    if (!(t->marks[v] & MARK_LOOKED)) {
        t->marks[v] |= MARK_LOOKED;
        if (pickle_get(p, state, "_modules") != PICKLE_ABSENT && pickle_get(p, state, "_parameters") != PICKLE_ABSENT)
            t->marks[v] |= MARK_MODULE;
    }
    return t->marks[v] & MARK_MODULE ? state : PICKLE_ABSENT;
}

static const char *script_tensors(const torch_file *t, pickle_ref v)
{
    const char *module, *name;
    if (!t->scripted || pickle_kind_of(&t->pickle, v) != PICKLE_OBJECT) return NULL;
    return pickle_names(&t->pickle, v, &module, &name) ? torch_script_tensors(&t->script, module, name) : NULL;
}

static bool is_listed(const char *names, const char *name)
{
    for (; *names; names += strlen(names) + 1)
        if (!strcmp(names, name)) return true;
    return false;
}

/* What torch.compile makes of a module: it is given by the module that it runs. */
static pickle_ref compiled_from(torch_file *t, pickle_ref v)
{
    const pickle *p = &t->pickle;
    static const char place[] = "torch._dynamo.eval_frame", name[] = "OptimizedModule";
    if (!pickle_is_called(p, v, place, name)) return PICKLE_ABSENT;
    const pickle_ref inner = pickle_item(p, pickle_arguments(p, v), 0);
    return module_state(t, inner) != PICKLE_ABSENT || pickle_is_called(p, inner, place, name) ? inner : PICKLE_ABSENT;
}

static bool holds_names(torch_file *t, pickle_ref v)
{
    return compiled_from(t, v) != PICKLE_ABSENT || module_state(t, v) != PICKLE_ABSENT || script_tensors(t, v) || pickle_is_dictionary(&t->pickle, v);
}

/* What the class of a module says about its weight. */
static void judge_class(const pickle *p, pickle_ref v, frame *f)
{
    const char *module, *name;
    int64_t groups;
    f->kind = SOURCE_KIND_UNKNOWN;
    if (!pickle_names(p, v, &module, &name)) return;
    if (strstr(name, "Conv") && (strstr(name, "1d") || strstr(name, "2d") || strstr(name, "3d"))) {
        const bool transposed = strstr(name, "Transpose") || pickle_kind_of(p, pickle_get(p, f->state, "transposed")) == PICKLE_TRUE;
        f->kind = transposed ? SOURCE_KIND_TRANSPOSED : SOURCE_KIND_CONV;
        if (pickle_integer(p, pickle_get(p, f->state, "groups"), &groups) && groups > 0) f->groups = (uint64_t)groups;
    } else if (!strncmp(module, "torch.nn.modules.", 17)) {
        f->kind = SOURCE_KIND_OTHER;
    }
}

/* ---------------------------------------------------------------- frames */

static fpr_status open_frame(walk *w, pickle_ref v, size_t prefix)
{
    torch_file *t = w->t;
    const pickle *p = &t->pickle;
    frame *f = &w->frames[w->depth];
    *f = (frame){.v = v, .state = module_state(t, v), .prefix = prefix};
    f->tensors = script_tensors(t, v);
    if (f->state != PICKLE_ABSENT) {
        const fpr_status status = spend(w, p->nodes[f->state].c * 2);
        if (status) return status;
        f->part = PART_PARAMETERS;
        f->cell = first_key(p, pickle_get(p, f->state, "_parameters"));
        judge_class(p, v, f);
    } else if (f->tensors) {
        f->part = PART_TENSORS;
        f->state = pickle_state(p, v);
        f->cell = first_key(p, f->state);
        judge_class(p, v, f);
    } else {
        f->part = PART_ITEMS;
        f->cell = first_key(p, v);
    }
    t->marks[v] |= MARK_OPEN;
    w->depth++;
    return FPR_OK;
}

/* The next group of keys; false: the frame is done. */
static bool next_part(walk *w, frame *f)
{
    const pickle *p = &w->t->pickle;
    switch (f->part) {
    case PART_PARAMETERS:
        f->part = PART_BUFFERS;
        f->cell = first_key(p, pickle_get(p, f->state, "_buffers"));
        return true;
    case PART_BUFFERS:
        f->part = PART_MODULES;
        f->cell = first_key(p, pickle_get(p, f->state, "_modules"));
        return true;
    case PART_TENSORS:
        f->part = PART_CHILDREN;
        f->cell = first_key(p, f->state);
        return true;
    default: return false;
    }
}

/* Buffers that state_dict() leaves out. */
static bool is_fleeting(walk *w, const frame *f, const char *key)
{
    const pickle *p = &w->t->pickle;
    pickle_ref names = pickle_get(p, f->state, "_non_persistent_buffers_set");
    if (pickle_kind_of(p, names) == PICKLE_OBJECT) names = pickle_item(p, pickle_arguments(p, names), 0);
    if (!pickle_count(p, names)) return false;
    for (uint32_t cell = pickle_first(p, names); cell; cell = p->cells[cell].next) {
        if (spend(w, 1)) return false;
        if (pickle_text_is(p, p->cells[cell].value, key)) return true;
    }
    return false;
}

static fpr_status extend_path(walk *w, size_t prefix, const char *key, size_t bytes, size_t *end)
{
    *end = prefix + bytes;
    if (*end + 2 > w->room) {
        const size_t room = (*end + 2) * 2;
        char *grown = base_grow(w->path, room, 1);
        if (!grown) return base_no_memory(w->error, room);
        w->path = grown;
        w->room = room;
    }
    memcpy(w->path + prefix, key, bytes);
    w->path[*end] = 0;
    return FPR_OK;
}

/* The module that a compiled one runs, under the name that it has there. */
static fpr_status unwrap(walk *w, pickle_ref *v, size_t *prefix)
{
    static const char name[] = "_orig_mod.";
    for (pickle_ref inner = compiled_from(w->t, *v); inner != PICKLE_ABSENT; inner = compiled_from(w->t, *v)) {
        const fpr_status status = extend_path(w, *prefix, name, sizeof name - 1, prefix);
        if (status) return status;
        *v = inner;
    }
    return FPR_OK;
}

/* Numbers are keys as their text. False: neither text nor number. */
static bool key_text(const pickle *p, pickle_ref key, char number[24], const char **text, size_t *bytes)
{
    int64_t n;
    *text = pickle_text(p, key, bytes);
    if (pickle_kind_of(p, key) != PICKLE_INTEGER || !pickle_integer(p, key, &n)) return pickle_kind_of(p, key) == PICKLE_TEXT;
    *bytes = (size_t)snprintf(number, 24, "%lld", (long long)n);
    *text = number;
    return true;
}

/* Why a value of a dictionary that may well hold weights is not read; NULL: it holds none. */
static fpr_status unread(walk *w, pickle_ref v, const char **why)
{
    const pickle *p = &w->t->pickle;
    const char *module, *name;
    *why = NULL;
    if (pickle_kind_of(p, v) == PICKLE_OBJECT && pickle_names(p, v, &module, &name) && !strncmp(module, "numpy", 5) &&
        !strcmp(name, "_reconstruct"))
        *why = "a numpy array";
    if (pickle_kind_of(p, v) != PICKLE_LIST && pickle_kind_of(p, v) != PICKLE_TUPLE) return FPR_OK;
    fpr_status status = FPR_OK;
    for (uint32_t cell = pickle_first(p, v); !status && !*why && cell; cell = p->cells[cell].next) {
        status = spend(w, 1);
        if (torch_is_tensor(p, p->cells[cell].value)) *why = "tensors in a list, without names";
    }
    return status;
}

static fpr_status meet_tensor(walk *w, const frame *f, pickle_ref v, size_t path_bytes)
{
    if (w->take) w->t->marks[v] |= MARK_TAKEN;
    if (w->take) return torch_add_tensor(w->t, w->path, path_bytes, v, f->kind, f->groups, w->error);
    torch_tensor x;
    const fpr_status status = torch_describe(w->t, v, &x, w->shape, w->stride, w->error);
    if (status || x.why) return status;
    w->tensors++;
    w->elements += x.elements;
    return FPR_OK;
}

/* A key and its value, of the part that is walked. */
static fpr_status meet(walk *w, frame *f, pickle_ref key, pickle_ref value)
{
    torch_file *t = w->t;
    const pickle *p = &t->pickle;
    const bool tensor = torch_is_tensor(p, value), tensors = f->part != PART_MODULES && f->part != PART_CHILDREN;
    const bool inside = f->part == PART_ITEMS || !tensors;
    const char *why = NULL, *text;
    char number[24];
    size_t bytes = 0, end;
    fpr_status status = FPR_OK;
    if (w->take && f->part == PART_ITEMS && !tensor) status = unread(w, value, &why);
    if (status || (!why && (tensor ? !tensors : !inside || !holds_names(t, value)))) return status;
    if (!key_text(p, key, number, &text, &bytes)) {
        bytes = (size_t)snprintf(number, sizeof number, "?%u", key);
        text = number;
        why = "its key is neither text nor number";
    }
    if (!text) return bad(w, "has a tensor or dictionary whose name is longer than 32 KiB");
    if (tensor && f->part == PART_BUFFERS && is_fleeting(w, f, text)) return FPR_OK;
    if (tensor && f->part == PART_TENSORS && !is_listed(f->tensors, text)) return FPR_OK;
    status = extend_path(w, f->prefix, text, bytes, &end);
    if (!status && why) return w->take ? torch_add_skipped(t, w->path, end, why, w->error) : FPR_OK;
    if (status || tensor) return status ? status : meet_tensor(w, f, value, end);
    w->path[end++] = '.';
    status = unwrap(w, &value, &end);
    if (status || t->marks[value] & MARK_OPEN) return status; /* it contains itself */
    if (w->depth == TORCH_DEPTH_MOST) return bad(w, "has dictionaries or modules more than 200 deep");
    return open_frame(w, value, end);
}

/* All tensors of what a dictionary or module holds, in their order. */
static fpr_status walk_names(walk *w, pickle_ref top)
{
    const pickle *p = &w->t->pickle;
    w->elements = w->tensors = 0;
    w->depth = 0;
    size_t prefix = 0;
    fpr_status status = unwrap(w, &top, &prefix);
    if (!status) status = open_frame(w, top, prefix);
    while (!status && w->depth) {
        frame *f = &w->frames[w->depth - 1];
        if (!f->cell) {
            if (next_part(w, f)) continue;
            w->t->marks[f->v] &= (uint8_t)~MARK_OPEN;
            w->depth--;
            continue;
        }
        const uint32_t key = f->cell, value = p->cells[key].next;
        f->cell = p->cells[value].next;
        status = spend(w, 1);
        if (!status) status = meet(w, f, p->cells[key].value, p->cells[value].value);
    }
    while (w->depth) w->t->marks[w->frames[--w->depth].v] &= (uint8_t)~MARK_OPEN;
    return status;
}

/* ---------------------------------------------------------------- which dictionary */

/* How many tensors and elements are in a value; none when it is neither dictionary nor module. */
static fpr_status count_in(walk *w, pickle_ref v, uint64_t *tensors, uint64_t *elements)
{
    *tensors = *elements = 0;
    if (!holds_names(w->t, v)) return FPR_OK;
    const fpr_status status = walk_names(w, v);
    *tensors = w->tensors;
    *elements = w->elements;
    return status;
}

static bool has_tensor(const pickle *p, pickle_ref v)
{
    for (uint32_t cell = first_key(p, v); cell;) {
        const uint32_t value = p->cells[cell].next;
        if (torch_is_tensor(p, p->cells[value].value)) return true;
        cell = p->cells[value].next;
    }
    return false;
}

static bool speaks_of_optimizers(const char *key)
{
    for (; *key; key++)
        if (!strncasecmp(key, "optim", 5)) return true;
    return false;
}

/* The value with the most elements; *key: where it stands. */
static fpr_status find_largest(walk *w, pickle_ref v, pickle_ref *found, pickle_ref *key)
{
    const pickle *p = &w->t->pickle;
    uint64_t most = 0, tensors, elements;
    bool any = false;
    fpr_status status = FPR_OK;
    for (uint32_t cell = first_key(p, v); !status && cell;) {
        const uint32_t value = p->cells[cell].next;
        const char *text = pickle_text(p, p->cells[cell].value, NULL);
        if (text && !speaks_of_optimizers(text)) {
            status = count_in(w, p->cells[value].value, &tensors, &elements);
            if (tensors && (!any || elements > most)) {
                any = true;
                most = elements;
                *found = p->cells[value].value;
                *key = p->cells[cell].value;
            }
        }
        cell = p->cells[value].next;
    }
    return status;
}

static fpr_status find_known(walk *w, pickle_ref v, pickle_ref *found, const char **key)
{
    uint64_t tensors, elements;
    for (size_t i = 0; i < sizeof known_keys / sizeof *known_keys; i++) {
        const pickle_ref value = pickle_get(&w->t->pickle, v, known_keys[i]);
        if (value == PICKLE_ABSENT) continue;
        const fpr_status status = count_in(w, value, &tensors, &elements);
        if (status) return status;
        if (!tensors) continue;
        *found = value;
        *key = known_keys[i];
        return FPR_OK;
    }
    return FPR_OK;
}

/* ---------------------------------------------------------------- the key, and what stays outside */

typedef struct choice {
    pickle_ref root;
    file_text key;     /* "model.state_dict" */
    pickle_ref path[32]; /* the dictionaries that it was chosen from, and the one chosen in each */
    unsigned depth;
} choice;

static void descend(choice *c, const char *key, size_t bytes, pickle_ref into)
{
    if (c->key.count) file_text_add(&c->key, ".", 1);
    file_text_add(&c->key, key, bytes);
    c->path[c->depth++] = c->root;
    c->root = into;
}

/* Up to 300 bytes of the keys of a dictionary, for messages. */
static void list_keys(const pickle *p, pickle_ref v, char *list, size_t room)
{
    size_t at = 0;
    *list = 0;
    for (uint32_t cell = first_key(p, v); cell && at < 200;) {
        const uint32_t value = p->cells[cell].next;
        const char *text = pickle_text(p, p->cells[cell].value, NULL);
        if (text) at += (size_t)snprintf(list + at, room - at, "%s%.60s", at ? ", " : "", text);
        cell = p->cells[value].next;
        if (cell && at >= 200) snprintf(list + at, room - at, ", ...");
    }
}

/* --key: at each step the longest key that the rest of the path begins with. */
static fpr_status follow_key(walk *w, choice *c, const char *key)
{
    const pickle *p = &w->t->pickle;
    while (*key) {
        size_t best = 0;
        pickle_ref into = PICKLE_ABSENT;
        pickle_ref in = c->root;
        if (module_state(w->t, in) != PICKLE_ABSENT) in = pickle_get(p, module_state(w->t, in), "_modules");
        for (uint32_t cell = first_key(p, in); cell;) {
            const uint32_t value = p->cells[cell].next;
            size_t bytes;
            const char *text = pickle_text(p, p->cells[cell].value, &bytes);
            if (text && bytes >= best && !strncmp(key, text, bytes) && (!key[bytes] || key[bytes] == '.')) {
                best = bytes;
                into = p->cells[value].value;
            }
            cell = p->cells[value].next;
        }
        if (into == PICKLE_ABSENT || c->depth == sizeof c->path / sizeof *c->path) {
            char list[300];
            list_keys(p, in, list, sizeof list);
            return base_fail(w->error, FPR_USAGE, "--key: there is no \"%.100s\" here; there is: %s", key, *list ? list : "nothing");
        }
        descend(c, key, best, into);
        key += best + (key[best] == '.');
    }
    uint64_t tensors, elements;
    const fpr_status status = count_in(w, c->root, &tensors, &elements);
    if (!status && !tensors) return base_fail(w->error, FPR_USAGE, "--key: \"%s\" holds no tensor", w->t->options->key);
    return status;
}

static fpr_status refuse_root(walk *w, pickle_ref root)
{
    const pickle *p = &w->t->pickle;
    static const char *const kinds[] = {"nothing", "a truth value", "a truth value", "a number", "a number", "bytes", "a text",
                                        "a tuple", "a list", "a set", "a dictionary", "a class", "an object", "a storage"};
    const pickle_kind kind = pickle_kind_of(p, root);
    const char *module, *name;
    char list[300];
    if (torch_is_tensor(p, root))
        return base_fail(w->error, FPR_BAD_HEADER, "holds a single tensor without a name, not a dictionary of tensors or a module");
    if (kind == PICKLE_OBJECT && !pickle_is_dictionary(p, root) && pickle_names(p, root, &module, &name))
        return base_fail(w->error, FPR_BAD_HEADER, "holds an object of %.100s.%.100s, which is neither a dictionary of tensors nor a module", module, name);
    if (!pickle_is_dictionary(p, root))
        return base_fail(w->error, FPR_BAD_HEADER, "holds %s, not a dictionary of tensors or a module", kinds[kind]);
    list_keys(p, root, list, sizeof list);
    return base_fail(w->error, FPR_BAD_HEADER, "holds no dictionary of tensors; at its top there is: %s", *list ? list : "nothing");
}

static fpr_status choose(walk *w, choice *c)
{
    torch_file *t = w->t;
    const pickle *p = &t->pickle;
    c->root = p->root;
    if (t->options->key && *t->options->key) return follow_key(w, c, t->options->key);
    for (bool first = true; c->depth < sizeof c->path / sizeof *c->path; first = false) {
        if (compiled_from(t, c->root) != PICKLE_ABSENT || module_state(t, c->root) != PICKLE_ABSENT || script_tensors(t, c->root) || has_tensor(p, c->root)) break;
        pickle_ref found = PICKLE_ABSENT, place = PICKLE_ABSENT;
        const char *key = NULL;
        fpr_status status = find_known(w, c->root, &found, &key);
        if (!status && found == PICKLE_ABSENT && first) {
            status = find_largest(w, c->root, &found, &place);
            key = pickle_text(p, place, NULL);
        }
        if (status) return status;
        if (found == PICKLE_ABSENT) {
            if (first) return refuse_root(w, c->root);
            break;
        }
        descend(c, key, strlen(key), found);
    }
    return FPR_OK;
}

/* The other values beside the dictionary taken that hold tensors. */
static fpr_status list_left_out(walk *w, const choice *c)
{
    const pickle *p = &w->t->pickle;
    fpr_status status = FPR_OK;
    for (unsigned i = 0; i < c->depth; i++) {
        const pickle_ref taken = i + 1 < c->depth ? c->path[i + 1] : c->root;
        for (uint32_t cell = first_key(p, c->path[i]); !status && cell;) {
            const uint32_t value = p->cells[cell].next;
            const char *text = pickle_text(p, p->cells[cell].value, NULL);
            uint64_t tensors, elements;
            char why[80];
            if (text && p->cells[value].value != taken && p->cells[value].value != c->path[i]) {
                status = count_in(w, p->cells[value].value, &tensors, &elements);
                snprintf(why, sizeof why, "left out: %llu tensors beside the dictionary taken", (unsigned long long)tensors);
                if (!status && tensors) status = torch_add_skipped(w->t, text, strlen(text), why, w->error);
            }
            cell = p->cells[value].next;
        }
    }
    return status;
}

/* Every tensor of the pickle is looked at, taken or not: one that is broken refuses the file. */
static fpr_status check_all(walk *w)
{
    const pickle *p = &w->t->pickle;
    torch_tensor x;
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < p->node_count; i++)
        if (torch_is_tensor(p, (pickle_ref)i))
            status = torch_describe(w->t, (pickle_ref)i, &x, w->shape, w->stride, w->error);
    return status;
}

static uint64_t place_of(const torch_storage *s) { return s->member ? s->member->data : s->offset; }

static int by_place(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* What else the file holds, wherever it stands: the state of an optimizer is a list of dictionaries of dictionaries. Not
 * what shares a storage with a tensor that is taken, as the flat weights of an LSTM do. */
static fpr_status count_others(walk *w)
{
    torch_file *t = w->t;
    const size_t n = t->base.tensor_count;
    uint64_t *taken = base_alloc(n, sizeof *taken);
    if (!taken) return base_no_memory(w->error, n * sizeof *taken);
    for (size_t i = 0; i < n; i++) taken[i] = place_of(&t->tensors[i].storage);
    qsort(taken, n, sizeof *taken, by_place);
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < t->pickle.node_count; i++) {
        torch_tensor x;
        if (t->marks[i] & MARK_TAKEN || !torch_is_tensor(&t->pickle, (pickle_ref)i)) continue;
        status = torch_describe(t, (pickle_ref)i, &x, w->shape, w->stride, w->error);
        if (status || x.why || !x.bytes) continue;
        const uint64_t place = place_of(&x.storage);
        if (bsearch(&place, taken, n, sizeof *taken, by_place)) continue;
        t->base.others.tensors++;
        t->base.others.bytes += x.bytes < x.storage.bytes ? x.bytes : x.storage.bytes;
    }
    t->base.others.why = "not in the dictionary that was taken; the state of an optimizer is such";
    base_free(taken);
    return status;
}

fpr_status torch_list(torch_file *t, fpr_error *error)
{
    const pickle *p = &t->pickle;
    uint64_t steps = 4096 + 64 * (uint64_t)p->cell_count;
    walk *w = base_calloc(1, sizeof *w);
    t->marks = base_calloc(p->node_count, 1);
    choice c = {.root = p->root};
    if (!w || !t->marks) {
        base_free(w);
        return base_no_memory(error, sizeof *w + p->node_count);
    }
    w->t = t;
    w->error = error;
    w->steps = &steps;
    fpr_status status = check_all(w);
    if (!status) status = choose(w, &c);
    if (!status && !holds_names(t, c.root)) status = refuse_root(w, c.root);
    w->take = true;
    if (!status) status = walk_names(w, c.root);
    w->take = false;
    if (!status) status = list_left_out(w, &c);
    if (!status) status = count_others(w);
    file_text_add(&c.key, "", 1);
    if (!status && c.key.failed) status = base_no_memory(error, c.key.count);
    if (!status) {
        t->base.key = base_copy_text(c.key.bytes, c.key.count - 1);
        if (!t->base.key) status = base_no_memory(error, c.key.count);
    }
    file_text_free(&c.key);
    base_free(w->path);
    base_free(w);
    return status;
}
