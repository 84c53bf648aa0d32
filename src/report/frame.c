/* The frame of a page: one self-contained file, the style and the script inside, a policy that forbids every request,
 * nothing that needs the script to be read. */
#include "report/page.h"

void page_begin(report_out *out, const char *kind, const char *path)
{
    report_text(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>");
    if (path) {
        const char *name = page_file_name(path);
        page_short(out, name, strlen(name), 80);
        report_text(out, " \xC2\xB7 ");
    }
    report_text(out, "filterprune ");
    report_text(out, kind);
    report_text(out,
                "</title>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta "
                "name=\"generator\" content=\"filterprune " FPR_VERSION_STRING "\">\n"
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
                "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n<style>\n");
    report_text(out, page_css);
    report_text(out, "</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the content</a>\n");
}

void page_footer(report_out *out)
{
    report_text(out,
                "</main>\n<footer><p>Made by filterprune " FPR_VERSION_STRING
                ". This page needs no network and keeps its meaning without scripts; the JSON report beside it holds "
                "every number at full precision.</p></footer>\n<script>\n");
    report_text(out, page_js);
    report_text(out, "</script>\n</body>\n</html>\n");
}

FPR_API const char *fpr_page_style(void) { return page_css; }
FPR_API const char *fpr_page_script(void) { return page_js; }

#define WARNINGS_SHOWN 40

void page_warnings(report_out *out, char *const *warnings, size_t count)
{
    report_text(out, "<ul>");
    for (size_t i = 0; i < count && i < WARNINGS_SHOWN; i++) {
        report_text(out, "<li>");
        page_short(out, warnings[i], strlen(warnings[i]), 600);
        report_text(out, "</li>");
    }
    report_text(out, "</ul>");
    if (count > WARNINGS_SHOWN)
        page_print(out, "<p>The first %u of %zu are shown; the JSON report has all.</p>", WARNINGS_SHOWN, count);
}
