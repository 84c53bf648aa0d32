/* Progress on standard error: a bar, on a terminal only, for work that takes more than a moment; or, with --progress
 * lines, a line for whatever program reads them: "filterprune: progress: PHASE DONE TOTAL", in bytes of input. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

/* A bar that flashes up and goes is noise. */
static const double patience = 0.4;

static void draw(progress *bar, const char *phase, uint64_t done, uint64_t total)
{
    char text[256], of[NUMBER_TEXT], rate[NUMBER_TEXT], left[NUMBER_TEXT] = "";
    char line[24 * 3 + 1] = "", label[SAFE_NAME] = "";
    double spent = bar->drawn - bar->start, share = total ? (double)done / (double)total : 0;
    if (share > 1) share = 1;
    unsigned cells = bar->term.width >= 70 ? 20 : 0, full = (unsigned)(share * cells + 0.5);
    for (unsigned i = 0; i < cells; i++) {
        const char *cell = i < full ? (bar->term.utf8 ? "\xe2\x96\x88" : "#") : (bar->term.utf8 ? "\xe2\x96\x91" : ".");
        strcat(line, cell);
    }
    if (bar->label) {
        safe_name(label, bar->label);
        shorten(label, bar->term.width / 4);
        strcat(label, " ");
    }
    if (share > 0.02 && spent > 1) {
        double rest = spent * (1 - share) / share;
        snprintf(left, sizeof left, ", %u:%02u left", (unsigned)rest / 60, (unsigned)rest % 60);
    }
    snprintf(text, sizeof text, "%.60s%.40s %s%s%3.0f %% of %s, %s/s%s", label, phase, line, cells ? " " : "",
             100 * share, number_bytes(of, (double)total),
             number_bytes(rate, spent > 0 ? (double)done / spent : 0), left);
    shorten(text, bar->term.width - 1);
    fprintf(stderr, "\r\033[K%s", text);
    fflush(stderr);
    bar->shown = true;
}

static void on_progress(void *context, const char *phase, uint64_t done, uint64_t total)
{
    progress *bar = context;
    may_be_killed = !strcmp(phase, "spectra");
    if (bar->lines && total)
        fprintf(stderr, "filterprune: progress: %s %llu %llu\n", phase, (unsigned long long)(done < total ? done : total),
                (unsigned long long)total);
    if (!bar->wanted) return;
    double now = seconds_now();
    if (now - bar->start < patience || now - bar->drawn < 0.1) return;
    bar->drawn = now;
    draw(bar, phase, done, total);
}

void progress_begin(progress *bar, const settings *set, fpr_options *job, const char *label)
{
    const char *type = getenv("TERM");
    memset(bar, 0, sizeof *bar);
    bar->term = terminal_for(stderr);
    bar->label = label;
    bar->start = seconds_now();
    /* A dumb terminal cannot erase a line. */
    bar->lines = set->progress == PROGRESS_LINES;
    bar->wanted = set->progress == PROGRESS_BAR && bar->term.is_terminal && !set->quiet && type && strcmp(type, "dumb") != 0;
    job->progress = on_progress;
    job->progress_context = bar;
}

void progress_end(progress *bar)
{
    may_be_killed = 0;
    if (bar->shown) fputs("\r\033[K", stderr);
    bar->shown = false;
}
