/* Integers to weights and back. One multiplication by the step and one rounding: the same bits on every machine. */
#include "base/half.h"
#include "lattice/lattice.h"

/* ---- shape */

bool lattice_shape_of(fpr_dtype dtype, unsigned rank, const uint64_t *shape, bool hwio, lattice_shape *s)
{
    if (dtype != FPR_F64 && dtype != FPR_F32 && dtype != FPR_F16 && dtype != FPR_BF16) return false;
    if (rank < 2) return false;
    *s = (lattice_shape){.dtype = dtype, .k = 1, .hwio = hwio && rank > 2};
    s->filters = s->hwio ? shape[rank - 1] : shape[0];
    s->channels = s->hwio ? shape[rank - 2] : shape[1];
    const uint64_t *kernel = s->hwio ? shape : shape + 2;
    uint64_t total;
    bool threes = rank <= 5;
    for (unsigned i = 0; i + 2 < rank; i++) {
        if (!base_multiply(s->k, kernel[i], &s->k)) return false;
        threes = threes && kernel[i] == 3;
    }
    if (!base_multiply(s->filters, s->channels, &total) || !base_multiply(total, s->k, &total) || !total) return false;
    if (s->k > LATTICE_KERNEL_MOST) { /* as rows, in the order in which the weights lie */
        *s = (lattice_shape){.dtype = dtype, .filters = shape[0], .channels = total / shape[0], .k = 1};
        return true;
    }
    if (threes && rank > 2) s->axes = rank - 2;
    if (rank > 3 && s->k > 1) s->row = (unsigned)kernel[rank - 3];
    return true;
}

/* ---- dtypes */

static inline double get(fpr_dtype dtype, const uint8_t *p)
{
    switch (dtype) {
    case FPR_F64: {
        const uint64_t u = base_load_le64(p);
        double d;
        memcpy(&d, &u, sizeof d);
        return d;
    }
    case FPR_F32: return (double)base_bits_float(base_load_le32(p));
    case FPR_F16: return (double)base_half_float(base_load_le16(p));
    default: return (double)base_bf16_float(base_load_le16(p));
    }
}

static inline void put(fpr_dtype dtype, uint8_t *p, double value)
{
    uint64_t u;
    switch (dtype) {
    case FPR_F64:
        memcpy(&u, &value, sizeof u);
        base_store_le64(p, u);
        break;
    case FPR_F32: base_store_le32(p, base_float_bits((float)value)); break;
    case FPR_F16: base_store_le16(p, base_float_half((float)value)); break;
    default: base_store_le16(p, base_float_bf16((float)value)); break;
    }
}

static inline unsigned width_of(fpr_dtype dtype) { return dtype == FPR_F64 ? 8 : dtype == FPR_F32 ? 4 : 2; }

static inline uint64_t place_of(const lattice_shape *s, uint64_t kernel)
{
    return s->hwio ? kernel % s->channels * s->filters + kernel / s->channels : kernel * s->k;
}

void lattice_load(const lattice_shape *s, const void *bytes, uint64_t first, uint64_t n, double *w)
{
    const unsigned width = width_of(s->dtype);
    const uint64_t stride = s->hwio ? s->channels * s->filters : 1;
    if (!s->hwio && s->dtype == FPR_F32) { /* the case that time is spent on */
        const uint8_t *p = (const uint8_t *)bytes + first * s->k * 4;
        for (uint64_t i = 0; i < n * s->k; i++) w[i] = (double)base_bits_float(base_load_le32(p + 4 * i));
        return;
    }
    for (uint64_t kernel = first; kernel < first + n; kernel++) {
        const uint64_t place = place_of(s, kernel);
        for (uint64_t i = 0; i < s->k; i++) *w++ = get(s->dtype, (const uint8_t *)bytes + (place + i * stride) * width);
    }
}

void lattice_store(const lattice_shape *s, void *bytes, uint64_t first, uint64_t n, const double *w)
{
    const unsigned width = width_of(s->dtype);
    const uint64_t stride = s->hwio ? s->channels * s->filters : 1;
    for (uint64_t kernel = first; kernel < first + n; kernel++) {
        const uint64_t place = place_of(s, kernel);
        for (uint64_t i = 0; i < s->k; i++) put(s->dtype, (uint8_t *)bytes + (place + i * stride) * width, *w++);
    }
}

/* ---- the transform: the orthonormal cosine transform of three values along every axis of a kernel */

#define EVEN 0.57735026918962576451 /* 1 / sqrt 3 */
#define SLOPE 0.70710678118654752440 /* 1 / sqrt 2 */
#define BEND 0.40824829046386301637 /* 1 / sqrt 6 */

static inline void forward(double *a, size_t step)
{
    const double x = a[0], y = a[step], z = a[2 * step];
    a[0] = (x + y + z) * EVEN;
    a[step] = (x - z) * SLOPE;
    a[2 * step] = (x - y - y + z) * BEND;
}

static inline void inverse(double *a, size_t step)
{
    const double p = a[0] * EVEN, q = a[step] * SLOPE, r = a[2 * step] * BEND, sum = p + r;
    a[0] = sum + q;
    a[step] = p - (r + r);
    a[2 * step] = sum - q;
}

/* Along the last axis first. */
static void transform(const lattice_shape *s, uint64_t n, double *w, void (*line)(double *, size_t))
{
    for (uint64_t kernel = 0; kernel < n; kernel++, w += s->k)
        for (size_t step = 1; step < s->k; step *= 3)
            for (size_t i = 0; i < s->k; i += 3 * step)
                for (size_t j = i; j < i + step; j++) line(w + j, step);
}

void lattice_scale(const lattice_shape *s, const lattice *l, uint64_t n, double *w)
{
    if (l->transformed) transform(s, n, w, forward);
    const double inverse_step = 1 / l->step;
    for (uint64_t i = 0; i < n * s->k; i++) w[i] *= inverse_step;
}

void lattice_values(const lattice_shape *s, const lattice *l, uint64_t n, const int32_t *points, double *w)
{
    const uint64_t count = n * s->k;
    for (uint64_t i = 0; i < count; i++) w[i] = points[i];
    if (l->transformed) transform(s, n, w, inverse);
    if (s->dtype == FPR_F64)
        for (uint64_t i = 0; i < count; i++) w[i] *= l->step;
    else if (s->dtype == FPR_F32)
        for (uint64_t i = 0; i < count; i++) w[i] = (double)(float)(w[i] * l->step);
    else if (s->dtype == FPR_F16)
        for (uint64_t i = 0; i < count; i++) w[i] = (double)base_half_float(base_float_half((float)(w[i] * l->step)));
    else
        for (uint64_t i = 0; i < count; i++) w[i] = (double)base_bf16_float(base_float_bf16((float)(w[i] * l->step)));
}
