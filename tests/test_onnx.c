/* The reader of ONNX files, against models that are put together here field by field. */
#include "source/source.h"
#include "onnx/wire.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/test_onnx.XXXXXX";

/* ---- putting models together */

static void put_number(file_text *m, uint32_t field, uint64_t value)
{
    wire_put_tag(m, field, WIRE_VARINT);
    wire_put_varint(m, value);
}

static void put_text(file_text *m, uint32_t field, const char *text) { wire_put_bytes(m, field, text, strlen(text)); }

static void put_message(file_text *m, uint32_t field, file_text *inner)
{
    wire_put_bytes(m, field, inner->bytes, inner->count);
    file_text_free(inner);
}

static file_text tensor(const char *name, int type, unsigned rank, const uint64_t *shape)
{
    file_text t = {0};
    for (unsigned i = 0; i < rank; i++) put_number(&t, 1, shape[i]);
    put_number(&t, 2, (uint64_t)type);
    put_text(&t, 8, name);
    return t;
}

static file_text node(const char *op, const char *a, const char *b, const char *out)
{
    file_text n = {0};
    put_text(&n, 1, a);
    if (b) put_text(&n, 1, b);
    put_text(&n, 2, out);
    put_text(&n, 4, op);
    return n;
}

static void put_entry(file_text *t, const char *key, const char *value)
{
    file_text e = {0};
    put_text(&e, 1, key);
    put_text(&e, 2, value);
    put_message(t, 13, &e);
}

/* graph is taken over. The name of the file, valid until the next call. */
static const char *write_model(const char *name, file_text *graph)
{
    static char path[128];
    file_text m = {0};
    put_number(&m, 1, 8);
    put_message(&m, 7, graph);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(m.bytes, 1, m.count, f), m.count);
    fclose(f);
    file_text_free(&m);
    return path;
}

static fpr_status open_model(const char *path, source **s, fpr_error *error)
{
    file_source *file;
    source_options options = {0};
    assert_int_equal(file_source_open(path, &file, error), FPR_OK);
    return source_onnx.open(file, &options, s, error);
}

static void expect_refusal(const char *path, const char *text)
{
    source *s;
    fpr_error e;
    assert_int_equal(open_model(path, &s, &e), FPR_BAD_HEADER);
    assert_null(s);
    if (!strstr(e.message, text)) fail_msg("\"%s\" is not in \"%s\"", text, e.message);
    assert_int_equal(base_allocations_alive(), 0);
}

/* ---- values */

static void read_raw_and_typed_values(void **state)
{
    (void)state;
    static const float w[4] = {1, -2, 0.5f, 3e30f};
    static const uint64_t two[2] = {2, 2}, three[1] = {3};
    file_text g = {0}, raw = tensor("raw", 1, 2, two), packed = tensor("packed", 1, 2, two);
    file_text loose = tensor("loose", 10, 1, three), bytes = tensor("bytes", 3, 1, three);
    wire_put_bytes(&raw, 9, w, sizeof w);
    wire_put_bytes(&packed, 4, w, sizeof w);
    /* Halves one by one, each with its tag, a packed field between them. */
    put_number(&loose, 5, 0x3c00);
    wire_put_bytes(&loose, 5, "\x80\x80\x01", 3);
    put_number(&loose, 5, 0xbc00);
    for (int i = -1; i < 2; i++) put_number(&bytes, 5, (uint64_t)(int64_t)(i * 128 + (i > 0 ? -1 : 0)));
    put_message(&g, 5, &raw);
    put_message(&g, 5, &packed);
    put_message(&g, 5, &loose);
    put_message(&g, 5, &bytes);
    source *s;
    fpr_error e;
    assert_int_equal(open_model(write_model("values", &g), &s, &e), FPR_OK);
    assert_int_equal(s->tensor_count, 4);
    for (size_t i = 0; i < 2; i++) {
        float got[4];
        assert_int_equal(s->tensors[i].dtype, FPR_F32);
        assert_int_equal(s->format->read(s, i, 0, sizeof got, got, &e), FPR_OK);
        assert_memory_equal(got, w, sizeof w);
        assert_int_equal(s->format->read(s, i, 3, 6, got, &e), FPR_OK); /* any bytes, not only whole values */
        assert_memory_equal(got, (const char *)w + 3, 6);
    }
    uint8_t half[6];
    assert_int_equal(s->format->read(s, 2, 0, 6, half, &e), FPR_OK);
    assert_memory_equal(half, "\x00\x3c\x00\x40\x00\xbc", 6);
    assert_int_equal(s->format->read(s, 3, 0, 3, half, &e), FPR_OK);
    assert_memory_equal(half, "\x80\x00\x7f", 3);
    s->format->close(s);
    assert_int_equal(base_allocations_alive(), 0);
}

