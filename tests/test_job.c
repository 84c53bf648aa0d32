/* The jobs end to end, on checkpoints made here: what goes in must come out, or be refused, and nothing may stay. */
#include "base/base.h"
#include "file/file.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

/* ---------------------------------------------------------------- a folder of its own for every test */

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/filterprune-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static const char *in_folder(const char *name)
{
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static size_t files_in_folder(void)
{
    DIR *d = opendir(folder);
    assert_non_null(d);
    size_t n = 0;
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.' || e->d_name[1] > '.';
    closedir(d);
    return n;
}

static uint8_t *slurp(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *bytes = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(*bytes + 1);
    assert_int_equal(fread(data, 1, *bytes, f), *bytes);
    fclose(f);
    return data;
}

static void spill(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

static void assert_same_file(const char *a, const char *b)
{
    size_t n, m;
    uint8_t *x = slurp(a, &n), *y = slurp(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

/* ---------------------------------------------------------------- checkpoints made by hand */

static uint64_t random_state = 88172645463325252u;

static double uniform(void) /* xorshift64: the same on every machine */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

static double normal(void)
{
    return sqrt(-2 * log(uniform() + 1e-300)) * cos(6.283185307179586 * uniform());
}

/* header is JSON text; data follows it. */
static void write_checkpoint(const char *path, const char *header, const void *data, size_t bytes)
{
    size_t n = strlen(header);
    uint8_t *file = malloc(8 + n + bytes);
    base_store_le64(file, n);
    memcpy(file + 8, header, n);
    memcpy(file + 8 + n, data, bytes);
    spill(path, file, 8 + n + bytes);
    free(file);
}

#define FILTERS 32
#define CHANNELS 24
#define KERNELS (FILTERS * CHANNELS)

/* conv.weight [32,24,3,3]: kernels 0 .. dead-1 are noise below 1 % of the largest weight, the others normal; one of
 * them reaches exactly 1. bias [32], and a scalar counter. */
static void small_checkpoint(const char *path, unsigned dead)
{
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"h\\u00e9 \\\"x\\\"\"},"
        "\"conv.weight\":{\"dtype\":\"F32\",\"shape\":[32,24,3,3],\"data_offsets\":[8,27656]},"
        "\"bias\":{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[27656,27784]},\n"
        "\"steps\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}   ";
    float *w = malloc(27784);
    uint8_t *data = (uint8_t *)w;
    random_state = 88172645463325252u;
    base_store_le64(data, 40000);
    float *conv = w + 2;
    for (unsigned i = 0; i < KERNELS * 9; i++)
        conv[i] = i < dead * 9 ? (float)(0.009 * (2 * uniform() - 1)) : (float)fmax(-0.9, fmin(0.9, 0.1 * normal()));
    /* Live kernels hold a weight at exactly the threshold: 0.01f < 0.01 * 1.0, so a little above. */
    for (unsigned i = dead; i < KERNELS; i++) conv[i * 9 + 4] = 0.05f;
    conv[KERNELS * 9 - 1] = 1.0f;
    for (unsigned i = 0; i < FILTERS; i++) conv[KERNELS * 9 + i] = (float)normal();
    write_checkpoint(path, header, data, 27784);
    free(w);
}

static fpr_options options(void)
{
    fpr_options o;
    fpr_options_init(&o);
    o.threads = 2;
    return o;
}

static fpr_report *prune(const char *in, const char *out, const fpr_options *o)
{
    fpr_report *report = NULL;
    fpr_error error = {0};
    fpr_status status = fpr_prune(in, out, o, &report, &error);
    if (status) fail_msg("%s: %s (%s)", error.file, error.message, error.where);
    return report;
}

static void unpack(const char *in, const char *out)
{
    fpr_options o = options();
    fpr_error error = {0};
    if (fpr_unpack(in, out, &o, &error)) fail_msg("%s: %s (%s)", error.file, error.message, error.where);
}

static fpr_status verify(const char *packed, const char *original, fpr_verification **v)
{
    fpr_options o = options();
    fpr_error error;
    return fpr_verify(packed, original, &o, v, &error);
}

/* ---------------------------------------------------------------- tests */

static void given_planted_sparse_kernels_expect_exactly_those_pruned(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 500);
    fpr_options o = options();
    fpr_report *r = prune(in_folder("in"), in_folder("out"), &o);
    assert_int_equal(r->layer_count, 1);
    assert_int_equal(r->other_count, 2);
    assert_int_equal(r->layers->sparse, 500);
    assert_int_equal(r->layers->pruned_kernels, 500);
    assert_int_equal(r->groups->kernels, KERNELS);
    assert_int_equal(r->groups->live, KERNELS - 500);
    /* 500 = 20 whole filters of 24 kernels and 20 kernels more. */
    assert_int_equal(r->layers->dead_filter_count, 20);
    assert_int_equal(r->layers->dead_filters[19], 19);
    assert_int_equal(r->layers->dead_channel_count, 0);
    assert_true(r->output_bytes < r->input_bytes / 2);
    struct stat info;
    stat(in_folder("out"), &info);
    assert_int_equal(r->output_bytes, info.st_size);
    /* Live kernels have not moved, all kernels together have. */
    assert_true(r->groups->live_divergence.weighted == 0);
    assert_true(r->groups->divergence.weighted > 0.01);
    fpr_report_free(r);

    unpack(in_folder("out"), in_folder("back"));
    size_t n, m;
    uint8_t *before = slurp(in_folder("in"), &n), *after = slurp(in_folder("back"), &m);
    assert_int_equal(n, m);
    size_t header = base_load_le64(before) + 8, first = header + 8, dead_end = first + 500 * 36;
    assert_memory_equal(before, after, first);
    for (size_t i = first; i < dead_end; i++) assert_int_equal(after[i], 0);
    assert_memory_equal(before + dead_end, after + dead_end, n - dead_end);
    free(before);
    free(after);
}

static void given_lossless_expect_the_same_bytes_back(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 100);
    fpr_options o = options();
    o.prune = o.binary = false;
    fpr_report *r = prune(in_folder("in"), in_folder("out"), &o);
    assert_true(r->output_bytes < r->input_bytes);
    assert_false(r->output_dense);
    fpr_report_free(r);
    unpack(in_folder("out"), in_folder("back"));
    assert_same_file(in_folder("in"), in_folder("back"));
    fpr_verification *v;
    assert_int_equal(verify(in_folder("out"), in_folder("in"), &v), FPR_OK);
    for (size_t i = 0; i < v->tensor_count; i++) assert_true(v->tensors[i].exact);
    fpr_verification_free(v);
}

static void given_a_pruned_file_expect_verify_to_know_what_changed(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 100);
    fpr_options o = options();
    fpr_report_free(prune(in_folder("in"), in_folder("out"), &o));
    fpr_verification *v;
    assert_int_equal(verify(in_folder("out"), in_folder("in"), &v), FPR_OK);
    assert_int_equal(v->tensor_count, 3);
    assert_true(v->tensors[0].exact && v->tensors[2].exact);
    assert_string_equal(v->tensors[1].name, "conv.weight");
    assert_true(v->tensors[1].ok && !v->tensors[1].exact);
    assert_true(v->tensors[1].max_abs > 0.0085 && v->tensors[1].max_abs < 0.009);
    fpr_verification_free(v);
    /* Against another original it must fail: more than the file states has changed. */
    small_checkpoint(in_folder("other"), 150);
    assert_int_equal(verify(in_folder("out"), in_folder("other"), &v), FPR_DIFFERS);
    assert_false(v->ok);
    fpr_verification_free(v);
}

static void given_any_flipped_byte_expect_verify_and_unpack_to_notice(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 760);
    fpr_options o = options();
    fpr_report_free(prune(in_folder("in"), in_folder("out"), &o));
    size_t n, missed = 0;
    uint8_t *file = slurp(in_folder("out"), &n);
    for (size_t i = 0; i < n; i++) {
        file[i] ^= (uint8_t)(1 + i % 255);
        spill(in_folder("bad"), file, n);
        file[i] ^= (uint8_t)(1 + i % 255);
        fpr_verification *v = NULL;
        fpr_status status = verify(in_folder("bad"), NULL, &v);
        fpr_verification_free(v);
        fpr_options p = options();
        fpr_status unpacked = fpr_unpack(in_folder("bad"), in_folder("never"), &p, NULL);
        if (status == FPR_OK || unpacked == FPR_OK) {
            missed++;
            print_message("byte %zu of %zu: verify %d, unpack %d\n", i, n, status, unpacked);
        }
        unlink(in_folder("never"));
    }
    assert_int_equal(missed, 0);
    assert_int_equal(files_in_folder(), 3);
    free(file);
}

