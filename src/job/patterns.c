/* Patterns of --only, --skip, --drop and --transposed have to name something: a misspelt one would let the job change what
 * it was to protect, or leave what it was to change. */
#include "job/job.h"

#include <stdio.h>

#define PATTERN_MAX 128  /* bytes of a pattern, and of a name, that are compared */
#define NAME_MAX_BYTES 256
#define NAMES_MAX 20000u /* that are compared: a suggestion is worth no more */
#define NEAREST 3

/* Insertions, deletions and replacements that would make the pattern match the name. */
static unsigned distance(const char *pattern, const fpr_tensor *t)
{
    unsigned row[NAME_MAX_BYTES + 1];
    const size_t n = t->name_bytes < NAME_MAX_BYTES ? t->name_bytes : NAME_MAX_BYTES;
    for (size_t j = 0; j <= n; j++) row[j] = (unsigned)j;
    for (size_t i = 0; i < PATTERN_MAX && pattern[i]; i++) {
        unsigned diagonal = row[0];
        const bool any = pattern[i] == '*'; /* takes any letters, none too, for nothing */
        row[0] += !any;
        for (size_t j = 1; j <= n; j++) {
            const unsigned above = row[j], before = row[j - 1];
            const unsigned replaced = diagonal + (pattern[i] != '?' && pattern[i] != t->name[j - 1]);
            unsigned best = any ? above : above + 1;
            if (before + !any < best) best = before + !any;
            if (!any && replaced < best) best = replaced;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[n];
}

/* The names that the pattern comes nearest to, as text: ", nearest: a, b, c". */
static void nearest_names(const fpr_model *m, const char *pattern, char *text, size_t size)
{
    struct {
        unsigned distance;
        size_t tensor;
    } best[NEAREST + 1];
    size_t count = 0, used = 0;
    for (size_t i = 0; i < fpr_model_tensor_count(m) && i < NAMES_MAX; i++) {
        const unsigned d = distance(pattern, model_tensor(m, i));
        size_t at = count;
        for (; at > 0 && best[at - 1].distance > d; at--) best[at] = best[at - 1];
        best[at].distance = d;
        best[at].tensor = i;
        if (count < NEAREST) count++;
    }
    text[0] = 0;
    for (size_t i = 0; i < count; i++) {
        const int n = snprintf(text + used, size - used, "%s%.48s", i ? ", " : "; the nearest: ",
                               model_tensor(m, best[i].tensor)->name);
        if (n < 0 || (size_t)n >= size - used) break;
        used += (size_t)n;
    }
}

static fpr_status check_list(const fpr_model *m, const char *option, const fpr_globs *globs, fpr_error *error)
{
    for (size_t p = 0; p < globs->count; p++) {
        const size_t n = fpr_model_tensor_count(m);
        size_t i = 0;
        while (i < n && !shrink_glob(globs->patterns[p], model_tensor(m, i)->name)) i++;
        if (i < n) continue;
        char names[180];
        nearest_names(m, globs->patterns[p], names, sizeof names);
        return base_fail(error, FPR_USAGE, "--%s '%.40s' names no tensor%s", option, globs->patterns[p], names);
    }
    return FPR_OK;
}

fpr_status job_check_patterns(const fpr_model *m, const fpr_options *o, fpr_error *error)
{
    fpr_status status = check_list(m, "only", &o->only, error);
    if (!status) status = check_list(m, "skip", &o->skip, error);
    if (!status) status = check_list(m, "drop", &o->drop, error);
    return status ? status : check_list(m, "transposed", &o->transposed, error);
}