/* More values than one mark covers: reading in the middle begins at the mark before. */
static void read_the_middle_of_a_long_typed_field(void **state)
{
    (void)state;
    enum { N = 200000 };
    static const uint64_t shape[1] = {N};
    file_text g = {0}, t = tensor("long", 7, 1, shape), values = {0};
    for (uint64_t i = 0; i < N; i++) wire_put_varint(&values, i * i);
    wire_put_bytes(&t, 7, values.bytes, values.count);
    file_text_free(&values);
    put_message(&g, 5, &t);
    source *s;
    fpr_error e;
    assert_int_equal(open_model(write_model("long", &g), &s, &e), FPR_OK);
    for (uint64_t i = 65530; i < 65545; i++) {
        uint64_t got;
        assert_int_equal(s->format->read(s, 0, 8 * i, 8, &got, &e), FPR_OK);
        assert_int_equal(got, i * i);
    }
    s->format->close(s);
}

static void refuse_values_that_do_not_fit(void **state)
{
    (void)state;
    static const struct { int type; uint32_t field; uint64_t value; const char *text; } cases[] = {
        {3, 5, 128, "range"}, {2, 5, 256, "range"}, {10, 5, 65536, "range"}, {9, 5, 2, "range"},
        {12, 11, UINT64_C(1) << 32, "range"}, {99, 5, 1, "data type 99"}, {0, 5, 1, "data type 0"},
    };
    static const uint64_t one[1] = {1}, two[1] = {2}, negative[2] = {UINT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file_text g = {0}, t = tensor("t", cases[i].type, 1, one);
        put_number(&t, cases[i].field, cases[i].value);
        put_message(&g, 5, &t);
        expect_refusal(write_model("bad", &g), cases[i].text);
    }
    file_text g = {0}, few = tensor("t", 6, 1, two);
    put_number(&few, 5, 1);
    put_message(&g, 5, &few);
    expect_refusal(write_model("few", &g), "1 values, and its shape has 2");
    file_text h = {0}, minus = tensor("t", 2, 2, negative);
    wire_put_bytes(&minus, 9, "x", 1);
    put_message(&h, 5, &minus);
    expect_refusal(write_model("minus", &h), "negative");
}

/* ---- the graph */

/* Conv, Relu, ConvTranspose in reverse order of the file; the second weight comes through Cast. */
static void take_depth_and_kind_from_the_graph(void **state)
{
    (void)state;
    static const uint64_t shape[4] = {4, 1, 1, 1};
    static const float w[4] = {1, 2, 3, 4};
    file_text g = {0}, group = {0}, last = node("ConvTranspose", "b", "cast", "y"), first = node("Conv", "x", "w1", "a");
    put_text(&group, 1, "group");
    put_number(&group, 3, 4);
    put_message(&first, 5, &group);
    file_text middle = node("Relu", "a", NULL, "b"), cast = node("Cast", "w2", NULL, "cast");
    put_message(&g, 1, &last);
    put_message(&g, 1, &middle);
    put_message(&g, 1, &first);
    put_message(&g, 1, &cast);
    static const char *const names[] = {"w1", "w2", "other"};
    for (int i = 0; i < 3; i++) {
        file_text t = tensor(names[i], 1, 4, shape);
        wire_put_bytes(&t, 9, w, sizeof w);
        put_message(&g, 5, &t);
    }
    source *s;
    fpr_error e;
    assert_int_equal(open_model(write_model("graph", &g), &s, &e), FPR_OK);
    assert_int_equal(s->tensors[0].kind, SOURCE_KIND_DEPTHWISE);
    assert_int_equal(s->tensors[0].groups, 4);
    assert_int_equal(s->tensors[0].depth, 0);
    assert_int_equal(s->tensors[1].kind, SOURCE_KIND_TRANSPOSED);
    assert_int_equal(s->tensors[1].groups, 1);
    assert_int_equal(s->tensors[1].depth, 1);
    assert_int_equal(s->tensors[2].kind, SOURCE_KIND_OTHER);
    assert_true(s->tensors[2].depth == SOURCE_NO_DEPTH);
    s->format->close(s);
}

/* x - mean, a layer, its mean, another layer: PyTorch's exporter calls the buffer and the result "mean". */
static void take_depth_where_two_values_have_one_name(void **state)
{
    (void)state;
    static const uint64_t shape[4] = {4, 4, 1, 1};
    static const float w[16] = {1};
    file_text g = {0};
    file_text nodes[] = {node("Sub", "x", "mean", "s"), node("Conv", "s", "w1", "a"), node("ReduceMean", "a", NULL, "mean"),
                         node("Conv", "mean", "w2", "b"), node("Conv", "s", "w3", "c")};
    for (int i = 0; i < 5; i++) put_message(&g, 1, &nodes[i]);
    static const char *const names[] = {"w1", "w2", "w3", "mean"};
    for (int i = 0; i < 4; i++) {
        file_text t = tensor(names[i], 1, 4, shape);
        wire_put_bytes(&t, 9, w, sizeof w);
        put_message(&g, 5, &t);
    }
    source *s;
    fpr_error e;
    assert_int_equal(open_model(write_model("twice", &g), &s, &e), FPR_OK);
    assert_int_equal(s->tensors[0].depth, 0);
    assert_int_equal(s->tensors[1].depth, 1);
    assert_int_equal(s->tensors[2].depth, 0);
    s->format->close(s);
}

