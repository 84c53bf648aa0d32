/* Development driver: packs every tensor of a checkpoint, checks that it restores, prints sizes and speeds.
 *
 *   tool_pack FILE [THREADS [LEVEL [ROUNDS]]] [-v]
 *
 * The total counts the header of FILE and an estimate of what the index adds: about 110 bytes a packed tensor. */
#include "file/file.h"
#include "pack/pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define INDEX_BYTES 110u

typedef struct sink {
    uint8_t *bytes;
    uint64_t count;
} sink;

static int collect(void *context, const void *bytes, size_t count)
{
    sink *s = context;
    memcpy(s->bytes + s->count, bytes, count);
    s->count += count;
    return 0;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool layer_of(const file_tensor *t, bool hwio, fpr_layer_shape *layer)
{
    if (t->rank < 2 || t->rank > 5 ||
        (t->dtype != FPR_F64 && t->dtype != FPR_F32 && t->dtype != FPR_F16 && t->dtype != FPR_BF16))
        return false;
    memset(layer, 0, sizeof *layer);
    if (t->rank == 2) hwio = false;
    layer->layout = hwio ? FPR_LAYOUT_HWIO : FPR_LAYOUT_OIHW;
    return true;
}

typedef struct totals {
    uint64_t dense, stored, packed;
    double encode, decode;
} totals;

static int one(const file_tensor *t, const uint8_t *bytes, unsigned threads, int level, bool hwio, bool verbose,
               bool check, totals *sum)
{
    fpr_layer_shape layer;
    fpr_error error = {0};
    uint64_t size = t->end - t->begin;
    pack_input input = {.dtype = t->dtype,
                        .rank = t->rank,
                        .shape = t->shape,
                        .bytes = bytes,
                        .size = size,
                        .level = level,
                        .lossless = true,
                        .must_beat = size > INDEX_BYTES ? size - INDEX_BYTES : 0};
    input.layer = layer_of(t, hwio, &layer) ? &layer : NULL;
    pack_blob *blob;
    double begin = now();
    if (pack_encode(&input, threads, &blob, &error)) {
        fprintf(stderr, "%s: %s\n", t->name, error.message);
        return 1;
    }
    double encode = now() - begin;
    sum->encode += encode;
    sum->dense += size;
    sum->stored += blob ? pack_blob_size(blob) : size;
    sum->packed += blob != NULL;
    if (verbose)
        printf("%-48s %10" PRIu64 " %10" PRIu64 " %7.4f %s\n", t->name, size, blob ? pack_blob_size(blob) : size,
               blob ? (double)pack_blob_size(blob) / (double)size : 1.0, blob ? pack_blob_codec(blob) : "raw");
    if (blob && check) {
        sink s = {malloc(pack_blob_size(blob)), 0};
        uint8_t *back = aligned_alloc(64, (size + 63) / 64 * 64);
        memset(back, 0xee, size);
        pack_blob_write(blob, collect, &s, &error);
        begin = now();
        if (s.count != pack_blob_size(blob) || pack_decode(s.bytes, s.count, threads, back, size, &error) ||
            memcmp(back, bytes, size) != 0) {
            fprintf(stderr, "%s: does not restore: %s\n", t->name, error.message);
            return 1;
        }
        sum->decode += now() - begin;
        free(s.bytes);
        free(back);
    }
    pack_blob_free(blob);
    return 0;
}

int main(int argc, char **argv)
{
    bool verbose = argc > 2 && strcmp(argv[argc - 1], "-v") == 0;
    if (verbose) argc--;
    if (argc < 2) return 2;
    unsigned threads = argc > 2 ? (unsigned)atoi(argv[2]) : 2;
    int level = argc > 3 ? atoi(argv[3]) : 3, rounds = argc > 4 ? atoi(argv[4]) : 1;
    bool hwio = strstr(argv[1], "hwio") != NULL;
    fpr_error error = {0};
    file_source *source;
    file_header header;
    if (file_source_open(argv[1], &source, &error) || file_header_read(source, &header, NULL, &error)) {
        fprintf(stderr, "%s: %s\n", argv[1], error.message);
        return 1;
    }
    uint8_t *data = aligned_alloc(64, (header.data_bytes + 127) / 64 * 64);
    if (file_source_read(source, header.data_begin, data, header.data_bytes, &error)) return 1;
    totals best = {0};
    for (int r = 0; r < rounds; r++) {
        totals sum = {0};
        for (size_t i = 0; i < header.tensor_count; i++)
            if (one(&header.tensors[i], data + header.tensors[i].begin, threads, level, hwio, verbose && r == 0, true,
                    &sum))
                return 1;
        if (r == 0 || sum.encode < best.encode) best.encode = sum.encode;
        if (r == 0 || sum.decode < best.decode) best.decode = sum.decode;
        best.dense = sum.dense;
        best.stored = sum.stored;
        best.packed = sum.packed;
    }
    uint64_t total = best.stored + header.header_bytes + 8 + best.packed * INDEX_BYTES + (best.packed ? 100 : 0);
    printf("%s: %" PRIu64 " tensors, %" PRIu64 " packed, data %" PRIu64 " -> %" PRIu64 ", file about %" PRIu64
           ", encode %.0f MB/s, decode %.0f MB/s\n",
           argv[1], (uint64_t)header.tensor_count, best.packed, best.dense, best.stored, total,
           (double)best.dense / best.encode / 1e6, (double)best.dense / best.decode / 1e6);
    file_header_free(&header);
    file_source_close(source);
    free(data);
    return 0;
}
