/* Fuzzing: the graph of an ONNX model. The input is a whole file. What opens as a graph goes through removal, is
 * written, and opens again with no channel more than it had. */
#include "graph/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) abort();
}

static int memory_file(char path[32])
{
    int fd = memfd_create("onnx", MFD_CLOEXEC);
    require(fd >= 0);
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

static graph *open_graph(const char *path)
{
    file_source *file;
    onnx_model *model;
    graph *g = NULL;
    fpr_error e = {0};
    require(file_source_open(path, &file, &e) == FPR_OK);
    if (onnx_open(file, NULL, &model, &e) != FPR_OK || graph_open(model, NULL, &g, &e) != FPR_OK)
        require((e.status == FPR_BAD_HEADER || e.status == FPR_IO) && e.message[0] && !g);
    return g;
}

static fpr_status to_file(void *context, const void *bytes, uint64_t count, fpr_error *error)
{
    (void)error;
    require(write(*(int *)context, bytes, count) == (ssize_t)count);
    return FPR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32], small[32];
    int fd = memory_file(path), out = memory_file(small);
    fpr_error e = {0};
    graph_removal r;
    require(write(fd, data, size) == (ssize_t)size);
    graph *g = open_graph(path);
    fpr_status status = g ? graph_remove(g, 8, NULL, &r, &e) : FPR_OK;
    if (status) require((status == FPR_USAGE || status == FPR_IO || status == FPR_NO_MEMORY) && e.message[0]);
    if (g && !status) {
        for (size_t i = 0; i < r.layer_count; i++)
            require(r.layers[i].out_after && r.layers[i].out_after <= r.layers[i].out_before && r.layers[i].in_after);
        status = graph_write(g, &r, to_file, &out, &e);
        graph_removal_free(&r);
        require(status == FPR_OK || status == FPR_IO);
        graph *again = status ? NULL : open_graph(small);
        require(status || again);
        graph_close(again);
    }
    graph_close(g);
    close(fd);
    close(out);
    require(base_allocations_alive() == 0);
    return 0;
}
