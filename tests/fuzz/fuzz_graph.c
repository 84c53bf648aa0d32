/* Fuzzing: the graph of an ONNX model. The input is a whole file. What opens as a graph goes through removal, is
 * written, and opens again with no channel more than it had. */
#include "graph/graph.h"
#include "memory_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) abort();
}

/* What is written. */
typedef struct output {
    uint8_t *bytes;
    size_t size, capacity;
} output;

static graph *open_graph(const char *path)
{
    file_source *file = NULL;
    onnx_model *model;
    graph *g = NULL;
    fpr_error e = {0};
    require(file_source_open(path, &file, &e) == FPR_OK);
    if (onnx_open(file, NULL, &model, &e) != FPR_OK || graph_open(model, NULL, &g, &e) != FPR_OK)
        require((e.status == FPR_BAD_HEADER || e.status == FPR_IO) && e.message[0] && !g);
    return g;
}

static fpr_status append(void *context, const void *bytes, uint64_t count, fpr_error *error)
{
    output *o = context;
    (void)error;
    if (count > o->capacity - o->size) {
        o->capacity = 2 * (o->size + count);
        require((o->bytes = realloc(o->bytes, o->capacity)));
    }
    if (count) memcpy(o->bytes + o->size, bytes, count);
    o->size += count;
    return FPR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fpr_error e = {0};
    graph_removal r;
    graph *g = open_graph(memory_path(0, data, size));
    fpr_status status = g ? graph_remove(g, 8, NULL, &r, &e) : FPR_OK;
    if (status) require((status == FPR_USAGE || status == FPR_IO || status == FPR_NO_MEMORY) && e.message[0]);
    if (g && !status) {
        for (size_t i = 0; i < r.layer_count; i++)
            require(r.layers[i].out_after && r.layers[i].out_after <= r.layers[i].out_before && r.layers[i].in_after);
        output small = {0};
        status = graph_write(g, &r, append, &small, &e);
        graph_removal_free(&r);
        require(status == FPR_OK || status == FPR_IO);
        graph *again = status ? NULL : open_graph(memory_path(1, small.bytes, small.size));
        require(status || again);
        graph_close(again);
        free(small.bytes);
    }
    graph_close(g);
    require(base_allocations_alive() == 0);
    return 0;
}
