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

/* Where value `first` is: its kernel, and its place in it. */
static uint64_t locate(const pack_values *v, uint64_t first, uint64_t *place)
{
    uint64_t k = v->layer.k, entry = first / VALUES_INDEX, kernel = v->index[entry];
    for (uint64_t ordinal = entry * VALUES_INDEX / k; ordinal < first / k; ordinal++)
        kernel = next_dense(v->map, kernel + 1);
    *place = first % k;
    return kernel;
}

void pack_kernel_copy(const pack_layer *l, unsigned width, const uint8_t *bytes, uint64_t kernel, uint64_t place,
                      uint64_t n, uint8_t *dst)
{
    if (!l->hwio) {
        memcpy(dst, bytes + (kernel * l->k + place) * width, (size_t)n * width);
        return;
    }
    uint64_t stride = l->channels * l->filters, column = kernel % l->channels * l->filters + kernel / l->channels;
    for (uint64_t s = 0; s < n; s++) memcpy(dst + s * width, bytes + ((place + s) * stride + column) * width, width);
}

void pack_kernel_put(const pack_layer *l, unsigned width, uint8_t *bytes, uint64_t kernel, uint64_t place, uint64_t n,
                     const uint8_t *src)
{
    if (!l->hwio) {
        memcpy(bytes + (kernel * l->k + place) * width, src, (size_t)n * width);
        return;
    }
    uint64_t stride = l->channels * l->filters, column = kernel % l->channels * l->filters + kernel / l->channels;
    for (uint64_t s = 0; s < n; s++) memcpy(bytes + ((place + s) * stride + column) * width, src + s * width, width);
}

const uint8_t *pack_values_fetch(const pack_values *v, uint64_t first, size_t n, uint8_t *dst)
{
    const unsigned width = v->element.width;
    if (!v->map) return v->bytes + first * width;
    uint64_t place, kernel = locate(v, first, &place);
    uint8_t *to = dst;
    for (size_t left = n; left;) {
        uint64_t run = v->layer.k - place < left ? v->layer.k - place : left;
        pack_kernel_copy(&v->layer, width, v->bytes, kernel, place, run, to);
        to += run * width;
        left -= (size_t)run;
        place = 0;
        if (left) kernel = next_dense(v->map, kernel + 1);
    }
    return dst;
}

void pack_values_put(const pack_values *v, uint64_t first, size_t n, const uint8_t *src)
{
    const unsigned width = v->element.width;
    uint64_t place, kernel = locate(v, first, &place);
    for (size_t left = n; left;) {
        uint64_t run = v->layer.k - place < left ? v->layer.k - place : left;
        pack_kernel_put(&v->layer, width, v->bytes, kernel, place, run, src);
        src += run * width;
        left -= (size_t)run;
        place = 0;
        if (left) kernel = next_dense(v->map, kernel + 1);
    }
}

void pack_values_classes(const pack_values *v, const pack_scales *scales, uint64_t first, size_t n, int8_t *out)
{
    if (!v->map) {
        pack_scales_fill(scales, first, n, out);
        return;
    }
    uint64_t place, kernel = locate(v, first, &place), k = v->layer.k;
    for (size_t left = n; left;) {
        size_t run = k - place < left ? (size_t)(k - place) : left;
        pack_scales_fill(scales, kernel * k + place, run, out);
        out += run;
        left -= run;
        place = 0;
        if (left) kernel = next_dense(v->map, kernel + 1);
    }
}