static void given_any_truncation_expect_an_error(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 760);
    fpr_options o = options();
    fpr_report_free(prune(in_folder("in"), in_folder("out"), &o));
    size_t n;
    uint8_t *file = slurp(in_folder("out"), &n);
    for (size_t i = 0; i < n; i += 7) {
        spill(in_folder("bad"), file, i);
        fpr_options p = options();
        assert_int_not_equal(fpr_unpack(in_folder("bad"), in_folder("never"), &p, NULL), FPR_OK);
    }
    assert_int_equal(files_in_folder(), 3);
    free(file);
}

static void given_one_to_eight_threads_expect_the_same_bytes(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 300);
    fpr_options o = options();
    o.threads = 1;
    fpr_report_free(prune(in_folder("in"), in_folder("one"), &o));
    o.force = true;
    for (o.threads = 2; o.threads <= 8; o.threads++) {
        fpr_report_free(prune(in_folder("in"), in_folder("many"), &o));
        assert_same_file(in_folder("one"), in_folder("many"));
    }
}

/* The same data behind headers that may differ. */
static void assert_same_data(const char *a, const char *b)
{
    size_t n, m;
    uint8_t *x = slurp(a, &n), *y = slurp(b, &m);
    const size_t at_x = 8 + (size_t)base_load_le64(x), at_y = 8 + (size_t)base_load_le64(y);
    assert_int_equal(n - at_x, m - at_y);
    assert_memory_equal(x + at_x, y + at_y, n - at_x);
    free(x);
    free(y);
}

