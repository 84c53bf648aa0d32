/* The page of a report: the order of its sections, and its words. */
#include "report/page.h"

#define GROUPS_DRAWN 8 /* groups with figures; the table of groups has all */

static void navigation(report_out *out, const fpr_report *r)
{
    static const struct {
        const char *id, *text;
    } links[] = {
        {"changed", "What was changed"}, {"dead", "Dead filters"}, {"groups", "Kernel groups"}, {"kernels", "Kernels"}, {"binary", "Binary filters"},
        {"depth", "Layer by layer"},     {"layers", "Layers"},     {"tensors", "Other tensors"}, {"audit", "Provenance"},
        {"words", "Words"}};
    enum { CHANGED = 0, DEAD = 1, GROUPS = 2, LAYERS = 6 };
    report_text(out, "<nav aria-label=\"Sections\"><ul>");
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        if (i == CHANGED ? !r->has_output : i >= DEAD && i <= LAYERS && !r->layer_count) continue;
        page_print(out, "<li><a href=\"#%s\">%s</a></li>", links[i].id, links[i].text);
        for (size_t g = 0, drawn = 0; i == GROUPS && g < r->group_count && drawn < GROUPS_DRAWN; g++) {
            if (!r->groups[g].has_basis) continue;
            page_print(out, "<li><a href=\"#group-%zu\">", g + 1);
            page_shape(out, r->groups[g].kernel_shape, r->groups[g].kernel_rank);
            report_text(out, "</a></li>");
            drawn++;
        }
    }
    report_text(out, "</ul></nav>\n");
}

static void group_sections(report_out *out, const fpr_report *r)
{
    unsigned drawn = 0;
    for (size_t i = 0; i < r->group_count && drawn < GROUPS_DRAWN; i++) {
        const fpr_group *g = &r->groups[i];
        if (!g->has_basis) continue;
        page_print(out, "<section id=\"group-%zu\"><h2>", i + 1);
        page_shape(out, g->kernel_shape, g->kernel_rank);
        report_text(out, " kernels</h2>\n<p class=\"soft\">");
        page_plural(out, g->layers, "layer", "layers");
        report_text(out, ", ");
        page_plural(out, g->kernels, "kernel", "kernels");
        report_text(out, ", ");
        page_share(out, g->kernels ? (double)g->live / (double)g->kernels : 0);
        report_text(out, r->has_output ? " of them live before, " : " of them live");
        if (r->has_output) page_share(out, g->kernels ? (double)g->live_left / (double)g->kernels : 0);
        report_text(out, r->has_output ? " after.</p>\n" : ".</p>\n");
        page_distributions(out, g, (char)('a' + drawn));
        report_text(out, "<h3>Basis</h3>");
        page_basis(out, &g->basis, g->kernel_rank, g->kernel_shape, g->k);
        report_text(out, "</section>\n");
        drawn++;
    }
}

static void words(report_out *out)
{
    static const struct {
        const char *term, *meaning;
    } entries[] = {
        {"kernel, filter, channel",
         "A kernel is the weights that one filter applies to one input channel; a filter is all kernels of one output "
         "channel; a channel is all kernels of a layer that read one input channel."},
        {"sparse, live",
         "A kernel is sparse when its largest |weight| is below eps times the largest of its layer, live otherwise. A "
         "filter or channel is dead when all its kernels are sparse."},
        {"component, coefficient",
         "Kernels are divided by their own largest |weight|, centred, and written in the basis of their principal "
         "components: the coefficients are what the distributions show."},
        {"shift",
         "Symmetric Kullback\xE2\x80\x93Leibler divergence of the coefficients\xE2\x80\x99 histograms, before against "
         "after, per component; weighted by explained variance and summed. 0 means that nothing moved. Two samples of "
         "n kernels of one distribution are some 200/n apart by chance: 0.2 for a thousand, 0.01 for twenty thousand "
         "(filterprune compare draws it anew for each pair). Of the pairs among 22 public networks for different tasks, "
         "half are between 0.13 and 0.7 apart, nine of ten between 0.03 and 11."},
        {"variance entropy",
         "Entropy (base 10) of the variance ratios of a layer\xE2\x80\x99s own kernels; divided by T(n), what n random "
         "kernels of nine weights would have. Near or above 1: the layer looks untrained; near 0: its kernels are all "
         "alike."},
        {"orthogonality", "1 when all filters of a layer are orthogonal, lower the more they repeat each other; with ~ it is taken over 2,048 evenly spaced filters of a layer that has more."},
        {"binary-like",
         "The weights take two values, within the stated error, for the stated share of the live kernels."},
    };
    report_text(out, "<section id=\"words\"><h2>Words</h2><dl class=\"facts\">");
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        report_text(out, "<dt>");
        report_text(out, entries[i].term);
        report_text(out, "</dt><dd>");
        report_text(out, entries[i].meaning);
        report_text(out, "</dd>");
    }
    report_text(out,
                "</dl><p class=\"soft\">Gavrikov and Keuper, CNN Filter DB, CVPR 2022; Adversarial Robustness Through "
                "the Lens of Convolutional Filters, CVPRW 2022; Does Medical Imaging learn different Convolution "
                "Filters?, MedNeurIPS 2022.</p></section>\n");
}

fpr_status fpr_report_html(const fpr_report *r, fpr_write write, void *context, fpr_error *error)
{
    report_out out;
    fpr_status status = report_open(&out, write, context, error);
    if (status) return status;
    page_begin(&out, r->has_output ? "report" : "inspection", r->input_path);
    page_summary(&out, r);
    navigation(&out, r);
    report_text(&out, "<main id=\"main\">\n");
    if (r->has_output) page_changed(&out, r);
    if (r->removal) page_removal(&out, r->removal);
    if (r->layer_count) {
        page_dead(&out, r);
        page_group_table(&out, r);
        group_sections(&out, r);
        page_kernels(&out, r);
        page_binary(&out, r);
        page_depth(&out, r);
        page_layers(&out, r);
    }
    page_sweep(&out, r);
    page_spectra(&out, r);
    page_roles(&out, r);
    page_others(&out, r);
    page_audit(&out, r);
    words(&out);
    page_footer(&out);
    return report_close(&out, error);
}
