/* JSON as trees: what is accepted is what jansson accepts, what is read is what jansson reads, and memory that runs out
 * is nothing but that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "file/file.h"
#include "german.h"
#include "numbers.h"

#include <jansson.h>

static fpr_status read_tree(const char *text, size_t n, bool strict, file_tree *tree, fpr_error *error)
{
    return file_tree_read(text, n, strict, FPR_BAD_INDEX, tree, error);
}

/* ---- jansson as the oracle */

static bool is_same(const file_value *v, const json_t *j)
{
    const file_value *child;
    size_t i = 0;
    switch (v->kind) {
    case FILE_NULL: return json_is_null(j);
    case FILE_FALSE: return json_is_false(j);
    case FILE_TRUE: return json_is_true(j);
    case FILE_INTEGER: return json_is_integer(j) && file_value_integer(v) == json_integer_value(j);
    case FILE_REAL: return json_is_real(j) && file_value_number(v) == json_real_value(j);
    case FILE_STRING:
        return json_is_string(j) && v->bytes == json_string_length(j) &&
               !memcmp(v->text, json_string_value(j), v->bytes + 1);
    case FILE_ARRAY:
        if (!json_is_array(j) || v->count != json_array_size(j)) return false;
        for (child = v->first; child; child = child->next, i++)
            if (child->parent != v || child->place != i || !is_same(child, json_array_get(j, i))) return false;
        return i == v->count;
    default:
        if (!json_is_object(j) || v->count != json_object_size(j)) return false;
        for (child = v->first; child; child = child->next) {
            const file_value *found = file_value_get(v, child->key);
            if (!found || child->parent != v || !is_same(found, json_object_get(j, child->key))) return false;
        }
        return true;
    }
}

/* Both read it, and the same, or neither does; true when they do. */
static bool judge(const char *text, size_t n, bool strict)
{
    file_tree tree;
    fpr_error error = {0};
    json_error_t where;
    long before = base_allocations_alive();
    fpr_status status = read_tree(text, n, strict, &tree, &error);
    json_t *root = json_loadb(text, n, strict ? JSON_REJECT_DUPLICATES : JSON_ALLOW_NUL, &where);
    if (!root != (status != FPR_OK) || (status && status != FPR_BAD_INDEX))
        fail_msg("%.*s: status %d (%s), jansson says %s", (int)n, text, status, error.message,
                 root ? "good" : where.text);
    if (root && !is_same(tree.root, root)) fail_msg("%.*s: is read as something else", (int)n, text);
    if (status && !strstr(error.message, "line ")) fail_msg("%s: names no line", error.message);
    bool good = root != NULL;
    json_decref(root);
    file_tree_free(&tree);
    assert_int_equal(base_allocations_alive(), before);
    return good;
}

static const char *const texts[] = {
    "{}", "[]", " [ ] \n", "[[],{}]", "[1,2 , 3]", "{\"a\":1,\"b\":{\"c\":[true,false,null]}}",
    "{\"weight_map\":{\"conv.weight\":\"a-1.safetensors\",\"b\":\"a-2.safetensors\"},\"metadata\":{\"total_size\":12}}",
    "{\"a\":1,\"a\":[2],\"b\":3,\"a\":\"last\"}",
    "[\"\",\"\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"\\u00e9\\ud83d\\ude00\",\"h\xc3\xa9\xf0\x9f\x98\x80\",\"\\u0000\"]",
    "[0,-0,1,-1,9223372036854775807,-9223372036854775808]",
    "[0.0,-0.5e-7,1E+5,1e5,123456789.123456789,1.7976931348623157e308,4.9e-324,1e-999,3e0]",
    "{\"mean\":[0.1,-2,3e-2],\"components\":[[1,0],[0,1]]}",
};

