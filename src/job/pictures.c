/* Kernels as a report shows them: those of a binary-like layer for Figure 2, and a few of every layer. */
#include "job/prune.h"

#define PICTURE_SIDE 8 /* filters and channels of Figure 2; 8 x 8 = FPR_PICTURE_KERNELS */
#define PICTURE_WEIGHTS_MAX 128

/* The first channels of the first filters, as floats. */
static fpr_status picture(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, fpr_layer *row, float **out,
                          fpr_error *error)
{
    if (s->k > PICTURE_WEIGHTS_MAX) return FPR_OK;
    row->picture_filters = s->filters < PICTURE_SIDE ? (unsigned)s->filters : PICTURE_SIDE;
    row->picture_channels = s->channels < PICTURE_SIDE ? (unsigned)s->channels : PICTURE_SIDE;
    size_t k = (size_t)s->k, n = (size_t)row->picture_filters * row->picture_channels * k;
    double kernel[PICTURE_WEIGHTS_MAX];
    base_free(*out);
    *out = base_alloc(n, sizeof **out);
    if (!*out) return base_no_memory(error, n * sizeof **out);
    float *p = *out;
    for (unsigned f = 0; f < row->picture_filters; f++)
        for (unsigned c = 0; c < row->picture_channels; c++) {
            conv_kernels(s, dtype, weights, f * s->channels + c, 1, kernel);
            for (size_t j = 0; j < k; j++) *p++ = (float)kernel[j];
        }
    return FPR_OK;
}

fpr_status pictures_sample(const prune_job *job, const item *it, fpr_error *error)
{
    if (!job->report || !job->counting || !prune_is_planned(it->layer)) return FPR_OK;
    conv_block block = study_block(job->study, it->layer, it->seen ? it->seen : it->bytes);
    block.action = it->plan.changes ? it->plan.action : NULL;
    return job_samples(&block, 0, &job->report->layers[it->layer - job->study->layers], error);
}

fpr_status pictures_take(const prune_job *job, const item *items, size_t count, bool before, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && job->report && i < count; i++) {
        const study_layer *layer = items[i].layer;
        if (!prune_is_planned(layer) || items[i].plan.binary.scope == FPR_SCOPE_NONE) continue;
        fpr_layer *row = &job->report->layers[layer - job->study->layers];
        status = picture(&layer->shape, row->dtype, items[i].bytes, row,
                         before ? &row->picture_before : &row->picture_after, error);
    }
    return status;
}
