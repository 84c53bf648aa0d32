/* Recurrent layers: LSTM and GRU with their usual functions, as the ONNX operators define them. */
#include "graph/inner.h"

#include <math.h>

typedef struct recurrent {
    const array *x, *w, *r, *b, *h0, *c0; /* [steps][batch][in], [dirs][gates h][in], [dirs][gates h][h], [dirs][2 gates h] */
    uint64_t steps, batch, in, dirs, h, gates;
    bool linear_before_reset;
    double *sum, *rest, *state, *cell; /* [gates h], [gates h], [h], [h] */
} recurrent;

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* sum: W x + R h + both biases; a GRU's rest: R h and its bias apart, not yet in the sum. */
static void weigh(const recurrent *q, uint64_t dir, const double *x, bool apart)
{
    const uint64_t n = q->gates * q->h;
    const double *w = q->w->data + dir * n * q->in, *m = q->r->data + dir * n * q->h;
    const double *b = q->b ? q->b->data + dir * 2 * n : NULL;
    for (uint64_t g = 0; g < n; g++) {
        double sum = b ? b[g] : 0, rest = b ? b[n + g] : 0;
        for (uint64_t k = 0; k < q->in; k++) sum += w[g * q->in + k] * x[k];
        for (uint64_t k = 0; k < q->h; k++) rest += m[g * q->h + k] * q->state[k];
        q->sum[g] = apart ? sum : sum + rest;
        q->rest[g] = rest;
    }
}

/* Gates i, o, f, c: H = o tanh(C), C = f C + i c. */
static void step_lstm(const recurrent *q, uint64_t dir, const double *x)
{
    weigh(q, dir, x, false);
    for (uint64_t k = 0; k < q->h; k++) {
        const double *s = q->sum + k;
        q->cell[k] = sigmoid(s[2 * q->h]) * q->cell[k] + sigmoid(s[0]) * tanh(s[3 * q->h]);
        q->state[k] = sigmoid(s[q->h]) * tanh(q->cell[k]);
    }
}

/* Gates z, r, h: H = (1 - z) h + z H. The reset counts before the product with R, or behind it. */
static void step_gru(const recurrent *q, uint64_t dir, const double *x)
{
    const uint64_t n = q->h;
    weigh(q, dir, x, true);
    for (uint64_t k = 0; k < 2 * n; k++) q->sum[k] = sigmoid(q->sum[k] + q->rest[k]);
    for (uint64_t k = 0; k < n && !q->linear_before_reset; k++) {
        const double *m = q->r->data + (dir * 3 * n + 2 * n + k) * n;
        double rest = q->b ? q->b->data[dir * 6 * n + 5 * n + k] : 0;
        for (uint64_t j = 0; j < n; j++) rest += m[j] * q->sum[n + j] * q->state[j];
        q->rest[2 * n + k] = rest;
    }
    for (uint64_t k = 0; k < n; k++) {
        const double reset = q->linear_before_reset ? q->sum[n + k] : 1, z = q->sum[k];
        q->cell[k] = (1 - z) * tanh(q->sum[2 * n + k] + reset * q->rest[2 * n + k]) + z * q->state[k];
    }
    memcpy(q->state, q->cell, n * sizeof *q->state);
}

static bool shape_is(const array *a, uint64_t d0, uint64_t d1, uint64_t d2, unsigned rank)
{
    const uint64_t want[3] = {d0, d1, d2};
    if (a->rank != rank) return false;
    for (unsigned i = 0; i < rank; i++)
        if ((uint64_t)a->dims[i] != want[i]) return false;
    return true;
}

