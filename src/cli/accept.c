/* --accept COMMAND: the largest error, and then the largest eps, with which a command of the user's is content.
 *
 * A candidate is packed and unpacked, so that the command judges what OUTPUT will restore. It is a temporary file beside
 * OUTPUT, removed after each trial. Errors and eps are tried on ladders, by halves: the search takes for granted that
 * what is accepted at a rung is accepted below it, and what it settles on has been accepted itself. A larger eps that
 * makes nothing smaller is left alone. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ERROR_LEAST 0x1p-10 /* the first rung; each is a quarter octave above the last, to 0.42 */
#define ERROR_RUNGS 36
#define EPS_RUNGS 12        /* half octaves above --eps */

typedef struct search {
    const settings *set;
    const char *input;
    char *packed, *dense; /* temporary files */
    fpr_options job;
    int status;           /* of the program, when something else than the command fails */
    fpr_trial *trials;
    size_t count;
    uint64_t must_beat;   /* bytes: a candidate that is no smaller is not worth asking about */
} search;

/* sh -c 'COMMAND "$1"' sh FILE, its standard output where messages go. -1: it could not be run. */
static int run_command(const char *text, const char *file)
{
    char *script = join_text(text, " \"$1\"", "");
    if (!script) return -1;
    char shell[] = "sh", flag[] = "-c", *path = strdup(file);
    char *arguments[] = { shell, flag, script, shell, path, NULL };
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status = -1, result = -1;
    if (path && posix_spawn_file_actions_init(&actions) == 0) {
        posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
        if (posix_spawnp(&child, "sh", &actions, NULL, arguments, environ) == 0) {
            while ((result = waitpid(child, &status, 0)) < 0 && errno == EINTR) {}
            result = result < 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128;
        }
        posix_spawn_file_actions_destroy(&actions);
    }
    free(path);
    free(script);
    return result;
}

static void say(const search *s, const fpr_trial *t)
{
    if (s->set->quiet) return;
    fprintf(stderr, "%s max-error %.4g, eps %.4g: %.0f bytes\n", t->accepted ? "accepted" : t->bytes >= s->must_beat ? "no gain " : "refused ", t->max_error, t->eps,
            (double)t->bytes);
}

/* Whether the command is content; false too when the search has to end, which s->status tells. */
static bool try_candidate(search *s, double max_error, double eps)
{
    fpr_error error;
    fpr_report *report = NULL;
    fpr_options unpacked;
    fpr_trial *t = &s->trials[s->count];
    *t = (fpr_trial){ .max_error = max_error, .eps = eps };
    s->job.max_error = max_error;
    s->job.eps = eps;
    fpr_options_init(&unpacked);
    unpacked.force = true;
    unpacked.threads = s->job.threads;
    unpacked.cancel = s->job.cancel;
    fpr_status done = fpr_prune(s->input, s->packed, &s->job, &report, &error);
    if (done == FPR_OK) {
        t->bytes = report->output_bytes;
        done = report->output_dense ? (rename(s->packed, s->dense) ? FPR_IO : FPR_OK)
                                    : fpr_unpack(s->packed, s->dense, &unpacked, &error);
        fpr_report_free(report);
    }
    int verdict = 1;
    if (done != FPR_OK) s->status = fail(&error, s->input);
    else if (t->bytes >= s->must_beat) verdict = 1;
    else if ((verdict = run_command(s->set->accept, s->dense)) < 0) s->status = fail_text(EXIT_MACHINE, NULL, "--accept: the command could not be run");
    unlink(s->packed);
    unlink(s->dense);
    if (interrupted && !s->status) s->status = EXIT_MACHINE;
    if (s->status) return false;
    t->accepted = verdict == 0;
    s->count++;
    say(s, t);
    return t->accepted;
}

static double error_at(int rung) { return ERROR_LEAST * exp2(0.25 * rung); }

/* The highest rung that is accepted, of those above `good`; good itself is known, or -1. */
static int climb(search *s, bool of_errors, int good, int rungs, double base, double max_error)
{
    int bad = rungs;
    while (!s->status && bad - good > 1) {
        const int middle = (good + bad) / 2;
        const bool accepted = of_errors ? try_candidate(s, error_at(middle), base)
                                        : try_candidate(s, max_error, fmin(1, base * exp2(0.5 * middle)));
        if (accepted) good = middle;
        else bad = middle;
    }
    return good;
}

static void find(search *s)
{
    const double eps = s->set->job.eps;
    const int error = climb(s, true, -1, ERROR_RUNGS, eps, 0);
    if (s->status) return;
    if (error < 0) {
        s->status = fail_text(EXIT_REFUSED, NULL, "--accept: the command accepts no candidate, not even with an error of 0.1 %%");
        return;
    }
    const double max_error = error_at(error);
    for (size_t i = 0; i < s->count; i++)
        if (s->trials[i].accepted && s->trials[i].max_error == max_error) s->must_beat = s->trials[i].bytes;
    const int up = s->set->job.prune && eps > 0 && s->set->job.amount < 0 ? climb(s, false, 0, EPS_RUNGS, eps, max_error) : 0;
    s->job.max_error = max_error;
    s->job.eps = fmin(1, eps * exp2(0.5 * up));
}

int accept_settle(const settings *set, const char *input, const char *output, fpr_options *job, fpr_trial **trials)
{
    search s = { .set = set, .input = input, .job = *job, .must_beat = UINT64_MAX };
    char pid[32];
    if (strstr(input, ".index.json") || strstr(output, ".onnx"))
        return fail_usage("--accept is for one checkpoint in one file");
    if (!job->force && access(output, F_OK) == 0)
        return fail_text(EXIT_REFUSED, output, "exists; --force overwrites it");
    snprintf(pid, sizeof pid, ".accept-%ld", (long)getpid());
    s.trials = calloc(64, sizeof *s.trials);
    s.packed = join_text(output, pid, ".packed");
    s.dense = join_text(output, pid, ".safetensors");
    s.job.force = true;
    s.job.dense = s.job.dry_run = false;
    if (s.trials && s.packed && s.dense) find(&s);
    else s.status = fail_memory();
    if (!s.status) {
        job->max_error = s.job.max_error;
        job->eps = s.job.eps;
        job->accept = set->accept;
        job->trials = *trials = s.trials;
        job->trial_count = s.count;
    } else {
        free(s.trials);
    }
    free(s.packed);
    free(s.dense);
    return s.status;
}
