/* Drawing as SVG text. Numbers take one decimal and paths take relative steps: half the bytes of the usual form. */
#include "report/svg.h"

#include "report/page.h"

#include <math.h>

/* ---- coordinates */

/* Tenths as text: 125 -> "12.5", -5 -> "-.5". */
static size_t put_tenths(char *dst, long tenths)
{
    size_t n = 0;
    if (tenths < 0) dst[n++] = '-', tenths = -tenths;
    if (tenths >= 10 || tenths == 0) n += report_format_integer(dst + n, (uint64_t)(tenths / 10));
    if (tenths % 10) dst[n++] = '.', dst[n++] = (char)('0' + tenths % 10);
    return n;
}

/* Nothing is drawn as far out as a million; lround is not defined for what no long holds. */
static long tenths(double v) { return isfinite(v) ? lround(fmin(fmax(v, -1e6), 1e6) * 10) : 0; }

static void coordinate(report_out *out, double v)
{
    char *room = report_reserve(out, REPORT_NUMBER);
    if (room) out->used += put_tenths(room, tenths(v));
}

static void attribute(report_out *out, const char *name, double v)
{
    report_text(out, name);
    report_text(out, "=\"");
    coordinate(out, v);
    report_bytes(out, "\"", 1);
}

static void class_attribute(report_out *out, const char *class_name)
{
    report_text(out, " class=\"");
    report_text(out, class_name);
    report_bytes(out, "\"", 1);
}

/* Of a scale of no width its middle: all that is drawn on it is one value. */
double svg_place(const svg_scale *s, double v)
{
    const double width = s->hi - s->lo;
    return s->from + (width > 0 ? (v - s->lo) / width : 0.5) * (s->to - s->from);
}

svg_ticks svg_round_ticks(double lo, double hi, unsigned wanted)
{
    double rough = (hi - lo) / (wanted ? wanted : 1);
    if (!(rough > 0) || !isfinite(rough)) return (svg_ticks){lo, 1, 1, 0};
    int decade = report_decade(rough);
    double unit = report_power_of_ten(decade), in_units = rough / unit;
    double step = unit * (in_units < 1.5 ? 1 : in_units < 3.5 ? 2 : in_units < 7.5 ? 5 : 10);
    if (in_units >= 7.5) decade++;
    double first = ceil(lo / step - 1e-9), last = floor(hi / step + 1e-9);
    return (svg_ticks){first * step, step, (unsigned)(last - first + 1), decade < 0 ? (unsigned)-decade : 0};
}

/* ---- the frame */

void svg_open(report_out *out, const char *class_name, double width, double height)
{
    width = ceil(width), height = ceil(height); /* widths are whole numbers in HTML */
    report_text(out, "<svg role=\"img\"");
    class_attribute(out, class_name);
    attribute(out, " width", width);
    attribute(out, " height", height);
    report_text(out, " viewBox=\"0 0 ");
    coordinate(out, width);
    report_bytes(out, " ", 1);
    coordinate(out, height);
    report_text(out, "\"><title>");
}

void svg_draw(report_out *out) { report_text(out, "</title>"); }

void svg_close(report_out *out) { report_text(out, "</svg>"); }

/* ---- shapes */

void svg_line(report_out *out, const char *class_name, double x1, double y1, double x2, double y2)
{
    report_text(out, "<path");
    class_attribute(out, class_name);
    report_text(out, " d=\"M");
    coordinate(out, x1);
    report_bytes(out, " ", 1);
    coordinate(out, y1);
    report_bytes(out, "L", 1);
    coordinate(out, x2);
    report_bytes(out, " ", 1);
    coordinate(out, y2);
    report_text(out, "\"/>");
}

void svg_rect(report_out *out, const char *class_name, double x, double y, double width, double height)
{
    report_text(out, "<rect");
    class_attribute(out, class_name);
    attribute(out, " x", x);
    attribute(out, " y", y);
    attribute(out, " width", width);
    attribute(out, " height", height);
    report_text(out, "/>");
}

void svg_text(report_out *out, const char *class_name, double x, double y, const char *text)
{
    report_text(out, "<text");
    class_attribute(out, class_name);
    attribute(out, " x", x);
    attribute(out, " y", y);
    report_bytes(out, ">", 1);
    page_text(out, text, strlen(text));
    report_text(out, "</text>");
}

