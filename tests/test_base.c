/* base: errors, memory, little-endian bytes, the parallel loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#endif
#ifndef THREAD_SANITIZER
#define THREAD_SANITIZER 0
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ---- errors */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void an_error_says_what_and_where(void **state)
{
    (void)state;
    fpr_error e;
    memset(&e, 0xff, sizeof e);
    assert_int_equal(base_fail(&e, FPR_BAD_HEADER, "expected %d, found %s", 4, "five"), FPR_BAD_HEADER);
    assert_int_equal(e.status, FPR_BAD_HEADER);
    assert_string_equal(e.message, "expected 4, found five");
    assert_true(e.offset == FPR_NO_OFFSET);
    assert_string_equal(e.file, "");
    assert_string_equal(e.where, "");
    base_error_at(&e, 77);
    base_error_in_tensor(&e, "conv1.weight");
    base_error_in_file(&e, "a.safetensors");
    assert_true(e.offset == 77);
    assert_string_equal(e.where, "conv1.weight");
    assert_string_equal(e.file, "a.safetensors");
}

static void the_innermost_place_wins(void **state)
{
    (void)state;
    fpr_error e;
    base_fail(&e, FPR_IO, "x");
    base_error_at(&e, 0); /* zero is a place too */
    base_error_at(&e, 8);
    base_error_in_tensor(&e, "inner");
    base_error_in_tensor(&e, "outer");
    base_error_in_file(&e, "inner");
    base_error_in_file(&e, "outer");
    assert_true(e.offset == 0);
    assert_string_equal(e.where, "inner");
    assert_string_equal(e.file, "inner");
}

static void an_error_may_be_ignored(void **state)
{
    (void)state;
    assert_int_equal(base_fail(NULL, FPR_USAGE, "x"), FPR_USAGE);
    assert_int_equal(base_fail_errno(NULL, FPR_IO, EIO, "x"), FPR_IO);
    assert_int_equal(base_no_memory(NULL, 5), FPR_NO_MEMORY);
    base_error_at(NULL, 1);
    base_error_in_file(NULL, "x");
    base_error_in_tensor(NULL, "x");
}

static void errno_is_spelt_out(void **state)
{
    (void)state;
    fpr_error e;
    assert_int_equal(base_fail_errno(&e, FPR_IO, ENOSPC, "cannot write %d", 3), FPR_IO);
    assert_string_equal(e.message, "cannot write 3: No space left on device");
    char text[400];
    memset(text, 'y', sizeof text);
    text[sizeof text - 1] = 0;
    base_fail_errno(&e, FPR_IO, ENOSPC, "%s", text); /* no room for it: cut, not overrun */
    assert_int_equal(strlen(e.message), sizeof e.message - 1);
}

static void out_of_memory_says_how_much(void **state)
{
    (void)state;
    fpr_error e;
    assert_int_equal(base_no_memory(&e, UINT64_MAX), FPR_NO_MEMORY);
    assert_non_null(strstr(e.message, "18446744073709551615"));
}

static void of_a_long_name_the_tail_is_kept(void **state)
{
    (void)state;
    char name[1000];
    memset(name, 'n', sizeof name);
    memcpy(name + sizeof name - 8, ".weight", 8);
    fpr_error e;
    base_fail(&e, FPR_IO, "x");
    base_error_in_tensor(&e, name);
    base_error_in_file(&e, name);
    assert_int_equal(strlen(e.where), sizeof e.where - 1);
    assert_string_equal(e.where + strlen(e.where) - 8, "n.weight");
    assert_int_equal(strlen(e.file), sizeof e.file - 1);
    assert_string_equal(e.file + strlen(e.file) - 8, "n.weight");
}

/* A name of 2-byte characters: whichever way the cut falls, the tail begins with a whole one. */
static void the_tail_is_still_utf8(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        char name[301] = {0};
        for (size_t i = 0; i + 1 < 298; i += 2) memcpy(name + i, "\xc3\xa9", 2);
        if (extra) strcat(name, "x");
        fpr_error e;
        base_fail(&e, FPR_IO, "x");
        base_error_in_tensor(&e, name);
        assert_int_equal((unsigned char)e.where[0], 0xc3);
        assert_true(strlen(e.where) >= sizeof e.where - 2);
    }
}