/* What the file says that it was made from. */
static void assert_states_input(const char *path, const char *input)
{
    size_t n, m;
    uint8_t *file = slurp(path, &n), *from = slurp(input, &m);
    const XXH128_hash_t hash = XXH3_128bits(from, m);
    char text[256];
    snprintf(text, sizeof text,
             "\\\"input\\\":{\\\"name\\\":\\\"%s\\\",\\\"bytes\\\":%zu,\\\"xxh3_128\\\":\\\"%016llx%016llx\\\"}",
             strrchr(input, '/') + 1, m, (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    assert_non_null(memmem(file, 8 + (size_t)base_load_le64(file), text, strlen(text)));
    free(file);
    free(from);
}

static void given_a_packed_input_expect_the_same_as_from_the_dense_one(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 300);
    fpr_options o = options();
    o.prune = o.binary = false;
    fpr_report_free(prune(in_folder("in"), in_folder("packed"), &o));
    o = options();
    fpr_report_free(prune(in_folder("in"), in_folder("a"), &o));
    fpr_report_free(prune(in_folder("packed"), in_folder("b"), &o));
    assert_same_data(in_folder("a"), in_folder("b"));
    assert_states_input(in_folder("a"), in_folder("in"));
    assert_states_input(in_folder("b"), in_folder("packed"));
    unpack(in_folder("a"), in_folder("back_a"));
    unpack(in_folder("b"), in_folder("back_b"));
    assert_same_file(in_folder("back_a"), in_folder("back_b"));
}

static void given_dense_expect_zeroed_kernels_and_a_header_that_says_so(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 300);
    fpr_options o = options();
    o.dense = true;
    fpr_report *r = prune(in_folder("in"), in_folder("dense"), &o);
    assert_true(r->output_dense);
    fpr_report_free(r);
    assert_states_input(in_folder("dense"), in_folder("in"));
    fpr_verification *v;
    assert_int_equal(verify(in_folder("dense"), in_folder("in"), &v), FPR_OK);
    fpr_verification_free(v);
    /* What nothing may change is the input, byte for byte. */
    fpr_options lossless = o;
    lossless.prune = lossless.binary = false;
    fpr_report_free(prune(in_folder("in"), in_folder("same"), &lossless));
    assert_same_file(in_folder("same"), in_folder("in"));
    o.dense = false;
    fpr_report_free(prune(in_folder("in"), in_folder("packed"), &o));
    unpack(in_folder("packed"), in_folder("back"));
    assert_same_data(in_folder("dense"), in_folder("back"));
    /* Written by another tool, the file no longer is what it says. */
    size_t n;
    uint8_t *file = slurp(in_folder("dense"), &n);
    file[n - 1] ^= 1;
    spill(in_folder("touched"), file, n);
    free(file);
    assert_int_equal(verify(in_folder("touched"), NULL, &v), FPR_DIFFERS);
    fpr_verification_free(v);
}

static void given_outputs_that_exist_or_are_the_input_expect_refusal(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 10);
    spill(in_folder("there"), "x", 1);
    fpr_options o = options();
    fpr_error error;
    assert_int_equal(fpr_prune(in_folder("in"), in_folder("there"), &o, NULL, &error), FPR_EXISTS);
    assert_int_equal(fpr_exit_status(error.status), 4);
    o.force = true;
    assert_int_equal(fpr_prune(in_folder("in"), in_folder("in"), &o, NULL, &error), FPR_SAME_FILE);
    assert_int_equal(link(in_folder("in"), in_folder("hard")), 0);
    assert_int_equal(symlink(in_folder("in"), in_folder("soft")), 0);
    assert_int_equal(fpr_prune(in_folder("in"), in_folder("hard"), &o, NULL, &error), FPR_SAME_FILE);
    assert_int_equal(fpr_prune(in_folder("in"), in_folder("soft"), &o, NULL, &error), FPR_SAME_FILE);
    assert_int_equal(fpr_prune(in_folder("in"), in_folder("there"), &o, NULL, &error), FPR_OK);
    assert_int_equal(files_in_folder(), 4);
    /* A link to nothing is in the way, too. */
    assert_int_equal(symlink("nothing", in_folder("dangling")), 0);
    o.force = false;
    fpr_exported exported;
    assert_int_equal(fpr_prune(in_folder("in"), in_folder("dangling"), &o, NULL, &error), FPR_EXISTS);
    assert_int_equal(fpr_unpack(in_folder("there"), in_folder("dangling"), &o, &error), FPR_EXISTS);
    assert_int_equal(fpr_export_lce(in_folder("in"), in_folder("dangling"), &o, &exported, &error), FPR_EXISTS);
    assert_int_equal(files_in_folder(), 5);
}

static void given_a_dry_run_or_a_cancelled_job_expect_no_file(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 10);
    fpr_options o = options();
    o.dry_run = true;
    fpr_report *dry = prune(in_folder("in"), in_folder("out"), &o);
    assert_int_equal(files_in_folder(), 1);
    o.dry_run = false;
    fpr_report *wet = prune(in_folder("in"), in_folder("out"), &o);
    assert_int_equal(dry->output_bytes, wet->output_bytes);
    fpr_report_free(dry);
    fpr_report_free(wet);
    int cancel = 1;
    o.cancel = &cancel;
    assert_int_equal(fpr_prune(in_folder("in"), in_folder("out2"), &o, NULL, NULL), FPR_CANCELLED);
    assert_int_equal(files_in_folder(), 2);
}

