/* Tables as comma-separated values (RFC 4180): for spreadsheets and data frames. */
#include "report/report.h"

#include <math.h>

void report_csv_text(report_out *out, const char *text)
{
    if (!text) return;
    if (!text[strcspn(text, ",\"\r\n")]) {
        report_text(out, text);
        return;
    }
    report_bytes(out, "\"", 1);
    for (; *text; text++) {
        if (*text == '"') report_bytes(out, "\"", 1);
        report_bytes(out, text, 1);
    }
    report_bytes(out, "\"", 1);
}

void report_csv_number(report_out *out, double v)
{
    char text[REPORT_NUMBER];
    if (isfinite(v)) report_bytes(out, text, report_format_double(text, v));
}

void report_csv_integer(report_out *out, uint64_t v)
{
    char text[REPORT_NUMBER];
    report_bytes(out, text, report_format_integer(text, v));
}

fpr_status fpr_comparison_csv(const fpr_comparison *c, fpr_write write, void *context, fpr_error *error)
{
    const size_t n = c->model_count;
    report_out out;
    fpr_status status = report_open(&out, write, context, error);
    if (status) return status;
    report_text(&out, "a,b,shift,noise_median,noise_q95,resolved");
    for (unsigned i = 0; i < c->k; i++) report_text(&out, ",pc"), report_csv_integer(&out, i + 1);
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) {
            const size_t at = i * n + j;
            const double floor = c->noise_q95 ? c->noise_q95[at] : NAN;
            report_text(&out, "\n");
            report_csv_text(&out, c->models[i].path);
            report_text(&out, ",");
            report_csv_text(&out, c->models[j].path);
            report_text(&out, ",");
            report_csv_number(&out, c->divergence[at]);
            report_text(&out, ",");
            report_csv_number(&out, c->noise_median ? c->noise_median[at] : NAN);
            report_text(&out, ",");
            report_csv_number(&out, floor);
            report_text(&out, isnan(floor) ? "," : c->divergence[at] > floor ? ",1" : ",0");
            for (unsigned d = 0; d < c->k; d++)
                report_text(&out, ","), report_csv_number(&out, c->per_component[at * c->k + d]);
        }
    report_text(&out, "\n");
    return report_close(&out, error);
}
