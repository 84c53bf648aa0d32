/* Streams of values: a tensor in its own order, or the weights of a layer's dense kernels one after another. */
#include "pack/blob.h"

static uint64_t next_dense(const uint8_t *map, uint64_t kernel)
{
    while (pack_map_get(map, kernel) != PACK_DENSE) {
        kernel++;
        if (kernel % 4 == 0) /* four kernels at a time while none of them is dense, binary 10 */
            while (!(map[kernel / 4] & 0xaa)) kernel += 4;
    }
    return kernel;
}

bool pack_values_index(pack_values *v)
{
    uint64_t entries = v->count / VALUES_INDEX + 1, kernel = 0, at = 0, k = v->layer.k;
    v->index = base_alloc(entries, sizeof *v->index);
    if (!v->index) return false;
    if (!v->count) return true;
    kernel = next_dense(v->map, 0);
    for (uint64_t i = 0; i * VALUES_INDEX < v->count; i++) {
        for (; at + k <= i * VALUES_INDEX; at += k) kernel = next_dense(v->map, kernel + 1);
        v->index[i] = kernel;
    }
    return true;
}

pack_cursor pack_values_seek(const pack_values *v, uint64_t first)
{
    if (!v->map) return (pack_cursor){.kernel = first / v->layer.k, .place = first % v->layer.k};
    uint64_t k = v->layer.k, entry = first / VALUES_INDEX, kernel = v->index[entry];
    for (uint64_t ordinal = entry * VALUES_INDEX / k; ordinal < first / k; ordinal++)
        kernel = next_dense(v->map, kernel + 1);
    return (pack_cursor){.kernel = kernel, .place = first % k};
}

uint64_t pack_values_run(const pack_values *v, pack_cursor *c, uint64_t most)
{
    if (c->place == v->layer.k) {
        c->kernel = v->map ? next_dense(v->map, c->kernel + 1) : c->kernel + 1;
        c->place = 0;
    }
    const uint64_t left = v->layer.k - c->place;
    return left < most ? left : most;
}

void pack_values_gather(const pack_values *v, uint64_t first, size_t n, uint8_t *dst)
{
    const unsigned width = v->element.width;
    pack_cursor c = pack_values_seek(v, first);
    for (uint64_t run; n; c.place += run, n -= (size_t)run, dst += run * width) {
        run = pack_values_run(v, &c, n);
        pack_kernel_copy(&v->layer, width, v->bytes, c.kernel, c.place, run, dst);
    }
}

const uint8_t *pack_values_fetch(const pack_values *v, uint64_t first, size_t n, uint8_t *dst)
{
    if (!v->map) return v->bytes + first * v->element.width;
    pack_values_gather(v, first, n, dst);
    return dst;
}

void pack_values_put(const pack_values *v, uint64_t first, size_t n, const uint8_t *src)
{
    const unsigned width = v->element.width;
    pack_cursor c = pack_values_seek(v, first);
    for (uint64_t run; n; c.place += run, n -= (size_t)run, src += run * width) {
        run = pack_values_run(v, &c, n);
        pack_kernel_put(&v->layer, width, v->bytes, c.kernel, c.place, run, src);
    }
}

void pack_values_classes(const pack_values *v, const pack_scales *scales, uint64_t first, size_t n, int8_t *out)
{
    if (!v->map) {
        pack_scales_fill(scales, first, n, out);
        return;
    }
    pack_cursor c = pack_values_seek(v, first);
    for (uint64_t run; n; c.place += run, n -= (size_t)run, out += run) {
        run = pack_values_run(v, &c, n);
        pack_scales_fill(scales, c.kernel * v->layer.k + c.place, (size_t)run, out);
    }
}