static int stop;

static void stop_at_the_end(void *context, const char *phase, uint64_t done, uint64_t total)
{
    __atomic_store_n(&stop, !strcmp(phase, context) && done == total, __ATOMIC_RELAXED); /* its threads look at it */
}

/* All tensors are packed or unpacked, nothing but the names of the outputs is missing. */
static void given_a_job_stopped_at_its_very_end_expect_no_file(void **state)
{
    (void)state;
    static char packing[] = "packing", unpacking[] = "unpacking";
    small_checkpoint(in_folder("in"), 10);
    fpr_options o = options();
    fpr_report_free(prune(in_folder("in"), in_folder("packed"), &o));
    o.cancel = &stop;
    o.progress = stop_at_the_end;
    o.progress_context = packing;
    assert_int_equal(fpr_prune(in_folder("in"), in_folder("out"), &o, NULL, NULL), FPR_CANCELLED);
    assert_true(stop);
    stop = 0;
    o.progress_context = unpacking;
    assert_int_equal(fpr_unpack(in_folder("packed"), in_folder("out"), &o, NULL), FPR_CANCELLED);
    assert_true(stop);
    assert_int_equal(files_in_folder(), 2);
}

static void given_nothing_to_gain_expect_a_dense_output(void **state)
{
    (void)state;
    static const char header[] = "{\"noise\":{\"dtype\":\"U8\",\"shape\":[4000],\"data_offsets\":[0,4000]}}";
    uint8_t noise[4000];
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)(256 * uniform());
    write_checkpoint(in_folder("in"), header, noise, sizeof noise);
    fpr_options o = options();
    fpr_report *r = prune(in_folder("in"), in_folder("out"), &o);
    assert_true(r->output_dense);
    assert_true(r->warning_count > 0);
    fpr_report_free(r);
    assert_same_file(in_folder("in"), in_folder("out"));
}

/* No byte to copy, and none to hash: a NULL with a size of 0 must go nowhere that sanitizers mind. */
static void given_only_empty_tensors_expect_them_kept(void **state)
{
    (void)state;
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[0,3,3,3],\"data_offsets\":[0,0]},"
                                 "\"b\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[0,0]}}";
    write_checkpoint(in_folder("in"), header, "", 0);
    fpr_options o = options();
    fpr_report *r = prune(in_folder("in"), in_folder("out"), &o);
    assert_int_equal(r->tensors, 2);
    fpr_report_free(r);
    unpack(in_folder("out"), in_folder("back"));
    assert_same_file(in_folder("in"), in_folder("back"));
}

static void given_nan_in_a_layer_expect_it_left_out_and_kept(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 100);
    size_t n;
    uint8_t *file = slurp(in_folder("in"), &n);
    size_t at = base_load_le64(file) + 8 + 8 + 36 * 200;
    base_store_le32(file + at, 0x7fc12345);      /* a NaN with a payload */
    base_store_le32(file + at + 4, 0x80000000u); /* -0.0 */
    base_store_le32(file + at + 8, 1);           /* the smallest denormal */
    spill(in_folder("in"), file, n);
    free(file);
    fpr_options o = options();
    fpr_report *r = prune(in_folder("in"), in_folder("out"), &o);
    assert_false(r->layers->finite);
    assert_int_equal(r->groups->kernels, 0);
    assert_true(r->warning_count > 0 && r->layers->warning_count > 0);
    assert_true(isnan(r->layers->sparsity));
    fpr_report_free(r);
    unpack(in_folder("out"), in_folder("back"));
    assert_same_file(in_folder("in"), in_folder("back"));
}

static void given_shards_expect_shards_and_an_index_back(void **state)
{
    (void)state;
    small_checkpoint(in_folder("model-1.safetensors"), 300);
    static const char header[] = "{\"head\":{\"dtype\":\"F32\",\"shape\":[64,64],\"data_offsets\":[0,16384]}}";
    float *head = malloc(16384);
    for (size_t i = 0; i < 4096; i++) head[i] = (float)normal();
    write_checkpoint(in_folder("model-2.safetensors"), header, head, 16384);
    free(head);
    static const char index[] =
        "{\"metadata\": {\"total_size\": 44168, \"kept\": 1}, \"weight_map\": {\"conv.weight\": \"model-1.safetensors\", "
        "\"bias\": \"model-1.safetensors\", \"steps\": \"model-1.safetensors\", \"head\": \"model-2.safetensors\"}}";
    spill(in_folder("model.safetensors.index.json"), index, sizeof index - 1);
    fpr_options o = options();
    o.prune = o.binary = false;
    fpr_report *r = prune(in_folder("model.safetensors.index.json"), in_folder("packed"), &o);
    assert_int_equal(r->tensors, 4);
    fpr_report_free(r);
    unpack(in_folder("packed/model.safetensors.index.json"), in_folder("back"));
    assert_same_file(in_folder("model-1.safetensors"), in_folder("back/model-1.safetensors"));
    assert_same_file(in_folder("model-2.safetensors"), in_folder("back/model-2.safetensors"));
    fpr_verification *v;
    assert_int_equal(verify(in_folder("packed/model.safetensors.index.json"),
                            in_folder("model.safetensors.index.json"), &v), FPR_OK);
    fpr_verification_free(v);
}

