/* Writes every made-up report as DIR/NAME.json and DIR/NAME.html, for the browser tests. */
#include "fake_report.h"

#include <stdio.h>

static int put(void *context, const void *bytes, size_t count)
{
    return fwrite(bytes, 1, count, context) == count ? 0 : -1;
}

static FILE *create(const char *directory, const char *name, const char *kind)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.%s", directory, name, kind);
    return fopen(path, "wb");
}

static int write_report(const char *directory, const char *name, const fpr_report *r)
{
    FILE *json = create(directory, name, "json"), *html = create(directory, name, "html");
    int bad = !json || !html || fpr_report_json(r, put, json, NULL) || fpr_report_html(r, put, html, NULL);
    if (json) bad |= fclose(json) != 0;
    if (html) bad |= fclose(html) != 0;
    return bad;
}

static int write_comparison(const char *directory, const char *name, const fpr_comparison *c)
{
    FILE *json = create(directory, name, "json"), *html = create(directory, name, "html");
    int bad = !json || !html || fpr_comparison_json(c, put, json, NULL) || fpr_comparison_html(c, put, html, NULL);
    if (json) bad |= fclose(json) != 0;
    if (html) bad |= fclose(html) != 0;
    return bad;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        fake_kind kind;
    } reports[] = {{"rich", FAKE_RICH}, {"inspect", FAKE_INSPECT}, {"resnet50", FAKE_RESNET50},
                   {"huge", FAKE_HUGE}, {"tiny", FAKE_TINY},       {"empty", FAKE_EMPTY}};
    static const struct {
        const char *name;
        size_t models;
        unsigned side;
    } comparisons[] = {{"compare2", 2, 3}, {"compare8", 8, 3}, {"compare40", 40, 5}, {"compare200", 200, 3}};
    int bad = 0;
    if (argc != 2) return 2;
    for (size_t i = 0; i < sizeof reports / sizeof *reports; i++) {
        fpr_report *r = fake_report(reports[i].kind);
        bad |= write_report(argv[1], reports[i].name, r);
        fpr_report_free(r);
    }
    for (size_t i = 0; i < sizeof comparisons / sizeof *comparisons; i++) {
        fpr_comparison *c = fake_comparison(comparisons[i].models, comparisons[i].side);
        bad |= write_comparison(argv[1], comparisons[i].name, c);
        fpr_comparison_free(c);
    }
    return bad;
}
