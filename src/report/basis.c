/* The basis: eigen-kernels as small images on a diverging scale, and the variance they explain. */
#include "report/page.h"

#include <math.h>

unsigned page_diverging(double v, double limit)
{
    const int middle = DIVERGING / 2;
    if (!(limit > 0) || !isfinite(v)) return (unsigned)middle;
    long step = lround(v / limit * middle);
    return (unsigned)(middle + (step < -middle ? -middle : step > middle ? middle : step));
}

void page_cell(unsigned rank, const uint64_t *shape, unsigned i, int *x, int *y)
{
    unsigned width = (unsigned)shape[rank - 1], height = rank > 1 ? (unsigned)shape[rank - 2] : 1;
    unsigned slice = i / (width * height);
    *x = (int)(i % width + slice * (width + 1));
    *y = (int)(i / width % height);
}

void page_kernel_size(unsigned rank, const uint64_t *shape, int *width, int *height)
{
    unsigned slices = rank == 3 ? (unsigned)shape[0] : 1;
    *width = (int)(slices * ((unsigned)shape[rank - 1] + 1) - 1);
    *height = rank > 1 ? (int)shape[rank - 2] : 1;
}

static double largest(const double *v, unsigned k)
{
    double most = 0;
    for (unsigned i = 0; i < k; i++) most = fmax(most, fabs(v[i]));
    return most;
}

#define SLICE_GAP 4 /* pixels between the slices of a 3-D kernel */

/* One kernel; each cell carries its value as a title. */
static void kernel(report_out *out, const double *v, unsigned rank, const uint64_t *shape, unsigned k, double limit,
                   const char *what, unsigned number)
{
    int width, height;
    page_kernel_size(rank, shape, &width, &height);
    int cell = (rank == 3 ? 56 : 76) / (height > 1 ? height : width > 4 ? 4 : width);
    if (cell > 24) cell = 24;
    if (cell < 3) cell = 3;
    int slices = rank == 3 ? (int)shape[0] : 1,
        closer = cell - SLICE_GAP; /* page_cell leaves a whole cell between slices */
    svg_open(out, "kernel", width * cell - (slices - 1) * closer, height * cell);
    report_text(out, what);
    if (number) page_print(out, " %u", number);
    report_text(out, ", its weights from orange (negative) to blue (positive)");
    svg_draw(out);
    for (unsigned i = 0; i < k; i++) {
        int x, y;
        char text[REPORT_NUMBER];
        page_cell(rank, shape, i, &x, &y);
        page_decimal(text, v[i]);
        int slice = x / ((int)shape[rank - 1] + 1);
        page_print(out, "<rect class=\"d%u\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"><title>%s</title></rect>",
                   page_diverging(v[i], limit), x * cell - slice * closer, y * cell, cell, cell, text);
    }
    svg_close(out);
}

void page_color_scale(report_out *out)
{
    report_text(
        out,
        "<p class=\"scale\"><span>\xE2\x88\x92largest</span><svg width=\"150\" height=\"12\" viewBox=\"0 0 150 12\" "
        "aria-hidden=\"true\">");
    for (unsigned i = 0; i < DIVERGING; i++)
        page_print(out, "<rect class=\"d%u\" x=\"%u\" y=\"0\" width=\"10\" height=\"12\"/>", i, i * 10);
    report_text(out, "</svg><span>+largest</span></p>");
}

/* Bars: each component; line: their sum so far. */
static void explained(report_out *out, const double *ratio, unsigned k)
{
    double sum[128];
    svg_plot plot = {{0.5, k + 0.5, 46, 350}, {0, 1, 184, 30}};
    for (unsigned i = 0; i < k; i++) sum[i] = ratio[i] + (i ? sum[i - 1] : 0);
    svg_open(out, "variance", 360, 222);
    report_text(out, "Explained variance of each component, and cumulated");
    svg_draw(out);
    svg_text(out, "head", 46, 16, "Explained variance, cumulated");
    svg_axis_y(out, &plot, 5, true, NULL);
    double pitch = 304.0 / k, bar = pitch > 3 ? pitch * 0.7 : pitch;
    for (unsigned i = 0; i < k; i++) {
        double y = svg_place(&plot.y, ratio[i]);
        svg_rect(out, "fillbar", svg_place(&plot.x, i + 1) - bar / 2, y, bar, 184 - y);
    }
    svg_curve(out, "before", &plot, 1, 1, sum, k, false);
    if (k <= 49)
        for (unsigned i = 0; i < k; i++) {
            char text[REPORT_NUMBER];
            report_format_fixed(text, sum[i] * 100, 2);
            page_print(out, "<circle cx=\"%d\" cy=\"%d\" r=\"%s\"><title>%u: %s %%</title></circle>",
                       (int)lround(svg_place(&plot.x, i + 1)), (int)lround(svg_place(&plot.y, sum[i])),
                       k > 16 ? "2" : "3", i + 1, text);
        }
    svg_axis_x(out, &plot, k < 12 ? k : 8, "component");
    svg_close(out);
}

void page_basis(report_out *out, const fpr_basis *basis, unsigned rank, const uint64_t *shape, unsigned k)
{
    unsigned drawn = k <= PAGE_KERNELS ? k : k > 49 ? 9 : 18;
    double limit = 0;
    for (unsigned i = 0; i < drawn; i++) limit = fmax(limit, largest(basis->components + (size_t)i * k, k));
    report_text(out, "<figure><div class=\"two\"><div><ol class=\"kernels\">");
    for (unsigned i = 0; i < drawn; i++) {
        report_text(out, "<li>");
        kernel(out, basis->components + (size_t)i * k, rank, shape, k, limit, "Eigen-kernel", i + 1);
        page_print(out, "<b>PC\xC2\xA0%u</b> ", i + 1);
        page_share(out, basis->explained_variance_ratio[i]);
        report_text(out, "</li>");
    }
    double mean_limit = largest(basis->mean, k);
    report_text(out, "<li>");
    kernel(out, basis->mean, rank, shape, k, mean_limit, "Mean kernel", 0);
    report_text(out, "<b>mean</b> \xC2\xB1");
    page_value(out, mean_limit);
    report_text(out, "</li></ol>");
    page_color_scale(out);
    report_text(out, "</div><div class=\"panels\">");
    explained(out, basis->explained_variance_ratio, k);
    report_text(out, "</div></div><figcaption><b>Basis.</b> Eigen-kernels");
    if (drawn < k) page_print(out, " (the first %u of %u)", drawn, k);
    if (rank == 3) report_text(out, ", their slices side by side");
    report_text(out, ", with the share of variance that each explains. Colours reach to \xC2\xB1");
    page_value(out, limit);
    report_text(
        out, " in all of them; the mean kernel, which is subtracted first, has its own scale.</figcaption></figure>\n");
}
