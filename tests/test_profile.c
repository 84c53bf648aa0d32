/* Profiles and tables of a collection: what is written is read, and nothing else. */
#include "collect/profile.h"
#include "collect/sum.h"
#include "collect/table.h"
#include "file/file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BINS = 4, K = 2, CELLS = BINS << COLLECT_ZOOM };

static void make_layer(collect_layer *l, const char *name, unsigned k, uint64_t kernels)
{
    *l = (collect_layer){.name = base_copy_text(name, strlen(name)), .kernel_rank = 1, .kernel_shape = {k}, .k = k,
                         .kernels = kernels, .sparse = kernels / 3, .finite = true, .max_abs = 0.5,
                         .variance_entropy = 0.25, .variance_entropy_clean = NAN, .orthogonality = NAN};
    assert_int_equal(fpr_moments_init(&l->moments, k), FPR_OK);
    l->moments.count = kernels;
    for (unsigned i = 0; i < k; i++) {
        l->moments.mean[i] = 0.1 * i - 0.05;
        for (unsigned j = 0; j < k; j++) l->moments.scatter[i * k + j] = i == j ? 3 + i : 0.5;
    }
}

/* Two layers of the grid's shape, one of another, one that is not finite. */
static collect_profile make(bool counted)
{
    collect_profile p = {.name = base_copy_text("net", 3), .source_bytes = 12345, .eps = 0.01, .half = true};
    p.layers = base_calloc(4, sizeof *p.layers);
    p.layer_count = 4;
    make_layer(&p.layers[0], "a", K, 300);
    make_layer(&p.layers[1], "b", 3, 7);
    make_layer(&p.layers[2], "c", K, 100);
    p.layers[3] = (collect_layer){.name = base_copy_text("nan", 3), .kernel_rank = 1, .kernel_shape = {K}, .k = K,
                                  .kernels = 9};
    p.deep = counted;
    for (int i = 0; i < 4; i++) p.layers[i].depth = i == 1 || !counted ? NAN : i / 3.0;
    if (!counted) return p;
    const collect_grid grid = {.kernel_rank = 1, .kernel_shape = {K}, .k = K, .basis = 77, .range = {-1, 2}, .bins = BINS};
    assert_int_equal(collect_profile_count_anew(&p, &grid, NULL), FPR_OK);
    p.ranged = true;
    p.extent[0] = -1.5, p.extent[1] = 2.5;
    for (int i = 0; i < 3; i += 2) {
        p.layers[i].cells[3] = 40;
        p.layers[i].cells[CELLS + CELLS - 1] = 60 + i;
        p.layers[i].plane[0] = 1;
        p.layers[i].plane[COLLECT_SIDE * COLLECT_SIDE - 1] = 90;
    }
    return p;
}

static void assert_same(const collect_profile *a, const collect_profile *b, bool with_counts)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->source_bytes, b->source_bytes);
    assert_true(a->deep == b->deep);
    for (size_t i = 0; i < a->layer_count; i++)
        assert_true(a->layers[i].depth == b->layers[i].depth || (isnan(a->layers[i].depth) && isnan(b->layers[i].depth)));
    assert_true(a->eps == b->eps && a->half == b->half && a->counted == b->counted && a->ranged == b->ranged);
    if (a->counted) assert_true(collect_same_grid(&a->grid, &b->grid));
    assert_int_equal(a->layer_count, b->layer_count);
    for (size_t i = 0; i < a->layer_count; i++) {
        const collect_layer *x = &a->layers[i], *y = &b->layers[i];
        assert_string_equal(x->name, y->name);
        assert_true(x->k == y->k && x->kernels == y->kernels && x->finite == y->finite && x->sparse == y->sparse);
        if (!x->finite) continue;
        assert_memory_equal(x->moments.mean, y->moments.mean, x->k * sizeof(double));
        assert_memory_equal(x->moments.scatter, y->moments.scatter, x->k * x->k * sizeof(double));
        assert_int_equal(x->cells != NULL && with_counts, y->cells != NULL);
        if (!y->cells) continue;
        assert_memory_equal(x->cells, y->cells, K * CELLS * sizeof(uint64_t));
        assert_memory_equal(x->plane, y->plane, COLLECT_SIDE * COLLECT_SIDE * sizeof(uint64_t));
    }
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    for (int counted = 0; counted < 2; counted++) {
        collect_profile p = make(counted), q;
        uint8_t *bytes;
        size_t n;
        assert_int_equal(collect_profile_write(&p, &bytes, &n, NULL), FPR_OK);
        for (int with = 0; with < 2; with++) {
            assert_int_equal(collect_profile_read(bytes, n, with, &q, NULL), FPR_OK);
            assert_same(&p, &q, with);
            collect_profile_free(&q);
        }
        base_free(bytes);
        collect_profile_free(&p);
    }
    assert_int_equal(base_allocations_alive(), 0);
}

