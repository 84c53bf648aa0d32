/* UTF-8, strictly: nothing spelled longer than necessary, no surrogates, nothing beyond the last character. */
#ifndef FPR_BASE_UTF8_H
#define FPR_BASE_UTF8_H

#include "base/base.h"

/* The first character of count bytes, and how many bytes it takes; 0: there is none, or it is spelled wrong. */
unsigned base_utf8(const char *text, size_t count, uint32_t *code);
bool base_is_utf8(const char *text, size_t count);
/* Spells a number below 0x110000, surrogates too, whoever wants them; returns how many of the 4 bytes it takes. */
unsigned base_put_utf8(char *to, uint32_t code);

#endif
