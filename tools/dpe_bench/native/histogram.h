/* A histogram of times whose buckets are 1/64 of their value wide at most. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define SUB_BITS 6
#define BUCKETS (59 << SUB_BITS)

struct histogram {
    uint64_t count, most; /* most: the longest time, ns */
    uint64_t buckets[BUCKETS];
};

static inline void histogram_add(struct histogram *histogram, int64_t ns) {
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    int shift = value >> (SUB_BITS + 1) ? 63 - SUB_BITS - __builtin_clzll(value) : 0;
    histogram->buckets[((uint64_t)shift << SUB_BITS) + (value >> shift)]++;
    histogram->count++;
    if (value > histogram->most) histogram->most = value;
}

/* Return the time in µs that this share of all times does not exceed. */
static inline double histogram_quantile(const struct histogram *histogram, double share) {
    uint64_t wanted = (uint64_t)(share * (double)histogram->count + 0.5), seen = 0;
    if (!histogram->count) return 0;
    for (uint64_t i = 0; i < BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted && seen) {
            uint64_t shift = i >> (SUB_BITS + 1) ? (i >> SUB_BITS) - 1 : 0;
            uint64_t end = ((i - (shift << SUB_BITS) + 1) << shift) - 1;
            return (double)(end < histogram->most ? end : histogram->most) / 1e3;
        }
    }
    return (double)histogram->most / 1e3;
}

#endif
