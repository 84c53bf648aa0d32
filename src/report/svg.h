/* A small drawing module: scales, axes with ticks at round numbers, curves, cells, text, legends, as SVG inside HTML.
 *
 * It is told what to draw and where; it knows neither reports nor statistics. How things look is page.css's matter:
 * every shape carries a class. Coordinates are pixels, written with one decimal. */
#ifndef FPR_SVG_H
#define FPR_SVG_H

#include "report/report.h"

/* A linear map from [lo, hi] to pixels [from, to]; on a vertical axis from is the lower edge, so from > to. */
typedef struct svg_scale {
    double lo, hi, from, to;
} svg_scale;
typedef struct svg_plot {
    svg_scale x, y;
} svg_plot;

double svg_place(const svg_scale *scale, double v);

/* Multiples of 1, 2 or 5 times a power of ten inside [lo, hi]: first + i * step, about as many as wanted. */
typedef struct svg_ticks {
    double first, step;
    unsigned count, decimals;
} svg_ticks;
svg_ticks svg_round_ticks(double lo, double hi, unsigned wanted);

/* Opens a drawing and its <title>: write the title (escaped) and go on with svg_draw. The title is its accessible name.
 */
void svg_open(report_out *out, const char *class_name, double width, double height);
void svg_draw(report_out *out);
void svg_close(report_out *out);

/* Axis lines, ticks, numbers and label. Grid lines are drawn with the y axis. percent: numbers times 100 with a sign.
 */
void svg_axis_x(report_out *out, const svg_plot *plot, unsigned ticks, const char *label);
void svg_axis_y(report_out *out, const svg_plot *plot, unsigned ticks, bool percent, const char *label);

void svg_line(report_out *out, const char *class_name, double x1, double y1, double x2, double y2);
void svg_rect(report_out *out, const char *class_name, double x, double y, double width, double height);
void svg_text(report_out *out, const char *class_name, double x, double y,
              const char *text); /* class says the anchor */
/* The same, turned by -90 degrees about (x, y) or whatever transform says. */
void svg_text_turned(report_out *out, const char *class_name, double x, double y, int degrees, const char *text);

/* values[i] at x = start + i * step, in the plot's units. What lies outside the plot is cut off, NaN leaves a gap,
 * points on a straight line (to a tenth of a pixel) are left out. filled: closed down to the lower edge, cut flat at
 * the upper. */
void svg_curve(report_out *out, const char *class_name, const svg_plot *plot, double start, double step,
               const double *values, size_t count, bool filled);

/* Cells of one path each class: pen strokes of a grid. Call svg_cells_begin, svg_cell for cells of equal class from
 * left to right, row by row, then svg_cells_end. Neighbours in a row are joined. */
typedef struct svg_cells {
    int x, y, run_x, run_y, run;
    bool any;
} svg_cells; /* zero-initialised by svg_cells_begin */
void svg_cells_begin(report_out *out, svg_cells *cells, const char *class_prefix, unsigned class_number);
void svg_cell(report_out *out, svg_cells *cells, int x, int y);
void svg_cells_end(report_out *out, svg_cells *cells);

/* A legend as an HTML list, each entry with the line or area it stands for. */
typedef struct svg_key {
    const char *class_name, *text;
    bool filled;
} svg_key;
void svg_legend(report_out *out, const svg_key *keys, size_t count);

#endif
