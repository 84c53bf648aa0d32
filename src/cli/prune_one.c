/* The main job on one checkpoint: diagnose, prune, quantize, write OUTPUT and its report. */
#include "cli/cli.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Where the report goes when --report does not say: OUTPUT without .safetensors; in OUTPUT, under the input's name,
 * when that is a directory of shards. NULL without memory. */
static char *default_stem(const char *input, const char *output)
{
    char *name = strdup(base_name(input)), *stem = NULL;
    if (!name) return NULL;
    if (strip_index(name)) {
        stem = join_path(output, name);
    } else {
        stem = strdup(output);
        if (stem && !strip_end(stem, ".safetensors")) strip_end(stem, ".onnx");
    }
    free(name);
    return stem;
}

/* A report in the place of OUTPUT, or of a file of INPUT, is refused before any work. */
static int check_place(const outcome *result, const char *file, bool is_output)
{
    const char *const reports[] = {result->json, result->html};
    for (unsigned i = 0; i < 2; i++)
        if (is_same_place(reports[i], file))
            return fail_text(EXIT_REFUSED, reports[i], is_output ? "this is OUTPUT: the report needs another name (--report)"
                                                                 : "this is a file of INPUT");
    return EXIT_DONE;
}

static int check_places(const outcome *result, const char *input, const char *output, const fpr_options *job)
{
    fpr_model *model;
    fpr_error error;
    if (!fpr_is_index(input)) return output ? check_place(result, output, true) : EXIT_DONE;
    if (fpr_model_open_with(input, job, &model, &error) != FPR_OK) return fail(&error, input);
    const size_t shards = fpr_model_shard_count(model);
    int status = EXIT_DONE;
    for (size_t s = 0; !status && s <= shards; s++) {
        const char *path = s < shards ? fpr_model_shard_path(model, s) : input;
        char *target = output ? join_path(output, base_name(path)) : NULL;
        status = check_place(result, path, false);
        if (!status && target) status = check_place(result, target, true);
        free(target);
    }
    fpr_model_close(model);
    return status;
}

typedef struct html_work {
    const fpr_report *report;
    FILE *stream;
    fpr_status result;
    fpr_error error;
} html_work;

static void *write_html(void *context)
{
    html_work *work = context;
    work->result = fpr_report_html(work->report, write_to_stream, work->stream, &work->error);
    return NULL;
}

/* Writes both files of the report, or neither; side by side, because numbers take time to become text. */
static int write_report(const fpr_report *report, const char *json_path, const char *html_path, bool force)
{
    page json, html;
    fpr_error error;
    int status = page_open(&json, json_path, report->input_path, force);
    if (status) return status;
    status = page_open(&html, html_path, report->input_path, force);
    if (status) {
        page_abandon(&json);
        return status;
    }
    html_work work = { .report = report, .stream = html.stream };
    pthread_t thread;
    const bool beside = report->threads > 1 && pthread_create(&thread, NULL, write_html, &work) == 0;
    const fpr_status result = fpr_report_json(report, write_to_stream, json.stream, &error);
    if (beside) pthread_join(thread, NULL);
    else if (result == FPR_OK) write_html(&work);
    if (result != FPR_OK || work.result != FPR_OK) {
        status = result != FPR_OK ? fail(&error, json_path) : fail(&work.error, html_path);
        page_abandon(&json);
        page_abandon(&html);
        return status;
    }
    status = page_commit(&json);
    if (status) page_abandon(&html);
    else status = page_commit(&html);
    return status;
}

/* What the module is to be rebuilt with: beside OUTPUT, or for a dry run on standard output. */
static int write_shapes(const fpr_report *report, const char *path, bool force)
{
    page out;
    if (!report->removal || !report->removal->shapes) return EXIT_DONE;
    if (!path) return fputs(report->removal->shapes, stdout) < 0 || fflush(stdout) != 0 ? fail_text(EXIT_MACHINE, "-", "cannot write") : EXIT_DONE;
    int status = page_open(&out, path, report->input_path, force);
    if (status) return status;
    if (fputs(report->removal->shapes, out.stream) < 0) {
        page_abandon(&out);
        return fail_text(EXIT_MACHINE, path, "cannot write");
    }
    return page_commit(&out);
}

/* --target-size 0.5 is half of the input. */
static int resolve_target(fpr_options *job, double ratio, const char *input)
{
    fpr_model *model;
    fpr_error error;
    if (ratio <= 0) return EXIT_DONE;
    if (fpr_model_open_with(input, job, &model, &error) != FPR_OK) return fail(&error, input);
    job->target_bytes = ratio * (double)fpr_model_bytes(model);
    fpr_model_close(model);
    return EXIT_DONE;
}

int run_prune(const settings *set, const char *input, const char *output, const char *label, outcome *result)
{
    fpr_options job = set->job;
    fpr_error error;
    char *stem = NULL, *shapes = NULL;
    fpr_trial *trials = NULL; /* the report borrows them until it is written */
    int status = EXIT_DONE;
    memset(result, 0, sizeof *result);
    /* A dry run writes a report only when one is asked for by name. */
    if (set->report || (!set->no_report && !job.dry_run)) {
        stem = set->report ? strdup(set->report) : default_stem(input, output);
        if (stem) result->json = join_text(stem, ".report.json", "");
        if (stem) result->html = join_text(stem, ".report.html", "");
        if (!result->json || !result->html) status = fail_memory();
        if (!status) status = page_check(result->json, input, job.force);
        if (!status) status = page_check(result->html, input, job.force);
        if (!status) status = check_places(result, input, output, &job);
    }
    if (!status && job.graph && !job.keep_channels && !job.dry_run) {
        char *own = stem ? NULL : default_stem(input, output);
        shapes = stem || own ? join_text(stem ? stem : own, ".shapes.json", "") : NULL;
        free(own);
        status = shapes ? page_check(shapes, input, job.force) : fail_memory();
    }
    if (!status) status = resolve_target(&job, set->target_ratio, input);
    if (!status && set->accept) status = accept_settle(set, input, output, &job, &trials);
    /* Where nobody reads the report, half of the work is for nothing. */
    const bool unread = set->quiet && !set->strict && !label && !result->json && !job.graph && !trials && !job.dry_run;
    if (!status) {
        progress bar;
        progress_begin(&bar, set, &job, label);
        fpr_status done = fpr_prune(input, output, &job, unread ? NULL : &result->report, &error);
        progress_end(&bar);
        result->seconds = seconds_now() - bar.start;
        if (done != FPR_OK) status = fail(&error, input);
    }
    if (!status && result->report) status = write_shapes(result->report, shapes, job.force);
    if (!status && result->json) status = write_report(result->report, result->json, result->html, job.force);
    if (status) {
        fpr_report_free(result->report);
        free(result->json);
        free(result->html);
        memset(result, 0, sizeof *result);
    }
    if (result->report) result->report->options.trials = NULL, result->report->options.trial_count = 0;
    free(trials);
    free(stem);
    free(shapes);
    return status;
}
