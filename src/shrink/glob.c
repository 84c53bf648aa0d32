/* Shell patterns over tensor names: --only, --skip, --drop. */
#include "shrink/shrink.h"

#include <string.h>

/* One code point of UTF-8 (or one byte where the text is not UTF-8); *p moves past it. */
static uint32_t next_point(const char **p)
{
    const unsigned char *s = (const unsigned char *)*p;
    unsigned length = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 1;
    uint32_t point = length == 1 ? s[0] : s[0] & (0x7fu >> length);
    for (unsigned i = 1; i < length; i++) {
        if (s[i] >> 6 != 2) {
            *p += 1;
            return s[0];
        }
        point = point << 6 | (s[i] & 0x3f);
    }
    *p += length;
    return point;
}

/* A member of a class or a bound of a range; a backslash takes the next one literally. */
static uint32_t class_point(const char **p)
{
    if (**p == '\\' && (*p)[1]) ++*p;
    return next_point(p);
}

/* Matches one code point against the class that begins after '['. Returns false when the class is never closed (the
 * bracket is then an ordinary character); otherwise *p stands after ']'. */
static bool match_class(const char **p, uint32_t point, bool *matched)
{
    const char *s = *p;
    bool inverted = *s == '!' || *s == '^', found = false;
    s += inverted;
    for (bool first = true; first || *s != ']'; first = false) {
        if (!*s) return false;
        uint32_t low = class_point(&s), high = low;
        if (s[0] == '-' && s[1] && s[1] != ']') {
            s++;
            high = class_point(&s);
        }
        found = found || (low <= point && point <= high);
    }
    *p = s + 1;
    *matched = found != inverted;
    return true;
}

/* One element of the pattern that is not '*' against one code point; both move past what they took. */
static bool match_one(const char **pattern, const char **name)
{
    const char *p = *pattern;
    uint32_t point = next_point(name);
    bool matched = false;
    if (*p == '?') {
        *pattern = p + 1;
        return true;
    }
    if (*p == '[') {
        *pattern = p + 1;
        if (match_class(pattern, point, &matched)) return matched;
        *pattern = p;
    }
    if (*p == '\\' && p[1]) ++*pattern;
    return next_point(pattern) == point;
}

/* On a mismatch only the last '*' needs to take one character more: earlier ones can gain nothing. */
bool shrink_glob(const char *pattern, const char *name)
{
    const char *star = NULL, *resume = NULL;
    for (;;) {
        if (*pattern == '*') {
            star = ++pattern;
            resume = name;
            continue;
        }
        if (!*name && !*pattern) return true;
        if (*name && *pattern && match_one(&pattern, &name)) continue;
        if (!star || !*resume) return false;
        next_point(&resume);
        pattern = star;
        name = resume;
    }
}

bool shrink_any_matches(const fpr_globs *globs, const char *name)
{
    for (size_t i = 0; i < globs->count; i++)
        if (shrink_glob(globs->patterns[i], name)) return true;
    return false;
}

bool shrink_selected(const fpr_globs *only, const fpr_globs *skip, const char *name)
{
    return (!only->count || shrink_any_matches(only, name)) && !shrink_any_matches(skip, name);
}
