/* The library in fifty lines: open a checkpoint, look at its layers, diagnose it. */
#include <filterprune.h>

#include <stdio.h>

static int fail(const fpr_error *error)
{
    fprintf(stderr, "%s: %s\n", error->file, error->message);
    return fpr_exit_status(error->status);
}

int main(int argc, char **argv)
{
    fpr_error error;
    fpr_model *model;
    fpr_report *report;
    fpr_options options;
    if (argc != 2) {
        fprintf(stderr, "usage: example CHECKPOINT\n");
        return 2;
    }

    /* What the file holds. */
    if (fpr_model_open(argv[1], &model, &error) != FPR_OK) return fail(&error);
    fpr_layout layout = fpr_model_layout(model);
    for (size_t i = 0; i < fpr_model_tensor_count(model); i++) {
        const fpr_tensor *tensor = fpr_model_tensor(model, i);
        fpr_layer_shape layer;
        if (!fpr_model_layer(model, i, layout, &layer))
            printf("%s: no layer, %s, %llu bytes\n", tensor->name, fpr_dtype_name(tensor->dtype),
                   (unsigned long long)tensor->bytes);
    }
    fpr_model_close(model);

    /* What its kernels look like. */
    fpr_options_init(&options);
    if (fpr_inspect(argv[1], &options, &report, &error) != FPR_OK) return fail(&error);
    for (uint64_t i = 0; i < report->layer_count; i++) {
        const fpr_layer *layer = &report->layers[i];
        printf("%s", layer->name);
        for (unsigned d = 0; d < layer->conv.kernel_rank; d++)
            printf("%s%llu", d ? "x" : " ", (unsigned long long)layer->conv.kernel_shape[d]);
        printf(" %llu kernels, %llu live\n", (unsigned long long)layer->conv.kernels,
               (unsigned long long)(layer->conv.kernels - layer->sparse));
    }
    fpr_report_free(report);
    return 0;
}
