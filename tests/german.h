/* A locale whose numbers have a comma, made in a temporary folder: Debian's "locales" has its source, and making it there
 * needs neither root nor locale-gen. */
#ifndef TESTS_GERMAN_H
#define TESTS_GERMAN_H

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char german_folder[] = "/tmp/filterprune-locale-XXXXXX";

/* What setlocale says of it; NULL: there is none here. */
static inline const char *german_begin(int category)
{
    char command[256];
    if (!mkdtemp(german_folder)) return NULL;
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", german_folder);
    if (system(command) == 0) setenv("LOCPATH", german_folder, 1);
    return setlocale(category, "de_DE.UTF-8");
}

static inline void german_end(void)
{
    char command[256];
    setlocale(LC_ALL, "C");
    snprintf(command, sizeof command, "rm -r %s", german_folder);
    if (system(command) != 0) fprintf(stderr, "%s stays behind\n", german_folder);
}

#endif
