/* The JSON documents: every number comes back as it was, every name leaves escaped, whatever the locale. */
#include "fake_report.h"
#include "german.h"

#include "report/report.h"

#include <float.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- a place to write to */

typedef struct page {
    char *bytes;
    size_t count, capacity, stop_after;
} page;

static int keep(void *context, const void *bytes, size_t count)
{
    page *p = context;
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

static json_t *parse(const page *p)
{
    json_error_t error;
    json_t *root = json_loadb(p->bytes, p->count, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!root) fail_msg("%s at %d", error.text, error.position);
    return root;
}

static json_t *at(json_t *node, const char *key)
{
    json_t *child = json_object_get(node, key);
    if (!child) fail_msg("no key %s", key);
    return child;
}

/* Bit for bit, so that -0.0 counts; NaN is null. */
static void assert_number(json_t *node, double v)
{
    if (isnan(v)) {
        assert_true(json_is_null(node));
        return;
    }
    assert_true(json_is_number(node));
    double got = json_number_value(node);
    if (memcmp(&got, &v, sizeof v) != 0) fail_msg("%.17g is not %.17g", got, v);
}

static void assert_numbers(json_t *node, const double *v, size_t count)
{
    assert_int_equal(json_array_size(node), count);
    for (size_t i = 0; i < count; i++) assert_number(json_array_get(node, i), v[i]);
}

static void assert_integers(json_t *node, const uint64_t *v, size_t count)
{
    assert_int_equal(json_array_size(node), count);
    for (size_t i = 0; i < count; i++) {
        assert_true(json_is_integer(json_array_get(node, i)));
        assert_int_equal(json_integer_value(json_array_get(node, i)), v[i]);
    }
}

/* ---- numbers */

static void assert_round_trip(double v)
{
    char text[REPORT_NUMBER];
    size_t length = report_format_double(text, v);
    assert_int_equal(length, strlen(text));
    assert_true(length < 26);
    double back = strtod(text, NULL);
    if (memcmp(&back, &v, sizeof v) != 0) fail_msg("%s is not %.17g", text, v);
}

static void every_double_reads_back(void **state)
{
    (void)state;
    static const double special[] = {0.0,
                                     -0.0,
                                     0.1,
                                     0.3,
                                     1.0 / 3,
                                     1e-6,
                                     9.99999999999999954748e-7,
                                     1e15,
                                     999999999999999.9,
                                     1e308,
                                     DBL_MAX,
                                     DBL_MIN,
                                     5e-324,
                                     2.2250738585072011e-308,
                                     4503599627370496.5,
                                     9007199254740993.0,
                                     0.5,
                                     0.25,
                                     1.0 - DBL_EPSILON / 2,
                                     1.0 + DBL_EPSILON,
                                     123456.789,
                                     1e22,
                                     1e23,
                                     123456789012345678.0,
                                     0.000001234,
                                     8.5,
                                     1024,
                                     67108864.000000007};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        assert_round_trip(special[i]), assert_round_trip(-special[i]);
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 400000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17; /* Marsaglia's xorshift64 */
        double any, usual;
        memcpy(&any, &x, sizeof any);
        if (isfinite(any)) assert_round_trip(any);
        uint64_t bits = (x & 0xFFFFFFFFFFFFFu) | (uint64_t)(1023 - 22 + (int)(x >> 58)) << 52;
        memcpy(&usual, &bits, sizeof usual);
        assert_round_trip(usual);
        /* Few digits stay few digits. */
        double rounded = (double)(x % 1000000) / 1000;
        char text[REPORT_NUMBER], expected[REPORT_NUMBER];
        report_format_double(text, rounded);
        snprintf(expected, sizeof expected, "%.15g", rounded);
        assert_string_equal(text, expected);
    }
    /* Around powers of two the doubles below lie closer. */
    for (int e = -19; e < 49; e++)
        assert_round_trip(ldexp(1, e)), assert_round_trip(nextafter(ldexp(1, e), 0)),
            assert_round_trip(nextafter(ldexp(1, e), 1e30));
}

