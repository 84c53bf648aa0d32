/* The tables of bits.h. */
#include "pack/bits.h"

#include <pthread.h>

/* 65536 / (1 + exp(x / 256)): exact at every half, straight lines between. */
static uint32_t falling(unsigned x)
{
    static const uint16_t halves[17] = {32768, 24743, 17625, 11955, 7812, 4971, 3108, 1921, 1179,
                                        720,   439,   267,   162,   98,   60,   36,   22};
    const unsigned i = x / 128, part = x % 128;
    return (halves[i] * (128 - part) + halves[i + 1] * part + 64) / 128;
}

/* A probability in 1/65536. */
static uint32_t logistic(int x) { return x < 0 ? falling((unsigned)-x) : 65536 - falling((unsigned)x); }

static bit_tables tables;
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make(void)
{
    for (int x = -LOGISTIC_MOST; x <= LOGISTIC_MOST; x++) tables.logistics[2048 + x] = (uint16_t)logistic(x);
    int x = -LOGISTIC_MOST;
    for (unsigned p = 0; p < 4096; p++) {
        while (x < LOGISTIC_MOST && tables.logistics[2048 + x + 1] <= 16 * p + 8) x++;
        tables.stretches[p] = (int16_t)x;
    }
    for (unsigned n = 0; n <= SEEN_MOST; n++) tables.rates[n] = (uint16_t)(65536 / (2 * n + 3));
}

const bit_tables *bit_tables_get(void)
{
    pthread_once(&made, make);
    return &tables;
}
