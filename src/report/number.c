/* Numbers as text, the same in every locale.
 *
 * Doubles between 1e-6 and 1e15 are turned into digits by exact 128-bit integer arithmetic: v = m / 2^s, so its digits
 * are those of m * 10^p / 2^s. All others, which are rare in a report, take the C library's way. */
#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef unsigned __int128 wide;

/* All exact: 5^22 < 2^53. */
static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
static const uint64_t ten_to[] = {1u,           10u,           100u,          1000u,      10000u,
                                  100000u,      1000000u,      10000000u,     100000000u, 1000000000u,
                                  10000000000u, 100000000000u, 1000000000000u};

double report_power_of_ten(int exponent)
{
    if (exponent >= 0 && exponent <= 22) return tens[exponent];
    if (exponent < 0 && exponent >= -22) return 1 / tens[-exponent];
    return pow(10, exponent);
}

int report_decade(double v)
{
    double a = fabs(v);
    int d = (int)floor(log10(a));
    /* log10 rounds: just below a power of ten it may give that power. */
    if (d > -300 && d < 300) {
        if (a < report_power_of_ten(d))
            d--;
        else if (a >= report_power_of_ten(d + 1))
            d++;
    }
    return d;
}

size_t report_format_integer(char *dst, uint64_t v)
{
    /* From the right, two digits at a time: each pair waits for the division before it. */
    char digits[20];
    size_t at = sizeof digits;
    for (; v >= 100; v /= 100) {
        const unsigned pair = (unsigned)(v % 100);
        digits[--at] = (char)('0' + pair % 10);
        digits[--at] = (char)('0' + pair / 10);
    }
    if (v >= 10) digits[--at] = (char)('0' + v % 10), v /= 10;
    digits[--at] = (char)('0' + v);
    memcpy(dst, digits + at, sizeof digits - at);
    dst[sizeof digits - at] = '\0';
    return sizeof digits - at;
}

/* value / 10^places without trailing zeros, places <= 27; keep: that many decimals stay even when zero. */
static size_t format_scaled(char *dst, uint64_t value, unsigned places, unsigned keep)
{
    while (places > keep && value % 10 == 0) value /= 10, places--;
    char digits[24];
    size_t n = report_format_integer(digits, value), length = 0;
    if (n <= places) {
        dst[length++] = '0';
        if (places) dst[length++] = '.';
        for (size_t zeros = places - n; zeros; zeros--) dst[length++] = '0';
        memcpy(dst + length, digits, n);
        if (!places) length--; /* value is 0: its digit is the zero already there */
        length += n;
    } else {
        memcpy(dst, digits, n - places);
        length = n - places;
        if (places) {
            dst[length++] = '.';
            memcpy(dst + length, digits + n - places, places);
            length += places;
        }
    }
    dst[length] = '\0';
    return length;
}

/* 1e-6 <= v < 1e15. */
static size_t format_common(char *dst, double v)
{
    int e;
    uint64_t m = (uint64_t)ldexp(frexp(v, &e), 53); /* v = m * 2^(e - 53), 2^52 <= m < 2^53 */
    unsigned s = (unsigned)(53 - e);                /* 3 .. 72 */
    int decade = 14;
    while (decade > -6 && v < report_power_of_ten(decade)) decade--;
    for (unsigned digits = 15;; digits++) {
        unsigned p = (unsigned)((int)digits - 1 - decade); /* 0 .. 22 */
        wide power = p <= 12 ? ten_to[p] : (wide)ten_to[12] * ten_to[p - 12];
        wide exact = m * power; /* < 2^127 */
        uint64_t d = (uint64_t)((exact + ((wide)1 << (s - 1))) >> s);
        if (digits == 17) return format_scaled(dst, d, p, 0); /* 17 digits always read back */
        /* d / 10^p reads back as v when it is nearer to m / 2^s than half the distance to the next double, which is
         * 1 / 2^s, and half that below a power of two. */
        wide back = (wide)d << s;
        wide off = back > exact ? back - exact : exact - back;
        bool narrow = m == (uint64_t)1 << 52 && back < exact;
        if (off * (narrow ? 4 : 2) < power) return format_scaled(dst, d, p, 0);
    }
}

/* Any finite v, by printf and strtod of the current locale; what the locale puts for the point becomes one. */
static size_t format_rare(char *dst, double v)
{
    char text[REPORT_NUMBER];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (digits == 17 || strtod(text, NULL) == v) break;
    }
    size_t length = 0;
    for (const char *t = text; *t; t++) {
        bool usual = (*t >= '0' && *t <= '9') || *t == '-' || *t == '+' || *t == 'e';
        if (usual)
            dst[length++] = *t;
        else if (length && dst[length - 1] != '.')
            dst[length++] = '.';
    }
    dst[length] = '\0';
    return length;
}

size_t report_format_double(char *dst, double v)
{
    if (v == 0) {
        memcpy(dst, "-0.0", 5);
        if (!signbit(v)) memcpy(dst, "0", 2);
        return strlen(dst);
    }
    size_t sign = v < 0;
    if (sign) *dst = '-';
    double a = fabs(v);
    if (a >= 1e-6 && a < 1e15) {
        if (a == floor(a)) return sign + report_format_integer(dst + sign, (uint64_t)a);
        return sign + format_common(dst + sign, a);
    }
    return format_rare(dst, v);
}

size_t report_format_fixed(char *dst, double v, unsigned decimals)
{
    if (!(fabs(v) < 1e9)) return format_rare(dst, v);
    uint64_t scaled = (uint64_t)(fabs(v) * tens[decimals] + 0.5);
    size_t sign = v < 0 && scaled;
    if (sign) *dst = '-';
    return sign + format_scaled(dst + sign, scaled, decimals, decimals);
}
