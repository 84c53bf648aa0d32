/* Every allocation of every job fails in turn: each ends with FPR_NO_MEMORY or as if nothing had been, nothing leaks,
 * no output and no temporary stays, the input is as it was. Under AddressSanitizer, too, where the allocations of the
 * process cannot be replaced (tests/robust/faults.c does that elsewhere, and reaches those inside zstd). */
#include "base/base.h"
#include "file/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ---------------------------------------------------------------- checkpoints with something for every codec */

static uint64_t random_state = 1;

static double uniform(void) /* splitmix64, Steele, Lea and Flood 2014 */
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static double gauss(void)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += uniform();
    return sum;
}

enum { NORMAL, DECAYED, TWO_LEVELS, FEW, BYTES };

static const struct planned {
    const char *name;
    size_t name_bytes;
    fpr_dtype dtype;
    unsigned rank;
    uint64_t shape[4];
    int kind;
} plan[] = {
    {"conv.weight", 11, FPR_F32, 4, {16, 6, 3, 3}, DECAYED}, {"conv.bias", 9, FPR_F32, 1, {16, 0, 0, 0}, NORMAL},
    {"binary.weight", 13, FPR_F32, 4, {16, 8, 3, 3}, TWO_LEVELS}, {"palette", 7, FPR_F32, 4, {16, 8, 3, 3}, FEW},
    {"wide", 4, FPR_F32, 4, {16, 8, 1, 5}, DECAYED}, {"half", 4, FPR_BF16, 4, {16, 16, 3, 3}, NORMAL},
    {"fc", 2, FPR_F32, 2, {24, 48, 0, 0}, NORMAL}, {"sign", 4, FPR_F32, 2, {16, 96, 0, 0}, TWO_LEVELS},
    {"ids", 3, FPR_I32, 1, {400, 0, 0, 0}, BYTES}, {"noise", 5, FPR_U8, 1, {700, 0, 0, 0}, BYTES},
    {"nul\0conv", 8, FPR_F32, 4, {16, 6, 3, 3}, DECAYED}, {"empty", 5, FPR_F32, 2, {0, 3, 0, 0}, NORMAL},
};

static void put_weights(file_text *data, const struct planned *p, uint64_t elements)
{
    double level = 0;
    bool faint = false;
    for (uint64_t i = 0; i < elements; i++) {
        if (i % 72 == 0) level = 0.05 + 0.1 * uniform();
        if (i % 9 == 0) faint = p->kind == DECAYED && uniform() < 0.5;
        double value = p->kind == TWO_LEVELS ? (uniform() < 0.5 ? level : -level)
                       : p->kind == FEW      ? floor(15 * uniform()) / 64
                                             : 0.1 * gauss();
        float f = (float)(faint ? 1e-5 * value : value);
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        if (p->dtype == FPR_BF16) bits >>= 16;
        file_text_add(data, &bits, fpr_dtype_bits(p->dtype) / 8);
    }
}

/* The tensors from `first` to `last` of the plan as a file. */
static void write_checkpoint(const char *path, size_t first, size_t last)
{
    file_text header = {0}, data = {0};
    /* A space that the reference does not write: the header must be kept. */
    file_text_format(&header, "{ \"__metadata__\":{\"format\":\"pt\",\"note\":\"x\\n\"}");
    for (size_t i = first; i < last; i++) {
        const struct planned *p = &plan[i];
        uint64_t elements = 1, begin = data.count;
        for (unsigned d = 0; d < p->rank; d++) elements *= p->shape[d];
        if (p->kind != BYTES) put_weights(&data, p, elements);
        for (uint64_t b = 0; p->kind == BYTES && b < elements * fpr_dtype_bits(p->dtype) / 8; b++) {
            uint8_t byte = p->dtype == FPR_U8 || b % 4 == 0 ? (uint8_t)(256 * uniform()) : 0;
            file_text_add(&data, &byte, 1);
        }
        file_text_add(&header, ",", 1);
        file_text_tensor(&header, p->name, p->name_bytes, p->dtype, p->rank, p->shape, begin, data.count);
    }
    file_text_add(&header, "}", 1);
    uint8_t length[8];
    base_store_le64(length, header.count);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(length, 1, 8, f);
    fwrite(header.bytes, 1, header.count, f);
    fwrite(data.bytes, 1, data.count, f);
    assert_int_equal(fclose(f), 0);
    file_text_free(&header);
    file_text_free(&data);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(text, 1, strlen(text), f);
    assert_int_equal(fclose(f), 0);
}

