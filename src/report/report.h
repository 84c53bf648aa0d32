/* From plain structs to documents: JSON for programs, HTML for people.
 *
 * Renders what the public header's report structs hold, through the caller's write function, in pieces of at most
 * REPORT_BUFFER bytes. Refuses to measure: no tensor is read here and no statistic made. Every name and path is
 * untrusted and leaves escaped; no number depends on the locale. job/ may use the writers of this header too. */
#ifndef FPR_REPORT_H
#define FPR_REPORT_H

#include "base/base.h"
#include "base/utf8.h"

/* ---- out.c: buffered output. A failure is sticky: writers return nothing, report_close tells. */

#define REPORT_BUFFER 65536u

typedef struct report_out {
    fpr_write write;
    void *context;
    char *bytes; /* [REPORT_BUFFER] */
    size_t used;
    fpr_status failed; /* FPR_IO when write returned -1, FPR_NO_MEMORY: everything further is dropped */
    bool comma;        /* JSON: a value stands before, so that a comma comes before the next one */
    bool line;         /* JSON: the next value or closing bracket begins a line */
} report_out;

fpr_status report_open(report_out *out, fpr_write write, void *context, fpr_error *error);
fpr_status report_close(report_out *out, fpr_error *error); /* flushes and frees; tells of failures */
void report_bytes(report_out *out, const char *bytes, size_t count);
void report_text(report_out *out, const char *text);
/* Room for count <= REPORT_BUFFER bytes at out->bytes + out->used; the caller adds to out->used. NULL after a failure.
 */
char *report_reserve(report_out *out, size_t count);

/* ---- number.c: numbers as text. dst has REPORT_NUMBER bytes; returns the length, without the NUL that follows. */

#define REPORT_NUMBER 48

/* The shortest of 15, 16 and 17 significant digits that reads back as the same double. v is finite. */
size_t report_format_double(char *dst, double v);
size_t report_format_integer(char *dst, uint64_t v);
/* v with that many decimals (0..9), trailing zeros kept; for |v| < 1e9, else like report_format_double. */
size_t report_format_fixed(char *dst, double v, unsigned decimals);
/* floor(log10 |v|) for finite v != 0. */
int report_decade(double v);
double report_power_of_ten(int exponent);

/* ---- json.c: one JSON value after the other; commas come by themselves. */

void report_begin(report_out *out, char bracket); /* '{' or '[' */
void report_end(report_out *out, char bracket);   /* '}' or ']' */
void report_line(report_out *out);                /* what follows begins a new line */
void report_key(report_out *out, const char *key);
void report_string(report_out *out, const char *bytes, size_t count); /* not UTF-8: U+FFFD in place of each bad byte */
void report_string0(report_out *out, const char *text);               /* NULL: null */
void report_integer(report_out *out, uint64_t v);
void report_number(report_out *out, double v); /* NaN and infinities: null */
void report_bool(report_out *out, bool v);
void report_null(report_out *out);
void report_value(report_out *out, const char *json); /* as it is written already; NULL: null */
void report_hash(report_out *out, uint64_t hash);                       /* 16 hexadecimal digits; null for 0 */
void report_long_hash(report_out *out, const uint64_t hash[2]);         /* 32 of them; null for 0 */
void report_numbers(report_out *out, const double *v, size_t count);    /* an array; NULL: null */
void report_integers(report_out *out, const uint64_t *v, size_t count); /* an array; v may be NULL when count is 0 */
/* Densities as multiples of 10^(d - 6), d the decade of the peak: seven digits of the peak, none wasted in the tails.
 */
void report_densities(report_out *out, const double *v, size_t count);
void report_strings(report_out *out, char *const *v, size_t count);

/* ---- sweep.c */
void report_sweep(report_out *out, const fpr_report *r); /* a member "sweep"; only with --sweep */

/* ---- spectra.c */
void report_removal(report_out *out, const fpr_removal *r); /* removal.c: a member "removal"; nothing without one */
void report_spectrum(report_out *out, const fpr_spectrum *s); /* a member "spectrum"; nothing when it is not known */

/* ---- csv.c: fields of tables; commas and line ends are the caller's. NaN and infinities: empty. */
void report_csv_text(report_out *out, const char *text);
void report_csv_number(report_out *out, double v);
void report_csv_integer(report_out *out, uint64_t v);

/* The parts that documents share (document.c). */
void report_tool(report_out *out); /* "tool": {...} */
void report_kernel_shape(report_out *out, unsigned rank, const uint64_t *shape);
void report_basis(report_out *out, const fpr_basis *basis, unsigned k);
const char *report_paper(fpr_paper paper); /* as on the command line; NULL: none */
/* "key": [[n] x n], a line for each row. */
void report_matrix(report_out *out, const char *key, const double *matrix, size_t n);
void report_histogram(report_out *out, const uint64_t *counts, unsigned k, unsigned bins);

/* ---- roles.c: what a layer is, "kind", "known_by" and "computed"; and "lookalikes": [...] */
void report_role(report_out *out, const fpr_layer *layer);
void report_lookalikes(report_out *out, const fpr_report *report);


#endif
