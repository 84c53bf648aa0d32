/* The machine that builds a pickle's values: its stack, marks and memo, containers and objects. Inside of the walker. */
#ifndef FPR_SOURCE_PICKLE_MACHINE_H
#define FPR_SOURCE_PICKLE_MACHINE_H

#include "source/pickle_input.h"

/* A number of up to 31 bits is its own reference. */
#define MACHINE_SMALL 0x80000000u
/* Nodes that every pickle begins with: values without content of their own. */
enum { NODE_NONE, NODE_FALSE, NODE_TRUE, NODE_NUMBER, NODE_BYTES };

typedef struct machine {
    pickle *p;
    pickle_input *in;
    fpr_error *error;
    pickle_ref *stack;
    size_t depth, stack_room;
    uint32_t *marks; /* depth of the stack at each mark */
    size_t mark_count, mark_room;
    pickle_ref *memo;
    size_t memo_count, memo_room;
    size_t memo_set; /* how many are set: the place that MEMOIZE takes */
    bool stopped;
} machine;

fpr_status machine_begin(machine *w);
void machine_end(machine *w);
fpr_status machine_bad(machine *w, const char *what);

fpr_status machine_push(machine *w, pickle_ref v);
fpr_status machine_pop(machine *w, pickle_ref *v);
fpr_status machine_top(machine *w, pickle_ref *v);
/* The lowest place that can be reached: what lies below the last mark cannot. */
size_t machine_floor(const machine *w);
fpr_status machine_mark(machine *w);
/* Takes the last mark away; what lay above it is stack[*begin..depth). */
fpr_status machine_unmark(machine *w, size_t *begin);
fpr_status machine_remember(machine *w, uint64_t place);
fpr_status machine_recall(machine *w, uint64_t place);

pickle_kind machine_kind(machine *w, pickle_ref v);
pickle_node *machine_node(machine *w, pickle_ref v);
fpr_status machine_new_node(machine *w, pickle_kind kind, pickle_ref *v);
/* A container of all that stands on the stack from begin on, in its place. */
fpr_status machine_push_new(machine *w, pickle_kind kind, size_t begin);
/* Keys and values, or items, from begin on, to what lies below them. */
fpr_status machine_set_items(machine *w, size_t begin);
fpr_status machine_add_items(machine *w, size_t begin);
/* The node that holds an object's items and state. */
fpr_status machine_more_of(machine *w, pickle_ref object, pickle_ref *more);
fpr_status machine_push_object(machine *w, pickle_ref class, pickle_ref arguments);
fpr_status machine_push_class(machine *w, pickle_ref module, pickle_ref name);

#endif