static bool open_recurrent(run *r, uint64_t gates, recurrent *q)
{
    const bool lstm = gates == 4;
    *q = (recurrent){.x = run_in(r, 0), .w = run_in(r, 1), .r = run_in(r, 2), .b = run_in(r, 3), .h0 = run_in(r, 5),
                     .c0 = lstm ? run_in(r, 6) : NULL, .gates = gates};
    q->linear_before_reset = graph_int(r->g, r->node, "linear_before_reset", 0);
    if (run_in(r, 4) || (lstm && run_in(r, 7)) || graph_int(r->g, r->node, "layout", 0) || graph_int(r->g, r->node, "input_forget", 0) ||
        onnx_find_attribute(r->g->model, r->node, "activations") || onnx_find_attribute(r->g->model, r->node, "clip"))
        return run_fail(r, "its mode is not evaluated"), false;
    if (!q->x || !q->w || !q->r || q->x->rank != 3 || q->r->rank != 3 || q->w->rank != 3)
        return run_fail(r, "its shapes do not fit together"), false;
    q->steps = (uint64_t)q->x->dims[0], q->batch = (uint64_t)q->x->dims[1], q->in = (uint64_t)q->x->dims[2];
    q->dirs = (uint64_t)q->w->dims[0], q->h = (uint64_t)q->r->dims[2];
    const bool both = graph_text_is(r->g, r->node, "direction", "bidirectional", false);
    const bool fits = q->h && q->dirs == (both ? 2 : 1) && shape_is(q->w, q->dirs, gates * q->h, q->in, 3) &&
                      shape_is(q->r, q->dirs, gates * q->h, q->h, 3) && (!q->b || shape_is(q->b, q->dirs, 2 * gates * q->h, 0, 2)) &&
                      (!q->h0 || shape_is(q->h0, q->dirs, q->batch, q->h, 3)) && (!q->c0 || shape_is(q->c0, q->dirs, q->batch, q->h, 3));
    if (!fits) return run_fail(r, "its shapes do not fit together"), false;
    return true;
}

/* One direction of one example. y: [steps][dirs][batch][h], last: [dirs][batch][h]; each may be NULL. */
static void run_line(run *r, const recurrent *q, uint64_t dir, uint64_t example, double *const out[3])
{
    const bool back = dir || graph_text_is(r->g, r->node, "direction", "reverse", false);
    const uint64_t at = (dir * q->batch + example) * q->h, bytes = q->h * sizeof *q->state;
    if (q->h0) memcpy(q->state, q->h0->data + at, bytes);
    else memset(q->state, 0, bytes);
    if (q->c0) memcpy(q->cell, q->c0->data + at, bytes);
    else memset(q->cell, 0, bytes);
    for (uint64_t k = 0; k < q->steps; k++) {
        const uint64_t t = back ? q->steps - 1 - k : k;
        const double *x = q->x->data + (t * q->batch + example) * q->in;
        if (q->gates == 4) step_lstm(q, dir, x);
        else step_gru(q, dir, x);
        if (out[0]) memcpy(out[0] + t * q->dirs * q->batch * q->h + at, q->state, bytes);
    }
    if (out[1]) memcpy(out[1] + at, q->state, bytes);
    if (out[2]) memcpy(out[2] + at, q->cell, bytes);
}

void run_recurrent(run *r)
{
    recurrent q;
    const bool lstm = !strcmp(r->op->name, "LSTM");
    if (!open_recurrent(r, lstm ? 4 : 3, &q)) return;
    const int64_t dims[4] = {(int64_t)q.steps, (int64_t)q.dirs, (int64_t)q.batch, (int64_t)q.h};
    double *const out[3] = {run_out(r, 0, 4, dims), run_out(r, 1, 3, dims + 1), lstm ? run_out(r, 2, 3, dims + 1) : NULL};
    if (r->lacking || (!out[0] && !out[1] && !out[2])) return;
    q.sum = base_calloc(q.gates * q.h, sizeof *q.sum);
    q.rest = base_calloc(q.gates * q.h, sizeof *q.rest);
    q.state = base_calloc(q.h, sizeof *q.state);
    q.cell = base_calloc(q.h, sizeof *q.cell);
    if (!q.sum || !q.rest || !q.state || !q.cell) r->status = base_no_memory(r->error, q.gates * q.h * sizeof *q.sum);
    for (uint64_t d = 0; d < q.dirs; d++)
        for (uint64_t e = 0; e < q.batch && run_goes_on(r); e++) run_line(r, &q, d, e, out);
    base_free(q.sum);
    base_free(q.rest);
    base_free(q.state);
    base_free(q.cell);
}
