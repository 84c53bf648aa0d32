/* safetensors: what is read, what is refused and where, what is written. The files of fixtures/good and fixtures/bad
 * come from tools/make_malformed.py, which knows where it put each fault. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "file/file.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static fpr_status parse(const char *text, uint64_t data_bytes, file_header *header, fpr_error *error)
{
    return file_header_parse(text, strlen(text), data_bytes, header, error);
}

static fpr_status read_file(const char *path, file_header *header, char **text, fpr_error *error)
{
    file_source *source;
    fpr_status status = file_source_open(path, &source, error);
    if (status) return status;
    status = file_header_read(source, header, text, error);
    file_source_close(source);
    return status;
}

static json_t *load_index(const char *folder)
{
    char path[4096];
    json_error_t error;
    snprintf(path, sizeof path, "%s/%s/index.json", FIXTURES, folder);
    json_t *index = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!index) fail_msg("%s: %s", path, error.text);
    return index;
}

/* ---- every rule, kept and broken */

static void good_files_are_read(void **state)
{
    (void)state;
    json_t *index = load_index("good"), *facts;
    const char *name;
    assert_true(json_object_size(index) >= 40);
    json_object_foreach(index, name, facts) {
        char path[4096], *text;
        snprintf(path, sizeof path, "%s/good/%s", FIXTURES, name);
        file_header h;
        fpr_error e;
        if (read_file(path, &h, &text, &e)) fail_msg("%s: %s", name, e.message);
        assert_int_equal(h.tensor_count, json_integer_value(json_object_get(facts, "tensors")));
        assert_int_equal(h.metadata_count, json_integer_value(json_object_get(facts, "metadata")));
        assert_int_equal(text[0], '{');
        assert_int_equal(h.data_begin, 8 + h.header_bytes);
        json_t *order = json_object_get(facts, "order"), *expected;
        size_t i;
        json_array_foreach(order, i, expected) {
            assert_int_equal(h.tensors[i].name_bytes, json_string_length(expected));
            assert_memory_equal(h.tensors[i].name, json_string_value(expected), h.tensors[i].name_bytes + 1);
        }
        base_free(text);
        file_header_free(&h);
        assert_null(h.memory);
    }
    json_decref(index);
}

static void bad_files_are_refused_with_the_place(void **state)
{
    (void)state;
    json_t *index = load_index("bad"), *facts;
    const char *name;
    assert_true(json_object_size(index) >= 150);
    json_object_foreach(index, name, facts) {
        char path[4096], *text = NULL;
        snprintf(path, sizeof path, "%s/bad/%s", FIXTURES, name);
        file_header h;
        fpr_error e;
        if (read_file(path, &h, &text, &e) != FPR_BAD_HEADER) fail_msg("%s was read", name);
        const char *says = json_string_value(json_object_get(facts, "says"));
        if (!strstr(e.message, says)) fail_msg("%s: \"%s\" does not say \"%s\"", name, e.message, says);
        long long offset = json_integer_value(json_object_get(facts, "offset"));
        if (e.offset != (uint64_t)offset) fail_msg("%s: at %llu, not %lld", name, (unsigned long long)e.offset, offset);
        const char *tensor = json_string_value(json_object_get(facts, "tensor"));
        assert_string_equal(e.where, tensor ? tensor : "");
        assert_string_equal(e.file, path);
        for (const char *c = e.message; *c; c++) assert_in_range(*c, 0x20, 0x7e);
        assert_null(text);
        assert_null(h.tensors);
        assert_null(h.memory);
    }
    json_decref(index);
}

static void the_error_may_be_left_out(void **state)
{
    (void)state;
    file_header h;
    assert_int_equal(parse("{\"a\":{\"dtype\":7}}", 0, &h, NULL), FPR_BAD_HEADER);
    assert_int_equal(parse("{\"a\":{\"dtype\":\"F31\"}}", 0, &h, NULL), FPR_BAD_HEADER);
    assert_int_equal(parse("{}", 4, &h, NULL), FPR_BAD_HEADER);
}

