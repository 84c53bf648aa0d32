/* Fuzzing: a whole checkpoint, dense or packed, through everything that a job does with it: opened, listed, read, pruned
 * in a dry run, reported, verified. The input is the file. */
#include "base/base.h"
#include "memory_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) abort();
}

static int swallow(void *context, const void *bytes, size_t count)
{
    *(size_t *)context += bytes ? count : 0;
    return 0;
}

static bool is_input_at_fault(fpr_status status) { return status >= FPR_BAD_HEADER && status < FPR_EXISTS; }

/* Whether the tensors are small enough to restore them here. */
static bool look(const fpr_model *model)
{
    uint64_t total = 0;
    for (size_t i = 0; i < fpr_model_tensor_count(model); i++) {
        const fpr_tensor *t = fpr_model_tensor(model, i);
        fpr_layer_shape shape;
        if (t->bytes > 1u << 22 || (total += t->bytes) > 1u << 23) return false;
        require(t->name[t->name_bytes] == 0 && t->codec);
        if (fpr_model_layer(model, i, FPR_LAYOUT_AUTO, &shape)) require(shape.kernels * shape.k == t->elements);
    }
    return true;
}

static void prune(const char *path, const uint8_t *data, size_t size)
{
    fpr_options o;
    fpr_report *report;
    fpr_error error;
    size_t written = 0;
    fpr_options_init(&o);
    o.threads = 1;
    o.dry_run = true;
    unsigned dice = size ? data[size - 1] : 0;
    o.prune = !(dice & 1);
    o.binary = !(dice & 2);
    if (dice & 4) o.amount = 0.5;
    if (dice & 8) o.structure = dice & 16 ? FPR_STRUCTURE_FILTER : FPR_STRUCTURE_CHANNEL;
    o.pointwise = dice & 32;
    o.half = dice & 64;
    o.dense = dice & 128;
    fpr_status status = fpr_prune(path, NULL, &o, &report, &error);
    if (status) {
        require(!report && error.message[0] && is_input_at_fault(status));
        return;
    }
    require(fpr_report_json(report, swallow, &written, &error) == FPR_OK && written > 100);
    require(fpr_report_html(report, swallow, &written, &error) == FPR_OK);
    fpr_report_free(report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    const char *path = memory_path(0, data, size);
    if (!ready) require(setenv("FILTERPRUNE_HDF5", "/nowhere", 1) == 0); /* no process is started */
    ready = true;
    fpr_model *model;
    fpr_error error;
    size_t written = 0;
    fpr_status status = fpr_model_open(path, &model, &error);
    if (status) {
        require(is_input_at_fault(status) || (status == FPR_IO && strstr(error.message, "is HDF5")));
        require(error.message[0]);
    } else {
        bool small = look(model);
        require(fpr_info_json(model, FPR_LAYOUT_AUTO, swallow, &written, &error) == FPR_OK);
        fpr_model_close(model);
        fpr_options o;
        fpr_verification *v = NULL;
        fpr_options_init(&o);
        o.threads = 1;
        if (small) {
            status = fpr_verify(path, NULL, &o, &v, &error);
            require(status == FPR_OK || status == FPR_DIFFERS || is_input_at_fault(status));
            if (v) require(fpr_verification_json(v, swallow, &written, &error) == FPR_OK && v->ok == (status == FPR_OK));
            fpr_verification_free(v);
            prune(path, data, size);
        }
    }
    require(base_allocations_alive() == 0);
    return 0;
}
