/* What a file says of its making, in a terminal; and how to load it. */
#include "cli/cli.h"

#include <math.h>
#include <string.h>

/* The options as --name=value would give them: the JSON object of one level, without its quotes and braces. */
static void print_options_said(const terminal *term, const char *json)
{
    char safe[4 * SAFE_NAME], text[4 * SAFE_NAME];
    size_t used = (size_t)snprintf(text, sizeof text, "Options: ");
    bool space = true;
    for (const char *s = json; *s && used + 2 < sizeof text; s++) {
        if (strchr("{}\"\n", *s)) continue;
        if (*s == ' ' && space) continue;
        space = *s == ' ';
        text[used++] = *s;
    }
    while (used && text[used - 1] == ' ') used--;
    text[used] = 0;
    print_wrapped(term, safe_text(safe, sizeof safe, text, used), 2);
}

void print_statement(const fpr_statement *s, const terminal *term)
{
    char verdict[FPR_VERDICT_BYTES], name[SAFE_NAME], tool[SAFE_NAME], bytes[NUMBER_TEXT];
    print_wrapped(term, fpr_statement_verdict(s, verdict, sizeof verdict), 2);
    if (!s->stated) return;
    if (s->input_name)
        fprintf(term->out, "  Made of %s, %s bytes", safe_name(name, s->input_name), number_count(bytes, s->input_bytes));
    if (s->input_name && s->tool) fprintf(term->out, ", by %s", safe_name(tool, s->tool));
    if (s->input_name) fputc('\n', term->out);
    if (s->input_xxh3_128[0]) fprintf(term->out, "  XXH3-128 of it: %s\n", s->input_xxh3_128);
    if (s->options) print_options_said(term, s->options);
}

void print_how_to_load(const terminal *term, const char *path)
{
    char name[SAFE_NAME], text[2 * SAFE_NAME];
    snprintf(text, sizeof text, "Load it with filterprune unpack %s DENSE, with filterprune.torch.load_file in Python, or "
             "write it with --dense.", safe_name(name, path));
    print_wrapped(term, text, 2);
}

/* The tensors that are not as they were; all of them would bury these. */
void print_stated_changes(const fpr_statement *s, bool all, const terminal *term)
{
    static const column columns[] = {
        { "changed tensor", false, 0 }, { "kernels zeroed", true, 1 }, { "largest error", true, 2 },
        { "relative", true, 0 }, { "cast from", true, 3 },
    };
    enum { FEW = 20 };
    uint64_t shown = 0, rows = 0;
    table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < s->tensor_count; i++) {
        const fpr_stated *row = &s->tensors[i];
        char name[SAFE_NAME], number[NUMBER_TEXT];
        if (row->lossless) continue;
        if (!all && rows++ >= FEW) continue;
        shown++;
        table_cell(t, "%s", safe_text(name, sizeof name, row->name, row->name_bytes));
        table_cell(t, "%s", number_count(number, row->zeroed));
        table_cell(t, "%s", number_weight(number, row->max_abs));
        table_cell(t, "%s", isfinite(row->relative_l2) ? number_share(number, row->relative_l2) : "infinite");
        table_cell(t, "%s", s->tensors_cast && row->dtype_before < FPR_DTYPE_COUNT
                                ? fpr_dtype_name(row->dtype_before) : "");
    }
    if (shown) fputc('\n', term->out), table_print(t, term, 0);
    if (shown < s->tensors_changed)
        fprintf(term->out, "and %llu more changed tensors (all with -v)\n",
                (unsigned long long)(s->tensors_changed - shown));
    table_free(t);
}

/* ---- dead filters and channels: 3-6, 9, 12 */

static void print_indices(FILE *out, const char *what, const uint64_t *index, uint64_t count, uint64_t of)
{
    if (!count) return;
    fprintf(out, "    %llu of %llu %s:", (unsigned long long)count, (unsigned long long)of, what);
    for (uint64_t i = 0, end; i < count; i = end + 1) {
        for (end = i; end + 1 < count && index[end + 1] == index[end] + 1; end++) continue;
        fprintf(out, end > i ? "%s%llu-%llu" : "%s%llu", i ? ", " : " ", (unsigned long long)index[i],
                (unsigned long long)index[end]);
    }
    fputc('\n', out);
}

void print_dead(const fpr_report *r, const terminal *term)
{
    char name[SAFE_NAME], a[NUMBER_TEXT], b[NUMBER_TEXT];
    const fpr_changes *c = &r->changes;
    fprintf(term->out, "\n  Dead: %s filters and %s channels, indices from 0;", number_count(a, c->removable_filters),
            number_count(b, c->removable_channels));
    fprintf(term->out, " without them %s weights less (%s)\n", number_count(a, c->removable_weights),
            number_bytes(b, (double)c->removable_bytes));
    for (uint64_t i = 0; i < r->layer_count; i++) {
        const fpr_layer *l = &r->layers[i];
        if (!l->dead_filter_count && !l->dead_channel_count) continue;
        fprintf(term->out, "  %s\n", safe_text(name, sizeof name, l->name, l->name_bytes));
        print_indices(term->out, "filters", l->dead_filters, l->dead_filter_count, l->conv.filters);
        print_indices(term->out, "channels", l->dead_channels, l->dead_channel_count, l->conv.channels);
    }
}