/* A million nodes that feed each other in reverse: linear, and no recursion. */
static void take_a_long_chain_in_reverse(void **state)
{
    (void)state;
    enum { N = 1000000 };
    file_text g = {0};
    for (int i = N; i > 0; i--) {
        char in[16], out[16];
        snprintf(in, sizeof in, "v%d", i - 1);
        snprintf(out, sizeof out, "v%d", i);
        file_text n = node("Relu", in, NULL, out);
        put_message(&g, 1, &n);
    }
    source *s;
    fpr_error e;
    assert_int_equal(open_model(write_model("chain", &g), &s, &e), FPR_OK);
    s->format->close(s);
    assert_int_equal(base_allocations_alive(), 0);
}

/* ---- external data */

static const char *external(const char *location, const char *offset, const char *length)
{
    static const uint64_t shape[1] = {4};
    file_text g = {0}, t = tensor("w", 1, 1, shape);
    put_number(&t, 14, 1);
    if (location) put_entry(&t, "location", location);
    if (offset) put_entry(&t, "offset", offset);
    if (length) put_entry(&t, "length", length);
    put_message(&g, 5, &t);
    return write_model("model", &g);
}

static void write_floats(const char *name, const float *w, size_t count)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(w, sizeof *w, count, f);
    fclose(f);
}

static void read_external_data_beside_the_model(void **state)
{
    (void)state;
    static const float w[6] = {9, 1, 2, 3, 4, 9};
    float got[4];
    source *s;
    fpr_error e;
    write_floats("data", w, 6);
    assert_int_equal(open_model(external("data", "4", "16"), &s, &e), FPR_OK);
    assert_int_equal(s->file_count, 2);
    assert_int_equal(s->format->read(s, 0, 0, sizeof got, got, &e), FPR_OK);
    assert_memory_equal(got, w + 1, sizeof got);
    s->format->close(s);
    assert_int_equal(open_model(external("./data", NULL, NULL), &s, &e), FPR_OK);
    s->format->close(s);
}

static void refuse_external_data_elsewhere(void **state)
{
    (void)state;
    static const float w[4] = {1, 2, 3, 4};
    char path[128], to[160];
    write_floats("data", w, 4);
    expect_refusal(external(NULL, NULL, NULL), "without a location");
    expect_refusal(external("", NULL, NULL), "not a path");
    expect_refusal(external("/etc/passwd", NULL, NULL), "not a path");
    expect_refusal(external("a/../../data", NULL, NULL), "not a path");
    expect_refusal(external("nothing", NULL, NULL), "missing");
    expect_refusal(external(".", NULL, NULL), "no regular file");
    expect_refusal(external("data", "-4", NULL), "no number");
    expect_refusal(external("data", "4", "16"), "behind its file");
    expect_refusal(external("data", "18446744073709551615", "16"), "behind its file");
    expect_refusal(external("data", "0", "12"), "its shape wants 16");
    snprintf(path, sizeof path, "%s/outside", folder);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    expect_refusal(external("outside", NULL, NULL), "by a link");
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refusal(external("fifo", NULL, NULL), "no regular file");
    snprintf(to, sizeof to, "%s/up", folder);
    assert_int_equal(symlink("..", to), 0);
    expect_refusal(external("up/data", NULL, NULL), "by a link");
}

/* ---- failing memory: every allocation in turn */

static void survive_failing_allocations(void **state)
{
    (void)state;
    static const float w[4] = {1, 2, 3, 4};
    write_floats("data", w, 4);
    char path[128];
    snprintf(path, sizeof path, "%s", external("data", "0", "16"));
    for (long n = 0;; n++) {
        source *s = NULL;
        file_source *file;
        fpr_error e;
        source_options options = {0};
        assert_int_equal(file_source_open(path, &file, &e), FPR_OK);
        base_fail_allocation(n);
        fpr_status status = source_onnx.open(file, &options, &s, &e);
        bool failed = base_fail_allocation(-1) < 0;
        if (!status) s->format->close(s);
        assert_int_equal(base_allocations_alive(), 0);
        if (!failed) {
            assert_int_equal(status, FPR_OK);
            break;
        }
        assert_int_equal(status, FPR_NO_MEMORY);
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_raw_and_typed_values),
        cmocka_unit_test(read_the_middle_of_a_long_typed_field),
        cmocka_unit_test(refuse_values_that_do_not_fit),
        cmocka_unit_test(take_depth_and_kind_from_the_graph),
        cmocka_unit_test(take_depth_where_two_values_have_one_name),
        cmocka_unit_test(take_a_long_chain_in_reverse),
        cmocka_unit_test(read_external_data_beside_the_model),
        cmocka_unit_test(refuse_external_data_elsewhere),
        cmocka_unit_test(survive_failing_allocations),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