void svg_text_turned(report_out *out, const char *class_name, double x, double y, int degrees, const char *text)
{
    report_text(out, "<text");
    class_attribute(out, class_name);
    report_text(out, " transform=\"translate(");
    coordinate(out, x);
    report_bytes(out, " ", 1);
    coordinate(out, y);
    page_print(out, ") rotate(%d)\">", degrees);
    page_text(out, text, strlen(text));
    report_text(out, "</text>");
}

/* ---- axes */

static void tick_text(report_out *out, const char *class_name, double x, double y, double v, unsigned decimals,
                      bool percent)
{
    char text[REPORT_NUMBER + 8];
    size_t n = 0;
    if (v < 0) memcpy(text, "\xE2\x88\x92", 3), n = 3;
    n += report_format_fixed(text + n, fabs(percent ? v * 100 : v),
                             percent ? (decimals > 2 ? decimals - 2 : 0) : decimals);
    if (percent) memcpy(text + n, "\xC2\xA0%", 4);
    svg_text(out, class_name, x, y, text);
}

void svg_axis_x(report_out *out, const svg_plot *p, unsigned wanted, const char *label)
{
    svg_ticks ticks = svg_round_ticks(p->x.lo, p->x.hi, wanted);
    double base = p->y.from;
    svg_line(out, "axis", p->x.from, base, p->x.to, base);
    for (unsigned i = 0; i < ticks.count; i++) {
        double v = ticks.first + i * ticks.step, x = svg_place(&p->x, v);
        svg_line(out, "axis", x, base, x, base + 4);
        tick_text(out, "tick mid", x, base + 15, v, ticks.decimals, false);
    }
    if (label) svg_text(out, "label mid", (p->x.from + p->x.to) / 2, base + 29, label);
}

void svg_axis_y(report_out *out, const svg_plot *p, unsigned wanted, bool percent, const char *label)
{
    svg_ticks ticks = svg_round_ticks(p->y.lo, p->y.hi, wanted);
    for (unsigned i = 0; i < ticks.count; i++) {
        double v = ticks.first + i * ticks.step, y = svg_place(&p->y, v);
        svg_line(out, "grid", p->x.from, y, p->x.to, y);
        tick_text(out, "tick end", p->x.from - 5, y + 3.5, v, ticks.decimals, percent);
    }
    if (label) svg_text_turned(out, "label mid", 10, (p->y.from + p->y.to) / 2, -90, label);
}

/* ---- curves: a pen that leaves out what lies on a straight line
 *
 * From the last written point (the anchor) every point since allows a range of slopes that pass it within the
 * tolerance. When a new point's slope leaves the common range, the point before it is written and becomes the anchor.
 * One pass; known from process recording as the swinging door. */

#define TOLERANCE 0.12 /* pixels */

typedef struct pen {
    report_out *out;
    double anchor_x, anchor_y, last_x, last_y, least, most;
    long at_x, at_y; /* where the path is, in tenths */
    bool down;
} pen;

static void pen_step(pen *p, double x, double y)
{
    char *room = report_reserve(p->out, 2 * REPORT_NUMBER);
    if (!room) return;
    long dx = tenths(x) - p->at_x, dy = tenths(y) - p->at_y;
    if (!dx && !dy) return;
    size_t n = 0;
    room[n++] = 'l';
    n += put_tenths(room + n, dx);
    if (dy >= 0) room[n++] = ' ';
    n += put_tenths(room + n, dy);
    p->out->used += n;
    p->at_x += dx, p->at_y += dy;
}

static void pen_to(pen *p, double x, double y)
{
    if (!p->down) {
        report_bytes(p->out, "M", 1);
        coordinate(p->out, x);
        report_bytes(p->out, " ", 1);
        coordinate(p->out, y);
        *p = (pen){p->out, x, y, x, y, -INFINITY, INFINITY, tenths(x), tenths(y), true};
        return;
    }
    double slope = (y - p->anchor_y) / (x - p->anchor_x);
    if (!(slope >= p->least && slope <= p->most)) {
        pen_step(p, p->last_x, p->last_y);
        p->anchor_x = p->last_x, p->anchor_y = p->last_y;
        p->least = -INFINITY, p->most = INFINITY;
    }
    double run = x - p->anchor_x;
    if (run > 0) {
        p->least = fmax(p->least, (y - TOLERANCE - p->anchor_y) / run);
        p->most = fmin(p->most, (y + TOLERANCE - p->anchor_y) / run);
    }
    p->last_x = x, p->last_y = y;
}