static void what_jansson_reads_is_read_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) assert_true(judge(texts[i], strlen(texts[i]), false));
    static const char *const others[] = {
        "", " ", "1", "\"a\"", "null", "[", "]", "{", "[1", "[1,", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}",
        "{\"a\":1,}", "{a:1}", "{'a':1}", "[1]x", "[1] [2]", "[01]", "[-]", "[+1]", "[1.]", "[.5]", "[1e]", "[1e+]",
        "[0x1]", "[NaN]", "[Infinity]", "[tru]", "[truex]", "[nulll]", "[\"a]", "[\"\\x\"]", "[\"\\u12\"]",
        "[\"\\ud800\"]", "[\"\\udc00\"]", "[\"\\ud800\\u0041\"]", "[\"\n\"]", "[\"\x80\"]", "[\"\xc0\xaf\"]",
        "[\"\xed\xa0\x80\"]", "[\"\xf4\x90\x80\x80\"]", "[9223372036854775808]", "[-9223372036854775809]", "[1e999]",
        "[-1e999]", "[1.7976931348623159e308]", "[1.79769313486231580795e308]", "[1.7976931348623157e0308]",
        "\xef\xbb\xbf[]", "{\"a\\u0000b\":1}", "[\"\\u0000\"]", "{\"a\":1,\"a\":2}", "{\"\":1,\"\":2}", "[1 2]",
        "{\"a\" 1}", "[\"a\" \"b\"]", "{\"a\":1 \"b\":2}", "[[]", "[]]", "[123456789012345678901234567890123456789]",
        "[1e-400]", "[\"\x7f\"]", "[\v1]", "[1]\f",
    };
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        judge(others[i], strlen(others[i]), true);
        judge(others[i], strlen(others[i]), false);
    }
    judge("[1]\0", 4, true);
    judge("[\"a\0b\"]", 7, false);
}

/* Texts that are nearly right. */
static void changed_texts_are_judged_as_jansson_does(void **state)
{
    (void)state;
    static const char bytes[] = "{}[]:,\"\\0123456789+-.eEtrufalsn \n\x01\x80\xc3\xa9";
    size_t good = 0, tried = 0;
    random_state = 7;
    for (; tried < 60000; tried++) {
        char text[256];
        const char *seed = texts[random_bits() % COUNT_OF(texts)];
        size_t n = strlen(seed);
        memcpy(text, seed, n + 1);
        for (unsigned changes = 1 + random_bits() % 3; changes; changes--) {
            size_t at = random_bits() % n;
            char c = bytes[random_bits() % (sizeof bytes - 1)];
            switch (random_bits() % 3) {
            case 0: text[at] = c; break;
            case 1: memmove(text + at, text + at + 1, n-- - at); break;
            default: memmove(text + at + 1, text + at, ++n - at), text[at] = c; break;
            }
            if (!n) break;
        }
        good += judge(text, n, tried % 2);
    }
    print_message("%zu texts, %zu of them good\n", tried, good);
    assert_true(good > 3000 && good < tried - 3000);
}

/* The bound of headers, FORMAT.md: every reader has room for it, and that of Python goes no deeper than a thousand. */
static void depth_is_bounded(void **state)
{
    (void)state;
    enum { MOST = 129 };
    char text[2 * MOST];
    for (size_t n = MOST - 4; n <= MOST; n++) {
        memset(text, '[', n);
        memset(text + n, ']', n);
        file_tree tree;
        if (n <= 127) assert_true(judge(text, 2 * n, true));
        else assert_int_equal(read_tree(text, 2 * n, true, &tree, &(fpr_error){0}), FPR_BAD_INDEX);
    }
}

/* ---- what it says */

