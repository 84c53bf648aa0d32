/* A corpus made by many ranks: threads here, that talk through memory as processes do through MPI. */
#include "filterprune.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RANKS_MAX 4

typedef struct wire {
    pthread_barrier_t barrier;
    unsigned char bytes[RANKS_MAX][256];
    unsigned size;
} wire;

typedef struct end { wire *wire; unsigned rank; } end;

static int gather(void *context, const void *bytes, size_t count, void *all)
{
    const end *e = context;
    if (count > sizeof *e->wire->bytes) return -1;
    memcpy(e->wire->bytes[e->rank], bytes, count);
    pthread_barrier_wait(&e->wire->barrier);
    for (unsigned r = 0; e->rank == 0 && r < e->wire->size; r++) memcpy((char *)all + r * count, e->wire->bytes[r], count);
    pthread_barrier_wait(&e->wire->barrier);
    return 0;
}

static int broadcast(void *context, void *bytes, size_t count)
{
    const end *e = context;
    if (count > sizeof *e->wire->bytes) return -1;
    if (e->rank == 0) memcpy(e->wire->bytes[0], bytes, count);
    pthread_barrier_wait(&e->wire->barrier);
    memcpy(bytes, e->wire->bytes[0], count);
    pthread_barrier_wait(&e->wire->barrier);
    return 0;
}

static const char *const models[] = {FIXTURES "/models/mnist_cnn_plain.safetensors", FIXTURES "/models/mnist_xnor.safetensors",
                                     FIXTURES "/models/mnist_cnn_overparam_l1.safetensors"};
static const char *const by[] = {"training"};

typedef struct text { char *bytes; size_t count; } text;

static int keep(void *context, const void *bytes, size_t count)
{
    text *t = context;
    t->bytes = realloc(t->bytes, t->count + count + 1);
    memcpy(t->bytes + t->count, bytes, count);
    t->count += count;
    t->bytes[t->count] = 0;
    return 0;
}

static fpr_status make(const char *folder, size_t count, const fpr_exchange *exchange, text *result, fpr_error *error)
{
    fpr_options options;
    fpr_options_init(&options);
    const fpr_corpus_request request = {.inputs = models, .input_count = count, .table = FIXTURES "/models/models.csv",
                                        .by = by, .by_count = 1, .folder = folder, .exchange = exchange};
    fpr_corpus *corpus;
    const fpr_status status = fpr_corpus_make(&request, &options, &corpus, error);
    if (!status && corpus) fpr_corpus_json(corpus, keep, result, NULL);
    fpr_corpus_free(corpus);
    return status;
}

typedef struct job {
    end end;
    const char *folder;
    size_t models;
    text result;
    fpr_status status;
    fpr_error error;
} job;

static void *run(void *context)
{
    job *j = context;
    const fpr_exchange exchange = {&j->end, j->end.rank, j->end.wire->size, gather, broadcast};
    j->status = make(j->folder, j->models, &exchange, &j->result, &j->error);
    return NULL;
}

static void run_ranks(unsigned size, const char *folder, job *jobs)
{
    wire w = {.size = size};
    pthread_t threads[RANKS_MAX];
    pthread_barrier_init(&w.barrier, NULL, size);
    for (unsigned r = 0; r < size; r++) {
        jobs[r] = (job){.end = {&w, r}, .folder = folder, .models = sizeof models / sizeof *models};
        pthread_create(&threads[r], NULL, run, &jobs[r]);
    }
    for (unsigned r = 0; r < size; r++) pthread_join(threads[r], NULL);
    pthread_barrier_destroy(&w.barrier);
}

static void same_bytes_for_any_number_of_ranks(void **state)
{
    char *home = *state, folder[256];
    text alone = {NULL, 0};
    snprintf(folder, sizeof folder, "%s/alone", home);
    assert_int_equal(make(folder, 3, NULL, &alone, NULL), FPR_OK);
    assert_non_null(strstr(alone.bytes, "filterprune-corpus-1"));
    for (unsigned size = 1; size <= RANKS_MAX; size++) {
        job jobs[RANKS_MAX];
        snprintf(folder, sizeof folder, "%s/of%u", home, size);
        run_ranks(size, folder, jobs);
        for (unsigned r = 0; r < size; r++) {
            assert_int_equal(jobs[r].status, FPR_OK);
            assert_int_equal(jobs[r].result.bytes != NULL, r == 0);
        }
        assert_string_equal(jobs[0].result.bytes, alone.bytes);
        free(jobs[0].result.bytes);
        /* And again, with all profiles there. */
        run_ranks(size, folder, jobs);
        assert_string_equal(jobs[0].result.bytes, alone.bytes);
        free(jobs[0].result.bytes);
    }
    free(alone.bytes);
}

/* One rank's trouble ends all: none waits for ever. */
static void trouble_of_one_is_told_to_all(void **state)
{
    char *home = *state, folder[256], blocked[400];
    job jobs[RANKS_MAX];
    snprintf(folder, sizeof folder, "%s/blocked", home);
    /* In the way of the profile that rank 1 of 3 has to write: a folder of its name. */
    snprintf(blocked, sizeof blocked, "mkdir -p %s/profiles/mnist_cnn_plain.fpp/x", folder);
    assert_int_equal(system(blocked), 0);
    run_ranks(3, folder, jobs);
    unsigned own = 0;
    for (unsigned r = 0; r < 3; r++) {
        assert_int_not_equal(jobs[r].status, FPR_OK);
        assert_null(jobs[r].result.bytes);
        own += strcmp(jobs[r].error.message, "another process failed") != 0;
    }
    assert_int_equal(own, 1);
}

static int make_home(void **state)
{
    char *home = strdup("/tmp/filterprune-exchange-XXXXXX");
    *state = home;
    return mkdtemp(home) ? 0 : -1;
}

static int remove_home(void **state)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s", (char *)*state);
    free(*state);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bytes_for_any_number_of_ranks),
                                       cmocka_unit_test(trouble_of_one_is_told_to_all)};
    return cmocka_run_group_tests(tests, make_home, remove_home);
}
