/* The readers of PyTorch's and numpy's files, below the program: strided tensors against a walk over all indices, pickles
 * opcode by opcode, archives put together here; and memory that runs out, at every allocation. */
#include "source/dense.h"
#include "source/pickle.h"
#include "source/source.h"
#include "source/zip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- strided tensors */

typedef struct memory_store {
    dense_store base;
    const uint8_t *bytes;
    uint64_t size;
} memory_store;

static fpr_status read_memory(const dense_store *base, uint64_t from, uint64_t count, void *dst, fpr_error *error)
{
    const memory_store *s = (const memory_store *)(const void *)base;
    (void)error;
    assert_true(from <= s->size && count <= s->size - from); /* never beyond the storage */
    memcpy(dst, s->bytes + from, count);
    return FPR_OK;
}

static uint32_t dice_state = 1;

static uint32_t dice(uint32_t below)
{
    dice_state = dice_state * 1664525u + 1013904223u;
    return (dice_state >> 8) % below;
}

/* By the definition: the element at each index, its units as they are asked for. */
static void by_indices(const dense_view *v, const uint8_t *store, uint8_t *dst)
{
    uint64_t index[DENSE_RANK_MOST] = {0}, n = 1;
    for (unsigned d = 0; d < v->rank; d++) n *= v->shape[d];
    for (uint64_t i = 0; i < n; i++) {
        uint64_t place = 0;
        for (unsigned d = 0; d < v->rank; d++) place += index[d] * v->stride[d];
        uint8_t *to = dst + i * v->element;
        memcpy(to, store + v->offset + place * v->element, v->element);
        for (unsigned u = 0; u < v->element; u += v->unit) {
            uint64_t bits = 0;
            for (unsigned b = 0; b < v->unit; b++) bits |= (uint64_t)to[u + (v->swap ? v->unit - 1 - b : b)] << 8 * b;
            const bool minus = v->negative ^ (v->conjugate && u);
            if (minus && v->whole) bits = -bits;
            if (minus && !v->whole) bits ^= UINT64_C(1) << (8 * v->unit - 1);
            for (unsigned b = 0; b < v->unit; b++) to[u + b] = (uint8_t)(bits >> 8 * b);
        }
        for (unsigned d = v->rank; d-- > 0;) {
            if (++index[d] < v->shape[d]) break;
            index[d] = 0;
        }
    }
}

static void strided_tensors_are_what_their_indices_say(void **state)
{
    (void)state;
    enum { STORE = 3 << 20 };
    uint8_t *bytes = base_alloc(STORE, 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < STORE; i++) bytes[i] = (uint8_t)dice(256);
    const memory_store store = {{read_memory, NULL}, bytes, STORE};
    for (unsigned round = 0; round < 600; round++) {
        static const unsigned elements[] = {1, 2, 4, 8};
        static const uint64_t steps[] = {0, 1, 1, 2, 3, 9, 17, 90, 2000, 70000};
        uint64_t shape[6], stride[6], span;
        dense_view v = {.rank = dice(6), .element = elements[dice(4)], .shape = shape, .stride = stride};
        v.unit = v.element == 8 && dice(2) ? 4 : v.element;
        v.conjugate = v.unit < v.element && dice(2);
        v.swap = dice(2);
        v.negative = dice(3) == 0;
        v.whole = v.unit == v.element && dice(2);
        v.offset = dice(100);
        for (unsigned d = 0; d < v.rank; d++) {
            shape[d] = round % 3 ? 1 + dice(6) : 1 + dice(round % 2 ? 30 : 3);
            stride[d] = steps[dice(10)];
        }
        if (round % 4 == 0) { /* axes of a dense tensor in another order: what models have */
            uint64_t n = 1;
            for (unsigned d = 0; d < v.rank; n *= shape[d++]) stride[d] = n;
        }
        assert_true(dense_span(&v, &span));
        if (v.offset + span * v.element > STORE) continue;
        uint64_t n = v.element;
        for (unsigned d = 0; d < v.rank; d++) n *= shape[d];
        if (n > STORE) continue;
        uint8_t *want = base_alloc(n, 1), *got = base_alloc(n, 1);
        assert_true(want && got);
        by_indices(&v, bytes, want);
        assert_int_equal(dense_read(&v, &store.base, 0, n, got, NULL), FPR_OK);
        assert_memory_equal(got, want, n);
        const uint64_t from = dice((uint32_t)n), count = dice((uint32_t)(n - from) + 1);
        assert_int_equal(dense_read(&v, &store.base, from, count, got, NULL), FPR_OK);
        assert_memory_equal(got, want + from, count);
        base_free(want);
        base_free(got);
    }
    base_free(bytes);
}

/* ---- pickles */

typedef struct text {
    const char *bytes;
    size_t size;
} text;

static fpr_status read_text(void *context, uint64_t at, uint64_t count, void *dst, fpr_error *error)
{
    const text *t = context;
    (void)error;
    assert_true(at <= t->size && count <= t->size - at);
    memcpy(dst, t->bytes + at, count);
    return FPR_OK;
}

