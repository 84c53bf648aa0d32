/* The bytes of a pickle: the arguments of its opcodes. Inside of the walker. */
#ifndef FPR_SOURCE_PICKLE_INPUT_H
#define FPR_SOURCE_PICKLE_INPUT_H

#include "source/pickle.h"

fpr_status pickle_bad(const pickle_input *in, fpr_error *error, const char *what); /* with the offset */
fpr_status pickle_bytes(pickle_input *in, void *dst, size_t n, fpr_error *error);
fpr_status pickle_skip(pickle_input *in, uint64_t n, fpr_error *error);
fpr_status pickle_number(pickle_input *in, unsigned bytes, uint64_t *n, fpr_error *error); /* little-endian, unsigned */
/* A new node, zeroed. */
fpr_status pickle_node_new(pickle *p, pickle_kind kind, pickle_ref *v, const pickle_input *in, fpr_error *error);
/* A text of n bytes, as they stand. */
fpr_status pickle_text_new(pickle *p, pickle_input *in, uint64_t n, pickle_ref *v, fpr_error *error);
/* A text that ends with its line. How it is spelled: as it is; UNICODE's raw-unicode-escape; STRING's repr. */
typedef enum pickle_spelling { PICKLE_PLAIN, PICKLE_RAW_UNICODE, PICKLE_REPR } pickle_spelling;
fpr_status pickle_line_new(pickle *p, pickle_input *in, pickle_spelling spelling, pickle_ref *v, fpr_error *error);
/* A short line, NUL added, for numbers; a longer one fails. */
fpr_status pickle_line(pickle_input *in, char *line, size_t room, fpr_error *error);

#endif