/* The head as PROFILE.md has it, read by hand. */
static void bytes_are_as_documented(void **state)
{
    (void)state;
    collect_profile p = make(true);
    uint8_t *bytes;
    size_t n;
    assert_int_equal(collect_profile_write(&p, &bytes, &n, NULL), FPR_OK);
    assert_memory_equal(bytes, "FPP1\1\0\17\0", 8);
    assert_int_equal(base_load_le64(bytes + 8), n);
    file_hash *hash = file_hash_new();
    file_hash_add(hash, bytes + 24, n - 24);
    assert_int_equal(base_load_le64(bytes + 16), file_hash_end(hash));
    assert_memory_equal(bytes + 24, "\3\0net", 5);
    assert_int_equal(base_load_le64(bytes + 29), 12345);
    const uint8_t *at = bytes + 45; /* behind eps */
    assert_int_equal(at[0], 1);
    assert_int_equal(base_load_le64(at + 1), K);
    assert_int_equal(base_load_le64(at + 9), 77);
    const double range[4] = {-1.5, 2.5, -1, 2};
    assert_memory_equal(at + 17, range, sizeof range);
    assert_memory_equal(at + 49, "\4\0\3\x23\4\0\0\0\1\0a", 11);
    base_free(bytes);
    collect_profile_free(&p);
}

static void sign(uint8_t *bytes, size_t n)
{
    base_store_le64(bytes + 8, n);
    file_hash *hash = file_hash_new();
    file_hash_add(hash, bytes + 24, n - 24);
    base_store_le64(bytes + 16, file_hash_end(hash));
}

/* Every byte changed, every length: refused, or read as something that is whole; with a checksum that is right. */
static void what_contradicts_itself_is_refused(void **state)
{
    (void)state;
    collect_profile p = make(true), q;
    uint8_t *bytes, copy[8192];
    size_t n, read = 0;
    assert_int_equal(collect_profile_write(&p, &bytes, &n, NULL), FPR_OK);
    assert_true(n < sizeof copy);
    for (size_t cut = 0; cut < n; cut++) {
        memcpy(copy, bytes, cut);
        if (cut >= COLLECT_PROFILE_HEAD) sign(copy, cut);
        assert_int_equal(collect_profile_read(copy, cut, true, &q, NULL), FPR_BAD_PROFILE);
    }
    static const uint8_t flips[] = {1, 0x80, 0xff, 0x7f};
    for (size_t at = 0; at < n; at++)
        for (size_t f = 0; f < sizeof flips; f++) {
            memcpy(copy, bytes, n);
            copy[at] ^= flips[f];
            /* Without its checksum, any change is refused. */
            if (at >= 8) assert_int_equal(collect_profile_read(copy, n, true, &q, NULL), FPR_BAD_PROFILE);
            sign(copy, n);
            if (collect_profile_read(copy, n, true, &q, NULL)) continue;
            read++;
            for (size_t i = 0; i < q.layer_count; i++)
                for (unsigned c = 0; q.layers[i].cells && c < q.layers[i].k; c++) {
                    uint64_t sum = 0;
                    for (unsigned b = 0; b < q.grid.bins << COLLECT_ZOOM; b++)
                        sum += q.layers[i].cells[c * (q.grid.bins << COLLECT_ZOOM) + b];
                    assert_true(sum <= q.layers[i].kernels);
                }
            collect_profile_free(&q);
        }
    assert_true(read > 0); /* names and moments may be anything */
    copy[4] = 2;
    memcpy(copy + 5, bytes + 5, n - 5);
    memcpy(copy, bytes, 4);
    sign(copy, n);
    assert_int_equal(collect_profile_read(copy, n, true, &q, NULL), FPR_TOO_NEW);
    base_free(bytes);
    collect_profile_free(&p);
    assert_int_equal(base_allocations_alive(), 0);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    collect_profile p = make(true), q;
    uint8_t *bytes;
    size_t n;
    assert_int_equal(collect_profile_write(&p, &bytes, &n, NULL), FPR_OK);
    const long alive = base_allocations_alive();
    for (long i = 0;; i++) {
        base_fail_allocation(i);
        const fpr_status status = collect_profile_read(bytes, n, true, &q, NULL);
        if (base_fail_allocation(-1) >= 0) {
            assert_int_equal(status, FPR_OK);
            collect_profile_free(&q);
            break;
        }
        assert_int_not_equal(status, FPR_OK);
        assert_int_equal(base_allocations_alive(), alive);
    }
    base_free(bytes);
    collect_profile_free(&p);
}

/* ---- tables */

