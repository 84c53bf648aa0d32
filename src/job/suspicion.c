/* Why everything differs: a wrong original, two arguments the wrong way round, or channels that left. Asked only when something does. */
#include "job/job.h"

#include <stdio.h>

static bool holds_key_or_blob(const fpr_model *m)
{
    for (size_t s = 0; s < fpr_model_shard_count(m); s++)
        if (model_shard_key(m, s)) return true;
    for (size_t i = 0; i < fpr_model_tensor_count(m); i++)
        if (model_tensor(m, i)->packed) return true;
    return false;
}

FPR_API fpr_status fpr_model_sum(const fpr_model *model, char digits[33], fpr_error *error)
{
    job_checksum *sum = NULL;
    model_sum value = {0};
    atomic_bool stop;
    atomic_init(&stop, false);
    fpr_status status = checksum_new(model, &sum, error);
    if (!status) status = checksum_rest(sum, &stop, &value, error);
    checksum_free(sum);
    snprintf(digits, 33, "%016llx%016llx", (unsigned long long)value.wide[0], (unsigned long long)value.wide[1]);
    return status;
}

/* Whether the original is the file that was stated; true where that cannot be known. */
static bool is_the_input(const fpr_model *original, const fpr_statement *s)
{
    if (!s->input_name) return true;
    if (fpr_model_bytes(original) != s->input_bytes) return false;
    char digits[33];
    return fpr_model_sum(original, digits, NULL) || !s->input_xxh3_128[0] || !strcmp(digits, s->input_xxh3_128);
}

/* What --graph makes of a checkpoint: tensors of other shapes, none of them longer along any axis. */
static bool has_fewer_channels(const fpr_model *packed, const fpr_model *original)
{
    size_t fewer = 0;
    for (size_t i = 0; i < fpr_model_tensor_count(packed); i++) {
        const fpr_tensor *t = model_tensor(packed, i), *o = model_find(original, t->name, t->name_bytes);
        if (!o) continue;
        if (o->rank != t->rank || o->dtype != t->dtype) return false;
        for (unsigned k = 0; k < t->rank; k++)
            if (t->shape[k] > o->shape[k]) return false;
        fewer += t->elements < o->elements;
    }
    return fewer > 0;
}

char *verify_suspicion(const fpr_model *packed, const fpr_model *original, const fpr_statement *s)
{
    char text[512];
    if (!original) return NULL;
    if (!holds_key_or_blob(packed) && holds_key_or_blob(original))
        snprintf(text, sizeof text,
                 "is no output of filterprune, but %.200s is one: the arguments may be the wrong way round",
                 model_path(original));
    else if (s && !is_the_input(original, s))
        snprintf(text, sizeof text, "was not made from %.200s, but from a file of %llu bytes named %.120s",
                 model_path(original), (unsigned long long)s->input_bytes, s->input_name);
    else if (has_fewer_channels(packed, original))
        snprintf(text, sizeof text, "has fewer channels than %.200s, as --graph makes it: weights cannot be compared one by one. "
                 "What the networks compute can, of OUTPUT as ONNX: verify small.onnx net.onnx", model_path(original));
    else
        return NULL;
    return base_copy_text(text, strlen(text));
}
