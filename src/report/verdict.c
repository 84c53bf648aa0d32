/* The sentence that terminal, page, JSON and tables begin with. Its numbers are those of report->changes. */
#include "report/page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

typedef struct sentence {
    char *text;
    size_t used, size;
} sentence;

static void put(sentence *s, const char *format, ...) BASE_PRINTF(2, 3);
static void put(sentence *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(s->text + s->used, s->size - s->used, format, arguments);
    va_end(arguments);
    if (n > 0) s->used += (size_t)n < s->size - s->used ? (size_t)n : s->size - s->used - 1;
}

static void put_count(sentence *s, uint64_t n)
{
    char digits[REPORT_NUMBER];
    size_t length = report_format_integer(digits, n);
    for (size_t i = 0; i < length; i++) put(s, i && (length - i) % 3 == 0 ? ",%c" : "%c", digits[i]);
}

static void put_plural(sentence *s, uint64_t n, const char *noun)
{
    put_count(s, n);
    put(s, n == 1 ? " %s" : " %ss", noun);
}

/* 59.2 %, 4.41 %; all but a few is not all, next to nothing is not nothing. */
static void put_share(sentence *s, double share)
{
    char text[REPORT_NUMBER];
    const double percent = 100 * share;
    if (percent > 0 && percent < 0.01) put(s, "less than 0.01 %%");
    else if (percent >= 99.95 && percent < 100) put(s, "more than 99.9 %%");
    else report_format_fixed(text, percent, percent < 9.995 && percent != 0 ? 2 : percent < 99.95 ? 1 : 0),
        put(s, "%s %%", percent == 0 ? "0" : text);
}

/* Behind "at most". */
static void put_bound(sentence *s, double share) { put_share(s, share > 0 && share < 1e-4 ? 1e-4 : share); }

/* A name as plain text of one line: what would act instead of being seen stands as its number; the middle is left out
 * where it is long. */
static void put_name(sentence *s, const char *name, size_t bytes)
{
    enum { HEAD = 24, TAIL = 56 };
    for (size_t i = 0, length; i < bytes; i += length) {
        uint32_t code = 0;
        if (bytes > HEAD + TAIL && i >= HEAD && i < bytes - TAIL) {
            put(s, "...");
            i = bytes - TAIL;
            while (i < bytes && ((unsigned char)name[i] & 0xC0) == 0x80) i++;
            if (i == bytes) return;
        }
        length = base_utf8(name + i, bytes - i, &code);
        if (!length) put(s, "\\x%02X", (unsigned char)name[i]), length = 1;
        else if (page_is_invisible(code)) put(s, "\\u{%X}", (unsigned)code);
        else put(s, "%.*s", (int)length, name + i);
    }
}

static double part(uint64_t of, uint64_t all) { return all ? (double)of / (double)all : NAN; }

/* ---- the main job */

static void put_zeroed(sentence *s, const fpr_changes *c)
{
    if (!c->kernels) return;
    if (c->kernels_zeroed) put_count(s, c->kernels_zeroed);
    else put(s, "None");
    put(s, " of ");
    put_plural(s, c->kernels, "kernel");
    if (c->pointwise_kernels) put(s, " (1x1 counted, too)");
    put(s, " became zero; ");
}

/* What a mask leaves of a kernel are zeros of both signs: that they become +0 changes bits, and no value. */
#define LOST_SIGNS " zeros lost their sign, which changes no value"

static bool lost_signs_only(double worst, uint64_t kernels_zeroed) { return worst == 0 && !kernels_zeroed; }

static void put_error(sentence *s, const fpr_report *r)
{
    const fpr_changes *c = &r->changes;
    const bool signs = lost_signs_only(c->worst_relative_l2, c->kernels_zeroed);
    if (signs) put(s, "in ");
    put_count(s, c->tensors_changed);
    put(s, " of ");
    put_plural(s, r->tensors, "tensor");
    if (signs) {
        put(s, LOST_SIGNS);
        return;
    }
    put(s, isfinite(c->worst_relative_l2) ? " changed, by at most " : " changed, without a bound");
    if (isfinite(c->worst_relative_l2)) put_bound(s, c->worst_relative_l2);
    put(s, " (");
    put_name(s, c->worst_name, c->worst_name_bytes);
    put(s, ", relative L2 error)");
}