/* XXH3-64 over files, one after the other. */
static uint64_t hash_of(const char *const *paths, size_t count)
{
    file_hash *hash = file_hash_new();
    for (size_t i = 0; i < count; i++) {
        size_t n;
        uint8_t *data = slurp(paths[i], &n);
        file_hash_add(hash, data, n);
        free(data);
    }
    return file_hash_end(hash);
}

/* The input's checksum is put together from what a sweep reads and from what lies between: layers first, last and in the
 * middle, a file of packed tensors, shards with and without a layer. */
static void given_any_input_expect_the_checksums_of_the_files(void **state)
{
    (void)state;
    static const char header[] =
        "{\"a.weight\":{\"dtype\":\"F32\",\"shape\":[20,9,3,3],\"data_offsets\":[0,6480]},"
        "\"table\":{\"dtype\":\"F32\",\"shape\":[100,1000],\"data_offsets\":[6480,406480]},"
        "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[20,20,3,3],\"data_offsets\":[406480,420880]},"
        "\"bias\":{\"dtype\":\"F32\",\"shape\":[20],\"data_offsets\":[420880,420960]},"
        "\"c.weight\":{\"dtype\":\"F32\",\"shape\":[20,20,5,5],\"data_offsets\":[420960,460960]}}";
    enum { BYTES = 460960 };
    float *w = malloc(BYTES);
    for (size_t i = 0; i < BYTES / 4; i++) w[i] = (float)normal();
    write_checkpoint(in_folder("dense"), header, w, BYTES);
    write_checkpoint(in_folder("m-1.safetensors"), header, w, BYTES);
    write_checkpoint(in_folder("m-2.safetensors"), "{\"head\":{\"dtype\":\"F32\",\"shape\":[64,64],\"data_offsets\":[0,16384]}}",
                     w, 16384);
    free(w);
    static const char index[] =
        "{\"weight_map\": {\"a.weight\": \"m-1.safetensors\", \"table\": \"m-1.safetensors\", \"b.weight\": "
        "\"m-1.safetensors\", \"bias\": \"m-1.safetensors\", \"c.weight\": \"m-1.safetensors\", \"head\": "
        "\"m-2.safetensors\"}}";
    spill(in_folder("m.safetensors.index.json"), index, sizeof index - 1);
    const char *const inputs[][2] = {{"dense"}, {"packed0"}, {"m-1.safetensors", "m-2.safetensors"}};
    const char *const names[] = {"dense", "packed0", "m.safetensors.index.json"};
    for (unsigned i = 0; i < 3; i++) {
        char out[16], folded[2][128];
        snprintf(out, sizeof out, "packed%u", i);
        fpr_options o = options();
        fpr_report *r = prune(in_folder(names[i]), in_folder(out), &o);
        const size_t files = i == 2 ? 2 : 1;
        const char *before[2], *after[2];
        for (size_t f = 0; f < files; f++) {
            before[f] = in_folder(inputs[i][f]);
            snprintf(folded[f], sizeof folded[f], "%s%s%s", in_folder(out), files > 1 ? "/" : "",
                     files > 1 ? inputs[i][f] : "");
            after[f] = folded[f];
        }
        assert_true(r->input_hash == hash_of(before, files));
        assert_true(r->output_hash == hash_of(after, files));
        fpr_report_free(r);
    }
}

static void given_a_broken_index_expect_one_clear_error(void **state)
{
    (void)state;
    small_checkpoint(in_folder("a.safetensors"), 10);
    static const struct { const char *text, *expect; } cases[] = {
        {"{\"weight_map\": {\"bias\": \"../a.safetensors\"}}", "plain file name"},
        {"{\"weight_map\": {\"bias\": \"/etc/passwd\"}}", "plain file name"},
        {"{\"weight_map\": {\"bias\": \"missing.safetensors\"}}", "missing"},
        {"{\"weight_map\": {\"bias\": \"a.safetensors\"}}", "does not name"},
        {"{\"weight_map\": {\"bias\": \"a.safetensors\", \"conv.weight\": \"a.safetensors\", \"steps\": "
         "\"a.safetensors\", \"ghost\": \"a.safetensors\"}}", "does not hold"},
        {"{\"weight_map\": 3}", "weight_map"},
        {"{", "line 1"},
        {"1", "line 1"},
        {" \"weight_map\" ", "line 1"},
        {"", "line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        spill(in_folder("x.index.json"), cases[i].text, strlen(cases[i].text));
        fpr_model *model;
        fpr_error error = {0};
        assert_int_equal(fpr_model_open(in_folder("x.index.json"), &model, &error), FPR_BAD_INDEX);
        assert_int_equal(fpr_exit_status(error.status), 3);
        if (!strstr(error.message, cases[i].expect)) fail_msg("case %zu: %s", i, error.message);
    }
}

static void given_memory_that_runs_out_anywhere_expect_an_error_and_no_leak(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 300);
    fpr_options o = options();
    o.threads = 1;
    long alive = base_allocations_alive();
    fpr_status status = FPR_NO_MEMORY;
    long n = 0;
    for (; status; n++) {
        fpr_report *report = NULL;
        base_fail_allocation(n);
        status = fpr_prune(in_folder("in"), in_folder("out"), &o, &report, NULL);
        base_fail_allocation(-1);
        fpr_report_free(report);
        assert_true(status == FPR_OK || status == FPR_NO_MEMORY);
        assert_int_equal(base_allocations_alive(), alive);
        assert_int_equal(files_in_folder(), status ? 1 : 2);
        assert_true(n < 5000);
    }
    assert_true(n > 50);
    print_message("%ld allocations failed in turn\n", n - 1);
}