static void write_basis(const char *path)
{
    file_text text = {0};
    file_text_format(&text, "{\"mean\":[0,0,0,0,0,0,0,0,0],\"components\":[");
    for (int i = 0; i < 81; i++)
        file_text_format(&text, "%s%d.0%s", i % 9 ? "," : i ? ",[" : "[", i % 10 == 0, i % 9 == 8 ? "]" : "");
    file_text_format(&text, "],\"explained_variance_ratio\":[1,0,0,0,0,0,0,0,0]}%c", 0);
    write_text(path, text.bytes);
    file_text_free(&text);
}

/* ---------------------------------------------------------------- the folder, and what is in it */

static char folder[64];

static uint64_t mix(uint64_t sum, const void *bytes, size_t count) /* FNV-1a */
{
    for (size_t i = 0; i < count; i++) sum = (sum ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
    return sum;
}

/* A sum over names and contents of all files below a folder, those called "out" apart or alone. */
static uint64_t folder_sum(const char *path, bool outputs)
{
    uint64_t sum = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char name[512];
        struct stat info;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (!strcmp(path, ".") && outputs != !strcmp(e->d_name, "out")) continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        uint64_t one = mix(UINT64_C(0xcbf29ce484222325), name, strlen(name));
        assert_int_equal(lstat(name, &info), 0);
        if (S_ISDIR(info.st_mode)) one += folder_sum(name, outputs);
        FILE *f = S_ISREG(info.st_mode) ? fopen(name, "rb") : NULL;
        char bytes[4096];
        for (size_t n; f && (n = fread(bytes, 1, sizeof bytes, f));) one = mix(one, bytes, n);
        if (f) fclose(f);
        sum += one * (one | 1); /* in whatever order they come */
    }
    closedir(d);
    return sum;
}

static void remove_output(void)
{
    DIR *d = opendir("out");
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') unlinkat(dirfd(d), e->d_name, 0);
    if (d) closedir(d);
    if (unlink("out") != 0) rmdir("out");
}

static fpr_options options(void)
{
    fpr_options o;
    fpr_options_init(&o);
    o.threads = 1;
    return o;
}

static fpr_report *report; /* of an earlier run, to be rendered */
static fpr_comparison *comparison;

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/filterprune-memory-XXXXXX");
    if (!mkdtemp(folder) || chdir(folder)) return -1;
    size_t n = COUNT_OF(plan);
    write_checkpoint("in.safetensors", 0, n);
    write_checkpoint("m-1.safetensors", 0, 4);
    write_checkpoint("m-2.safetensors", 4, 10);
    write_text("m.safetensors.index.json",
               "{\"weight_map\":{\"conv.weight\":\"m-1.safetensors\",\"conv.bias\":\"m-1.safetensors\","
               "\"binary.weight\":\"m-1.safetensors\",\"palette\":\"m-1.safetensors\",\"wide\":\"m-2.safetensors\","
               "\"half\":\"m-2.safetensors\",\"fc\":\"m-2.safetensors\",\"sign\":\"m-2.safetensors\","
               "\"ids\":\"m-2.safetensors\",\"noise\":\"m-2.safetensors\"}}");
    write_basis("basis.json");
    fpr_options o = options();
    const char *paths[] = {"in.safetensors", "packed.safetensors"};
    if (fpr_prune("in.safetensors", "packed.safetensors", &o, &report, NULL)) return -1;
    if (fpr_prune("m.safetensors.index.json", "packed", &o, NULL, NULL)) return -1;
    return fpr_compare(paths, 2, NULL, NULL, &o, &comparison, NULL);
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    fpr_report_free(report);
    fpr_comparison_free(comparison);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return chdir("/") || system(command);
}

/* ---------------------------------------------------------------- jobs: a status, and a sum of what they say */

typedef fpr_status (*job)(uint64_t *said, fpr_error *error);

static int add_to_sum(void *context, const void *bytes, size_t count)
{
    uint64_t *said = context;
    *said = mix(*said, bytes, count);
    return 0;
}

static fpr_status prune_with(const fpr_options *o, const char *input, fpr_error *error)
{
    fpr_report *r;
    fpr_status status = fpr_prune(input, "out", o, &r, error);
    assert_int_equal(status == FPR_OK, r != NULL);
    fpr_report_free(r);
    return status;
}