static void text_is_as_expected(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "-0.0"},
                 {0.1, "0.1"},
                 {-1.5, "-1.5"},
                 {42, "42"},
                 {1e14, "100000000000000"},
                 {1e300, "1e+300"},
                 {0.01, "0.01"},
                 {1.0 / 3, "0.3333333333333333"},
                 {5e-324, "4.94065645841247e-324"},
                 {0.000001, "0.000001"}};
    char text[REPORT_NUMBER];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        report_format_double(text, cases[i].v);
        assert_string_equal(text, cases[i].text);
    }
    static const struct {
        double v;
        unsigned decimals;
        const char *text;
    } fixed[] = {{1.005, 1, "1.0"},   {0, 2, "0.00"}, {-0.004, 2, "0.00"}, {-0.126, 2, "-0.13"},
                 {99.96, 1, "100.0"}, {7, 0, "7"},    {0.04, 0, "0"},      {0.5, 3, "0.500"}};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        report_format_fixed(text, fixed[i].v, fixed[i].decimals);
        assert_string_equal(text, fixed[i].text);
    }
    assert_int_equal(report_decade(1000), 3);
    assert_int_equal(report_decade(999.9999999999999), 2);
    assert_int_equal(report_decade(1e-5), -5);
    assert_int_equal(report_decade(-0.2), -1);
}

static void locale_does_not_matter(void **state)
{
    (void)state;
    page plain = {0}, german = {0};
    fpr_report *r = fake_report(FAKE_RICH);
    r->groups[0].basis.mean[0] = 1.25e-9; /* the C library's way */
    assert_int_equal(fpr_report_json(r, keep, &plain, NULL), FPR_OK);
    const char *locale = german_begin(LC_ALL);
    char comma[8];
    snprintf(comma, sizeof comma, "%.1f", 0.5);
    if (!locale)
        print_message("no German locale here: only the C locale is seen\n");
    else
        assert_string_equal(comma, "0,5");
    assert_int_equal(fpr_report_json(r, keep, &german, NULL), FPR_OK);
    german_end();
    assert_int_equal(plain.count, german.count);
    assert_memory_equal(plain.bytes, german.bytes, plain.count);
    free(plain.bytes), free(german.bytes);
    fpr_report_free(r);
}

/* ---- filterprune-report-1 */

static void assert_distribution(json_t *node, const fpr_distribution *d, unsigned k, unsigned bins)
{
    assert_int_equal(json_integer_value(at(node, "kernels")), d->kernels);
    assert_int_equal(json_integer_value(at(at(node, "histogram"), "bins")), bins);
    json_t *counts = at(at(node, "histogram"), "counts"), *kdes = at(node, "kde");
    assert_int_equal(json_array_size(counts), k);
    assert_int_equal(json_array_size(kdes), k);
    for (unsigned i = 0; i < k; i++) {
        assert_integers(json_array_get(counts, i), d->counts + (size_t)i * bins, bins);
        json_t *kde = json_array_get(kdes, i), *density = at(kde, "density");
        assert_number(at(kde, "bandwidth"), d->kde[i].bandwidth);
        assert_number(at(kde, "start"), d->kde[i].start);
        assert_number(at(kde, "step"), d->kde[i].step);
        assert_int_equal(json_is_true(at(kde, "degenerate")), d->kde[i].degenerate);
        assert_int_equal(json_array_size(density), FPR_KDE_POINTS);
        double peak = 0;
        for (int j = 0; j < FPR_KDE_POINTS; j++) peak = fmax(peak, d->kde[i].density[j]);
        for (size_t j = 0; j < FPR_KDE_POINTS; j++)
            assert_true(fabs(json_number_value(json_array_get(density, j)) - d->kde[i].density[j]) <= 5.001e-7 * peak);
    }
}

