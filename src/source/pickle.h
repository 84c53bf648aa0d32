/* Python's pickles, protocols 0 to 5, as inert data.
 *
 * A pickle is a program for a small stack machine. This one builds values only: a class is its two names, an object is
 * its class, arguments and state, whatever they are; nothing is imported, looked up or called. No recursion; what is
 * built twice is referred to. The only calls that are understood are those that make plain containers
 * (collections.OrderedDict) and those behind which a class hides (copyreg._reconstructor). */
#ifndef FPR_SOURCE_PICKLE_H
#define FPR_SOURCE_PICKLE_H

#include "base/base.h"

/* Bounds: what goes beyond is refused, or, for a text, known by its length alone. Enough for 100,000 tensors. */
#define PICKLE_NODES_MOST (1u << 20)       /* values that are no small numbers */
#define PICKLE_CELLS_MOST (3u << 20)       /* places in containers */
#define PICKLE_STACK_MOST (1u << 20)
#define PICKLE_TEXT_MOST (32u << 10)       /* bytes of one text */
#define PICKLE_TEXTS_MOST (16u << 20)      /* bytes of all texts */

/* Where a pickle is read from. Zero-initialise but for the first four. */
typedef struct pickle_input {
    fpr_status (*read)(void *context, uint64_t at, uint64_t count, void *dst, fpr_error *error);
    void *context;
    uint64_t size;          /* bytes there are: the pickle ends before */
    const volatile int *cancel;
    uint64_t at;            /* the next byte; after a pickle: behind it */
    uint64_t window_at;
    size_t window_bytes;
    uint8_t window[16u << 10];
} pickle_input;

/* A value: a small number, or a node. */
typedef uint32_t pickle_ref;
#define PICKLE_NONE_REF 0u
#define PICKLE_ABSENT UINT32_MAX /* no value at all */

typedef enum pickle_kind {
    PICKLE_NONE, PICKLE_FALSE, PICKLE_TRUE,
    PICKLE_INTEGER,
    PICKLE_NUMBER,     /* a float, or an integer beyond 64 bits: its value is not kept */
    PICKLE_BYTES,      /* its value is not kept */
    PICKLE_TEXT,       /* also the byte strings of Python 2 */
    PICKLE_TUPLE, PICKLE_LIST, PICKLE_SET,
    PICKLE_DICT,
    PICKLE_CLASS,      /* or a function: two names */
    PICKLE_OBJECT,     /* made by a call of a class or function with arguments; perhaps items (of a dictionary), state */
    PICKLE_PERSISTENT  /* what the program around the pickle keeps: an id */
} pickle_kind;

/* A place in a container: items one after the other, in dictionaries key, value, key, value. */
typedef struct pickle_cell {
    pickle_ref value;
    uint32_t next; /* 0: the last */
} pickle_cell;

typedef struct pickle_node {
    uint32_t kind;
    uint32_t a, b, c; /* integer: low, high; text: place, bytes; container: first, last, count; class: module, name;
                       * object: class, arguments, node of items and state or 0; persistent: id */
} pickle_node;

typedef struct pickle {
    pickle_node *nodes;
    pickle_cell *cells;
    char *texts;
    size_t node_count, cell_count, text_bytes;
    size_t node_room, cell_room, text_room;
    pickle_ref root;
} pickle;

/* Reads one pickle to its STOP. FPR_BAD_HEADER for what is no pickle or beyond the bounds, with the offset. */
fpr_status pickle_read(pickle_input *input, pickle *out, fpr_error *error);
void pickle_free(pickle *p); /* also zeroed */

/* ---- all of these take any value, and PICKLE_ABSENT: for one that is not there or of another kind */

pickle_kind pickle_kind_of(const pickle *p, pickle_ref v); /* PICKLE_NONE for PICKLE_ABSENT */
/* UTF-8 as it was written, NUL added; NULL: no text, or one beyond PICKLE_TEXT_MOST. */
const char *pickle_text(const pickle *p, pickle_ref v, size_t *bytes);
bool pickle_text_is(const pickle *p, pickle_ref v, const char *text);
bool pickle_integer(const pickle *p, pickle_ref v, int64_t *integer); /* also of False and True */
/* Items of tuples, lists and sets, keys and values of dictionaries and of objects that have some. */
uint32_t pickle_first(const pickle *p, pickle_ref v); /* the first cell; 0: none */
size_t pickle_count(const pickle *p, pickle_ref v);   /* items of a tuple, list or set */
pickle_ref pickle_item(const pickle *p, pickle_ref v, size_t i); /* of a tuple, list or set, by counting */
pickle_ref pickle_get(const pickle *p, pickle_ref dictionary, const char *key); /* the last of equal keys */
bool pickle_is_dictionary(const pickle *p, pickle_ref v); /* a dictionary, or an object with items */
/* A class or function itself, or that of an object. */
bool pickle_names(const pickle *p, pickle_ref v, const char **module, const char **name);
bool pickle_is_called(const pickle *p, pickle_ref v, const char *module, const char *name);
pickle_ref pickle_arguments(const pickle *p, pickle_ref object);
pickle_ref pickle_state(const pickle *p, pickle_ref object); /* what BUILD gave it */

#endif