static fpr_status read_pickle(const char *bytes, size_t size, pickle *p)
{
    text t = {bytes, size};
    pickle_input in = {.read = read_text, .context = &t, .size = size};
    fpr_error error = {0};
    const fpr_status status = pickle_read(&in, p, &error);
    if (status) assert_true(error.message[0]);
    else assert_int_equal(in.at, size);
    return status;
}

#define PICKLE(literal, p) read_pickle(literal, sizeof(literal) - 1, p)

static void every_kind_of_value(void **state)
{
    (void)state;
    pickle p;
    int64_t n = 0;
    static const struct { const char *bytes; size_t size; int64_t value; } numbers[] = {
        {"K\xff.", 3, 255}, {"M\x01\x02.", 4, 513}, {"J\xff\xff\xff\xff.", 6, -1}, {"I-12\n.", 6, -12}, {"I01\n.", 5, 1},
        {"L9223372036854775807L\n.", 23, INT64_MAX}, {"\x8a\x01\x80.", 4, -128}, {"\x8a\x00.", 3, 0}, {"\x89.", 2, 0},
        {"\x8b\x05\x00\x00\x00\x00\x00\x00\x80\x00.", 11, INT64_C(1) << 31},
        {"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", 11, INT64_MIN}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_int_equal(read_pickle(numbers[i].bytes, numbers[i].size, &p), FPR_OK);
        assert_true(pickle_integer(&p, p.root, &n));
        assert_int_equal(n, numbers[i].value);
        pickle_free(&p);
    }
    assert_int_equal(PICKLE("L99999999999999999999L\n.", &p), FPR_OK);
    assert_false(pickle_integer(&p, p.root, &n));
    pickle_free(&p);
    static const struct { const char *bytes; size_t size; const char *value; } texts[] = {
        {"X\x02\x00\x00\x00\xc3\xa9.", 8, "\xc3\xa9"}, {"U\x02hi.", 5, "hi"}, {"\x8c\x02hi.", 5, "hi"},
        {"Vh\\u00e9\xe9\\U0001f600\n.", 21, "h\xc3\xa9\xc3\xa9\xf0\x9f\x98\x80"}, {"S'a\\'\\x62\\n'\n.", 14, "a'b\n"},
        {"S\"it's\"\n.", 9, "it's"}, {"T\x01\x00\x00\x00x.", 7, "x"}, {"\x8d\x01\x00\x00\x00\x00\x00\x00\x00x.", 11, "x"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(read_pickle(texts[i].bytes, texts[i].size, &p), FPR_OK);
        assert_true(pickle_text_is(&p, p.root, texts[i].value));
        pickle_free(&p);
    }
}

static void containers_and_objects(void **state)
{
    (void)state;
    pickle p;
    int64_t n = 0;
    /* {"a": (1, [2]), "a": 3}, by a mark and by single items: the last of equal keys counts. */
    assert_int_equal(PICKLE("}(U\x01" "aK\x01](K\x02" "e\x86U\x01" "aK\x03u.", &p), FPR_OK);
    assert_true(pickle_is_dictionary(&p, p.root) && pickle_integer(&p, pickle_get(&p, p.root, "a"), &n));
    assert_int_equal(n, 3);
    assert_int_equal(pickle_get(&p, p.root, "b"), PICKLE_ABSENT);
    pickle_free(&p);
    /* An object of a class nobody knows, with items and state. */
    assert_int_equal(PICKLE("cnowhere\nThing\nK\x07\x85RU\x01kK\x01s}U\x01xK\x02sb.", &p), FPR_OK);
    assert_true(pickle_is_called(&p, p.root, "nowhere", "Thing"));
    assert_true(pickle_integer(&p, pickle_item(&p, pickle_arguments(&p, p.root), 0), &n) && n == 7);
    assert_true(pickle_integer(&p, pickle_get(&p, p.root, "k"), &n) && n == 1);
    assert_true(pickle_integer(&p, pickle_get(&p, pickle_state(&p, p.root), "x"), &n) && n == 2);
    pickle_free(&p);
    /* INST, OBJ, NEWOBJ and copy_reg._reconstructor name the same class. */
    static const char *const ways[] = {"(inowhere\nThing\n.", "(cnowhere\nThing\no.", "cnowhere\nThing\n)\x81.",
                                       "ccopy_reg\n_reconstructor\n(cnowhere\nThing\nc__builtin__\nobject\nNtR.",
                                       "\x8c\x07nowhere\x8c\x05Thing\x93)R."};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        assert_int_equal(read_pickle(ways[i], strlen(ways[i]), &p), FPR_OK);
        assert_true(pickle_is_called(&p, p.root, "nowhere", "Thing"));
        pickle_free(&p);
    }
    assert_int_equal(PICKLE("ccollections\nOrderedDict\n]](U\x01" "aK\x05" "ea\x85R.", &p), FPR_OK);
    assert_true(pickle_integer(&p, pickle_get(&p, p.root, "a"), &n) && n == 5);
    pickle_free(&p);
}

