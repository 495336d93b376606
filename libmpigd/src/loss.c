#include <math.h>
#include <string.h>

#include "internal.h"

static const double SMOOTHING = 0.1, LARGEST_EXPONENT = 690.0; /* as in Python */

const mpigd_loss_entry *mpigd_loss_named(const char *name) {
    for (size_t i = 0; name && i < mpigd_losses_count; i++) {
        if (strcmp(name, mpigd_losses[i].name) == 0) {
            return mpigd_losses + i;
        }
    }
    return NULL;
}

bool mpigd_of_classes(const mpigd_loss_entry *loss) {
    return strcmp(loss->target, "binary") == 0 || strcmp(loss->target, "classes") == 0;
}

bool mpigd_coupled(const mpigd_loss_entry *loss) { return strcmp(loss->target, "classes") == 0; }

mpigd_status mpigd_loss_check(const mpigd_loss *loss, loss_of *found, mpigd_error *error) {
    const mpigd_loss_entry *entry = loss ? mpigd_loss_named(loss->name) : NULL;
    if (!entry) {
        return mpigd_fail(error, MPIGD_USAGE, "there is no loss '%.64s' in this build of libmpigd",
                          loss && loss->name ? loss->name : "(null)");
    }
    bool coupled = mpigd_coupled(entry);
    if (coupled ? loss->outputs < 2 : loss->outputs > 1 || loss->outputs < 0) {
        return mpigd_fail(error, MPIGD_USAGE, "loss %s with %lld outputs; expected %s", entry->name,
                          (long long)loss->outputs, coupled ? "the number of classes, 2 or more" : "1");
    }
    bool has = entry->parameter[0] != 0;
    double parameter = loss->parameter != 0.0 ? loss->parameter : entry->usual;
    if (has ? !(entry->low < parameter && parameter < entry->high) : loss->parameter != 0.0) {
        return mpigd_fail(error, MPIGD_USAGE, "loss %s with parameter %g; expected %s%s", entry->name, loss->parameter,
                          has ? entry->parameter : "0, it has none", has ? " within its bounds" : "");
    }
    if (!(loss->smoothing >= 0.0 && loss->smoothing < INFINITY)) {
        return mpigd_fail(error, MPIGD_USAGE, "smoothing %g; expected a number > 0, or 0 for the default",
                          loss->smoothing);
    }
    double smoothing = loss->smoothing != 0.0 ? loss->smoothing : SMOOTHING;
    *found = (loss_of){entry, parameter, smoothing, coupled ? loss->outputs : 1};
    return MPIGD_OK;
}

void mpigd_mean(const char *link, int64_t outputs, double *eta) {
    if (strcmp(link, "multinomial logit") == 0) {
        double top = eta[0], total = 0.0;
        for (int64_t k = 1; k < outputs; k++) {
            top = eta[k] > top ? eta[k] : top;
        }
        for (int64_t k = 0; k < outputs; k++) {
            eta[k] = exp(eta[k] - top);
            total += eta[k];
        }
        for (int64_t k = 0; k < outputs; k++) {
            eta[k] /= total;
        }
        return;
    }
    for (int64_t k = 0; k < outputs; k++) {
        double e = eta[k], small = exp(-fabs(e));
        if (strcmp(link, "sign") == 0) {
            eta[k] = e > 0.0;
        } else if (strcmp(link, "log") == 0) {
            eta[k] = exp(e < LARGEST_EXPONENT ? e : LARGEST_EXPONENT);
        } else if (strcmp(link, "logit") == 0) {
            eta[k] = (e >= 0.0 ? 1.0 : small) / (1.0 + small);
        } else if (strcmp(link, "probit") == 0) {
            eta[k] = 0.5 * erfc(-0.70710678118654757 * e);
        } else if (strcmp(link, "complementary log-log") == 0) {
            eta[k] = -expm1(-exp(e < 10.0 ? e : 10.0)); /* 1 from there on */
        }
    }
}

double mpigd_log(double x) {
    int64_t bits, taken;
    memcpy(&bits, &x, sizeof bits);
    int64_t n = (bits - 0x3FE6A09E667F3BCD) >> 52; /* exponents count from sqrt(1/2) */
    taken = bits - (int64_t)((uint64_t)n << 52);
    double f;
    memcpy(&f, &taken, sizeof f);
    f -= 1.0;
    double s = f / (2.0 + f), z = s * s, power = z, series = 0.0;
    for (int k = 3; k < 41; k += 2) { /* 2 artanh(s) - 2 s over s */
        series += 2.0 / k * power;
        power *= z;
    }
    double k = (double)n;
    double rest = s * (f - series) - k * 1.90821492927058770002e-10; /* ln 2 in two parts */
    return k * 6.93147180369123816490e-01 - (rest - f);
}
