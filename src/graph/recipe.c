/* Tensors that are smaller than they were. */
#include "graph/change.h"

#include <math.h>

uint64_t lane_kept(const lattice *l, const lane *v, uint64_t from, uint64_t count)
{
    uint64_t kept = 0;
    for (uint64_t c = from; c < from + count; c++) kept += lane_keeps(l, v, c);
    return kept;
}

/* ---- lines along an axis */

static void make_slice(const changes *c, const recipe *r, const uint8_t *old, uint8_t *new)
{
    const onnx_tensor *t = &c->l.g->model->tensors[r->tensor];
    const lane *v = &c->l.lanes[r->lane];
    uint64_t inner = fpr_dtype_bits(t->dtype) / 8, outer = 1, n = t->shape[r->axis];
    for (unsigned i = r->axis + 1; i < t->rank; i++) inner *= t->shape[i];
    for (unsigned i = 0; i < r->axis; i++) outer *= t->shape[i];
    for (uint64_t o = 0; o < outer; o++)
        for (uint64_t i = 0; i < n; i++, old += inner)
            if (lane_keeps(&c->l, v, i)) {
                memcpy(new, old, inner);
                new += inner;
            }
}

/* ---- convolutions and products */

/* What kernel [o][i] of the new weights has besides its own: constants that its channel carries, and twins. false: beyond
 * what the type holds, though its parts are not. */
static bool add_folded(const changes *c, const mixer *m, const uint8_t *old, size_t size, fpr_dtype dtype, uint64_t o,
                       uint64_t i, uint8_t *kernel)
{
    const lattice *l = &c->l;
    const lane *x = &l->lanes[m->in];
    uint64_t group = o / (m->outs / m->groups), base = group * m->ins;
    bool carries = m->carrier[group] == base + i + 1;
    for (uint64_t k = 0; k < m->taps; k++) {
        double sum = graph_load(dtype, kernel + k * size);
        bool more = false, finite = isfinite(sum);
        for (uint64_t j = 0; j < m->ins; j++) {
            uint64_t e = x->first + base + j;
            bool twin = m->reads[base + j] == READS_LIVE && l->leader[e] == base + i && j != i;
            bool carried = m->reads[base + j] == READS_CARRIED && carries;
            if (lane_keeps(l, x, base + j) || (!twin && !carried)) continue;
            double w = graph_load(dtype, old + (lattice_weight_at(m, o, j) + k) * size);
            sum += twin ? w : w * l->constant[e] / l->constant[x->first + base + i];
            more = more || w != 0;
            finite = finite && isfinite(w);
        }
        if (more) graph_store(dtype, kernel + k * size, sum);
        if (more && finite && !isfinite(graph_load(dtype, kernel + k * size))) return false;
    }
    return true;
}

/* Whether any channel of the group leaves something behind in this one: most do not, and their bits stay. */
static bool takes_over(const changes *c, const mixer *m, uint64_t group, uint64_t i)
{
    const lattice *l = &c->l;
    const lane *x = &l->lanes[m->in];
    for (uint64_t j = group * m->ins; j < (group + 1) * m->ins && x->tracked; j++) {
        if (lane_keeps(l, x, j)) continue;
        if (m->reads[j] == READS_LIVE && l->leader[x->first + j] == group * m->ins + i) return true;
        if (m->reads[j] == READS_CARRIED && m->carrier[group] == group * m->ins + i + 1) return true;
    }
    return false;
}

static fpr_status make_weight(const changes *c, const recipe *r, const uint8_t *old, uint8_t *new, const uint8_t *takes,
                              fpr_error *error)
{
    const mixer *m = &c->l.mixers[r->mixer];
    const lane *x = &c->l.lanes[m->in], *y = &c->l.lanes[m->out];
    size_t size = fpr_dtype_bits(r->dtype) / 8;
    uint64_t per = m->outs / m->groups, outs = m->transposed ? per : m->outs, rows = m->transposed ? m->ins * m->groups : m->outs;
    /* In the order in which they are stored: [out][in], or [in of all groups][out of one]. */
    for (uint64_t a = 0; a < rows; a++)
        for (uint64_t b = 0; b < (m->transposed ? outs : m->ins); b++) {
            uint64_t group = m->transposed ? a / m->ins : a / per;
            uint64_t o = m->transposed ? group * per + b : a, i = m->transposed ? a % m->ins : b;
            if (!lane_keeps(&c->l, y, o) || (!m->depthwise && !lane_keeps(&c->l, x, group * m->ins + i)) ||
                (m->depthwise && !lane_keeps(&c->l, x, group)))
                continue;
            memcpy(new, old + lattice_weight_at(m, o, i) * size, m->taps * size);
            if (takes[group * m->ins + i] && !add_folded(c, m, old, size, r->dtype, o, i, new))
                return base_fail(error, FPR_USAGE, "tensor %.80s: weights of channels that leave, added to those of the ones that "
                                 "stay, are beyond its type", onnx_text_of(c->l.g->model, c->l.g->names[r->tensor]));
            new += m->taps * size;
        }
    return FPR_OK;
}