/* Where the text stops must not matter to memory: every prefix lies in a block of its own size. */
static void every_prefix_is_refused(void **state)
{
    (void)state;
    static const char whole[] = "{\"__metadata__\":{\"k\\u00e9\":\"v\\ud83d\\ude00\"},"
                                "\"\xc3\xa9\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24],"
                                "\"x\":[{\"y\":-1.5e+3},\"\xf0\x9f\x98\x80\",true,null]}}";
    size_t n = sizeof whole - 1;
    file_header h;
    fpr_error e;
    assert_int_equal(file_header_parse(whole, n, 24, &h, &e), FPR_OK);
    file_header_free(&h);
    for (size_t cut = 0; cut < n; cut++) {
        char *text = base_alloc(cut, 1);
        memcpy(text, whole, cut);
        assert_int_equal(file_header_parse(text, cut, 24, &h, &e), FPR_BAD_HEADER);
        assert_true(e.offset <= 8 + cut);
        base_free(text);
    }
}

static void a_header_over_the_limit_is_not_looked_at(void **state)
{
    (void)state;
    file_header h;
    fpr_error e;
    assert_int_equal(file_header_parse(NULL, FILE_HEADER_MAX + UINT64_C(1), 0, &h, &e), FPR_BAD_HEADER);
    assert_non_null(strstr(e.message, "100000001"));
    assert_int_equal(file_header_parse(NULL, UINT64_MAX, 0, &h, &e), FPR_BAD_HEADER);
}

/* ---- what is read */

static void all_of_an_entry_is_read(void **state)
{
    (void)state;
    file_header h;
    fpr_error e;
    const char *text = "{\"w\\u0000\\u00e9\":"
                       "{\"shape\":[2,0,18446744073709551615],\"data_offsets\":[8,8],\"dtype\":\"BF16\"},"
                       "\"__metadata__\":{\"a\\tb\":\"\\\"\"},"
                       "\"v\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]}}  ";
    assert_int_equal(parse(text, 8, &h, &e), FPR_OK);
    assert_int_equal(h.tensor_count, 2);
    const file_tensor *v = &h.tensors[0], *w = &h.tensors[1];
    assert_string_equal(v->name, "v");
    assert_int_equal(v->name_bytes, 1);
    assert_int_equal(v->dtype, FPR_F64);
    assert_int_equal(v->rank, 0);
    assert_int_equal(v->elements, 1);
    assert_int_equal(v->begin, 0);
    assert_int_equal(v->end, 8);
    assert_int_equal(w->name_bytes, 4);
    assert_memory_equal(w->name, "w\0\xc3\xa9", 5);
    assert_int_equal(w->dtype, FPR_BF16);
    assert_int_equal(w->rank, 3);
    assert_int_equal(w->shape[0], 2);
    assert_int_equal(w->shape[1], 0);
    assert_true(w->shape[2] == UINT64_MAX);
    assert_int_equal(w->elements, 0);
    assert_int_equal(h.header_order[0], 1);
    assert_int_equal(h.header_order[1], 0);
    assert_true(h.has_metadata);
    assert_int_equal(h.metadata_count, 1);
    assert_string_equal(h.metadata[0].key, "a\tb");
    assert_int_equal(h.metadata[0].key_bytes, 3);
    assert_string_equal(h.metadata[0].value, "\"");
    assert_int_equal(h.metadata[0].value_bytes, 1);
    assert_int_equal(h.header_bytes, strlen(text));
    assert_int_equal(h.data_begin, 8 + strlen(text));
    assert_int_equal(h.data_bytes, 8);
    file_header_free(&h);
    assert_int_equal(parse("{\"__metadata__\":null}", 0, &h, &e), FPR_OK);
    assert_false(h.has_metadata);
    file_header_free(&h);
    assert_int_equal(parse("{\"__metadata__\":{}}", 0, &h, &e), FPR_OK);
    assert_true(h.has_metadata);
    file_header_free(&h);
}