/* ---- files */

static const char pickled[] = "\x80\x02}(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"
                              "ctorch\nFloatStorage\nX\x01\x00\x00\x00" "0X\x03\x00\x00\x00" "cpuK\x04tQK\x00K\x02K\x02\x86K\x01"
                              "K\x02\x86\x89" "ccollections\nOrderedDict\n)RtRu.";
/* raw deflate of the 16 bytes below: one stored block */
static const uint8_t squeezed[] = {1, 16, 0, 239, 255, 0, 0, 0, 0, 0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64};

static size_t put(uint8_t *to, const char *name, const void *bytes, size_t stored, size_t size, bool deflate, size_t place)
{
    const size_t n = strlen(name), front = place == SIZE_MAX ? 30 : 46, first = place == SIZE_MAX ? 8 : 10;
    memset(to, 0, front);
    base_store_le32(to, place == SIZE_MAX ? 0x04034b50 : 0x02014b50);
    base_store_le16(to + first, deflate ? 8 : 0);
    base_store_le32(to + first + 10, (uint32_t)stored);
    base_store_le32(to + first + 14, (uint32_t)size);
    base_store_le16(to + first + 18, (uint16_t)n);
    if (place != SIZE_MAX) base_store_le32(to + 42, (uint32_t)place);
    memcpy(to + front, name, n);
    if (place != SIZE_MAX) return front + n;
    if (stored) memcpy(to + front + n, bytes, stored);
    return front + n + stored;
}

/* A 2x2 tensor that lies first axis fastest, in a deflated storage. */
static size_t make_archive(uint8_t *to)
{
    const size_t text_bytes = sizeof pickled - 1;
    size_t at = put(to, "a/data.pkl", pickled, text_bytes, text_bytes, false, SIZE_MAX);
    const size_t storage = at;
    at += put(to + at, "a/data/0", squeezed, sizeof squeezed, 16, true, SIZE_MAX);
    const size_t directory = at;
    at += put(to + at, "a/data.pkl", NULL, text_bytes, text_bytes, false, 0);
    at += put(to + at, "a/data/0", NULL, sizeof squeezed, 16, true, storage);
    memset(to + at, 0, 22);
    base_store_le32(to + at, 0x06054b50);
    base_store_le16(to + at + 8, 2);
    base_store_le16(to + at + 10, 2);
    base_store_le32(to + at + 12, (uint32_t)(at - directory));
    base_store_le32(to + at + 16, (uint32_t)directory);
    return at + 22;
}

static void write_file(int fd, char path[40])
{
    uint8_t bytes[2048];
    const size_t n = make_archive(bytes);
    assert_true(fd >= 0 && pwrite(fd, bytes, n, 0) == (ssize_t)n);
    snprintf(path, 40, "/proc/self/fd/%d", fd);
}

static void a_file_is_read_whatever_lies_how(void **state)
{
    (void)state;
    const int fd = memfd_create("torch", MFD_CLOEXEC);
    char path[40];
    write_file(fd, path);
    source *s = NULL;
    fpr_error error = {0};
    const source_options options = {0};
    assert_int_equal(source_open(path, &options, &s, &error), FPR_OK);
    assert_string_equal(s->variant, "torch-zip");
    assert_int_equal(s->tensor_count, 1);
    assert_string_equal(s->tensors[0].name, "w");
    assert_true(s->tensors[0].dtype == FPR_F32 && s->tensors[0].rank == 2 && !s->tensors[0].plain);
    float got[4];
    assert_int_equal(source_read(s, 0, 2, got, &error), FPR_OK);
    assert_true(got[0] == 0.0f && got[1] == 2.0f && got[2] == 1.0f && got[3] == 3.0f);
    source_close(s);
    close(fd);
}

static void memory_that_runs_out_is_nothing_but_that(void **state)
{
    (void)state;
    const int fd = memfd_create("torch", MFD_CLOEXEC);
    const source_options options = {0};
    char path[40];
    write_file(fd, path);
    const long before = base_allocations_alive();
    bool done = false;
    for (long n = 0; !done; n++) {
        assert_true(n < 1000);
        source *s = NULL;
        fpr_error error = {0};
        float got[4];
        base_fail_allocation(n);
        fpr_status status = source_open(path, &options, &s, &error);
        if (!status) status = source_read(s, 0, 1, got, &error);
        done = base_fail_allocation(-1) >= 0;
        assert_int_equal(status, done ? FPR_OK : FPR_NO_MEMORY);
        source_close(s);
        assert_int_equal(base_allocations_alive(), before);
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strided_tensors_are_what_their_indices_say),
        cmocka_unit_test(every_kind_of_value),
        cmocka_unit_test(containers_and_objects),
        cmocka_unit_test(a_file_is_read_whatever_lies_how),
        cmocka_unit_test(memory_that_runs_out_is_nothing_but_that),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