static void assert_group(json_t *node, const fpr_group *g)
{
    assert_integers(at(node, "kernel_shape"), g->kernel_shape, g->kernel_rank);
    assert_int_equal(json_integer_value(at(node, "kernels")), g->kernels);
    assert_int_equal(json_integer_value(at(node, "sparse")), g->sparse);
    assert_int_equal(json_integer_value(at(node, "live")), g->live);
    assert_int_equal(json_integer_value(at(node, "binary")), g->binary);
    assert_number(at(node, "live_fraction"), (double)g->live / (double)g->kernels);
    static const char *const parts[] = {"basis", "range",      "before",     "live_before",
                                        "after", "live_after", "divergence", "live_divergence"};
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(json_is_null(at(node, parts[i])), i < 4 ? !g->has_basis : !g->has_after);
    if (!g->has_basis) return;
    json_t *basis = at(node, "basis");
    assert_numbers(at(basis, "mean"), g->basis.mean, g->k);
    assert_numbers(at(basis, "singular_values"), g->basis.singular_values, g->k);
    assert_numbers(at(basis, "explained_variance_ratio"), g->basis.explained_variance_ratio, g->k);
    assert_int_equal(json_array_size(at(basis, "components")), g->k);
    for (unsigned i = 0; i < g->k; i++)
        assert_numbers(json_array_get(at(basis, "components"), i), g->basis.components + (size_t)i * g->k, g->k);
    assert_numbers(at(node, "range"), g->range, 2);
    assert_distribution(at(node, "before"), &g->before, g->k, g->bins);
    assert_distribution(at(node, "live_before"), &g->live_before, g->k, g->bins);
    if (!g->has_after) return;
    assert_distribution(at(node, "after"), &g->after, g->k, g->bins);
    assert_distribution(at(node, "live_after"), &g->live_after, g->k, g->bins);
    assert_numbers(at(at(node, "divergence"), "per_component"), g->divergence.per_component, g->k);
    assert_number(at(at(node, "divergence"), "weighted"), g->divergence.weighted);
    assert_number(at(at(node, "live_divergence"), "weighted"), g->live_divergence.weighted);
}

static void assert_layer(json_t *node, const fpr_layer *l)
{
    static const char *const scopes[] = {NULL, "layer", "filter", "kernel"};
    assert_string_equal(json_string_value(at(node, "dtype")), "F32");
    assert_integers(at(node, "shape"), l->shape, l->rank);
    assert_integers(at(node, "kernel_shape"), l->conv.kernel_shape, l->conv.kernel_rank);
    assert_int_equal(json_integer_value(at(node, "depth")), l->depth);
    assert_int_equal(json_integer_value(at(node, "kernels")), l->conv.kernels);
    assert_int_equal(json_integer_value(at(node, "sparse")), l->sparse);
    assert_number(at(node, "sparsity"), l->sparsity);
    assert_number(at(node, "max_abs"), l->max_abs);
    assert_number(at(node, "variance_entropy"), l->variance_entropy);
    assert_number(at(node, "variance_entropy_normalized"), l->variance_entropy_normalized);
    assert_number(at(node, "variance_entropy_clean"), l->variance_entropy_clean);
    assert_number(at(node, "variance_entropy_clean_normalized"), l->variance_entropy_clean_normalized);
    assert_number(at(node, "orthogonality"), l->orthogonality);
    if (l->explained_variance_ratio)
        assert_numbers(at(node, "explained_variance_ratio"), l->explained_variance_ratio, l->conv.k);
    else
        assert_true(json_is_null(at(node, "explained_variance_ratio")));
    assert_int_equal(json_integer_value(at(node, "pruned_kernels")), l->pruned_kernels);
    assert_integers(at(node, "dead_filters"), l->dead_filters, l->dead_filter_count);
    assert_integers(at(node, "dead_channels"), l->dead_channels, l->dead_channel_count);
    json_t *binary = at(node, "binary"), *stored = at(node, "stored");
    assert_int_equal(json_integer_value(at(binary, "kernels")), l->binary.kernels);
    assert_number(at(binary, "share"), l->binary.share);
    assert_number(at(binary, "max_relative_error"), l->binary.max_relative_error);
    assert_int_equal(json_is_true(at(binary, "symmetric")), l->binary.symmetric);
    if (l->binary.scope)
        assert_string_equal(json_string_value(at(binary, "scope")), scopes[l->binary.scope]);
    else
        assert_true(json_is_null(at(binary, "scope")));
    if (l->stored.codec)
        assert_int_equal(json_integer_value(at(stored, "bytes_after")), l->stored.bytes_after);
    else
        assert_true(json_is_null(stored));
    assert_number(at(at(node, "error"), "max_abs"), l->error_max_abs);
    assert_number(at(at(node, "error"), "relative_l2"), l->error_relative_l2);
    assert_int_equal(json_array_size(at(node, "warnings")), l->warning_count);
}