static double addends(const changes *c, const mixer *m, const uint8_t *weights, fpr_dtype dtype, uint64_t o)
{
    const lane *x = &c->l.lanes[m->in];
    size_t size = fpr_dtype_bits(dtype) / 8;
    uint64_t base = o / (m->outs / m->groups) * m->ins;
    double sum = 0;
    for (uint64_t i = 0; i < m->ins && x->tracked; i++) {
        if (lane_keeps(&c->l, x, base + i) || m->reads[base + i] != READS_ADDEND) continue;
        double w = 0;
        for (uint64_t k = 0; k < m->taps; k++) w += graph_load(dtype, weights + (lattice_weight_at(m, o, i) + k) * size);
        sum += w * c->l.constant[x->first + base + i];
    }
    return sum;
}

static fpr_status make_bias(const changes *c, const recipe *r, const uint8_t *old, uint8_t *new, fpr_error *error)
{
    const mixer *m = &c->l.mixers[r->mixer];
    const lane *y = &c->l.lanes[m->out];
    const onnx_tensor *w = &c->l.g->model->tensors[m->weight];
    size_t size = fpr_dtype_bits(r->dtype) / 8;
    uint8_t *weights = base_alloc(w->bytes, 1);
    fpr_status status = weights ? graph_tensor_bytes(c->l.g, m->weight, weights, error) : base_no_memory(error, w->bytes);
    for (uint64_t o = 0; o < m->outs && !status; o++) {
        if (!lane_keeps(&c->l, y, o)) continue;
        double more = addends(c, m, weights, w->dtype, o); /* over the reals; rounded once, with the bias */
        if (more != 0) more *= m->alpha / m->beta;
        uint64_t at = old && c->l.g->model->tensors[r->tensor].elements == 1 ? 0 : o;
        if (old) memcpy(new, old + at * size, size);
        if (!old || more != 0) graph_store(r->dtype, new, (old ? graph_load(r->dtype, new) : 0) + more);
        new += size;
    }
    base_free(weights);
    return status;
}

uint8_t *recipe_make(const changes *c, const recipe *r, fpr_error *error)
{
    const onnx_tensor *t = r->tensor == ONNX_NONE ? NULL : &c->l.g->model->tensors[r->tensor];
    uint8_t *old = t && r->kind != RECIPE_LIST ? base_alloc(t->bytes, 1) : NULL, *new = base_calloc(r->bytes, 1);
    const mixer *m = r->kind == RECIPE_WEIGHT ? &c->l.mixers[r->mixer] : NULL;
    uint8_t *takes = base_calloc(m ? m->ins * m->groups : 1, 1);
    fpr_status status = new && takes && (old || !t || r->kind == RECIPE_LIST) ? FPR_OK : base_no_memory(error, r->bytes);
    if (!status && old) status = graph_tensor_bytes(c->l.g, r->tensor, old, error);
    for (uint64_t i = 0; m && !status && i < m->ins * m->groups; i++)
        takes[i] = !m->depthwise && takes_over(c, m, i / m->ins, i % m->ins);
    if (!status && r->kind == RECIPE_SLICE) make_slice(c, r, old, new);
    if (!status && r->kind == RECIPE_WEIGHT) status = make_weight(c, r, old, new, takes, error);
    if (!status && r->kind == RECIPE_BIAS) status = make_bias(c, r, old, new, error);
    for (uint64_t i = 0; !status && r->kind == RECIPE_LIST && i < r->elements; i++)
        r->dtype == FPR_I32 ? base_store_le32(new + 4 * i, (uint32_t)r->list[i])
                            : base_store_le64(new + 8 * i, (uint64_t)r->list[i]);
    base_free(old);
    base_free(takes);
    if (!status) return new;
    base_free(new);
    return NULL;
}