/* Every number is spelled as RFC 3629 has it, and read back; surrogates are spelled, but no text. */
static void every_character_is_spelled_and_read(void **state)
{
    (void)state;
    static const struct { uint32_t code; const char *spelled; } known[] = {
        {0x24, "\x24"}, {0xA2, "\xC2\xA2"}, {0x939, "\xE0\xA4\xB9"}, {0x20AC, "\xE2\x82\xAC"}, {0xD55C, "\xED\x95\x9C"},
        {0x10348, "\xF0\x90\x8D\x88"}, {0x10FFFF, "\xF4\x8F\xBF\xBF"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char text[4];
        assert_int_equal(base_put_utf8(text, known[i].code), strlen(known[i].spelled));
        assert_memory_equal(text, known[i].spelled, strlen(known[i].spelled));
    }
    for (uint32_t code = 0; code < 0x110000; code++) {
        char text[4];
        uint32_t found = 0;
        const unsigned n = base_put_utf8(text, code);
        const bool surrogate = code >= 0xD800 && code < 0xE000;
        if (base_utf8(text, n, &found) != (surrogate ? 0 : n) || (!surrogate && found != code)) fail_msg("U+%04X", code);
        if (base_utf8(text, n - 1, &found)) fail_msg("U+%04X, cut", code);
    }
}

static void exit_status_by_kind(void **state)
{
    (void)state;
    static const struct { fpr_status status; int exit; } expected[] = {
        {FPR_OK, 0}, {FPR_IO, 1}, {FPR_NO_MEMORY, 1}, {FPR_CANCELLED, 1}, {FPR_CHANGED, 1}, {FPR_USAGE, 2},
        {FPR_BAD_HEADER, 3}, {FPR_BAD_INDEX, 3}, {FPR_BAD_PACKED, 3}, {FPR_TOO_NEW, 3}, {FPR_BAD_BASIS, 3},
        {FPR_EXISTS, 4}, {FPR_SAME_FILE, 4}, {FPR_DIFFERS, 5},
    };
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        assert_int_equal(fpr_exit_status(expected[i].status), expected[i].exit);
}

static void the_version_is_the_headers(void **state)
{
    (void)state;
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", FPR_VERSION_MAJOR, FPR_VERSION_MINOR, FPR_VERSION_PATCH);
    assert_string_equal(fpr_version(), text);
    assert_string_equal(FPR_VERSION_STRING, text);
}

/* ---- memory */

static void checked_arithmetic(void **state)
{
    (void)state;
    uint64_t r = 0;
    assert_true(base_multiply(UINT32_MAX, UINT32_MAX, &r));
    assert_true(r == 18446744065119617025u);
    assert_true(base_multiply(UINT64_MAX, 1, &r));
    assert_true(r == UINT64_MAX);
    assert_true(base_multiply(0, UINT64_MAX, &r));
    assert_true(r == 0);
    assert_false(base_multiply(UINT64_C(1) << 32, UINT64_C(1) << 32, &r));
    assert_false(base_multiply(UINT64_MAX, 2, &r));
    assert_true(base_add(UINT64_MAX - 1, 1, &r));
    assert_true(r == UINT64_MAX);
    assert_false(base_add(UINT64_MAX, 1, &r));
}

static void sizes_that_overflow_cannot_be_allocated(void **state)
{
    (void)state;
    long before = base_allocations_alive();
    assert_null(base_alloc(UINT64_C(1) << 33, UINT64_C(1) << 33));
    assert_null(base_calloc(UINT64_MAX, 2));
    assert_null(base_alloc_aligned(UINT64_MAX, 1));
    assert_null(base_alloc(UINT64_MAX / 2 + 1, 1));
    char *kept = base_alloc(1, 1);
    assert_non_null(kept);
    *kept = 7;
    assert_null(base_grow(kept, UINT64_MAX, UINT64_MAX));
    assert_int_equal(*kept, 7);
    base_free(kept);
    assert_int_equal(base_allocations_alive(), before);
}

static void every_kind_of_allocation(void **state)
{
    (void)state;
    long before = base_allocations_alive();
    void *nothing = base_alloc(0, 8);
    assert_non_null(nothing);
    uint8_t *zeros = base_calloc(1000, 3);
    for (size_t i = 0; i < 3000; i++) assert_int_equal(zeros[i], 0);
    for (uint64_t n = 0; n < 200; n += 67) {
        void *aligned = base_alloc_aligned(n, 1);
        assert_non_null(aligned);
        assert_int_equal((uintptr_t)aligned % 64, 0);
        base_free(aligned);
    }
    char *grown = base_grow(NULL, 4, 1);
    memcpy(grown, "abcd", 4);
    grown = base_grow(grown, 100000, 1);
    assert_memory_equal(grown, "abcd", 4);
    char *copy = base_copy_text("ab\0cd", 5);
    assert_memory_equal(copy, "ab\0cd", 6);
    assert_int_equal(base_allocations_alive(), before + 4);
    base_free(nothing);
    base_free(zeros);
    base_free(grown);
    base_free(copy);
    base_free(NULL);
    assert_int_equal(base_allocations_alive(), before);
}

static void the_chosen_allocation_fails_and_only_that(void **state)
{
    (void)state;
    for (long n = 0; n < 5; n++) {
        void *blocks[5];
        base_fail_allocation(n);
        blocks[0] = base_alloc(1, 1);
        blocks[1] = base_calloc(1, 1);
        blocks[2] = base_grow(NULL, 1, 1);
        blocks[3] = base_alloc_aligned(1, 1);
        blocks[4] = base_copy_text("x", 1);
        for (long i = 0; i < 5; i++) {
            if (i == n)
                assert_null(blocks[i]);
            else
                assert_non_null(blocks[i]);
            base_free(blocks[i]);
        }
    }
    base_fail_allocation(0);
    base_fail_allocation(-1); /* off again */
    void *block = base_alloc(1, 1);
    assert_non_null(block);
    base_free(block);
}

/* ---- bytes */

static void little_endian_from_any_address(void **state)
{
    (void)state;
    uint8_t bytes[16];
    for (size_t at = 0; at < 8; at++) {
        base_store_le64(bytes + at, UINT64_C(0x8899aabbccddeeff));
        assert_int_equal(bytes[at], 0xff);
        assert_int_equal(bytes[at + 7], 0x88);
        assert_true(base_load_le64(bytes + at) == UINT64_C(0x8899aabbccddeeff));
        base_store_le32(bytes + at, 0xfedcba98u);
        assert_int_equal(bytes[at + 3], 0xfe);
        assert_true(base_load_le32(bytes + at) == 0xfedcba98u);
        base_store_le16(bytes + at, 0x8001);
        assert_int_equal(bytes[at], 1);
        assert_int_equal(base_load_le16(bytes + at), 0x8001);
    }
}

/* ---- the parallel loop */

typedef struct run {
    unsigned threads;
    atomic_uint calls[1000];
    atomic_uint busy[64]; /* workers inside a task now */
    atomic_uint bad;
    atomic_uint inner;
    unsigned inner_threads;
} run;

static void count_task(void *context, size_t index, unsigned worker)
{
    run *r = context;
    if (worker >= (r->threads ? r->threads : 1)) atomic_fetch_add(&r->bad, 1);
    /* A worker's number is its own while its task runs. */
    if (atomic_fetch_add(&r->busy[worker], 1) != 0) atomic_fetch_add(&r->bad, 1);
    atomic_fetch_add(&r->calls[index], 1);
    atomic_fetch_sub(&r->busy[worker], 1);
}

static void each_task_runs_once_by_a_worker_of_its_own(void **state)
{
    (void)state;
    static const unsigned threads[] = {0, 1, 2, 3, 16, 64};
    static const size_t counts[] = {0, 1, 2, 17, 1000};
    for (size_t t = 0; t < COUNT_OF(threads); t++)
        for (size_t c = 0; c < COUNT_OF(counts); c++) {
            run r = {.threads = threads[t]};
            base_parallel(threads[t], counts[c], count_task, &r);
            assert_int_equal(r.bad, 0);
            for (size_t i = 0; i < COUNT_OF(r.calls); i++) assert_int_equal(r.calls[i], i < counts[c]);
        }
}

/* What loops inside tasks share: how many are in each scratch of theirs, which must be one. */
typedef struct nest { run *all; atomic_int busy[4]; } nest;

static void inner_task(void *context, size_t index, unsigned worker)
{
    nest *n = context;
    (void)index;
    if (worker >= 4 || atomic_fetch_add(&n->busy[worker % 4], 1) != 0) atomic_fetch_add(&n->all->bad, 1);
    atomic_fetch_add(&n->all->inner, 1);
    for (volatile int i = 0; i < 200; i++) {}
    atomic_fetch_sub(&n->busy[worker % 4], 1);
}

static _Atomic int outer_busy[4];

static void outer_task(void *context, size_t index, unsigned worker)
{
    run *r = context;
    nest n = {.all = r};
    /* Whoever waits for the loop inside must not begin another of these tasks: its scratch is in use. */
    if (worker >= 4 || atomic_fetch_add(&outer_busy[worker % 4], 1) != 0) atomic_fetch_add(&r->bad, 1);
    base_parallel(4, 10, inner_task, &n);
    base_parallel(1 + (unsigned)index % 3, 10, inner_task, &n); /* fewer threads than the loop around */
    atomic_fetch_sub(&outer_busy[worker % 4], 1);
    atomic_fetch_add(&r->calls[index], 1);
}

static void loops_nest(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        run r = {0};
        base_parallel(4, 100, outer_task, &r);
        assert_int_equal(r.bad, 0);
        assert_int_equal(r.inner, 2000);
        for (size_t i = 0; i < 100; i++) assert_int_equal(r.calls[i], 1);
    }
}

