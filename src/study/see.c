/* The weights that the network computes with, where the file does not hold them as such. */
#include "study/study.h"

/* A pattern that also names layers chooses among these: '*' does not make kernels of anchors. */
void study_find_taking(study *s)
{
    const fpr_globs *only = &s->options->only;
    fpr_layer_shape shape;
    for (size_t p = 0; p < only->count; p++) s->taking[p] = true;
    for (size_t i = 0; only->count && i < fpr_model_tensor_count(s->model); i++) {
        if (!fpr_model_layer(s->model, i, s->options->layout, &shape)) continue;
        for (size_t p = 0; p < only->count; p++)
            if (s->taking[p] && shrink_glob(only->patterns[p], model_tensor(s->model, i)->name)) s->taking[p] = false;
    }
}

bool study_takes(const study *s, size_t tensor)
{
    const fpr_globs *only = &s->options->only;
    if (!only->count || !fpr_model_lookalike(s->model, tensor, s->options->layout)) return false;
    for (size_t p = 0; p < only->count; p++)
        if (s->taking[p] && shrink_glob(only->patterns[p], model_tensor(s->model, tensor)->name)) return true;
    return false;
}

static fpr_status read_tensor(const study *s, size_t tensor, unsigned threads, void **bytes, fpr_error *error)
{
    const fpr_tensor *t = model_tensor(s->model, tensor);
    *bytes = base_alloc_aligned(t->bytes, 1);
    if (!*bytes) return base_no_memory(error, t->bytes);
    return model_read(s->model, tensor, threads, *bytes, error);
}

fpr_status study_see(const study *s, const study_layer *layer, unsigned threads, void *weights, fpr_error *error)
{
    if (study_is_plain(layer)) return FPR_OK;
    const fpr_tensor *t = model_tensor(s->model, layer->tensor);
    void *other = NULL;
    fpr_status status = FPR_OK;
    if (layer->part == CONV_PART_WEIGHT) {
        other = base_alloc_aligned(t->bytes, 1);
        if (!other) return base_no_memory(error, t->bytes);
        memcpy(other, weights, t->bytes);
        shrink_ohwi_to_oihw(&layer->shape, t->dtype, other, weights);
    } else {
        const fpr_tensor *partner = model_tensor(s->model, layer->partner);
        status = read_tensor(s, layer->partner, threads, &other, error);
        if (status) base_error_in_tensor(error, partner->name);
        else if (layer->part == CONV_PART_DIRECTION)
            shrink_norm_weights(&layer->shape, t->dtype, weights, partner->dtype, other);
        else shrink_mask_weights(t->dtype, weights, partner->dtype, other, t->elements);
    }
    base_free(other);
    return status;
}

const study_layer *study_owner(const study *s, size_t tensor)
{
    const conv_role *role = model_role(s->model, tensor);
    if (role->part != CONV_PART_LENGTH && role->part != CONV_PART_MASK) return NULL;
    /* Where weights are zero a mask of another kind may stay as it is. */
    if (!base_is_float(model_tensor(s->model, tensor)->dtype)) return NULL;
    const size_t layer = s->layer_of[role->partner];
    return layer == SIZE_MAX ? NULL : &s->layers[layer];
}

void study_put_back(const study *s, const study_layer *layer, size_t tensor, const shrink_plan *plan, const void *seen,
                    void *bytes)
{
    const fpr_dtype dtype = model_tensor(s->model, layer->tensor)->dtype, own = model_tensor(s->model, tensor)->dtype;
    if (!plan->changes) return;
    if (layer->part == CONV_PART_WEIGHT) shrink_oihw_to_ohwi(&layer->shape, dtype, seen, bytes);
    else if (layer->part == CONV_PART_ORIGINAL) shrink_clear_kernels(&layer->shape, own, bytes, plan);
    else if (tensor == layer->tensor) shrink_norm_direction(&layer->shape, dtype, bytes, plan);
    else shrink_norm_length(&layer->shape, dtype, seen, plan, own, bytes);
}
