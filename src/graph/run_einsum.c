/* Einsum: sums of products over letters that name axes. */
#include "graph/inner.h"

#define LETTERS 52
#define OPERANDS_MAX 8u
#define TERMS_MAX 1e11 /* products; a short equation may ask for any number */

static int letter_of(char c) { return c >= 'a' && c <= 'z' ? c - 'a' : c >= 'A' && c <= 'Z' ? c - 'A' + 26 : -1; }

typedef struct einsum {
    int64_t size[LETTERS];                    /* 0: not used */
    int axes[LETTERS];                        /* letters: those of the output, then those that are summed over */
    unsigned outer, count;                    /* of the output; of all */
    int64_t steps[OPERANDS_MAX][LETTERS];     /* of each operand along each letter */
} einsum;

/* The letters of one term; how many, -1: it has something else, as the dots of an ellipsis. *text moves behind it. */
static int read_term(const char **text, int *letters)
{
    int n = 0;
    for (; **text && **text != ',' && **text != '-'; ++*text) {
        if (**text == ' ') continue;
        if (n == (int)GRAPH_RANK_MAX || (letters[n++] = letter_of(**text)) < 0) return -1;
    }
    return n;
}

static void use(einsum *e, int letter)
{
    for (unsigned i = 0; i < e->count; i++)
        if (e->axes[i] == letter) return;
    e->axes[e->count++] = letter;
}

static bool read_operand(run *r, einsum *e, unsigned k, const int *letters, int n)
{
    const array *x = run_in(r, k);
    int64_t step = 1;
    if (!x || n != (int)x->rank) return false;
    for (int i = n; i-- > 0; step *= x->dims[i]) {
        int64_t *size = &e->size[letters[i]];
        if (!x->dims[i] || (*size && *size != x->dims[i])) return false; /* lines of one are not repeated */
        *size = x->dims[i];
        e->steps[k][letters[i]] += step;
    }
    return true;
}

/* The equation with its output stated; false: it, or its operands, are not such ones. */
static bool read_equation(run *r, const char *text, einsum *e)
{
    int letters[OPERANDS_MAX][GRAPH_RANK_MAX], n[OPERANDS_MAX], out[GRAPH_RANK_MAX];
    unsigned operands = 0;
    do {
        if (*text == ',') text++;
        if (operands == OPERANDS_MAX || operands == r->node->input_count) return false;
        n[operands] = read_term(&text, letters[operands]);
        if (n[operands] < 0 || !read_operand(r, e, operands, letters[operands], n[operands])) return false;
        operands++;
    } while (*text == ',');
    if (operands != r->node->input_count || text[0] != '-' || text[1] != '>') return false;
    text += 2;
    const int outer = read_term(&text, out);
    if (outer < 0 || *text) return false;
    for (int i = 0; i < outer; i++) {
        if (!e->size[out[i]]) return false;
        use(e, out[i]);
    }
    e->outer = e->count;
    for (unsigned k = 0; k < operands; k++)
        for (int i = 0; i < n[k]; i++) use(e, letters[k][i]);
    return e->outer == (unsigned)outer;
}

void run_einsum(run *r)
{
    const onnx_attribute *a = onnx_find_attribute(r->g->model, r->node, "equation");
    einsum e = {0};
    int64_t dims[GRAPH_RANK_MAX], at[LETTERS] = {0};
    const double *x[OPERANDS_MAX] = {0};
    uint64_t place[OPERANDS_MAX] = {0};
    double terms = 1;
    if (!a || !read_equation(r, onnx_text_of(r->g->model, a->text), &e)) return run_fail(r, "its equation is not evaluated");
    const unsigned operands = r->node->input_count;
    for (unsigned i = 0; i < e.count; i++)
        if ((terms *= (double)e.size[e.axes[i]]) > TERMS_MAX) return run_fail(r, "its equation is not evaluated");
    for (unsigned i = 0; i < e.outer; i++) dims[i] = e.size[e.axes[i]];
    double *y = run_out(r, 0, e.outer, dims);
    for (unsigned k = 0; k < operands; k++) x[k] = run_in(r, k)->data;
    /* An odometer over all letters, the summed ones turning fastest. */
    for (uint64_t to = 0, turned = 0; y && turned < e.count + 1u && run_goes_on(r);) {
        double product = 1;
        for (unsigned k = 0; k < operands; k++) product *= x[k][place[k]];
        y[to] += product;
        unsigned d = e.count;
        for (turned = 1; d-- > 0; turned++) {
            const int l = e.axes[d];
            for (unsigned k = 0; k < operands; k++) place[k] += (uint64_t)e.steps[k][l];
            if (++at[d] < e.size[l]) break;
            for (unsigned k = 0; k < operands; k++) place[k] -= (uint64_t)(e.steps[k][l] * e.size[l]);
            at[d] = 0;
        }
        to += turned > e.count - e.outer && turned <= e.count;
    }
}