static void report_equals_its_struct(void **state)
{
    (void)state;
    for (int kind = FAKE_RICH; kind <= FAKE_EMPTY; kind++) {
        page p = {0};
        fpr_report *r = fake_report((fake_kind)kind);
        assert_int_equal(fpr_report_json(r, keep, &p, NULL), FPR_OK);
        json_t *root = parse(&p), *input = at(root, "input"), *output = at(root, "output");
        assert_string_equal(json_string_value(at(root, "schema")), "filterprune-report-1");
        assert_string_equal(json_string_value(at(at(root, "tool"), "name")), "filterprune");
        assert_string_equal(json_string_value(at(input, "path")), r->input_path);
        assert_int_equal(json_integer_value(at(input, "bytes")), r->input_bytes);
        assert_int_equal(json_integer_value(at(input, "parameters")), r->parameters);
        assert_string_equal(json_string_value(at(input, "xxh3")), "0123456789abcdef");
        assert_int_equal(json_is_null(output), !r->has_output);
        if (r->has_output) assert_number(at(output, "ratio"), (double)r->output_bytes / (double)r->input_bytes);
        assert_int_equal(json_array_size(at(root, "groups")), r->group_count);
        for (size_t i = 0; i < r->group_count; i++) assert_group(json_array_get(at(root, "groups"), i), &r->groups[i]);
        assert_int_equal(json_array_size(at(root, "layers")), r->layer_count);
        for (size_t i = 0; i < r->layer_count; i++) assert_layer(json_array_get(at(root, "layers"), i), &r->layers[i]);
        assert_int_equal(json_array_size(at(root, "tensors")), r->other_count);
        assert_int_equal(json_array_size(at(root, "warnings")), r->warning_count);
        assert_number(at(at(at(root, "timing"), "seconds"), "measure"), 0.43);
        json_decref(root);
        free(p.bytes);
        fpr_report_free(r);
    }
}

static void options_are_all_there(void **state)
{
    (void)state;
    static const char *const names[] = {"layout",    "eps",         "bins",   "bandwidth",  "half",         "prune",
                                        "structure", "criterion",   "amount", "global",     "pointwise",    "only",
                                        "skip",      "target_size", "binary", "binary_tol", "binary_share", "dense",
                                        "level",     "cast",        "drop",   "transposed", "spectra",      "max_error",
                                        "accept",    "pool",        "key",    "graph",      "keep_channels"};
    page p = {0};
    fpr_report *r = fake_report(FAKE_RICH);
    r->options.bandwidth = FPR_BANDWIDTH_FIXED, r->options.bandwidth_value = 0.125, r->options.cast = FPR_CAST_BF16;
    assert_int_equal(fpr_report_json(r, keep, &p, NULL), FPR_OK);
    json_t *root = parse(&p), *options = at(root, "options");
    size_t count = sizeof names / sizeof *names;
    assert_int_equal(json_object_size(options), count); /* in particular, no "threads" */
    for (size_t i = 0; i < count; i++) at(options, names[i]);
    assert_number(at(options, "bandwidth"), 0.125);
    assert_string_equal(json_string_value(at(options, "cast")), "bf16");
    assert_true(json_is_null(at(options, "amount")));
    assert_string_equal(json_string_value(json_array_get(at(options, "skip"), 1)), "<&>");
    json_decref(root);
    free(p.bytes);
    fpr_report_free(r);
}