static fpr_status job_prune(uint64_t *said, fpr_error *error)
{
    (void)said;
    fpr_options o = options();
    return prune_with(&o, "in.safetensors", error);
}

static fpr_status job_prune_on_two_threads(uint64_t *said, fpr_error *error)
{
    (void)said;
    fpr_options o = options();
    o.threads = 2;
    return prune_with(&o, "m-2.safetensors", error);
}

static fpr_status job_prune_packed(uint64_t *said, fpr_error *error)
{
    (void)said;
    fpr_options o = options();
    return prune_with(&o, "packed/m-1.safetensors", error);
}

static fpr_status job_lossless(uint64_t *said, fpr_error *error)
{
    (void)said;
    fpr_options o = options();
    o.prune = o.binary = false;
    o.level = 19;
    return prune_with(&o, "m-2.safetensors", error);
}

static fpr_status job_dense(uint64_t *said, fpr_error *error)
{
    (void)said;
    fpr_options o = options();
    o.dense = true;
    return prune_with(&o, "m-1.safetensors", error);
}

static fpr_status job_cast_and_drop(uint64_t *said, fpr_error *error)
{
    (void)said;
    static const char *const patterns[] = {"fc", "n*"};
    fpr_options o = options();
    o.cast = FPR_CAST_F16;
    o.drop = (fpr_globs){patterns, 2};
    return prune_with(&o, "m-2.safetensors", error);
}

static fpr_status job_cast_dense(uint64_t *said, fpr_error *error)
{
    (void)said;
    fpr_options o = options();
    o.cast = FPR_CAST_BF16;
    o.dense = true;
    return prune_with(&o, "m-1.safetensors", error);
}

static fpr_status job_filters_ranked(uint64_t *said, fpr_error *error)
{
    (void)said;
    fpr_options o = options();
    o.structure = FPR_STRUCTURE_FILTER;
    o.criterion = FPR_CRITERION_L2;
    o.amount = 0.3;
    o.global = true;
    return prune_with(&o, "m-1.safetensors", error);
}

static fpr_status job_shards(uint64_t *said, fpr_error *error)
{
    (void)said;
    static const char *const patterns[] = {"ids"};
    fpr_options o = options();
    o.drop = (fpr_globs){patterns, 1};
    return prune_with(&o, "m.safetensors.index.json", error);
}

static fpr_status job_unpack(uint64_t *said, fpr_error *error)
{
    (void)said;
    fpr_options o = options();
    return fpr_unpack("packed.safetensors", "out", &o, error);
}

static fpr_status job_unpack_shards(uint64_t *said, fpr_error *error)
{
    (void)said;
    fpr_options o = options();
    return fpr_unpack("packed/m.safetensors.index.json", "out", &o, error);
}

static fpr_status verify_with(const char *packed, const char *original, uint64_t *said, fpr_error *error)
{
    fpr_options o = options();
    fpr_verification *v;
    uint64_t sum = 0;
    fpr_status status = fpr_verify(packed, original, &o, &v, error);
    if (!status) status = fpr_verification_json(v, add_to_sum, &sum, error);
    if (!status) *said = sum;
    fpr_verification_free(v);
    return status;
}

static fpr_status job_verify(uint64_t *said, fpr_error *error)
{
    return verify_with("packed.safetensors", "in.safetensors", said, error);
}

static fpr_status job_verify_shards(uint64_t *said, fpr_error *error)
{
    return verify_with("packed/m.safetensors.index.json", NULL, said, error);
}

static fpr_status job_inspect(uint64_t *said, fpr_error *error)
{
    fpr_options o = options();
    fpr_report *r;
    fpr_status status = fpr_inspect("packed/m-1.safetensors", &o, &r, error);
    if (!status) *said = r->layer_count;
    fpr_report_free(r);
    return status;
}

static fpr_status compare_with(const char *basis, uint64_t *said, fpr_error *error)
{
    fpr_options o = options();
    const char *paths[] = {"m-1.safetensors", "packed/m-1.safetensors"};
    fpr_comparison *c;
    fpr_status status = fpr_compare(paths, 2, "3x3", basis, &o, &c, error);
    for (size_t i = 0; !status && i < 4; i++) *said = mix(*said, &c->divergence[i], sizeof(double));
    fpr_comparison_free(c);
    return status;
}

static fpr_status job_compare(uint64_t *said, fpr_error *error) { return compare_with(NULL, said, error); }