static void given_amounts_expect_that_share_pruned(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 100);
    fpr_options o = options();
    o.amount = 0.25;
    o.criterion = FPR_CRITERION_L2;
    fpr_report *r = prune(in_folder("in"), in_folder("a"), &o);
    assert_int_equal(r->layers->pruned_kernels, KERNELS / 4);
    fpr_report_free(r);
    o.global = true;
    r = prune(in_folder("in"), in_folder("b"), &o);
    assert_int_equal(r->layers->pruned_kernels, KERNELS / 4);
    fpr_report_free(r);
    o.structure = FPR_STRUCTURE_FILTER;
    r = prune(in_folder("in"), in_folder("c"), &o);
    assert_int_equal(r->layers->dead_filter_count, FILTERS / 4);
    fpr_report_free(r);
}

static void given_a_target_size_expect_it_reached_and_not_undershot_by_much(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 0);
    fpr_options o = options();
    o.target_bytes = 12000;
    fpr_report *r = prune(in_folder("in"), in_folder("out"), &o);
    assert_true(r->output_bytes <= 12000);
    assert_true(r->output_bytes > 11800);
    assert_true(r->options.amount > 0 && r->options.amount < 1);
    fpr_report_free(r);
    o.target_bytes = 100;
    fpr_error error;
    assert_int_equal(fpr_prune(in_folder("in"), in_folder("out2"), &o, NULL, &error), FPR_USAGE);
    assert_non_null(strstr(error.message, "out of reach"));
}

static void count_packings(void *context, const char *phase, uint64_t done, uint64_t total)
{
    *(unsigned *)context += !strcmp(phase, "packing") && done == total;
}

/* Every trial encodes the whole file, and the last encoding writes it. */
static void given_a_target_size_expect_few_encodings_and_a_close_hit(void **state)
{
    (void)state;
    static const char model[] = FIXTURES "/models/mnist_cnn_plain.safetensors";
    const double shares[] = {0.1, 0.2, 0.35, 0.5, 0.65, 0.75};
    for (unsigned global = 0; global < 2; global++)
        for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
            unsigned packings = 0;
            struct stat info;
            assert_int_equal(stat(model, &info), 0);
            fpr_options o = options();
            o.force = true;
            o.global = global;
            o.target_bytes = shares[i] * (double)info.st_size;
            o.progress = count_packings;
            o.progress_context = &packings;
            fpr_report *r = prune(model, in_folder("out"), &o);
            assert_true((double)r->output_bytes <= o.target_bytes);
            assert_true((double)r->output_bytes > 0.985 * o.target_bytes);
            fpr_report_free(r);
            assert_in_range(packings, 2, 6);
        }
}

/* Size under a level, of a layer whose kernels have one sign each, and of so many bytes of noise. */
static size_t size_at_level(int level, size_t noise)
{
    enum { WEIGHTS = 64 * 32 * 9 };
    const size_t bytes = 4 * WEIGHTS + noise;
    uint8_t *data = malloc(bytes);
    random_state = 7;
    for (unsigned i = 0, sign = 0; i < WEIGHTS; i++) {
        if (i % 9 == 0) sign = uniform() < 0.5 ? 0 : 0x80;
        float w = (float)fabs(normal());
        memcpy(data + 4 * i, &w, 4);
        data[4 * i + 3] |= (uint8_t)sign;
    }
    for (size_t i = 4 * WEIGHTS; i < bytes; i++) data[i] = (uint8_t)(uniform() * 256);
    char header[256];
    snprintf(header, sizeof header,
             "{\"a\":{\"dtype\":\"F32\",\"shape\":[64,32,3,3],\"data_offsets\":[0,%d]},"
             "\"b\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":[%d,%zu]}}",
             4 * WEIGHTS, noise, 4 * WEIGHTS, bytes);
    write_checkpoint(in_folder("levels"), header, data, bytes);
    free(data);
    fpr_options o = options();
    o.force = true;
    o.prune = o.binary = false;
    o.level = level;
    fpr_report_free(prune(in_folder("levels"), in_folder("packed"), &o));
    unpack(in_folder("packed"), in_folder("restored"));
    assert_same_file(in_folder("restored"), in_folder("levels"));
    size_t packed;
    free(slurp(in_folder("packed"), &packed));
    unlink(in_folder("restored"));
    return packed;
}