static void errors_say_where(void **state)
{
    (void)state;
    static const struct { const char *text, *message; uint64_t offset; } cases[] = {
        {"{\"a\":\n [1,\n x]}", "line 3: expected a value, found 'x'", 12},
        {"[1", "line 1: expected ',' or ']' in an array, found the end of the text", 2},
        {"{\"a\":1,\n\"a\":2\n}", "line 3: \"a\" is given twice", 14},
        {"[\n\n\"\x80\"]", "line 3: the text is not UTF-8: byte 0x80", 4},
        {"7", "line 1: expected '{' or '[', found '7'", 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        file_tree tree;
        fpr_error error = {0};
        assert_int_equal(read_tree(cases[i].text, strlen(cases[i].text), true, &tree, &error), FPR_BAD_INDEX);
        assert_null(tree.root);
        assert_string_equal(error.message, cases[i].message);
        assert_int_equal(error.offset, cases[i].offset);
    }
}

static void what_is_not_there_is_nothing(void **state)
{
    (void)state;
    file_tree tree;
    static const char text[] = "{\"s\":\"x\",\"n\":7,\"r\":2.5,\"l\":[1]}";
    assert_int_equal(read_tree(text, sizeof text - 1, true, &tree, NULL), FPR_OK);
    const file_value *s = file_value_get(tree.root, "s"), *n = file_value_get(tree.root, "n");
    const file_value *r = file_value_get(tree.root, "r"), *l = file_value_get(tree.root, "l");
    assert_string_equal(file_value_text(s), "x");
    assert_true(file_value_integer(n) == 7 && file_value_number(n) == 7 && file_value_number(r) == 2.5);
    assert_null(file_value_get(tree.root, "t"));
    assert_null(file_value_get(l, "s"));
    assert_null(file_value_get(NULL, "s"));
    assert_null(file_value_text(n));
    assert_null(file_value_text(NULL));
    assert_true(file_value_integer(s) == 0 && file_value_integer(r) == 0 && file_value_number(l) == 0);
    assert_false(file_value_is(NULL, FILE_NULL));
    file_tree_free(&tree);
}

/* A point is a point, whatever the host program's locale makes of it. A locale made here needs no root. */
static void numbers_do_not_depend_on_the_locale(void **state)
{
    (void)state;
    if (!german_begin(LC_NUMERIC)) print_message("no German locale here: only the C locale is seen\n");
    file_tree tree;
    assert_int_equal(read_tree("[1.5,-0.25e1]", 13, true, &tree, NULL), FPR_OK);
    german_end();
    assert_true(file_value_number(tree.root->first) == 1.5 && file_value_number(tree.root->first->next) == -2.5);
    file_tree_free(&tree);
}

static void bombs_are_refused_before_they_take_memory(void **state)
{
    (void)state;
    enum { COUNT = 1100000 };
    char *text = malloc(3 * COUNT + 3), *p = text;
    *p++ = '[';
    for (size_t i = 0; i < COUNT; i++) p = (char *)memcpy(p, "{},", 3) + 3;
    p[-1] = ']';
    file_tree tree;
    fpr_error error;
    base_fail_allocation(0);
    assert_int_equal(read_tree(text, (size_t)(p - text), true, &tree, &error), FPR_BAD_INDEX);
    base_fail_allocation(-1);
    assert_non_null(strstr(error.message, "more values"));
    free(text);
}

/* ---- writing */

static void what_is_written_is_what_jansson_writes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        file_tree tree;
        file_text out = {0};
        if (read_tree(texts[i], strlen(texts[i]), true, &tree, NULL)) continue;
        file_text_value(&out, tree.root);
        assert_true(judge(out.bytes, out.count, true));
        json_t *root = json_loads(texts[i], 0, NULL);
        char *dump = json_dumps(root, JSON_INDENT(2));
        /* Numbers stay as they were spelled. */
        if (!strchr(texts[i], '.') && !strstr(texts[i], "-0")) {
            assert_int_equal(out.count, strlen(dump));
            assert_memory_equal(out.bytes, dump, out.count);
        }
        free(dump);
        json_decref(root);
        file_text_free(&out);
        file_tree_free(&tree);
    }
}

static void memory_that_runs_out_is_nothing_else(void **state)
{
    (void)state;
    /* Many values, and one longer than all chunks of memory before it. */
    size_t n = 0, capacity = 40000;
    char *text = malloc(capacity);
    n += (size_t)snprintf(text, capacity, "{\"long\":\"");
    memset(text + n, 'x', 20000);
    n += 20000;
    n += (size_t)snprintf(text + n, capacity - n, "\",\"list\":[");
    for (int i = 0; i < 500; i++) n += (size_t)snprintf(text + n, capacity - n, "%s{\"k%d\":%d.5}", i ? "," : "", i, i);
    n += (size_t)snprintf(text + n, capacity - n, "]}");
    long before = base_allocations_alive(), failed = 0;
    fpr_status status = FPR_NO_MEMORY;
    for (; status; failed++) {
        file_tree tree;
        fpr_error error = {0};
        base_fail_allocation(failed);
        status = read_tree(text, n, true, &tree, &error);
        base_fail_allocation(-1);
        assert_true(status == FPR_OK || (status == FPR_NO_MEMORY && error.status == FPR_NO_MEMORY));
        assert_true(status == FPR_OK || !tree.root);
        file_tree_free(&tree);
        assert_int_equal(base_allocations_alive(), before);
    }
    assert_true(failed > 3);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_jansson_reads_is_read_the_same),
        cmocka_unit_test(changed_texts_are_judged_as_jansson_does),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(what_is_not_there_is_nothing),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
        cmocka_unit_test(bombs_are_refused_before_they_take_memory),
        cmocka_unit_test(what_is_written_is_what_jansson_writes),
        cmocka_unit_test(memory_that_runs_out_is_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