static void dtypes_are_those_of_the_reference(void **state)
{
    (void)state;
    /* safetensors/src/tensor.rs, enum Dtype and its bitsize() */
    static const struct { const char *name; unsigned bits; } expected[] = {
        {"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8}, {"F8_E5M2", 8}, {"F8_E4M3", 8},
        {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},
        {"I32", 32}, {"U32", 32}, {"F32", 32}, {"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64},
    };
    assert_int_equal(FPR_DTYPE_COUNT, COUNT_OF(expected));
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        fpr_dtype dtype;
        assert_true(file_dtype_find(expected[i].name, strlen(expected[i].name), &dtype));
        assert_string_equal(fpr_dtype_name(dtype), expected[i].name);
        assert_int_equal(fpr_dtype_bits(dtype), expected[i].bits);
    }
    fpr_dtype dtype;
    assert_false(file_dtype_find("F3", 2, &dtype));
    assert_false(file_dtype_find("F32", 2, &dtype));
    assert_false(file_dtype_find("", 0, &dtype));
    assert_int_equal(fpr_dtype_bits(FPR_DTYPE_COUNT), 0);
    assert_string_equal(fpr_dtype_name((fpr_dtype)-1), "?");
}

/* ---- size and hostility */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* count tensors of 4 bytes whose i-th entry lies at place step * i mod count. */
static void many_tensors(file_text *text, size_t count, size_t step)
{
    file_text_add(text, "{", 1);
    for (size_t i = 0; i < count; i++) {
        uint64_t begin = 4 * (i * step % count), one = 1;
        char name[64];
        int n = snprintf(name, sizeof name, "model.layers.%zu.block.conv.weight", i);
        if (i) file_text_add(text, ",", 1);
        file_text_tensor(text, name, (size_t)n, FPR_F32, 1, &one, begin, begin + 4);
    }
    file_text_add(text, "}", 1);
    assert_false(text->failed);
}

static void a_hundred_thousand_tensors_in_any_order(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    static const size_t steps[] = {1, COUNT - 1, 61803};
    for (size_t s = 0; s < COUNT_OF(steps); s++) {
        file_text text = {0};
        file_header h;
        fpr_error e;
        many_tensors(&text, COUNT, steps[s]);
        double start = seconds();
        assert_int_equal(file_header_parse(text.bytes, text.count, 4 * COUNT, &h, &e), FPR_OK);
        /* Some 20 ms; a second under sanitizers on a busy machine. Quadratic work would take minutes. */
        assert_true(seconds() - start < 5);
        assert_int_equal(h.tensor_count, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(h.tensors[i].begin == 4 * i);
            size_t place = h.header_order[i];
            assert_true(place == i * steps[s] % COUNT);
            assert_int_equal(strtoul(h.tensors[place].name + 13, NULL, 10), i);
        }
        file_header_free(&h);
        file_text_free(&text);
    }
}

static void a_duplicate_among_many_is_found(void **state)
{
    (void)state;
    file_text text = {0};
    file_header h;
    fpr_error e;
    many_tensors(&text, 5000, 1);
    text.count--;
    file_text_add(&text, ",", 1);
    size_t second = text.count;
    file_text_tensor(&text, "model.layers.17.block.conv.weight", 33, FPR_F32, 0, NULL, 20000, 20004);
    file_text_add(&text, "}", 1);
    assert_int_equal(file_header_parse(text.bytes, text.count, 20004, &h, &e), FPR_BAD_HEADER);
    assert_string_equal(e.where, "model.layers.17.block.conv.weight");
    assert_true(e.offset == 8 + second);
    file_text_free(&text);
}

static void repeat(file_text *text, const char *part, size_t count)
{
    while (count--) file_text_add(text, part, strlen(part));
}

static void long_and_deep_headers_cost_in_proportion(void **state)
{
    (void)state;
    enum { MANY = 2000000 };
    static const struct { const char *before, *part, *after; size_t count; fpr_status expected; } cases[] = {
        {"{\"", "n", "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", MANY, FPR_OK},
        {"{\"", "\\u0000", "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", MANY / 6, FPR_OK},
        {"{\"__metadata__\":{\"k\":\"", "\\\\", "\"}}", MANY / 2, FPR_OK},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0", ",1", "],\"data_offsets\":[0,0]}}", MANY / 2, FPR_OK},
        {"{\"a\":{\"x\":[0", ",0", "],\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", MANY / 2, FPR_OK},
        {"{\"a\":{\"x\":{\"\":0", ",\"kkkk\":[]", "},\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
         MANY / 10, FPR_OK},
        {"{\"a\":{\"x\":1", "0", ",\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", MANY, FPR_BAD_HEADER},
        {"{\"a\":{\"x\":0.", "0", ",\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", MANY, FPR_OK},
        {"{\"a\":{\"x\":", "[", "", MANY, FPR_BAD_HEADER},
        {"{\"a\":{\"x\":", "{\"a\":", "", MANY / 5, FPR_BAD_HEADER},
        {"{\"a\":{\"dtype\":\"", "F", "\"}}", MANY, FPR_BAD_HEADER},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[", "9", "", MANY, FPR_BAD_HEADER},
        {"{}", " ", "", MANY, FPR_OK},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        file_text text = {0};
        file_header h;
        repeat(&text, cases[i].before, 1);
        repeat(&text, cases[i].part, cases[i].count);
        repeat(&text, cases[i].after, 1);
        assert_false(text.failed);
        double start = seconds();
        assert_int_equal(file_header_parse(text.bytes, text.count, 0, &h, NULL), cases[i].expected);
        assert_true(seconds() - start < 5);
        file_header_free(&h);
        file_text_free(&text);
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    long before = base_allocations_alive();
    file_text text = {0};
    file_text_add(&text, "{\"__metadata__\":{", 17);
    for (int i = 0; i < 40; i++) file_text_format(&text, "%s\"key%d\":\"\\u00e9\"", i ? "," : "", i);
    file_text_add(&text, "}", 1);
    for (uint64_t i = 0; i < 300; i++)
        file_text_format(&text, ",\"tensor\\n%llu\":{\"dtype\":\"U8\",\"shape\":[1,1,1],\"data_offsets\":[%llu,%llu]}",
                         (unsigned long long)i, (unsigned long long)i, (unsigned long long)i + 1);
    file_text_add(&text, "}", 1);
    assert_false(text.failed);
    long n = 0;
    for (fpr_status status = FPR_NO_MEMORY; status; n++) {
        file_header h;
        fpr_error e;
        base_fail_allocation(n);
        status = file_header_parse(text.bytes, text.count, 300, &h, &e);
        base_fail_allocation(-1);
        if (status) {
            assert_int_equal(status, FPR_NO_MEMORY);
            assert_int_equal(e.status, FPR_NO_MEMORY);
            assert_null(h.tensors);
            assert_int_equal(base_allocations_alive(), before + 1);
        }
        file_header_free(&h);
    }
    assert_true(n > 8); /* chunks, three lists, two tables, places, the result */
    file_text_free(&text);
    assert_int_equal(base_allocations_alive(), before);
}

static void reading_a_file_may_run_out_of_memory(void **state)
{
    (void)state;
    long before = base_allocations_alive();
    long n = 0;
    for (fpr_status status = FPR_NO_MEMORY; status; n++) {
        file_header h;
        fpr_error e;
        char *text = NULL;
        base_fail_allocation(n);
        status = read_file(FIXTURES "/good/metadata.safetensors", &h, &text, &e);
        base_fail_allocation(-1);
        if (status) {
            assert_int_equal(status, FPR_NO_MEMORY);
            assert_string_equal(e.file, FIXTURES "/good/metadata.safetensors");
        } else {
            base_free(text);
            file_header_free(&h);
        }
        assert_int_equal(base_allocations_alive(), before);
    }
    assert_true(n > 5);
}

/* ---- what is written */

static void strings_are_escaped_as_serde_does(void **state)
{
    (void)state;
    file_text text = {0};
    /* serde_json, ser.rs, ESCAPE: short forms for \b \t \n \f \r " and \, \u00xx in lower case for the other ones below
     * 0x20. */
    file_text_string(&text, "a\"\\/\b\t\n\f\r\0\x1f\x0b\x7f\xc3\xa9z", 16);
    file_text_string(&text, "", 0);
    file_text_string(&text, "\n", 1);
    file_text_add(&text, "", 1);
    assert_string_equal(text.bytes, "\"a\\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\\u000b\x7f\xc3\xa9z\"\"\"\"\\n\"");
    file_text_free(&text);
    assert_null(text.bytes);
}

static void text_grows(void **state)
{
    (void)state;
    file_text text = {0};
    char wide[1000], expected[1100];
    memset(wide, 'w', sizeof wide);
    wide[999] = 0;
    for (int i = 0; i < 200; i++) file_text_add(&text, "abcdefghij", 10);
    assert_int_equal(text.count, 2000);
    file_text_format(&text, "[%s|%d]", wide, -5);
    file_text_add(&text, "", 1);
    snprintf(expected, sizeof expected, "[%s|%d]", wide, -5);
    assert_string_equal(text.bytes + 2000, expected);
    file_text_free(&text);
    for (size_t n = 0; n < sizeof wide; n++) { /* also where it just fits, and just does not */
        file_text_format(&text, "%.*s", (int)n, wide);
        assert_int_equal(text.count, n);
        assert_memory_equal(text.bytes, wide, n);
        file_text_free(&text);
    }
}

static void failing_text_stays_failed(void **state)
{
    (void)state;
    file_text text = {0};
    base_fail_allocation(0);
    file_text_add(&text, "a", 1);
    base_fail_allocation(-1);
    assert_true(text.failed);
    file_text_add(&text, "b", 1);
    file_text_format(&text, "%d", 1);
    file_text_string(&text, "c", 1);
    assert_int_equal(text.count, 0);
    file_header none = {0};
    fpr_error e;
    assert_int_equal(file_header_write(&none, &text, &e), FPR_NO_MEMORY);
    file_text_free(&text);
    file_text_add(&text, "ab", 2);
    base_fail_allocation(0);
    char wide[1000];
    memset(wide, 'w', sizeof wide);
    wide[999] = 0;
    file_text_format(&text, "%s", wide);
    base_fail_allocation(-1);
    assert_true(text.failed);
    assert_memory_equal(text.bytes, "ab", 2); /* what was there is kept, and freed once */
    file_text_free(&text);
}

static void a_header_is_laid_out_as_the_reference_does(void **state)
{
    (void)state;
    uint64_t shape[] = {1, 2};
    file_tensor tensors[] = {
        {.name = "a", .name_bytes = 1, .dtype = FPR_F32, .rank = 2, .shape = shape, .begin = 0, .end = 8},
        {.name = "b\n", .name_bytes = 2, .dtype = FPR_U8, .rank = 0, .begin = 8, .end = 9},
    };
    uint32_t order[] = {1, 0};
    file_metadata metadata[] = {{"format", "pt", 6, 2}, {"", "\"", 0, 1}};
    file_header h = {.tensors = tensors, .tensor_count = 2};
    file_text text = {0};
    fpr_error e;
    file_text_add(&text, "12345678", 8); /* what stands before does not count for the padding */
    assert_int_equal(file_header_write(&h, &text, &e), FPR_OK);
    file_text_add(&text, "", 1);
    assert_string_equal(text.bytes, "12345678{\"a\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
                                    "\"b\\n\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]}}   ");
    text.count = 0;
    h.header_order = order;
    h.metadata = metadata;
    h.metadata_count = 2;
    assert_int_equal(file_header_write(&h, &text, &e), FPR_OK);
    file_text_add(&text, "", 1);
    assert_string_equal(text.bytes, "{\"__metadata__\":{\"format\":\"pt\",\"\":\"\\\"\"},"
                                    "\"b\\n\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]},"
                                    "\"a\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]}}    ");
    text.count = 0;
    h = (file_header){.has_metadata = true};
    assert_int_equal(file_header_write(&h, &text, &e), FPR_OK);
    file_text_add(&text, "", 1);
    assert_string_equal(text.bytes, "{\"__metadata__\":{}}     ");
    file_text_free(&text);
}

/* Two files of the reference's own writer (by way of PyTorch) come out as they were. */
static void real_headers_survive_the_round_trip(void **state)
{
    (void)state;
    static const char *const paths[] = {FIXTURES "/models/mnist_cnn_plain.safetensors",
                                        FIXTURES "/models/mnist_cnn_overparam_l1.safetensors"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        file_header h;
        fpr_error e;
        char *raw;
        if (read_file(paths[i], &h, &raw, &e)) fail_msg("%s: %s", paths[i], e.message);
        file_text text = {0};
        assert_int_equal(file_header_write(&h, &text, &e), FPR_OK);
        assert_int_equal(text.count, h.header_bytes);
        assert_memory_equal(text.bytes, raw, text.count);
        file_text_free(&text);
        base_free(raw);
        file_header_free(&h);
    }
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    json_t *index = load_index("good"), *facts;
    const char *name;
    json_object_foreach(index, name, facts) {
        char path[4096];
        snprintf(path, sizeof path, "%s/good/%s", FIXTURES, name);
        file_header h, again;
        fpr_error e;
        file_text text = {0};
        assert_int_equal(read_file(path, &h, NULL, &e), FPR_OK);
        assert_int_equal(file_header_write(&h, &text, &e), FPR_OK);
        assert_int_equal(text.count % 8, 0);
        assert_int_equal(file_header_parse(text.bytes, text.count, h.data_bytes, &again, &e), FPR_OK);
        assert_int_equal(again.tensor_count, h.tensor_count);
        assert_int_equal(again.metadata_count, h.metadata_count);
        assert_int_equal(again.has_metadata, h.has_metadata);
        for (size_t i = 0; i < h.tensor_count; i++) {
            const file_tensor *a = &h.tensors[i], *b = &again.tensors[i];
            assert_int_equal(a->name_bytes, b->name_bytes);
            assert_memory_equal(a->name, b->name, a->name_bytes);
            assert_int_equal(a->dtype, b->dtype);
            assert_int_equal(a->rank, b->rank);
            assert_memory_equal(a->shape, b->shape, a->rank * sizeof *a->shape);
            assert_true(a->begin == b->begin && a->end == b->end && a->elements == b->elements);
            assert_int_equal(h.header_order[i], again.header_order[i]);
        }
        for (size_t i = 0; i < h.metadata_count; i++) {
            assert_string_equal(h.metadata[i].key, again.metadata[i].key);
            assert_string_equal(h.metadata[i].value, again.metadata[i].value);
        }
        file_text_free(&text);
        file_header_free(&h);
        file_header_free(&again);
    }
    json_decref(index);
}

static void the_largest_header_is_written_and_no_larger_one(void **state)
{
    (void)state;
    char *value = base_calloc(FILE_HEADER_MAX, 1);
    assert_non_null(value);
    memset(value, 'v', FILE_HEADER_MAX);
    size_t around = strlen("{\"__metadata__\":{\"k\":\"\"}}");
    file_metadata m = {"k", value, 1, FILE_HEADER_MAX - around};
    file_header h = {.metadata = &m, .metadata_count = 1};
    file_text text = {0};
    fpr_error e;
    assert_int_equal(file_header_write(&h, &text, &e), FPR_OK);
    assert_int_equal(text.count, FILE_HEADER_MAX);
    text.count = 0;
    m.value_bytes++;
    assert_int_equal(file_header_write(&h, &text, &e), FPR_BAD_HEADER);
    assert_non_null(strstr(e.message, "the format allows 100000000"));
    file_text_free(&text);
    base_free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_files_are_read),
        cmocka_unit_test(bad_files_are_refused_with_the_place),
        cmocka_unit_test(the_error_may_be_left_out),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(a_header_over_the_limit_is_not_looked_at),
        cmocka_unit_test(all_of_an_entry_is_read),
        cmocka_unit_test(dtypes_are_those_of_the_reference),
        cmocka_unit_test(a_hundred_thousand_tensors_in_any_order),
        cmocka_unit_test(a_duplicate_among_many_is_found),
        cmocka_unit_test(long_and_deep_headers_cost_in_proportion),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(reading_a_file_may_run_out_of_memory),
        cmocka_unit_test(strings_are_escaped_as_serde_does),
        cmocka_unit_test(text_grows),
        cmocka_unit_test(failing_text_stays_failed),
        cmocka_unit_test(a_header_is_laid_out_as_the_reference_does),
        cmocka_unit_test(real_headers_survive_the_round_trip),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(the_largest_header_is_written_and_no_larger_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
