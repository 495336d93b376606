#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { WIDE = 32 }; /* columns of the factor's rows, see kernels/factor.py */

double mpigd_sum(const double *a, int64_t n) {
    if (n < 8) {
        double total = 0.0;
        for (int64_t i = 0; i < n; i++) {
            total += a[i];
        }
        return total;
    }
    if (n > 128) {
        int64_t half = n / 2;
        half -= half % 8;
        return mpigd_sum(a, half) + mpigd_sum(a + half, n - half);
    }
    double r[8];
    memcpy(r, a, sizeof r);
    int64_t i = 8;
    for (; i < n - n % 8; i += 8) {
        for (int k = 0; k < 8; k++) {
            r[k] += a[i + k];
        }
    }
    double total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < n; i++) {
        total += a[i];
    }
    return total;
}

double mpigd_dot(const double *a, const double *b, int64_t n, double *scratch) {
    for (int64_t i = 0; i < n; i++) {
        scratch[i] = a[i] * b[i];
    }
    return mpigd_sum(scratch, n);
}

double mpigd_norm(const double *a, int64_t n, double *scratch) { return sqrt(mpigd_dot(a, a, n, scratch)); }

typedef void (*factorise_of)(double *a, int64_t d, int64_t width, const double *diagonal, int64_t d1, int64_t *dropped,
                             int64_t d2);
typedef void (*substitute_of)(const double *u, int64_t d, int64_t width, const int64_t *dropped, int64_t d1, double *x,
                              int64_t one, int64_t d2);

mpigd_status mpigd_solve(const double *a, int64_t d, const double *right, double *x, mpigd_error *error) {
    factorise_of factorise = (factorise_of)mpigd_find(error, "factorise");
    substitute_of substitute = (substitute_of)mpigd_find(error, "substitute");
    if (!factorise || !substitute) {
        return MPIGD_USAGE;
    }
    int64_t width = (d + WIDE - 1) / WIDE * WIDE;
    double *u = mpigd_zeros(d * width, sizeof *u), *rest = mpigd_zeros(width + d, sizeof *rest);
    int64_t *dropped = mpigd_zeros(d, sizeof *dropped);
    mpigd_status status = u && rest && dropped ? MPIGD_OK : mpigd_no_memory(error);
    if (status == MPIGD_OK) {
        double *diagonal = rest + width;
        for (int64_t j = 0; j < d; j++) {
            memcpy(u + j * width, a + j * d, (size_t)d * sizeof *u);
            diagonal[j] = a[j * d + j];
            rest[j] = right[j];
        }
        factorise(u, d, width, diagonal, d, dropped, d);
        substitute(u, d, width, dropped, d, rest, 1, width);
        memcpy(x, rest, (size_t)d * sizeof *x);
    }
    free(u);
    free(rest);
    free(dropped);
    return status;
}