/* Eight of nine signs are foretold by the adaptive code, and by nothing else: 2,048 bytes here. */
static void given_levels_expect_the_slow_code_where_it_is_promised(void **state)
{
    (void)state;
    const size_t saved = 1900, small = 1000, large = 8u << 20;
    assert_true(size_at_level(3, small) + saved < size_at_level(2, small));
    assert_int_equal(size_at_level(2, small), size_at_level(1, small));
    assert_int_equal(size_at_level(3, large), size_at_level(2, large));
    assert_true(size_at_level(10, large) + saved < size_at_level(9, large));
}

static void given_drop_and_cast_expect_them_stated_and_verified(void **state)
{
    (void)state;
    small_checkpoint(in_folder("in"), 0);
    fpr_options o = options();
    static const char *const patterns[] = {"ste*"};
    o.drop = (fpr_globs){patterns, 1};
    o.cast = FPR_CAST_BF16;
    fpr_report_free(prune(in_folder("in"), in_folder("out"), &o));
    fpr_model *model;
    assert_int_equal(fpr_model_open(in_folder("out"), &model, NULL), FPR_OK);
    assert_int_equal(fpr_model_tensor_count(model), 2);
    assert_int_equal(fpr_model_find(model, "conv.weight")->dtype, FPR_BF16);
    fpr_model_close(model);
    fpr_verification *v;
    assert_int_equal(verify(in_folder("out"), in_folder("in"), &v), FPR_OK);
    for (size_t i = 0; i < v->tensor_count; i++) assert_true(v->tensors[i].relative_l2 < 1.0 / 256);
    fpr_verification_free(v);
    unpack(in_folder("out"), in_folder("back"));
    assert_int_equal(verify(in_folder("back"), in_folder("out"), &v), FPR_OK);
    fpr_verification_free(v);
}

/* Zeros and ones are the same numbers in any float dtype: stored as lossless, and verified as such. */
static void given_a_cast_that_changes_no_value_expect_it_verified(void **state)
{
    (void)state;
    static const char header[] = "{\"ones\":{\"dtype\":\"F32\",\"shape\":[600],\"data_offsets\":[0,2400]},"
                                 "\"zeros\":{\"dtype\":\"F32\",\"shape\":[600],\"data_offsets\":[2400,4800]}}";
    float values[1200] = {0};
    for (unsigned i = 0; i < 600; i++) values[i] = 1;
    write_checkpoint(in_folder("in"), header, values, sizeof values);
    fpr_options o = options();
    o.cast = FPR_CAST_BF16;
    fpr_report_free(prune(in_folder("in"), in_folder("out"), &o));
    fpr_verification *v;
    assert_int_equal(verify(in_folder("out"), in_folder("in"), &v), FPR_OK);
    for (size_t i = 0; i < 2; i++) assert_true(v->tensors[i].ok && !v->tensors[i].exact && v->tensors[i].max_abs == 0);
    fpr_verification_free(v);
    /* Any other value, even a negative zero, is another. */
    static const float others[] = {-0.0f, 1e-30f, NAN};
    for (unsigned i = 0; i < 3; i++) {
        values[700] = others[i];
        write_checkpoint(in_folder("other"), header, values, sizeof values);
        assert_int_equal(verify(in_folder("out"), in_folder("other"), &v), FPR_DIFFERS);
        assert_true(v->tensors[0].ok && !v->tensors[1].ok);
        fpr_verification_free(v);
    }
    /* A dense file without our key may be a fallback that had no room to state its cast: the values then have to be those
     * that the cast makes, and nothing else will do. */
    unpack(in_folder("out"), in_folder("back"));
    for (unsigned i = 0; i < 4; i++) {
        values[700] = i < 3 ? others[i] : 0;
        write_checkpoint(in_folder("other"), header, values, sizeof values);
        assert_int_equal(verify(in_folder("back"), in_folder("other"), &v), i < 3 ? FPR_DIFFERS : FPR_OK);
        assert_true(v->tensors[0].ok && !v->tensors[0].exact && v->tensors[1].ok == (i == 3));
        fpr_verification_free(v);
    }
}

