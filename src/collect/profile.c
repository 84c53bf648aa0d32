/* Profiles in memory. */
#include "collect/profile.h"

#include "file/file.h"

static void free_counts(collect_layer *layer)
{
    base_free(layer->cells);
    base_free(layer->plane);
    layer->cells = layer->plane = NULL;
}

void collect_profile_free(collect_profile *p)
{
    for (size_t i = 0; p->layers && i < p->layer_count; i++) {
        base_free(p->layers[i].name);
        fpr_moments_free(&p->layers[i].moments);
        free_counts(&p->layers[i]);
    }
    base_free(p->layers);
    base_free(p->name);
    *p = (collect_profile){0};
}

bool collect_same_shape(const collect_layer *layer, const collect_grid *grid)
{
    return layer->kernel_rank == grid->kernel_rank &&
           !memcmp(layer->kernel_shape, grid->kernel_shape, grid->kernel_rank * sizeof *grid->kernel_shape);
}

bool collect_same_grid(const collect_grid *a, const collect_grid *b)
{
    return a->kernel_rank == b->kernel_rank &&
           !memcmp(a->kernel_shape, b->kernel_shape, a->kernel_rank * sizeof *a->kernel_shape) && a->basis == b->basis &&
           a->range[0] == b->range[0] && a->range[1] == b->range[1] && a->bins == b->bins;
}

fpr_status collect_profile_count_anew(collect_profile *p, const collect_grid *grid, fpr_error *error)
{
    p->grid = *grid;
    p->counted = true;
    for (size_t i = 0; i < p->layer_count; i++) {
        collect_layer *l = &p->layers[i];
        free_counts(l);
        if (!l->finite || !collect_same_shape(l, grid)) continue;
        const uint64_t cells = (uint64_t)grid->k * (grid->bins << COLLECT_ZOOM);
        l->cells = base_calloc(cells, sizeof *l->cells);
        l->plane = base_calloc(COLLECT_SIDE * COLLECT_SIDE, sizeof *l->plane);
        if (!l->cells || !l->plane) return base_no_memory(error, cells * sizeof *l->cells);
    }
    return FPR_OK;
}

static void add_doubles(file_hash *hash, const double *v, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[8];
        uint64_t bits;
        memcpy(&bits, &v[i], sizeof bits);
        base_store_le64(bytes, bits);
        file_hash_add(hash, bytes, sizeof bytes);
    }
}

uint64_t collect_basis_number(const fpr_basis *basis, unsigned k)
{
    file_hash *hash = file_hash_new();
    if (!hash) return 0;
    add_doubles(hash, basis->mean, k);
    add_doubles(hash, basis->components, (size_t)k * k);
    return file_hash_end(hash);
}