static void only_timing_depends_on_time(void **state)
{
    (void)state;
    page a = {0}, b = {0};
    fpr_report *r = fake_report(FAKE_RICH);
    assert_int_equal(fpr_report_json(r, keep, &a, NULL), FPR_OK);
    r->threads = r->options.threads = 7, r->phases[0].seconds = 99, r->peak_rss_bytes = 1;
    assert_int_equal(fpr_report_json(r, keep, &b, NULL), FPR_OK);
    size_t until = (size_t)(strstr(a.bytes, "\"timing\"") - a.bytes);
    assert_memory_equal(a.bytes, b.bytes, until);
    json_t *root = parse(&a);
    void *last = NULL;
    for (void *i = json_object_iter(root); i; i = json_object_iter_next(root, i)) last = i;
    assert_string_equal(json_object_iter_key(last), "timing");
    json_decref(root);
    free(a.bytes), free(b.bytes);
    fpr_report_free(r);
}

static void hostile_names_stay_text(void **state)
{
    (void)state;
    page p = {0};
    report_out out;
    assert_int_equal(report_open(&out, keep, &p, NULL), FPR_OK);
    report_begin(&out, '[');
    report_string(&out, "a\0b", 3);
    report_string0(&out, "\"\\/\b\x1f\x7f");
    report_string0(&out, "\xc3\xa9\xf0\x9f\x98\x80");            /* e acute, an emoji */
    report_string0(&out, "\xc0\xaf|\xed\xa0\x80|\xf5|\xe2\x82"); /* overlong, a surrogate, too large, cut short */
    report_string0(&out, NULL);
    report_end(&out, ']');
    assert_int_equal(report_close(&out, NULL), FPR_OK);
    json_t *root = parse(&p);
    assert_int_equal(json_string_length(json_array_get(root, 0)), 3);
    assert_memory_equal(json_string_value(json_array_get(root, 0)), "a\0b", 3);
    assert_string_equal(json_string_value(json_array_get(root, 1)), "\"\\/\b\x1f\x7f");
    assert_string_equal(json_string_value(json_array_get(root, 2)), "\xc3\xa9\xf0\x9f\x98\x80");
    assert_string_equal(
        json_string_value(json_array_get(root, 3)),
        "\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd");
    assert_true(json_is_null(json_array_get(root, 4)));
    for (size_t i = 0; i < p.count; i++) assert_true((unsigned char)p.bytes[i] >= 0x20);
    json_decref(root);
    free(p.bytes);
}

/* ---- the other documents, and failures */

static void comparison_equals_its_struct(void **state)
{
    (void)state;
    page p = {0};
    fpr_comparison *c = fake_comparison(8, 3);
    assert_int_equal(fpr_comparison_json(c, keep, &p, NULL), FPR_OK);
    json_t *root = parse(&p);
    assert_string_equal(json_string_value(at(root, "schema")), "filterprune-compare-1");
    assert_int_equal(json_array_size(at(root, "models")), 8);
    for (size_t i = 0; i < 8; i++) {
        json_t *m = json_array_get(at(root, "models"), i);
        assert_string_equal(json_string_value(at(m, "path")), c->models[i].path);
        assert_int_equal(json_integer_value(at(m, "live")), c->models[i].live);
        assert_int_equal(json_integer_value(at(m, "binary_layers")), c->models[i].binary_layers);
        assert_number(at(m, "mean_shift"), c->models[i].mean_shift);
        assert_numbers(json_array_get(at(root, "divergence"), i), c->divergence + i * 8, 8);
        for (size_t j = 0; j < 8; j++)
            assert_numbers(json_array_get(json_array_get(at(root, "per_component"), i), j),
                           c->per_component + (i * 8 + j) * 9, 9);
    }
    assert_integers(at(root, "kernel_shape"), c->kernel_shape, 2);
    assert_numbers(at(root, "range"), c->range, 2);
    assert_int_equal(json_integer_value(at(root, "bins")), 70);
    json_decref(root);
    free(p.bytes);
    fpr_comparison_free(c);
}

