/* What the HTML pages share: escaping, numbers for people, the frame of a page, the figures that both pages have. */
#ifndef FPR_PAGE_H
#define FPR_PAGE_H

#include "report/report.h"
#include "report/svg.h"

/* ---- text.c: everything that comes from a file goes through these. Markup characters are escaped; control characters,
 * bidirectional overrides and bytes that are no UTF-8 become visible signs instead of taking effect. */
void page_text(report_out *out, const char *bytes, size_t count);
/* A name or path: at most some 160 bytes, the middle left out when longer, isolated from the direction of the text. */
void page_name(report_out *out, const char *bytes, size_t count);
/* Names of layers without the parts that all of them have in common, which are there, but not shown. */
typedef struct page_shared { size_t head, tail; } page_shared; /* bytes */
page_shared page_shared_of(const fpr_report *r);
void page_name_without(report_out *out, const char *bytes, size_t count, const page_shared *shared);
void page_shared_note(report_out *out, const fpr_report *r, const page_shared *shared); /* says what is hidden */
void page_short(report_out *out, const char *bytes, size_t count, size_t most); /* bare text, head ... tail */
void page_path(report_out *out, const char *path);                              /* page_name of it; NULL: a dash */
const char *page_file_name(const char *path);                                   /* what follows the last slash */
/* Characters that would act instead of being seen: controls, bidirectional overrides, what has no width. */
bool page_is_invisible(uint32_t character);
/* Markup of our own with integers and constant words; no double (locale), no foreign text. At most 512 bytes. */
void page_print(report_out *out, const char *format, ...) BASE_PRINTF(2, 3);

void page_count(report_out *out, uint64_t v);                           /* 1,234,567 */
void page_size(report_out *out, uint64_t bytes);                        /* 61.5 MB */
void page_share(report_out *out, double share);                         /* 0.978 -> 97.8 %; NaN: a dash */
void page_value(report_out *out, double v);                             /* three significant digits; NaN: a dash */
void page_number(report_out *out, double v);                            /* as in JSON; NaN: a dash */
void page_shape(report_out *out, const uint64_t *shape, unsigned rank); /* 64x3x3 with multiplication signs */
void page_plural(report_out *out, uint64_t n, const char *singular, const char *plural); /* "3 layers", "1 layer" */
size_t page_decimal(char *dst, double v); /* page_value's text, dst has REPORT_NUMBER bytes */

/* ---- frame.c */
void page_begin(report_out *out, const char *kind, const char *path); /* up to and including <body> */
void page_footer(report_out *out);                                    /* </main>, footer, script, </html> */
void page_warnings(report_out *out, char *const *warnings, size_t count);

/* ---- basis.c: eigen-kernels and explained variance */
#define PAGE_COMPONENTS 9 /* components whose distributions are drawn */
#define PAGE_KERNELS 27   /* eigen-kernels drawn */
void page_basis(report_out *out, const fpr_basis *basis, unsigned rank, const uint64_t *shape, unsigned k);
/* One of DIVERGING classes for v in [-limit, limit]; the middle one only for what is nearly zero. */
#define DIVERGING 15
unsigned page_diverging(double v, double limit);
/* Where weight i of a kernel stands in its picture: slices of a 3-D kernel side by side, 1-D kernels as strips. */
void page_cell(unsigned rank, const uint64_t *shape, unsigned i, int *x, int *y);
void page_kernel_size(unsigned rank, const uint64_t *shape, int *width, int *height);
void page_color_scale(report_out *out);

/* ---- sections of the report's page */
void page_summary(report_out *out, const fpr_report *r); /* summary.c */
void page_group_table(report_out *out, const fpr_report *r);
void page_distributions(report_out *out, const fpr_group *g, char letter); /* distributions.c: Figure 1 */
void page_binary(report_out *out, const fpr_report *r);                    /* binary.c: Figure 2 */
void page_kernels(report_out *out, const fpr_report *r);                   /* kernels.c: a few of every layer */
void page_depth(report_out *out, const fpr_report *r);                     /* depth.c */
void page_sweep(report_out *out, const fpr_report *r);
void page_spectra(report_out *out, const fpr_report *r);                   /* spectra.c: only with --spectra */
void page_removal(report_out *out, const fpr_removal *r);                  /* removal.c: of an ONNX output */
void page_changed(report_out *out, const fpr_report *r);                   /* changed.c */
void page_layers(report_out *out, const fpr_report *r);                    /* layers.c */
void page_dead(report_out *out, const fpr_report *r);
void page_others(report_out *out, const fpr_report *r);
void page_roles(report_out *out, const fpr_report *r); /* roles.c: transposed and computed layers, and what is none */
void page_audit(report_out *out, const fpr_report *r); /* audit.c */

/* ---- sections of the comparison's page */
/* Whether the divergence of a pair is more than two samples of one distribution would show. */
static inline bool page_is_resolved(const fpr_comparison *c, size_t i, size_t j)
{
    return !c->noise_q95 || !(c->divergence[i * c->model_count + j] <= c->noise_q95[i * c->model_count + j]);
}
/* Short; its own file name where it has none. */
static inline const char *page_model_name(const fpr_comparison *c, size_t i)
{
    return c->models[i].name ? c->models[i].name : page_file_name(c->models[i].path);
}
void page_heat_map(report_out *out, const fpr_comparison *c, const size_t *order,
                   size_t count); /* heat.c: the first count of order */
void page_ridges(report_out *out, const fpr_comparison *c, const size_t *order, size_t count); /* ridge.c */

/* page.css and page.js, made into C by the build. */
extern const char page_css[], page_js[];

#endif
