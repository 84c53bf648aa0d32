/* The pages and their drawings as text: nothing from a file acts as markup, tags balance, numbers are those of the
 * struct, sizes stay within their bounds, failures are told. What a browser makes of them is tested in tests/report/.
 */
#include "fake_report.h"
#include "german.h"

#include "report/page.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct sheet {
    char *bytes;
    size_t count, capacity, stop_after;
} sheet;

static int keep(void *context, const void *bytes, size_t count)
{
    sheet *p = context;
    if (p->stop_after && p->count + count > p->stop_after) return -1;
    while (p->count + count + 1 > p->capacity) {
        p->capacity = p->capacity * 2 + 4096;
        p->bytes = realloc(p->bytes, p->capacity);
        assert_non_null(p->bytes);
    }
    memcpy(p->bytes + p->count, bytes, count);
    p->count += count;
    p->bytes[p->count] = '\0';
    return 0;
}

static sheet report_page(fake_kind kind)
{
    sheet p = {0};
    fpr_report *r = fake_report(kind);
    assert_int_equal(fpr_report_html(r, keep, &p, NULL), FPR_OK);
    fpr_report_free(r);
    return p;
}

static sheet comparison_page(size_t models, unsigned side)
{
    sheet p = {0};
    fpr_comparison *c = fake_comparison(models, side);
    assert_int_equal(fpr_comparison_html(c, keep, &p, NULL), FPR_OK);
    fpr_comparison_free(c);
    return p;
}

