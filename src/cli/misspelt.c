/* What a misspelt name was meant to be. */
#include "cli/cli.h"

#include <string.h>

/* Optimal string alignment (Damerau 1964, without edits inside a swapped pair): three rows of the table suffice. */
unsigned edit_distance(const char *a, size_t length, const char *b)
{
    enum { LONGEST = 31 };
    size_t width = strlen(b);
    unsigned row[3][LONGEST + 1];
    if (length > LONGEST || width > LONGEST) return 99;
    for (size_t j = 0; j <= width; j++) row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= length; i++) {
        const unsigned *above = row[(i - 1) % 3], *twice = row[(i + 1) % 3];
        unsigned *here = row[i % 3];
        here[0] = (unsigned)i;
        for (size_t j = 1; j <= width; j++) {
            unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (here[j - 1] + 1 < best) best = here[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && twice[j - 2] + 1 < best)
                best = twice[j - 2] + 1;
            here[j] = best;
        }
    }
    return row[length % 3][width];
}

bool is_near(unsigned distance, size_t length) { return length >= 3 && distance <= 1 + length / 5; }
