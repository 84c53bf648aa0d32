/* The one table of figures of a layer: JSON, page, terminal and CSV all read it. A further diagnostic is a function and a
 * row (and, in SCHEMA.md, its name). */
#include "report/report.h"

static double sparsity(const fpr_layer *l) { return l->sparsity; }
static double max_abs(const fpr_layer *l) { return l->max_abs; }
static double entropy(const fpr_layer *l) { return l->variance_entropy; }
static double entropy_share(const fpr_layer *l) { return l->variance_entropy_normalized; }
static double live_entropy(const fpr_layer *l) { return l->variance_entropy_clean; }
static double live_entropy_share(const fpr_layer *l) { return l->variance_entropy_clean_normalized; }
static double orthogonality(const fpr_layer *l) { return l->orthogonality; }

static const fpr_figure figures[] = {
    {"sparsity", FPR_FIGURE_SHARE, sparsity, "Sparse", NULL, 0, "Sparse kernels", NULL},
    {"max_abs", FPR_FIGURE_WEIGHT, max_abs, NULL, "max|w|", 8, NULL, NULL},
    {"variance_entropy", FPR_FIGURE_NUMBER, entropy, NULL, "entropy", 0, NULL, NULL},
    {"variance_entropy_normalized", FPR_FIGURE_RATIO, entropy_share, "Entropy / T(n)", NULL, 0, "Variance entropy / T(n)",
     "dashed: random kernels"},
    {"variance_entropy_clean", FPR_FIGURE_NUMBER, live_entropy, NULL, "live entropy", 7, NULL, NULL},
    {"variance_entropy_clean_normalized", FPR_FIGURE_RATIO, live_entropy_share, "the same, live", NULL, 0, NULL, NULL},
    {"orthogonality", FPR_FIGURE_RATIO, orthogonality, "Orthog\xC2\xADonality", "orthogonal", 1, "Orthogonality",
     "dashed: orthogonal filters"},
};

FPR_API const fpr_figure *fpr_layer_figures(size_t *count)
{
    *count = sizeof figures / sizeof *figures;
    return figures;
}

/* A line for each layer: what it is, then its figures. */
FPR_API fpr_status fpr_report_csv(const fpr_report *r, fpr_write write, void *context, fpr_error *error)
{
    report_out out;
    fpr_status status = report_open(&out, write, context, error);
    if (status) return status;
    report_text(&out, "layer,dtype,shape,kernels,live_before,live_after,dead_filters,dead_channels");
    for (size_t f = 0; f < sizeof figures / sizeof *figures; f++) report_text(&out, ","), report_text(&out, figures[f].key);
    report_text(&out, ",relative_l2,bytes_before,bytes_after\n");
    for (uint64_t i = 0; i < r->layer_count; i++) {
        const fpr_layer *l = &r->layers[i];
        const uint64_t counts[] = {l->conv.kernels, l->live_before, l->live_after, l->dead_filter_count, l->dead_channel_count};
        char digits[REPORT_NUMBER];
        report_csv_text(&out, l->name);
        report_text(&out, ","), report_text(&out, fpr_dtype_name(l->dtype)), report_text(&out, ",");
        for (unsigned d = 0; d < l->rank; d++)
            report_format_integer(digits, l->shape[d]), report_text(&out, d ? "x" : ""), report_text(&out, digits);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) report_text(&out, ","), report_csv_integer(&out, counts[c]);
        for (size_t f = 0; f < sizeof figures / sizeof *figures; f++)
            report_text(&out, ","), report_csv_number(&out, figures[f].of(l));
        report_text(&out, ","), report_csv_number(&out, l->error_relative_l2);
        report_text(&out, ","), report_csv_integer(&out, l->stored.bytes_before);
        report_text(&out, ","), report_csv_integer(&out, l->stored.bytes_after);
        report_text(&out, "\n");
    }
    return report_close(&out, error);
}