static fpr_status job_compare_in_basis(uint64_t *said, fpr_error *error)
{
    return compare_with("basis.json", said, error);
}

static fpr_status job_info(uint64_t *said, fpr_error *error)
{
    fpr_model *model;
    uint64_t sum = 0;
    fpr_status status = fpr_model_open("packed.safetensors", &model, error);
    if (!status) status = fpr_info_json(model, FPR_LAYOUT_AUTO, add_to_sum, &sum, error);
    if (!status) *said = sum;
    fpr_model_close(model);
    return status;
}

static fpr_status job_export(uint64_t *said, fpr_error *error)
{
    fpr_options o = options();
    fpr_exported result;
    fpr_status status = fpr_export_lce("in.safetensors", "out", &o, &result, error);
    *said = status ? 0 : result.layers;
    fpr_exported_free(&result);
    return status;
}

static fpr_status render(fpr_status (*renderer)(const fpr_report *, fpr_write, void *, fpr_error *), uint64_t *said,
                         fpr_error *error)
{
    uint64_t sum = 0;
    fpr_status status = renderer(report, add_to_sum, &sum, error);
    if (!status) *said = sum;
    return status;
}

static fpr_status job_report_json(uint64_t *said, fpr_error *error) { return render(fpr_report_json, said, error); }

static fpr_status job_report_html(uint64_t *said, fpr_error *error) { return render(fpr_report_html, said, error); }

static fpr_status job_comparison_html(uint64_t *said, fpr_error *error)
{
    uint64_t sum = 0;
    fpr_status status = fpr_comparison_html(comparison, add_to_sum, &sum, error);
    if (!status) *said = sum;
    return status;
}

/* ---------------------------------------------------------------- the test */

static long total;

/* Sanitizers make every try ten times as long: with them the first fifty fail, then every third; all of them with
 * FILTERPRUNE_LONG in the environment. */
static long next_try(long n)
{
#ifdef __SANITIZE_ADDRESS__
    if (n >= 50 && !getenv("FILTERPRUNE_LONG")) return n + 3;
#endif
    return n + 1;
}

static void fail_everywhere(const char *name, job run)
{
    long alive = base_allocations_alive(), without = 0, failed = 0;
    uint64_t inputs = folder_sum(".", false), expected = 0;
    assert_int_equal(run(&expected, NULL), FPR_OK);
    uint64_t outputs = folder_sum(".", true);
    bool reached = true;
    for (long n = 0; reached; n = next_try(n)) {
        uint64_t said = 0;
        fpr_error error = {0};
        remove_output();
        base_fail_allocation(n);
        fpr_status status = run(&said, &error);
        reached = base_fail_allocation(-1) < 0;
        if (base_allocations_alive() != alive)
            fail_msg("%s: allocation %ld: %ld leak", name, n, base_allocations_alive() - alive);
        if (folder_sum(".", false) != inputs) fail_msg("%s: allocation %ld: inputs or temporaries", name, n);
        if (status && (status != FPR_NO_MEMORY || error.status != status || !strstr(error.message, "out of memory")))
            fail_msg("%s: allocation %ld: status %d, %s", name, n, status, error.message);
        if (folder_sum(".", true) != (status ? 0 : outputs)) fail_msg("%s: allocation %ld: output", name, n);
        if (!status && said != expected) fail_msg("%s: allocation %ld: says something else", name, n);
        if (status && !reached) fail_msg("%s: fails without a reason", name);
        failed += reached;
        without += reached && !status;
    }
    remove_output();
    total += failed;
    print_message("%s: %ld allocations failed, %ld of them done without\n", name, failed, without);
    assert_true(failed > 0);
}

static void any_allocation_of_any_job_may_fail(void **state)
{
    (void)state;
#define JOB(name) fail_everywhere(#name, job_##name)
    JOB(prune);
    JOB(prune_on_two_threads);
    JOB(prune_packed);
    JOB(lossless);
    JOB(dense);
    JOB(cast_and_drop);
    JOB(cast_dense);
    JOB(filters_ranked);
    JOB(shards);
    JOB(unpack);
    JOB(unpack_shards);
    JOB(verify);
    JOB(verify_shards);
    JOB(inspect);
    JOB(compare);
    JOB(compare_in_basis);
    JOB(info);
    JOB(export);
    JOB(report_json);
    JOB(report_html);
    JOB(comparison_html);
    print_message("%ld allocations failed in all\n", total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_allocation_of_any_job_may_fail)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