static void verification_equals_its_struct(void **state)
{
    (void)state;
    page p = {0};
    fpr_verification *v = fake_verification();
    assert_int_equal(fpr_verification_json(v, keep, &p, NULL), FPR_OK);
    json_t *root = parse(&p), *second = json_array_get(at(root, "tensors"), 1);
    assert_string_equal(json_string_value(at(root, "schema")), "filterprune-verify-1");
    assert_true(json_is_false(at(root, "ok")));
    assert_number(at(second, "relative_l2"), 1e-3);
    assert_true(json_is_null(at(json_array_get(at(root, "tensors"), 0), "max_abs")));
    assert_string_equal(json_string_value(at(second, "problem")), "checksum differs");
    json_decref(root);
    free(p.bytes);
    fpr_verification_free(v);
}

/* ---- SCHEMA.md names every field that is written */

static char *schema_text;

static void assert_documented(json_t *node)
{
    const char *key;
    json_t *child;
    size_t i;
    if (json_is_array(node)) {
        json_array_foreach(node, i, child) assert_documented(child);
        return;
    }
    json_object_foreach(node, key, child)
    {
        char quoted[80];
        snprintf(quoted, sizeof quoted, "\"%s\"", key);
        if (!strstr(schema_text, quoted)) fail_msg("SCHEMA.md does not name %s", quoted);
        if (strcmp(key, "seconds") != 0) assert_documented(child); /* phases are free words */
    }
}

static void fields_are_documented(void **state)
{
    (void)state;
    FILE *file = fopen(FIXTURES "/../src/report/SCHEMA.md", "rb");
    assert_non_null(file);
    schema_text = calloc(1, 1 << 20);
    assert_non_null(schema_text);
    assert_true(fread(schema_text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    page pages[3] = {0};
    fpr_report *r = fake_report(FAKE_RICH);
    fpr_comparison *c = fake_comparison(2, 3);
    fpr_verification *v = fake_verification();
    assert_int_equal(fpr_report_json(r, keep, &pages[0], NULL), FPR_OK);
    assert_int_equal(fpr_comparison_json(c, keep, &pages[1], NULL), FPR_OK);
    assert_int_equal(fpr_verification_json(v, keep, &pages[2], NULL), FPR_OK);
    for (int i = 0; i < 3; i++) {
        json_t *root = parse(&pages[i]);
        assert_documented(root);
        assert_non_null(strstr(schema_text, json_string_value(at(root, "schema"))));
        json_decref(root);
        free(pages[i].bytes);
    }
    free(schema_text);
    fpr_report_free(r), fpr_comparison_free(c), fpr_verification_free(v);
}

static void failures_are_told(void **state)
{
    (void)state;
    fpr_report *r = fake_report(FAKE_TINY);
    fpr_error error = {0};
    page p = {.stop_after = 100};
    assert_int_equal(fpr_report_json(r, keep, &p, &error), FPR_IO);
    assert_int_equal(error.status, FPR_IO);
    base_fail_allocation(0);
    assert_int_equal(fpr_report_json(r, keep, &p, &error), FPR_NO_MEMORY);
    base_fail_allocation(-1);
    free(p.bytes);
    fpr_report_free(r);
}

static void nothing_stays_behind(void **state)
{
    (void)state;
    long before = base_allocations_alive();
    for (int kind = FAKE_RICH; kind <= FAKE_EMPTY; kind++) fpr_report_free(fake_report((fake_kind)kind));
    fpr_comparison_free(fake_comparison(3, 3));
    fpr_verification_free(fake_verification());
    fpr_report_free(base_calloc(1, sizeof(fpr_report)));
    fpr_comparison_free(base_calloc(1, sizeof(fpr_comparison)));
    fpr_report_free(NULL), fpr_comparison_free(NULL), fpr_verification_free(NULL);
    assert_int_equal(base_allocations_alive(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_double_reads_back),        cmocka_unit_test(text_is_as_expected),
        cmocka_unit_test(locale_does_not_matter),         cmocka_unit_test(report_equals_its_struct),
        cmocka_unit_test(options_are_all_there),          cmocka_unit_test(only_timing_depends_on_time),
        cmocka_unit_test(hostile_names_stay_text),        cmocka_unit_test(comparison_equals_its_struct),
        cmocka_unit_test(verification_equals_its_struct), cmocka_unit_test(failures_are_told),
        cmocka_unit_test(nothing_stays_behind),           cmocka_unit_test(fields_are_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