static void pen_up(pen *p)
{
    if (p->down) pen_step(p, p->last_x, p->last_y);
    p->down = false;
}

/* An outline that leaves the plot at the top is cut where it crosses the edge. */
static void cut_curve(pen *p, double top, double x, double y, double before_x, double before_y, bool has_before)
{
    bool inside = y >= top, was_inside = has_before && before_y >= top;
    if (has_before && inside != was_inside) {
        double cross = before_x + (top - before_y) / (y - before_y) * (x - before_x);
        pen_to(p, cross, top);
        if (!inside) pen_up(p);
    }
    if (inside) pen_to(p, x, y);
}

void svg_curve(report_out *out, const char *class_name, const svg_plot *plot, double start, double step,
               const double *values, size_t count, bool filled)
{
    pen p = {.out = out};
    double base = plot->y.from, top = plot->y.to, before_x = 0, before_y = 0;
    bool has_before = false;
    report_text(out, "<path");
    class_attribute(out, class_name);
    report_text(out, " d=\"");
    for (size_t i = 0; i < count; i++) {
        double v = start + (double)i * step, x = svg_place(&plot->x, v), y = svg_place(&plot->y, values[i]);
        if (!isfinite(y)) {
            if (!filled) pen_up(&p);
            has_before = false;
            continue;
        }
        if (v < plot->x.lo || v > plot->x.hi) continue;
        y = fmin(y, base);
        if (filled) {
            if (!p.down) pen_to(&p, x, base);
            pen_to(&p, x, fmax(y, top));
        } else {
            cut_curve(&p, top, x, y, before_x, before_y, has_before);
        }
        before_x = x, before_y = y, has_before = true;
    }
    bool close = filled && p.down;
    if (close)
        pen_step(&p, p.last_x, p.last_y), pen_step(&p, p.last_x, base);
    else
        pen_up(&p);
    report_text(out, close ? "z\"/>" : "\"/>");
}

/* ---- cells */

void svg_cells_begin(report_out *out, svg_cells *cells, const char *class_prefix, unsigned class_number)
{
    *cells = (svg_cells){0};
    page_print(out, "<path class=\"%s%u\" d=\"", class_prefix, class_number);
}

static void write_run(report_out *out, svg_cells *c)
{
    if (!c->run) return;
    char *room = report_reserve(out, 4 * REPORT_NUMBER);
    if (!room) return;
    int dx = c->run_x - c->x, dy = c->run_y - c->y;
    size_t n = 0;
    room[n++] = c->any ? 'm' : 'M';
    n += put_tenths(room + n, 10L * dx);
    if (dy >= 0) room[n++] = ' ';
    n += put_tenths(room + n, 10L * dy);
    room[n++] = 'h';
    n += put_tenths(room + n, 10L * c->run);
    memcpy(room + n, "v1h-", 4);
    n += 4;
    n += put_tenths(room + n, 10L * c->run);
    room[n++] = 'z';
    out->used += n;
    c->x = c->run_x, c->y = c->run_y; /* closing a path returns to where it began */
    c->any = true;
    c->run = 0;
}

void svg_cell(report_out *out, svg_cells *c, int x, int y)
{
    if (c->run && y == c->run_y && x == c->run_x + c->run) {
        c->run++;
        return;
    }
    write_run(out, c);
    c->run_x = x, c->run_y = y, c->run = 1;
}

void svg_cells_end(report_out *out, svg_cells *c)
{
    write_run(out, c);
    report_text(out, "\"/>");
}

/* ---- legend */

void svg_legend(report_out *out, const svg_key *keys, size_t count)
{
    report_text(out, "<ul class=\"legend\">");
    for (size_t i = 0; i < count; i++) {
        report_text(
            out, "<li><svg class=\"key\" width=\"28\" height=\"12\" viewBox=\"0 0 28 12\" aria-hidden=\"true\"><path");
        class_attribute(out, keys[i].class_name);
        report_text(out, keys[i].filled ? " d=\"M1 11V3h26v8z\"/></svg>" : " d=\"M1 6h26\"/></svg>");
        page_text(out, keys[i].text, strlen(keys[i].text));
        report_text(out, "</li>");
    }
    report_text(out, "</ul>");
}