/* A cast can overflow: the error is infinite then, and JSON has no word for it. */
static void given_a_cast_that_overflows_expect_null_for_its_error(void **state)
{
    (void)state;
    static const char header[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[600],\"data_offsets\":[0,2400]}}";
    float values[600];
    for (unsigned i = 0; i < 600; i++) values[i] = i % 50 ? 0.5f : 1e6f;
    write_checkpoint(in_folder("in"), header, values, sizeof values);
    fpr_options o = options();
    o.cast = FPR_CAST_F16;
    fpr_report_free(prune(in_folder("in"), in_folder("out"), &o));
    fpr_verification *v;
    assert_int_equal(verify(in_folder("out"), in_folder("in"), &v), FPR_OK);
    assert_true(v->tensors->ok && isinf(v->tensors->max_abs));
    fpr_verification_free(v);
    size_t n;
    uint8_t *file = slurp(in_folder("out"), &n);
    assert_non_null(memmem(file, n, "\\\"max_abs\\\":null", 16));
    free(file);
    assert_int_equal(verify(in_folder("out"), NULL, &v), FPR_OK);
    fpr_verification_free(v);
}

/* The index cannot hold the name, but it holds the error. */
static void given_a_name_with_a_nul_expect_verify_to_know_its_error(void **state)
{
    (void)state;
    static const char header[] = "{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[32,24,3,3],\"data_offsets\":[0,27648]},"
                                 "\"plain\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[27648,27680]}}";
    float *w = calloc(6920, sizeof *w);
    random_state = 7;
    for (unsigned i = 0; i < 6912; i++) w[i] = (float)(i < 900 ? 0.0005 * uniform() : 0.1 + 0.1 * normal());
    write_checkpoint(in_folder("in"), header, w, 27680);
    fpr_options o = options();
    fpr_report_free(prune(in_folder("in"), in_folder("out"), &o));
    fpr_verification *v;
    assert_int_equal(verify(in_folder("out"), in_folder("in"), &v), FPR_OK);
    assert_true(v->tensors->ok && !v->tensors->exact && v->tensors->max_abs > 0 && v->tensors->max_abs < 0.0005);
    fpr_verification_free(v);
    w[5000] += 0.01f;
    write_checkpoint(in_folder("other"), header, w, 27680);
    assert_int_equal(verify(in_folder("out"), in_folder("other"), &v), FPR_DIFFERS);
    assert_non_null(strstr(v->tensors->problem, "by more than the file states"));
    fpr_verification_free(v);
    /* Without the statement, as in the first files of this format, nothing but equality is accepted. */
    size_t n;
    uint8_t *file = slurp(in_folder("out"), &n), *at = memmem(file, n, "numbered", 8);
    assert_non_null(at);
    memcpy(at, "unlisted", 8);
    spill(in_folder("old"), file, n);
    free(file);
    assert_int_equal(verify(in_folder("old"), in_folder("in"), &v), FPR_DIFFERS);
    const fpr_verified *first = v->tensors;
    while (!first->problem || !strstr(first->problem, "states no error"))
        assert_true(++first < v->tensors + v->tensor_count);
    fpr_verification_free(v);
    free(w);
}

static void given_models_to_compare_expect_zero_against_itself_and_symmetry(void **state)
{
    (void)state;
    small_checkpoint(in_folder("a"), 0);
    small_checkpoint(in_folder("b"), 300);
    fpr_options o = options();
    fpr_report_free(prune(in_folder("a"), in_folder("c"), &o));
    const char *paths[] = {in_folder("a"), in_folder("b"), in_folder("c")};
    fpr_comparison *c;
    fpr_error error;
    if (fpr_compare(paths, 3, NULL, NULL, &o, &c, &error)) fail_msg("%s", error.message);
    assert_int_equal(c->model_count, 3);
    assert_int_equal(c->k, 9);
    for (size_t i = 0; i < 3; i++) {
        assert_true(c->divergence[i * 3 + i] == 0);
        for (size_t j = 0; j < 3; j++) assert_true(c->divergence[i * 3 + j] == c->divergence[j * 3 + i]);
    }
    assert_true(c->divergence[2] == 0); /* a against its packed self */
    assert_true(c->divergence[1] > 0.001);
    fpr_comparison_free(c);
    assert_int_equal(fpr_compare(paths, 3, "5x5", NULL, &o, &c, &error), FPR_USAGE);
    assert_int_equal(fpr_compare(paths, 3, NULL, "robustness", &o, &c, &error), FPR_OK);
    assert_true(c->divergence[2] == 0 && c->divergence[1] > 0);
    fpr_comparison_free(c);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(given_planted_sparse_kernels_expect_exactly_those_pruned),
        TEST(given_lossless_expect_the_same_bytes_back),
        TEST(given_a_pruned_file_expect_verify_to_know_what_changed),
        TEST(given_any_flipped_byte_expect_verify_and_unpack_to_notice),
        TEST(given_any_truncation_expect_an_error),
        TEST(given_one_to_eight_threads_expect_the_same_bytes),
        TEST(given_a_packed_input_expect_the_same_as_from_the_dense_one),
        TEST(given_dense_expect_zeroed_kernels_and_a_header_that_says_so),
        TEST(given_outputs_that_exist_or_are_the_input_expect_refusal),
        TEST(given_a_dry_run_or_a_cancelled_job_expect_no_file),
        TEST(given_a_job_stopped_at_its_very_end_expect_no_file),
        TEST(given_nothing_to_gain_expect_a_dense_output),
        TEST(given_only_empty_tensors_expect_them_kept),
        TEST(given_nan_in_a_layer_expect_it_left_out_and_kept),
        TEST(given_shards_expect_shards_and_an_index_back),
        TEST(given_any_input_expect_the_checksums_of_the_files),
        TEST(given_a_broken_index_expect_one_clear_error),
        TEST(given_memory_that_runs_out_anywhere_expect_an_error_and_no_leak),
        TEST(given_amounts_expect_that_share_pruned),
        TEST(given_a_target_size_expect_it_reached_and_not_undershot_by_much),
        TEST(given_a_target_size_expect_few_encodings_and_a_close_hit),
        TEST(given_levels_expect_the_slow_code_where_it_is_promised),
        TEST(given_drop_and_cast_expect_them_stated_and_verified),
        TEST(given_a_cast_that_changes_no_value_expect_it_verified),
        TEST(given_a_cast_that_overflows_expect_null_for_its_error),
        TEST(given_a_name_with_a_nul_expect_verify_to_know_its_error),
        TEST(given_models_to_compare_expect_zero_against_itself_and_symmetry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
