/* The room graph alone: tool_graph remove IN OUT [SIDE] writes the model without needless channels and says what
 * left; tool_graph run MODEL BATCH SIDE reads doubles for every input from standard input and writes those of every
 * output, one after the other, to descriptor 3; tool_graph inputs MODEL BATCH SIDE names their shapes. */
#include "graph/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static fpr_status to_stream(void *context, const void *bytes, uint64_t count, fpr_error *error)
{
    if (fwrite(bytes, 1, (size_t)count, context) == count) return FPR_OK;
    return base_fail(error, FPR_IO, "cannot write");
}

static fpr_status remove_channels(const graph *g, const char *path, int64_t side, fpr_error *error)
{
    graph_removal r;
    fpr_status status = graph_remove(g, side, NULL, &r, error);
    FILE *f = status ? NULL : fopen(path, "wb");
    if (status) return status;
    for (size_t i = 0; i < r.layer_count; i++) {
        const graph_layer *l = &r.layers[i];
        printf("layer %s %s in %llu %llu out %llu %llu dead %llu constant %llu unread %llu merged %llu macs %llu %llu parameters %llu %llu\n",
               l->weight, l->op, (unsigned long long)l->in_before, (unsigned long long)l->in_after,
               (unsigned long long)l->out_before, (unsigned long long)l->out_after, (unsigned long long)l->dead,
               (unsigned long long)l->constant, (unsigned long long)l->unread, (unsigned long long)l->merged,
               (unsigned long long)l->macs_before, (unsigned long long)l->macs_after,
               (unsigned long long)l->parameters_before, (unsigned long long)l->parameters_after);
    }
    for (size_t i = 0; i < r.stop_count; i++)
        printf("stop %s %s %llu\n", r.stops[i].op, r.stops[i].node, (unsigned long long)r.stops[i].channels);
    printf("channels %llu\n", (unsigned long long)r.channels);
    status = graph_write(g, &r, to_stream, f, error);
    if (fclose(f) != 0 && !status) status = base_fail(error, FPR_IO, "cannot write");
    graph_removal_free(&r);
    return status;
}

static fpr_status run(const graph *g, int64_t batch, int64_t side, bool only_name, fpr_error *error)
{
    size_t ins = graph_input_count(g), outs = graph_output_count(g);
    array *in = base_calloc(ins, sizeof *in), *out = base_calloc(outs, sizeof *out);
    fpr_status status = FPR_OK;
    for (size_t i = 0; i < ins && !status; i++) {
        if (!graph_input_shape(g, i, batch, side, &in[i])) status = base_fail(error, FPR_USAGE, "an input without shape");
        for (unsigned d = 0; d < in[i].rank && only_name; d++) printf("%lld%s", (long long)in[i].dims[d], d + 1 < in[i].rank ? " " : "\n");
        in[i].data = only_name ? NULL : base_alloc(in[i].count, sizeof(double));
        if (!only_name && fread(in[i].data, sizeof(double), in[i].count, stdin) != in[i].count)
            status = base_fail(error, FPR_USAGE, "too few values");
    }
    if (!status && !only_name) status = graph_run(g, in, out, outs, NULL, NULL, error);
    for (size_t i = 0; i < outs && !only_name; i++) {
        if (out[i].data && write(3, out[i].data, out[i].count * sizeof(double)) < 0) status = FPR_IO;
        array_free(&out[i]);
    }
    for (size_t i = 0; i < ins; i++) array_free(&in[i]);
    base_free(in);
    base_free(out);
    return status;
}

int main(int argc, char **argv)
{
    fpr_error error = {0};
    file_source *file;
    onnx_model *model = NULL;
    graph *g = NULL;
    if (argc < 4) return 2;
    fpr_status status = file_source_open(argv[2], &file, &error);
    if (!status) status = onnx_open(file, NULL, &model, &error);
    if (!status) status = graph_open(model, NULL, &g, &error);
    if (!status && !strcmp(argv[1], "remove")) status = remove_channels(g, argv[3], argc > 4 ? atol(argv[4]) : 64, &error);
    else if (!status && argc > 4) status = run(g, atol(argv[3]), atol(argv[4]), !strcmp(argv[1], "inputs"), &error);
    graph_close(g);
    if (status) fprintf(stderr, "%s: %s (%s)\n", error.file, error.message, error.where);
    if (base_allocations_alive()) fprintf(stderr, "%ld allocations alive\n", base_allocations_alive());
    return base_allocations_alive() ? 99 : fpr_exit_status(status);
}