static size_t occurrences(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

/* ---- one piece of output at a time */

static sheet piece;
static report_out piece_out;

static report_out *begin_piece(void)
{
    free(piece.bytes);
    piece = (sheet){0};
    assert_int_equal(report_open(&piece_out, keep, &piece, NULL), FPR_OK);
    return &piece_out;
}

static const char *end_piece(void)
{
    assert_int_equal(report_close(&piece_out, NULL), FPR_OK);
    return piece.bytes ? piece.bytes : "";
}

#define PIECE(call) (call, end_piece())

static void names_are_text(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"<script>", "&lt;script&gt;"},
        {"a&b\"c'd", "a&amp;b&quot;c&#39;d"},
        {"\x01\n\x7f", "\xE2\x9F\xA8U+0001\xE2\x9F\xA9\xE2\x9F\xA8U+000A\xE2\x9F\xA9\xE2\x9F\xA8U+007F\xE2\x9F\xA9"},
        {"\xe2\x80\xae", "\xE2\x9F\xA8U+202E\xE2\x9F\xA9"},      /* right-to-left override */
        {"\xf3\xa0\x81\x81", "\xE2\x9F\xA8U+E0041\xE2\x9F\xA9"}, /* a tag character */
        {"\xef\xbf\xbe", "\xE2\x9F\xA8U+FFFE\xE2\x9F\xA9"},      /* no character at all */
        {"\xc3\xa9\xe6\x97\xa5", "\xc3\xa9\xe6\x97\xa5"},
        {"\xff\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(PIECE(page_text(begin_piece(), cases[i].name, strlen(cases[i].name))), cases[i].text);
    assert_string_equal(PIECE(page_text(begin_piece(), "a\0b", 3)), "a\xE2\x9F\xA8U+0000\xE2\x9F\xA9"
                                                                    "b");
    assert_string_equal(PIECE(page_name(begin_piece(), "", 0)), "<bdi>(empty name)</bdi>");
    assert_string_equal(PIECE(page_short(begin_piece(), "abcdefghijkl", 12, 6)), "ab\xE2\x80\xA6ijkl");
    /* Cut between characters, never inside one. */
    assert_string_equal(PIECE(page_short(begin_piece(), "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 10, 4)),
                        "\xE2\x80\xA6\xc3\xa9\xc3\xa9");
    static char endless[2000000];
    memset(endless, 'n', sizeof endless);
    PIECE(page_name(begin_piece(), endless, sizeof endless));
    assert_true(piece.count < 200);
}

static void numbers_are_for_people(void **state)
{
    (void)state;
    assert_string_equal(PIECE(page_count(begin_piece(), 0)), "0");
    assert_string_equal(PIECE(page_count(begin_piece(), 999)), "999");
    assert_string_equal(PIECE(page_count(begin_piece(), 1234567)), "1,234,567");
    assert_string_equal(PIECE(page_size(begin_piece(), 1)), "1\xC2\xA0"
                                                            "byte");
    assert_string_equal(PIECE(page_size(begin_piece(), 999)), "999\xC2\xA0"
                                                              "bytes");
    assert_string_equal(PIECE(page_size(begin_piece(), 61520344)), "61.5\xC2\xA0MB");
    assert_string_equal(PIECE(page_size(begin_piece(), 999600)), "1.00\xC2\xA0MB");
    assert_string_equal(PIECE(page_size(begin_piece(), UINT64_MAX)), "18.4\xC2\xA0"
                                                                     "EB");
    assert_string_equal(PIECE(page_share(begin_piece(), 0.978)), "97.8\xC2\xA0%");
    assert_string_equal(PIECE(page_share(begin_piece(), 0.99999)), "&gt;\xC2\xA0"
                                                                   "99.9\xC2\xA0%");
    assert_string_equal(PIECE(page_share(begin_piece(), 1e-9)), "&lt;\xC2\xA0"
                                                                "0.1\xC2\xA0%");
    assert_string_equal(PIECE(page_share(begin_piece(), 1)), "100\xC2\xA0%");
    assert_string_equal(PIECE(page_share(begin_piece(), NAN)), "\xE2\x80\x93");
    assert_string_equal(PIECE(page_value(begin_piece(), 0.0123456)), "0.0123");
    assert_string_equal(PIECE(page_value(begin_piece(), -12.34)), "\xE2\x88\x92"
                                                                  "12.3");
    assert_string_equal(PIECE(page_value(begin_piece(), 1.25e-7)), "1.25e-7");
    assert_string_equal(PIECE(page_value(begin_piece(), 9.996e-7)), "1.00e-6");
    assert_string_equal(PIECE(page_value(begin_piece(), 9.996)), "10.0");
    assert_string_equal(PIECE(page_value(begin_piece(), 0.09999)), "0.100");
    assert_string_equal(PIECE(page_value(begin_piece(), INFINITY)), "\xE2\x80\x93");
    static const uint64_t shape[] = {64, 3, 7, 7};
    assert_string_equal(PIECE(page_shape(begin_piece(), shape, 4)), "64\xC3\x97"
                                                                    "3\xC3\x97"
                                                                    "7\xC3\x97"
                                                                    "7");
    assert_string_equal(PIECE(page_shape(begin_piece(), NULL, 0)), "scalar");
}

/* ---- drawing */

static void ticks_are_round(void **state)
{
    (void)state;
    static const struct {
        double lo, hi;
        unsigned wanted;
        double first, step;
        unsigned count, decimals;
    } cases[] = {{0, 1, 5, 0, 0.2, 6, 1},     {-2.71, 2.77, 6, -2, 1, 5, 0}, {0, 0.034, 4, 0, 0.01, 4, 2},
                 {0, 9700, 5, 0, 2000, 5, 0}, {0.5, 9.5, 9, 1, 1, 9, 0},     {-1e-9, 1e-9, 4, -1e-9, 5e-10, 5, 10}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        svg_ticks t = svg_round_ticks(cases[i].lo, cases[i].hi, cases[i].wanted);
        assert_int_equal(t.count, cases[i].count);
        assert_true(fabs(t.first - cases[i].first) <= 1e-12 * (cases[i].hi - cases[i].lo));
        assert_true(fabs(t.step - cases[i].step) <= 1e-12 * cases[i].step);
        assert_int_equal(t.decimals, cases[i].decimals);
    }
    assert_int_equal(svg_round_ticks(3, 3, 5).count, 1);
    assert_int_equal(svg_round_ticks(NAN, 1, 5).count, 1);
}

static void curves_keep_what_bends(void **state)
{
    (void)state;
    svg_plot plot = {{0, 10, 0, 100}, {0, 1, 50, 0}};
    double straight[11], bent[11], broken[11], high[11];
    for (int i = 0; i < 11; i++) {
        straight[i] = i / 10.0;
        bent[i] = i == 5 ? 0.5 : 0;
        broken[i] = i == 5 ? NAN : 0.5;
        high[i] = i == 5 ? 2 : 0;
    }
    assert_string_equal(PIECE(svg_curve(begin_piece(), "c", &plot, 0, 1, straight, 11, false)),
                        "<path class=\"c\" d=\"M0 50l100-50\"/>");
    assert_string_equal(PIECE(svg_curve(begin_piece(), "c", &plot, 0, 1, bent, 11, false)),
                        "<path class=\"c\" d=\"M0 50l40 0l10-25l10 25l40 0\"/>");
    assert_string_equal(PIECE(svg_curve(begin_piece(), "c", &plot, 0, 1, bent, 11, true)),
                        "<path class=\"c\" d=\"M0 50l40 0l10-25l10 25l40 0z\"/>");
    assert_string_equal(PIECE(svg_curve(begin_piece(), "c", &plot, 0, 1, broken, 11, false)),
                        "<path class=\"c\" d=\"M0 25l40 0M60 25l40 0\"/>");
    /* Cut where it crosses the upper edge, half-way up to 2. */
    assert_string_equal(PIECE(svg_curve(begin_piece(), "c", &plot, 0, 1, high, 11, false)),
                        "<path class=\"c\" d=\"M0 50l40 0l5-50M55 0l5 50l40 0\"/>");
    /* Only what lies inside the horizontal axis. */
    assert_string_equal(PIECE(svg_curve(begin_piece(), "c", &plot, -5, 2, straight, 11, false)),
                        "<path class=\"c\" d=\"M10 35l80-20\"/>");
}

static void cells_are_joined(void **state)
{
    (void)state;
    svg_cells cells;
    report_out *out = begin_piece();
    svg_cells_begin(out, &cells, "d", 3);
    svg_cell(out, &cells, 2, 1);
    svg_cell(out, &cells, 3, 1);
    svg_cell(out, &cells, 5, 1);
    svg_cell(out, &cells, 0, 2);
    svg_cells_end(out, &cells);
    assert_string_equal(end_piece(), "<path class=\"d3\" d=\"M2 1h2v1h-2zm3 0h1v1h-1zm-5 1h1v1h-1z\"/>");
}

static void shades_are_symmetric(void **state)
{
    (void)state;
    assert_int_equal(page_diverging(0, 1), 7);
    assert_int_equal(page_diverging(1, 1), 14);
    assert_int_equal(page_diverging(-1, 1), 0);
    assert_int_equal(page_diverging(5, 1), 14);
    assert_int_equal(page_diverging(NAN, 1), 7);
    assert_int_equal(page_diverging(1, 0), 7);
    for (double v = 0; v <= 1; v += 0.01) assert_int_equal(page_diverging(v, 1) + page_diverging(-v, 1), 14);
    static const uint64_t cube[] = {3, 3, 3}, strip[] = {5};
    int x, y, width, height;
    page_cell(3, cube, 9 + 3 + 2, &x, &y); /* second slice, second row, third column */
    assert_true(x == 6 && y == 1);
    page_kernel_size(3, cube, &width, &height);
    assert_true(width == 11 && height == 3);
    page_kernel_size(1, strip, &width, &height);
    assert_true(width == 5 && height == 1);
}

/* ---- pages */

/* Every element that is opened is closed, in order; no attribute without quotes; no stray bracket. */
static void assert_balanced(const sheet *p)
{
    static const char *const empty[] = {"meta", "wbr"};
    char stack[64][16];
    size_t depth = 0;
    const char *at = strstr(p->bytes, "<html");
    for (;;) {
        at = strchr(at, '<');
        if (!at) break;
        const char *end = strchr(at, '>');
        assert_non_null(end);
        bool closing = at[1] == '/';
        char name[16] = "";
        size_t letters = strspn(at + 1 + closing, "abcdefghijklmnopqrstuvwxyz0123456789");
        memcpy(name, at + 1 + closing, letters < 15 ? letters : 15);
        assert_true(name[0] != '\0');
        bool is_empty = end[-1] == '/';
        for (size_t i = 0; i < 2; i++) is_empty |= strcmp(name, empty[i]) == 0;
        if (closing) {
            assert_true(depth > 0);
            if (strcmp(stack[--depth], name) != 0) fail_msg("</%s> closes <%s>", name, stack[depth]);
        } else if (!is_empty) {
            assert_true(depth < 64);
            strcpy(stack[depth++], name);
        }
        at = end;
        if (!closing && (strcmp(name, "style") == 0 || strcmp(name, "script") == 0)) {
            at = strstr(at, name[1] == 't' ? "</style>" : "</script>");
            assert_non_null(at);
        }
    }
    assert_int_equal(depth, 0);
}

static void assert_sound(const sheet *p)
{
    assert_balanced(p);
    assert_int_equal(occurrences(p->bytes, "<script"), 1);
    assert_null(strstr(p->bytes, "alert(\"x\")"));
    assert_null(strstr(p->bytes, "nan\""));
    assert_null(strstr(p->bytes, "inf\""));
    assert_null(strstr(p->bytes, ">nan"));
    assert_null(strstr(p->bytes, "http://"));
    assert_null(strstr(p->bytes, "https://"));
    assert_null(strstr(p->bytes, " src="));
    for (size_t i = 0; i < p->count; i++) assert_true((unsigned char)p->bytes[i] >= 0x20 || p->bytes[i] == '\n');
}

static void pages_are_sound(void **state)
{
    (void)state;
    for (int kind = FAKE_RICH; kind <= FAKE_EMPTY; kind++) {
        sheet p = report_page((fake_kind)kind);
        assert_sound(&p);
        assert_true(p.count < 1500000);
        free(p.bytes);
    }
    static const size_t sizes[] = {1, 2, 8, 40, 200, 230};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sheet p = comparison_page(sizes[i], 3);
        assert_sound(&p);
        assert_true(p.count < 5000000);
        free(p.bytes);
    }
    sheet wide = comparison_page(3, 9);
    assert_sound(&wide);
    free(wide.bytes);
}

static void figures_have_their_parts(void **state)
{
    (void)state;
    sheet p = report_page(FAKE_RICH);
    /* Five groups, of which 5 has five components, 16x16 no basis: 9 + 9 + 5 + 9 panels. */
    assert_int_equal(occurrences(p.bytes, "class=\"kde\""), 32);
    assert_int_equal(occurrences(p.bytes, "class=\"variance\""), 4);
    /* 9, 27, 5 and 18 of 49 eigen-kernels, and a mean each. */
    assert_int_equal(occurrences(p.bytes, "class=\"kernel\""), 9 + 27 + 5 + 18 + 4);
    assert_int_equal(occurrences(p.bytes, "class=\"filters\""), 2 * 4);
    assert_int_equal(occurrences(p.bytes, "class=\"depth\""), 3);
    /* Two groups without sparse kernels or with live ones drawn apart: one area a panel. */
    assert_int_equal(occurrences(p.bytes, "<path class=\"before-area\" d=\"M4"), 32);
    assert_non_null(strstr(p.bytes, "&lt;script&gt;"));
    assert_non_null(strstr(p.bytes, "0123456789abcdef"));
    assert_non_null(strstr(p.bytes, "fedcba9876543210"));
    assert_non_null(strstr(p.bytes, "--skip=&#39;&lt;&amp;&gt;&#39;"));
    free(p.bytes);
    p = report_page(FAKE_INSPECT);
    assert_int_equal(occurrences(p.bytes, "class=\"filters\""), 4);
    assert_null(strstr(p.bytes, "<path class=\"after\" d=\"M4"));
    assert_null(strstr(p.bytes, "Bytes after"));
    free(p.bytes);
    p = comparison_page(8, 3);
    assert_int_equal(occurrences(p.bytes, "<g class=\"row\""), 8);
    assert_int_equal(occurrences(p.bytes, "class=\"same\""), 8);
    assert_int_equal(occurrences(p.bytes, "class=\"ridge\""), 8 * 9);
    free(p.bytes);
    p = comparison_page(230, 3);
    assert_int_equal(occurrences(p.bytes, "<g class=\"row\""), 200);
    assert_non_null(strstr(p.bytes, "The 200 models of largest mean shift of 230 are drawn."));
    free(p.bytes);
}

static void locale_does_not_matter(void **state)
{
    (void)state;
    sheet plain = report_page(FAKE_RICH);
    if (!german_begin(LC_ALL)) print_message("no German locale here: only the C locale is seen\n");
    sheet german = report_page(FAKE_RICH);
    german_end();
    assert_int_equal(plain.count, german.count);
    assert_memory_equal(plain.bytes, german.bytes, plain.count);
    free(plain.bytes), free(german.bytes);
}

static void only_one_line_depends_on_time(void **state)
{
    (void)state;
    sheet a = {0}, b = {0};
    fpr_report *r = fake_report(FAKE_RESNET50);
    assert_int_equal(fpr_report_html(r, keep, &a, NULL), FPR_OK);
    r->threads = r->options.threads = 7, r->phases[0].seconds = 99, r->peak_rss_bytes = 1;
    assert_int_equal(fpr_report_html(r, keep, &b, NULL), FPR_OK);
    char *line_a = strstr(a.bytes, "<p class=\"soft\" id=\"timing\">"),
         *line_b = strstr(b.bytes, "<p class=\"soft\" id=\"timing\">");
    assert_non_null(line_a);
    assert_int_equal(line_a - a.bytes, line_b - b.bytes);
    assert_memory_equal(a.bytes, b.bytes, (size_t)(line_a - a.bytes));
    assert_string_equal(strstr(line_a, "</p>"), strstr(line_b, "</p>"));
    fpr_report_free(r);
    free(a.bytes), free(b.bytes);
}

static void failures_are_told(void **state)
{
    (void)state;
    fpr_report *r = fake_report(FAKE_RICH);
    fpr_comparison *c = fake_comparison(8, 3);
    long before = base_allocations_alive();
    for (int which = 0; which < 2; which++) {
        for (long n = 0;; n++) {
            sheet p = {0};
            fpr_error error = {0};
            base_fail_allocation(n);
            fpr_status status = which ? fpr_comparison_html(c, keep, &p, &error) : fpr_report_html(r, keep, &p, &error);
            base_fail_allocation(-1);
            free(p.bytes);
            assert_int_equal(base_allocations_alive(), before);
            if (status == FPR_OK) {
                assert_true(n >= 2);
                break;
            }
            assert_int_equal(status, FPR_NO_MEMORY);
            assert_int_equal(error.status, FPR_NO_MEMORY);
        }
        sheet p = {.stop_after = 70000};
        fpr_error error = {0};
        fpr_status status = which ? fpr_comparison_html(c, keep, &p, &error) : fpr_report_html(r, keep, &p, &error);
        assert_int_equal(status, FPR_IO);
        free(p.bytes);
    }
    fpr_report_free(r);
    fpr_comparison_free(c);
}

static int forget(void **state)
{
    (void)state;
    free(piece.bytes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_text),         cmocka_unit_test(numbers_are_for_people),
        cmocka_unit_test(ticks_are_round),        cmocka_unit_test(curves_keep_what_bends),
        cmocka_unit_test(cells_are_joined),       cmocka_unit_test(shades_are_symmetric),
        cmocka_unit_test(pages_are_sound),        cmocka_unit_test(figures_have_their_parts),
        cmocka_unit_test(locale_does_not_matter), cmocka_unit_test(only_one_line_depends_on_time),
        cmocka_unit_test(failures_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
