/* Which units are the lowest: of one layer, or of all layers together.
 *
 * Non-negative doubles order like their bit patterns, so the n-th lowest is found by eight counting passes over the
 * bytes of the keys, from the highest down: linear, nothing is sorted or copied, and ties are known exactly.
 *
 * Memory of a ranking: 8 bytes a unit up to 4 Mi units (32 MiB), beyond that 4 bytes a unit, the scores rounded to
 * float. Rounding can only shift the border between layers among scores that agree to 24 bits; which units of a layer
 * go is decided by the exact scores again. */
#include "shrink/inner.h"

#include <math.h>
#include <string.h>

#define EXACT_UNITS_MAX (UINT64_C(4) << 20)

typedef struct ranked_layer {
    size_t layer;
    uint64_t count;
    double *scores;
    float *rounded;
} ranked_layer;

struct shrink_ranking {
    ranked_layer *layers; /* ascending by layer */
    size_t count;
    uint64_t units;
    bool rounded;
};

shrink_cut shrink_select(const shrink_span *spans, size_t count, uint64_t n)
{
    uint64_t prefix = 0, before = 0; /* keys that go for certain: those below the prefix */
    for (int shift = 56; shift >= 0; shift -= 8) {
        uint64_t histogram[256] = {0};
        for (size_t j = 0; j < count; j++)
            for (uint64_t i = 0; i < spans[j].count; i++) {
                uint64_t key = shrink_key(&spans[j], i);
                if (shift == 56 || key >> (shift + 8) == prefix) histogram[key >> shift & 255]++;
            }
        unsigned byte = 0;
        while (byte < 255 && before + histogram[byte] <= n) before += histogram[byte++];
        prefix = prefix << 8 | byte;
    }
    return (shrink_cut){prefix, n > before ? n - before : 0};
}

uint64_t shrink_share_of(double amount, uint64_t total)
{
    double n = rint(amount * (double)total);
    if (!(n > 0)) return 0;
    return n < (double)total ? (uint64_t)n : total;
}

fpr_status shrink_ranking_new(shrink_ranking **ranking, fpr_error *error)
{
    *ranking = base_calloc(1, sizeof **ranking);
    return *ranking ? FPR_OK : base_no_memory(error, sizeof **ranking);
}

void shrink_ranking_free(shrink_ranking *ranking)
{
    if (!ranking) return;
    for (size_t i = 0; i < ranking->count; i++) {
        base_free(ranking->layers[i].scores);
        base_free(ranking->layers[i].rounded);
    }
    base_free(ranking->layers);
    base_free(ranking);
}

static fpr_status round_layer(ranked_layer *l, fpr_error *error)
{
    l->rounded = base_alloc(l->count, sizeof *l->rounded);
    if (!l->rounded) return base_no_memory(error, l->count * sizeof *l->rounded);
    for (uint64_t i = 0; i < l->count; i++) l->rounded[i] = (float)l->scores[i];
    base_free(l->scores);
    l->scores = NULL;
    return FPR_OK;
}

fpr_status shrink_ranking_add(shrink_ranking *ranking, size_t layer, const double *scores, uint64_t count,
                              fpr_error *error)
{
    ranked_layer *layers = base_grow(ranking->layers, ranking->count + 1, sizeof *layers);
    if (!layers) return base_no_memory(error, (ranking->count + 1) * sizeof *layers);
    ranking->layers = layers;
    ranked_layer added = {.layer = layer, .count = count, .scores = base_alloc(count, sizeof(double))};
    if (!added.scores) return base_no_memory(error, count * sizeof(double));
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += scores[i];
    double mean = sum / (double)count;
    /* A layer of zeros has no mean to divide by: its units are the lowest there are. */
    for (uint64_t i = 0; i < count; i++) added.scores[i] = mean > 0 ? scores[i] / mean : 0;
    size_t at = ranking->count;
    while (at > 0 && layers[at - 1].layer > layer) at--;
    memmove(layers + at + 1, layers + at, (ranking->count - at) * sizeof *layers);
    layers[at] = added;
    ranking->count++;
    ranking->units += count;
    ranking->rounded = ranking->rounded || ranking->units > EXACT_UNITS_MAX;
    fpr_status status = FPR_OK;
    for (size_t i = 0; ranking->rounded && !status && i < ranking->count; i++)
        if (layers[i].scores) status = round_layer(&layers[i], error);
    return status;
}

fpr_status shrink_ranking_end(shrink_ranking *ranking, double amount, uint64_t *counts, size_t layers, fpr_error *error)
{
    memset(counts, 0, layers * sizeof *counts);
    shrink_span *spans = base_alloc(ranking->count, sizeof *spans);
    if (!spans) return base_no_memory(error, ranking->count * sizeof *spans);
    for (size_t i = 0; i < ranking->count; i++)
        spans[i] = (shrink_span){ranking->layers[i].scores, ranking->layers[i].rounded, ranking->layers[i].count};
    shrink_cut cut = shrink_select(spans, ranking->count, shrink_share_of(amount, ranking->units));
    for (size_t i = 0; i < ranking->count; i++) {
        uint64_t below = 0, equal = 0;
        for (uint64_t j = 0; j < spans[i].count; j++) {
            uint64_t key = shrink_key(&spans[i], j);
            below += key < cut.key;
            equal += key == cut.key;
        }
        uint64_t ties = equal < cut.ties ? equal : cut.ties;
        cut.ties -= ties;
        if (ranking->layers[i].layer < layers) counts[ranking->layers[i].layer] = below + ties;
    }
    base_free(spans);
    return FPR_OK;
}