static void put_cast(sentence *s, const fpr_report *r)
{
    static const char *const names[] = {"", "F32", "F16", "BF16"};
    const fpr_changes *c = &r->changes;
    if (!c->cast_tensors) return;
    put(s, "; ");
    put_plural(s, c->cast_tensors, "tensor");
    put(s, " cast to %s", names[r->options.cast]);
    if (c->cast_to_inf) put(s, ", "), put_plural(s, c->cast_to_inf, "value"), put(s, " became infinite");
    if (c->cast_to_zero) put(s, ", "), put_plural(s, c->cast_to_zero, "value"), put(s, " became zero");
}

static void put_wholly_zero(sentence *s, const fpr_report *r)
{
    enum { NAMED = 3 };
    const fpr_changes *c = &r->changes;
    for (size_t i = 0; i < c->wholly_zero_count && i < NAMED; i++) {
        const fpr_layer *l = &r->layers[c->wholly_zero[i]];
        put(s, i ? ", " : "; wholly zero now: ");
        put_name(s, l->name, l->name_bytes);
    }
    if (c->wholly_zero_count > NAMED) put(s, " and %zu more", c->wholly_zero_count - NAMED);
}

static void put_live(sentence *s, const fpr_changes *c, bool changed)
{
    if (!c->kernels) return;
    put(s, "; live kernels ");
    put_share(s, part(c->live_before, c->kernels));
    if (!changed) return;
    put(s, " before, ");
    put_share(s, part(c->live_after, c->kernels));
    put(s, " after");
}

/* What left the network is changed, too, though its outputs are not. */
static void put_removed(sentence *s, uint64_t filters)
{
    put_plural(s, filters, "filter");
    put(s, " that nothing needs left the network");
}

static bool writes_graph(const fpr_report *r) { return r->removal && r->input_format && !strcmp(r->input_format, "onnx"); }

FPR_API uint64_t fpr_report_compared_bytes(const fpr_report *r)
{
    return r->input_key && !writes_graph(r) && r->tensor_bytes < r->input_bytes ? r->tensor_bytes : r->input_bytes;
}

/* What the file holds beside what this is about. */
static void put_not_read(sentence *s, const fpr_report *r)
{
    const bool others = r->not_read_matters;
    const uint64_t n = others ? r->not_read : r->left_out_count;
    if (!n || writes_graph(r)) return;
    put(s, " ");
    put_plural(s, n, others ? "more tensor" : "value");
    put(s, " of the input");
    if (others) put(s, ", "), put_plural(s, r->not_read_bytes, "byte"), put(s, ",");
    put(s, n == 1 ? " is not in the output." : " are not in the output.");
}

static void job_sentence(sentence *s, const fpr_report *r)
{
    const fpr_changes *c = &r->changes;
    const uint64_t removed = r->removal ? r->removal->channels : 0;
    if (c->tensors_changed) {
        put_zeroed(s, c);
        put_error(s, r);
        if (removed) put(s, "; "), put_removed(s, removed);
    } else if (removed) {
        put(s, "No weight was pruned or rounded; ");
        put_removed(s, removed);
    } else {
        put(s, "Nothing was changed: ");
        put(s, c->tensors_dropped ? "what was not dropped keeps" : "every tensor keeps");
        put(s, c->cast_tensors ? " its values" : " every bit");
    }
    put_cast(s, r);
    if (c->tensors_dropped) put(s, "; "), put_plural(s, c->tensors_dropped, "tensor"), put(s, " dropped");
    put_wholly_zero(s, r);
    put_live(s, c, c->tensors_changed > 0);
    put(s, r->layer_count ? "." : "; the file holds no convolution layer.");
    if (c->large_layers)
        put(s, " An error above %g %% can change what a network computes: test it before it is used.",
            100 * FPR_LARGE_ERROR);
    put_not_read(s, r);
}

/* ---- an inspection */