static void meet_task(void *context, size_t index, unsigned worker);

static void meet_inside_task(void *context, size_t index, unsigned worker)
{
    (void)worker;
    if (index == 0) base_parallel(2, 2, meet_task, context);
}

/* Of two tasks one is nothing: its thread helps with the loop inside the other. */
static void idle_threads_join_the_loop_inside_a_task(void **state)
{
    (void)state;
    run r = {0};
    base_parallel(2, 2, meet_inside_task, &r);
    assert_int_equal(r.bad, 0);
    assert_int_equal(r.inner, 2);
}

static void meet_task(void *context, size_t index, unsigned worker)
{
    run *r = context;
    (void)index;
    (void)worker;
    atomic_fetch_add(&r->inner, 1);
    /* Two tasks that wait for each other, and not for ever. */
    for (double start = seconds(); r->inner < 2 && seconds() < start + 20;) {}
    if (r->inner < 2) atomic_fetch_add(&r->bad, 1);
}

static void two_threads_run_at_the_same_time(void **state)
{
    (void)state;
    run r = {0};
    base_parallel(2, 2, meet_task, &r);
    assert_int_equal(r.bad, 0);
}

/* A child made by fork has none of its parent's threads, and must neither miss them nor wait for them. */
static void a_forked_child_works_too(void **state)
{
    (void)state;
    if (THREAD_SANITIZER) skip(); /* it dies of threads after a fork */
    for (int i = 0; i < 20; i++) {
        run r = {.threads = 4};
        base_parallel(4, 100, count_task, &r);
        usleep(i % 2 * 1000); /* the parent's threads asleep, or on their way there */
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            alarm(20);
            for (int round = 0; round < 50; round++) {
                run c = {.threads = 4};
                base_parallel(4, 100, count_task, &c);
                for (size_t k = 0; k < 100; k++)
                    if (c.calls[k] != 1 || c.bad) _exit(1);
                usleep(round % 10 == 0 ? 200 : 0);
            }
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static void sum_task(void *context, size_t index, unsigned worker)
{
    double *sums = context;
    (void)worker;
    sums[index] = 0;
    for (size_t i = 1; i < 1000; i++) sums[index] += 1.0 / (double)(i + index);
}

static void results_do_not_depend_on_threads(void **state)
{
    (void)state;
    double one[200], many[200];
    base_parallel(1, 200, sum_task, one);
    base_parallel(7, 200, sum_task, many);
    assert_memory_equal(one, many, sizeof one);
}

static void there_is_at_least_one_core(void **state)
{
    (void)state;
    assert_in_range(base_cores(), 1, 65536);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_says_what_and_where),
        cmocka_unit_test(the_innermost_place_wins),
        cmocka_unit_test(an_error_may_be_ignored),
        cmocka_unit_test(errno_is_spelt_out),
        cmocka_unit_test(out_of_memory_says_how_much),
        cmocka_unit_test(of_a_long_name_the_tail_is_kept),
        cmocka_unit_test(the_tail_is_still_utf8),
        cmocka_unit_test(every_character_is_spelled_and_read),
        cmocka_unit_test(exit_status_by_kind),
        cmocka_unit_test(the_version_is_the_headers),
        cmocka_unit_test(checked_arithmetic),
        cmocka_unit_test(sizes_that_overflow_cannot_be_allocated),
        cmocka_unit_test(every_kind_of_allocation),
        cmocka_unit_test(the_chosen_allocation_fails_and_only_that),
        cmocka_unit_test(little_endian_from_any_address),
        cmocka_unit_test(each_task_runs_once_by_a_worker_of_its_own),
        cmocka_unit_test(loops_nest),
        cmocka_unit_test(idle_threads_join_the_loop_inside_a_task),
        cmocka_unit_test(two_threads_run_at_the_same_time),
        cmocka_unit_test(a_forked_child_works_too),
        cmocka_unit_test(results_do_not_depend_on_threads),
        cmocka_unit_test(there_is_at_least_one_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
