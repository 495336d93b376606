/* Exact sums over processes: see kernels/exact.py and `Comm.sum_exactly` in mpigd/comm.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { BITS = 38, EMPTY = -4 };
#define TOO_LARGE ((int64_t)1 << 40)

typedef void (*to_message_of)(int64_t *total, int64_t five, int64_t count, int64_t *window, int64_t count1,
                              int64_t ranks, int64_t *message, int64_t length);
typedef void (*from_message_of)(int64_t *message, int64_t length, int64_t *window, int64_t count, int64_t *shifts,
                                int64_t count1, double *out, int64_t count2, int64_t *wrong, int64_t one);

mpigd_status mpigd_sums_new(int64_t count, sums **made, mpigd_error *error) {
    *made = NULL;
    void (*to_message)(void) = mpigd_find(error, "to_message");
    void (*from_message)(void) = mpigd_find(error, "from_message");
    if (!to_message || !from_message) {
        return MPIGD_USAGE;
    }
    sums *s = mpigd_zeros(1, sizeof *s);
    if (!s) {
        return mpigd_no_memory(error);
    }
    *s = (sums){.to_message = to_message, .from_message = from_message, .count = count};
    s->total = mpigd_zeros(5 * count, sizeof *s->total);
    s->shifts = mpigd_zeros(count, sizeof *s->shifts);
    s->window = mpigd_zeros(count, sizeof *s->window);
    s->message = mpigd_zeros(3 * count + 2, sizeof *s->message);
    s->out = mpigd_zeros(count, sizeof *s->out);
    if (!s->total || !s->shifts || !s->window || !s->message || !s->out) {
        mpigd_sums_free(s);
        return mpigd_no_memory(error);
    }
    mpigd_sums_clear(s);
    *made = s;
    return MPIGD_OK;
}

void mpigd_sums_free(sums *s) {
    if (s) {
        free(s->total);
        free(s->shifts);
        free(s->window);
        free(s->message);
        free(s->out);
        free(s);
    }
}

void mpigd_sums_clear(sums *s) {
    int64_t count = s->count;
    for (int64_t e = 0; e < count; e++) {
        s->total[e] = EMPTY;
    }
    memset(s->total + count, 0, (size_t)(3 * count) * sizeof *s->total);
    memcpy(s->total + 4 * count, s->shifts, (size_t)count * sizeof *s->total);
}

void mpigd_sums_expect(sums *s, const double *magnitude, double times) {
    for (int64_t e = 0; e < s->count; e++) {
        int exponent;
        double size = times * magnitude[e];
        frexp(isfinite(size) ? size : 1.0, &exponent);
        int64_t shift = (BITS / 2 - ((int64_t)exponent - 1 + 1074)) % BITS;
        s->shifts[e] = shift < 0 ? shift + BITS : shift;
    }
}

static int reduce(const mpigd_ranks *ranks, int (*function)(void *, int64_t *, int64_t), int64_t *numbers,
                  int64_t length) {
    return function(ranks->context, numbers, length);
}

static bool alone(const mpigd_ranks *ranks) { return !ranks || ranks->count <= 1; }

static mpigd_status failed_elsewhere(mpigd_status status, int64_t found, mpigd_error *error) {
    if (status != MPIGD_OK) {
        return status;
    }
    return mpigd_fail(error, (mpigd_status)found, "another process has failed with status %lld; its message says why",
                      (long long)found);
}

static mpigd_status not_summed(mpigd_error *error) {
    return mpigd_fail(error, MPIGD_MPI, "a collective over processes has failed");
}

mpigd_status mpigd_agree(const mpigd_ranks *ranks, mpigd_status status, mpigd_error *error) {
    int64_t worst = status;
    if (!alone(ranks) && reduce(ranks, ranks->max, &worst, 1)) {
        return not_summed(error);
    }
    return worst == MPIGD_OK ? MPIGD_OK : failed_elsewhere(status, worst, error);
}

mpigd_status mpigd_sums_over(const mpigd_ranks *ranks, sums *s, mpigd_status status, mpigd_error *error) {
    to_message_of to_message = (to_message_of)s->to_message;
    from_message_of from_message = (from_message_of)s->from_message;
    int64_t count = s->count, length = 3 * count + 1, wrong = 1, size = alone(ranks) ? 1 : ranks->count;
    if (status != MPIGD_OK) {
        mpigd_sums_clear(s);
    }
    while (wrong) {
        if (!s->known) {
            memcpy(s->window, s->total, (size_t)count * sizeof *s->window);
            if (!alone(ranks) && reduce(ranks, ranks->max, s->window, count)) {
                return not_summed(error);
            }
        }
        to_message(s->total, 5, count, s->window, count, size, s->message, length);
        s->message[length] = status; /* beside the sums */
        if (!alone(ranks) && reduce(ranks, ranks->sum, s->message, length + 1)) {
            return not_summed(error);
        }
        if (s->message[length]) {
            int64_t found = s->message[length]; /* of several that have failed, the sum */
            return failed_elsewhere(status, found <= MPIGD_MPI ? found : MPIGD_INTERNAL, error);
        }
        from_message(s->message, length, s->window, count, s->total + 4 * count, count, s->out, count, &wrong, 1);
        if (wrong >= TOO_LARGE) {
            return mpigd_fail(error, MPIGD_DATA, "there are more than 2^24 blocks of rows in an exact sum");
        }
        s->known = !wrong;
    }
    return MPIGD_OK;
}