static void inspection_sentence(sentence *s, const fpr_report *r)
{
    const fpr_changes *c = &r->changes;
    uint64_t dead = 0, broken = 0, untrained = 0;
    if (!r->layer_count) {
        put(s, "The file holds no convolution layer: there is nothing to diagnose in its ");
        put_plural(s, r->tensors, "tensor");
        put(s, ".");
        return;
    }
    if (!c->kernels) {
        put_plural(s, r->layer_count, "convolution layer");
        put(s, ", all with NaN or Inf: nothing could be diagnosed.");
        return;
    }
    for (uint64_t i = 0; i < r->layer_count; i++) {
        dead += r->layers[i].dead_filter_count > 0;
        broken += !r->layers[i].finite;
        untrained += r->layers[i].untrained_like != NULL;
    }
    put_count(s, c->kernels - c->live_before);
    put(s, " of ");
    put_plural(s, c->kernels, "kernel");
    put(s, c->pointwise_kernels ? " (1x1 counted, too) in " : " in ");
    put_plural(s, r->layer_count - broken, "convolution layer");
    put(s, " are sparse");
    put(s, ", ");
    put_share(s, part(c->live_before, c->kernels));
    put(s, " live");
    if (dead) put(s, "; "), put_plural(s, dead, "layer"), put(s, dead == 1 ? " has dead filters" : " have dead filters");
    if (c->binary_layers) put(s, "; "), put_plural(s, c->binary_layers, "layer"), put(s, " of two-level filters");
    if (untrained) put(s, "; "), put_plural(s, untrained, "layer"), put(s, untrained == 1 ? " looks untrained" : " look untrained");
    if (broken) put(s, "; "), put_plural(s, broken, "layer"), put(s, " with NaN or Inf left out");
    put(s, ". Nothing was changed.");
}

/* Cut to size, it still ends with a whole character. */
static char *finish(sentence *s)
{
    if (s->used + 1 < s->size) return s->text;
    while (s->used && ((unsigned char)s->text[s->used - 1] & 0xC0) == 0x80) s->text[--s->used] = 0;
    if (s->used && (unsigned char)s->text[s->used - 1] >= 0xC0) s->text[--s->used] = 0;
    return s->text;
}

FPR_API char *fpr_statement_verdict(const fpr_statement *statement, char *dst, size_t size)
{
    sentence s = {dst, 0, size};
    if (!size) return dst;
    *dst = 0;
    const double worst = statement->tensors_changed ? statement->tensors[statement->worst].relative_l2 : 0;
    if (!statement->tensors_changed) {
        put(&s, "lossless: ");
        put(&s, statement->tensors_cast ? "all " : "every bit of all ");
        put_plural(&s, statement->tensor_count, "tensor");
        put(&s, statement->tensors_cast ? " keep their values" : " is kept");
    } else if (lost_signs_only(worst, statement->kernels_zeroed)) {
        put(&s, "in ");
        put_count(&s, statement->tensors_changed);
        put(&s, " of ");
        put_plural(&s, statement->tensor_count, "tensor");
        put(&s, LOST_SIGNS);
    } else {
        put_count(&s, statement->tensors_changed);
        put(&s, " of ");
        put_plural(&s, statement->tensor_count, "tensor");
        put(&s, isfinite(worst) ? " changed, at most " : " changed, without a bound");
        if (isfinite(worst)) put_bound(&s, worst);
        put(&s, " in ");
        put_name(&s, statement->tensors[statement->worst].name, statement->tensors[statement->worst].name_bytes);
    }
    if (statement->kernels_zeroed) put(&s, "; "), put_plural(&s, statement->kernels_zeroed, "kernel"), put(&s, " became zero");
    if (statement->tensors_cast) put(&s, "; "), put_plural(&s, statement->tensors_cast, "tensor"), put(&s, " cast");
    if (statement->patterns_dropped) put(&s, "; tensors dropped by "), put_plural(&s, statement->patterns_dropped, "pattern");
    return finish(&s);
}

FPR_API char *fpr_report_verdict(const fpr_report *report, char *dst, size_t size)
{
    sentence s = {dst, 0, size};
    if (!size) return dst;
    *dst = 0;
    if (report->has_output) job_sentence(&s, report);
    else inspection_sentence(&s, report);
    return finish(&s);
}
