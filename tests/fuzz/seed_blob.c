/* Writes the seeds of fuzz_blob: seed_blob DIRECTORY. Small blobs of every codec, encoding and layout; those of floats
 * also under the adaptive code, where it is smaller. */
#include "pack/pack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state = 1;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static int to_file(void *context, const void *bytes, size_t count)
{
    return fwrite(bytes, 1, count, context) == count ? 0 : -1;
}

/* Weights by kind: 0 of many magnitudes, 1 fifty values, 2 kernels zero, two-level or dense, 3 one value, 4 repeating,
 * 5 with outliers. */
static float weight(unsigned kind, size_t i)
{
    float u = (float)(int32_t)next() * 0x1p-31f;
    switch (kind) {
    case 0:
        return u * u * u * exp2f((float)(i / 36 % 5) - (float)(i / 9 % 4));
    case 1:
        return 0.11f * (float)(next() % 50);
    case 2:
        return i / 9 % 3 == 0 ? 0 : i / 9 % 3 == 1 ? (next() & 1 ? 0.5f : -0.5f) * (float)(1 + i / 36) : u;
    case 3:
        return 0.75f;
    case 4:
        return sinf((float)(i % 40));
    default:
        return next() % 9 ? u * 0.1f : 1e-30f * u;
    }
}

/* Writes the blob, if there is one, and sets must_beat to its size. */
static bool write_blob(pack_input *input, const char *directory, unsigned shape, unsigned kind, const char *how)
{
    pack_blob *blob;
    if (pack_encode(input, 1, &blob, NULL) != FPR_OK) return false;
    if (!blob) return true;
    input->must_beat = pack_blob_size(blob);
    char path[4096];
    snprintf(path, sizeof path, "%s/%u_%u_%s%s", directory, shape, kind, pack_blob_codec(blob), how);
    FILE *f = fopen(path, "wb");
    bool done = f && pack_blob_write(blob, to_file, f, NULL) == FPR_OK;
    if (f && fclose(f) != 0) done = false;
    pack_blob_free(blob);
    return done;
}

int main(int argc, char **argv)
{
    static const struct {
        fpr_dtype dtype;
        unsigned rank;
        uint64_t shape[4];
        fpr_layout layout;
    } shapes[] = {
        {FPR_F32, 4, {9, 4, 3, 3}, FPR_LAYOUT_OIHW}, {FPR_F32, 4, {3, 3, 4, 9}, FPR_LAYOUT_HWIO},
        {FPR_F32, 2, {8, 60}, FPR_LAYOUT_OIHW},      {FPR_BF16, 4, {18, 4, 3, 3}, FPR_LAYOUT_OIHW},
        {FPR_F64, 1, {160}, FPR_LAYOUT_AUTO},        {FPR_I32, 1, {324}, FPR_LAYOUT_AUTO},
        {FPR_F16, 3, {40, 3, 5}, FPR_LAYOUT_OIHW},
    };
    static uint8_t bytes[8192] __attribute__((aligned(64)));
    if (argc != 2) return 2;
    for (unsigned s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (unsigned kind = 0; kind < 6; kind++) {
            uint64_t elements = 1;
            for (unsigned d = 0; d < shapes[s].rank; d++) elements *= shapes[s].shape[d];
            unsigned width = shapes[s].dtype == FPR_F64                                  ? 8
                             : shapes[s].dtype == FPR_F16 || shapes[s].dtype == FPR_BF16 ? 2
                                                                                         : 4;
            for (size_t i = 0; i < elements; i++) {
                float w = weight(kind, i);
                double wide = w;
                uint32_t bits;
                memcpy(&bits, &w, 4);
                if (width == 8)
                    memcpy(bytes + 8 * i, &wide, 8);
                else if (width == 4)
                    base_store_le32(bytes + 4 * i, bits);
                else
                    base_store_le16(bytes + 2 * i, (uint16_t)(bits >> 16));
            }
            fpr_layer_shape layer = {.layout = shapes[s].layout};
            pack_input input = {.dtype = shapes[s].dtype,
                                .rank = shapes[s].rank,
                                .shape = shapes[s].shape,
                                .layer = layer.layout == FPR_LAYOUT_AUTO ? NULL : &layer,
                                .bytes = bytes,
                                .size = elements * width,
                                .level = 3,
                                .lossless = kind % 2,
                                .must_beat = UINT64_MAX};
            if (!write_blob(&input, argv[1], s, kind, "")) return 1;
            input.adaptive_values = UINT64_MAX;
            if (!write_blob(&input, argv[1], s, kind, "_adaptive")) return 1;
        }
    return 0;
}
