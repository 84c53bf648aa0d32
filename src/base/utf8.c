/* UTF-8, strictly. */
#include "base/utf8.h"

unsigned base_utf8(const char *text, size_t count, uint32_t *code)
{
    const unsigned char *b = (const unsigned char *)text;
    if (!count) return 0;
    if (b[0] < 0x80) return *code = b[0], 1;
    unsigned length = b[0] >= 0xF0 ? 4 : b[0] >= 0xE0 ? 3 : 2;
    if (b[0] < 0xC2 || b[0] > 0xF4 || length > count) return 0;
    uint32_t value = b[0] & (0xFFu >> (length + 1));
    for (unsigned i = 1; i < length; i++) {
        if ((b[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (b[i] & 0x3F);
    }
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < least[length] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return 0;
    return *code = value, length;
}

bool base_is_utf8(const char *text, size_t count)
{
    uint32_t code;
    for (unsigned length; count; text += length, count -= length)
        if (!(length = base_utf8(text, count, &code))) return false;
    return true;
}

unsigned base_put_utf8(char *to, uint32_t code)
{
    const unsigned length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (unsigned i = length; i-- > 1; code >>= 6) to[i] = (char)(0x80 | (code & 0x3F));
    static const uint8_t first[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    to[0] = (char)(first[length] | code);
    return length;
}
