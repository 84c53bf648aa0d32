/* Provenance: what an auditor needs to run it again: files with checksums, version, every effective option, a command.
 */
#include "report/page.h"

static void fact(report_out *out, const char *name) { page_print(out, "<dt>%s</dt><dd>", name); }

static void hash(report_out *out, const char *name, uint64_t value)
{
    if (!value) return;
    fact(out, name);
    page_print(out, "<code>%016llx</code> (XXH3-64)</dd>", (unsigned long long)value);
}

static void size_fact(report_out *out, uint64_t bytes)
{
    report_text(out, ", ");
    page_plural(out, bytes, "byte", "bytes");
    report_text(out, "</dd>");
}

/* ---- the command: long options, words quoted for a POSIX shell */

static void shell_word(report_out *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-,:@%";
    size_t n = strlen(word);
    if (n && strspn(word, plain) == n) {
        page_text(out, word, n);
        return;
    }
    report_text(out, "&#39;");
    for (; *word; word += n) {
        n = strcspn(word, "'");
        page_text(out, word, n);
        if (!n) report_text(out, "&#39;\\&#39;&#39;"), n = 1;
    }
    report_text(out, "&#39;");
}

/* A path, which is no option whatever it begins with. */
static void operand(report_out *out, const char *path)
{
    report_text(out, path[0] == '-' ? " ./" : " ");
    shell_word(out, path);
}

static void flag(report_out *out, bool set, const char *name)
{
    if (set) page_print(out, " --%s", name);
}

static void word_option(report_out *out, const char *name, const char *value)
{
    page_print(out, " --%s %s", name, value);
}

static void text_option(report_out *out, const char *name, const char *value)
{
    if (!value) return;
    page_print(out, " --%s=", name);
    shell_word(out, value);
}

static void number_option(report_out *out, const char *name, double v)
{
    page_print(out, " --%s ", name);
    page_number(out, v);
}

static void patterns(report_out *out, const char *name, char *const *list, size_t count)
{
    for (size_t i = 0; i < count && i < 100; i++) {
        page_print(out, " --%s=", name);
        shell_word(out, list[i]);
    }
}

static void pruning(report_out *out, const fpr_report *r)
{
    static const char *const structures[] = {"kernel", "filter", "channel"}, *const criteria[] = {"peak", "l1", "l2", "bn"};
    const fpr_options *o = &r->options;
    flag(out, !o->prune, "no-prune");
    if (o->prune) {
        word_option(out, "structure", structures[o->structure]);
        word_option(out, "criterion", criteria[o->criterion]);
        if (o->target_bytes > 0) number_option(out, "target-size", o->target_bytes); /* which the amount follows from */
        else if (o->amount >= 0) number_option(out, "amount", o->amount);
        flag(out, o->global, "global");
        flag(out, o->pointwise, "pointwise");
    }
    patterns(out, "only", r->only, r->only_count);
    patterns(out, "skip", r->skip, r->skip_count);
}

static void output(report_out *out, const fpr_report *r)
{
    static const char *const casts[] = {"", "f32", "f16", "bf16"};
    const fpr_options *o = &r->options;
    if (o->max_error > 0) number_option(out, "max-error", o->max_error);
    flag(out, o->dense, "dense");
    if (o->pool != FPR_POOL_AUTO) word_option(out, "pool", o->pool == FPR_POOL_ALWAYS ? "always" : "never");
    number_option(out, "level", o->level);
    if (o->cast != FPR_CAST_NONE) word_option(out, "cast", casts[o->cast]);
    patterns(out, "drop", r->drop, r->drop_count);
    flag(out, o->keep_channels, "keep-channels");
}

/* What --accept found is there as numbers: the same result, without its command. */
static void command(report_out *out, const fpr_report *r)
{
    const fpr_options *o = &r->options;
    report_text(out, r->has_output ? "<pre>filterprune" : "<pre>filterprune inspect");
    text_option(out, "key", o->key);
    text_option(out, "graph", o->graph);
    word_option(out, "layout", fpr_layout_name(o->layout));
    patterns(out, "transposed", r->transposed, r->transposed_count);
    number_option(out, "eps", o->eps);
    number_option(out, "bins", o->bins);
    if (o->bandwidth == FPR_BANDWIDTH_FIXED)
        number_option(out, "bandwidth", o->bandwidth_value);
    else
        word_option(out, "bandwidth", o->bandwidth == FPR_BANDWIDTH_SCOTT ? "scott" : "silverman");
    flag(out, o->half, "half");
    flag(out, o->spectra, "spectra");
    if (r->has_output) pruning(out, r);
    flag(out, !o->binary, "no-binary");
    if (o->binary) {
        number_option(out, "binary-tol", o->binary_tol);
        number_option(out, "binary-share", o->binary_share);
    }
    if (r->has_output) output(out, r);
    operand(out, r->input_path ? r->input_path : "INPUT");
    if (r->has_output) operand(out, r->output_path ? r->output_path : "OUTPUT");
    report_text(out, "</pre>");
}

static void timing(report_out *out, const fpr_report *r)
{
    report_text(out, "<p class=\"soft\" id=\"timing\">");
    for (size_t i = 0; i < r->phase_count; i++) {
        page_print(out, "%s%s ", i ? ", " : "", r->phases[i].name);
        page_value(out, r->phases[i].seconds);
        report_text(out, "\xC2\xA0s");
    }
    page_print(out, "%s%u thread%s", r->phase_count ? "; " : "", r->threads, r->threads == 1 ? "" : "s");
    if (r->peak_rss_bytes) {
        report_text(out, ", at most ");
        page_size(out, r->peak_rss_bytes);
        report_text(out, " of memory");
    }
    report_text(out, ".</p>");
}

void page_audit(report_out *out, const fpr_report *r)
{
    report_text(out, "<section id=\"audit\"><h2>Provenance</h2>\n<dl class=\"facts\">");
    fact(out, "Input");
    page_path(out, r->input_path);
    if (r->input_format && strcmp(r->input_format, "safetensors") != 0) {
        report_text(out, ", ");
        page_text(out, r->input_format, strlen(r->input_format));
        if (r->input_key && *r->input_key) {
            report_text(out, ", key ");
            page_name(out, r->input_key, strlen(r->input_key));
        }
    }
    size_fact(out, r->input_bytes);
    hash(out, "Input\xE2\x80\x99s checksum", r->input_hash);
    if (r->has_output) {
        fact(out, "Output");
        page_path(out, r->output_path);
        report_text(out, r->output_dense ? ", dense" : ", packed");
        size_fact(out, r->output_bytes);
        hash(out, "Output\xE2\x80\x99s checksum", r->output_hash);
    }
    fact(out, "Contents");
    page_plural(out, r->tensors, "tensor", "tensors");
    report_text(out, ", ");
    page_plural(out, r->parameters, "parameter", "parameters");
    report_text(out, ", ");
    page_plural(out, r->layer_count, "convolution layer", "convolution layers");
    report_text(out, "</dd>");
    fact(out, "Program");
    report_text(out, "filterprune " FPR_VERSION_STRING
                     "</dd></dl>\n<p>With every effective option written out, the same result comes from:</p>\n");
    command(out, r);
    timing(out, r);
    report_text(out, "</section>\n");
}