static fpr_status parse(const char *text, collect_table *t)
{
    return collect_table_parse(base_copy_text(text, strlen(text)), strlen(text), t, NULL);
}

static void tables_are_read(void **state)
{
    (void)state;
    collect_table t;
    size_t first;
    assert_int_equal(parse("\xEF\xBB\xBFmodel,\"a, b\",c\r\nz,1,2\r\n\r\na,\"x \"\"y\"\"\n\",\nz,3\n", &t), FPR_OK);
    assert_int_equal(t.columns, 3);
    assert_int_equal(t.rows, 3);
    assert_int_equal(collect_table_column(&t, "a, b"), 1);
    assert_int_equal(collect_table_column(&t, "d"), SIZE_MAX);
    assert_int_equal(collect_table_find(&t, "z", &first), 2);
    assert_string_equal(collect_table_cell(&t, t.sorted[first], 1), "1");
    assert_string_equal(collect_table_cell(&t, t.sorted[first + 1], 1), "3");
    assert_string_equal(collect_table_cell(&t, t.sorted[first + 1], 2), "");
    assert_int_equal(collect_table_find(&t, "a", &first), 1);
    assert_string_equal(collect_table_cell(&t, t.sorted[first], 1), "x \"y\"\n");
    assert_int_equal(collect_table_find(&t, "m", &first), 0);
    collect_table_free(&t);
    assert_int_equal(parse("only", &t), FPR_OK);
    assert_int_equal(t.rows, 0);
    collect_table_free(&t);
    static const char *const bad[] = {"a\n\"b", "a\n\"b\"\"", "a\n\"b\"c\n", "a,b\n1,2,3\n", "a\n\"", "\"a\n1\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(parse(bad[i], &t), FPR_BAD_PROFILE);
    char *hole = base_copy_text("a\n\0b\n", 5);
    assert_int_equal(collect_table_parse(hole, 5, &t, NULL), FPR_BAD_PROFILE);
    assert_int_equal(base_allocations_alive(), 0);
}

/* ---- sums */

/* A normal distribution put into cells: the density is that of a normal, smoothed by the bandwidth. */
static void densities_are_smooth(void **state)
{
    (void)state;
    enum { N = 560 };
    static uint64_t cells[N];
    const double range[2] = {-3, 3};
    double *scratch = base_alloc(COLLECT_DENSITY_SCRATCH(N), sizeof *scratch);
    fpr_kde kde;
    uint64_t total = 0;
    for (int i = 0; i < N; i++) {
        const double x = -3 + (i + 0.5) * 6 / N;
        total += cells[i] = (uint64_t)llround(1e6 * exp(-x * x / (2 * 0.25)));
    }
    collect_density(cells, N, range, FPR_BANDWIDTH_SILVERMAN, 0, scratch, &kde);
    const double h = 0.5 * pow((double)total * 3 / 4, -0.2);
    assert_false(kde.degenerate);
    assert_true(kde.bandwidth >= 6.0 / N && fabs(kde.bandwidth - fmax(h, 6.0 / N)) < 1e-3);
    const double spread = sqrt(0.25 + kde.bandwidth * kde.bandwidth);
    for (int i = 0; i < FPR_KDE_POINTS; i++) {
        const double x = kde.start + i * kde.step, wanted = exp(-x * x / (2 * spread * spread)) / (spread * sqrt(2 * M_PI));
        assert_true(fabs(kde.density[i] - wanted) < 2e-3);
    }
    memset(cells, 0, sizeof cells);
    collect_density(cells, N, range, FPR_BANDWIDTH_SILVERMAN, 0, scratch, &kde);
    assert_true(kde.degenerate);
    cells[280] = 1000;
    collect_density(cells, N, range, FPR_BANDWIDTH_SILVERMAN, 0, scratch, &kde);
    assert_true(kde.degenerate && fabs(kde.start + kde.step * (FPR_KDE_POINTS - 1) / 2 - 0.5 * 6 / N) < 1e-9);
    base_free(scratch);
}

static void boxes_are_quartiles(void **state)
{
    (void)state;
    double v[] = {5, 1, 4, 2, 3}, two[] = {2, 1};
    fpr_box b;
    collect_box(v, 5, &b);
    assert_true(b.n == 5 && b.least == 1 && b.low == 2 && b.median == 3 && b.high == 4 && b.most == 5);
    collect_box(two, 2, &b);
    assert_true(b.median == 1.5 && b.low == 1.25);
    collect_box(two, 0, &b);
    assert_true(b.n == 0 && isnan(b.median));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read), cmocka_unit_test(bytes_are_as_documented),
        cmocka_unit_test(what_contradicts_itself_is_refused), cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(tables_are_read), cmocka_unit_test(densities_are_smooth), cmocka_unit_test(boxes_are_quartiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
