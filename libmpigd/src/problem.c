/* The objective: as mpigd/objective.py and mpigd/scaling.py, and with their bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { LEAST_BLOCKS = 8, MOST_SHARES = 64 }; /* of those that a first estimate of means comes from */

static bool has_rows(const sums *s) { return s->out[s->count - 1] > 0.0; }

/* ---- weighted means at coefficients of the columns as they are ---- */

static mpigd_status check_arrays(const mpigd_slice *slice, const double *coef, const double *intercept,
                                 mpigd_error *error) {
    return slice && (coef || !slice->d) && intercept ? MPIGD_OK
                                                      : mpigd_fail(error, MPIGD_USAGE, "an array or the slice is NULL");
}

/* Class numbers have to be whole ones below K, or kernels would read what is not theirs. */
static mpigd_status check_target(const mpigd_slice *slice, const loss_of *loss, mpigd_error *error) {
    const char *target = loss->entry->target;
    double classes = mpigd_coupled(loss->entry) ? (double)loss->outputs : 2.0;
    bool positive = strcmp(target, "positive") == 0, nonnegative = strcmp(target, "nonnegative") == 0;
    bool of_classes = mpigd_of_classes(loss->entry);
    double least = slice->least, most = slice->most;
    bool all = positive ? least > 0.0 : nonnegative || of_classes ? least >= 0.0 : true;
    if (slice->n == 0 || (all && (!of_classes || (most < classes && slice->whole)))) {
        return MPIGD_OK;
    }
    for (int64_t i = 0; i < slice->n; i++) {
        double y = slice->y[i];
        bool good = positive ? y > 0.0 : nonnegative ? y >= 0.0 : true;
        if (of_classes) {
            good = y >= 0.0 && y < classes && y == floor(y);
        }
        if (!good) {
            const char *expected = positive ? "a number > 0" : nonnegative ? "a number ≥ 0" : "the number of a class";
            return mpigd_fail(error, MPIGD_DATA, "y of row %lld is %g; loss %s expects %s",
                              (long long)(slice->first_row + i), y, loss->entry->name, expected);
        }
    }
    return MPIGD_OK;
}

static mpigd_status check_all(const mpigd_slice *slice, const mpigd_loss *loss, const double *coef,
                              const double *intercept, loss_of *found, mpigd_error *error) {
    mpigd_status status = check_arrays(slice, coef, intercept, error);
    status = status == MPIGD_OK ? mpigd_loss_check(loss, found, error) : status;
    return status == MPIGD_OK ? check_target(slice, found, error) : status;
}

mpigd_status mpigd_value_gradient_over(const mpigd_ranks *ranks, const mpigd_slice *slice, const mpigd_loss *loss,
                                       const double *coef, const double *intercept, double *value, double *gradient,
                                       double *weight, mpigd_error *error) {
    mpigd_begin(error);
    loss_of found;
    sums *s = NULL;
    mpigd_status status = check_all(slice, loss, coef, intercept, &found, error);
    if (status == MPIGD_OK) {
        status = mpigd_sums_new(mpigd_gradient_count(slice->d, found.outputs), &s, error);
    }
    status = mpigd_agree(ranks, status, error);
    if (status == MPIGD_OK) {
        status = mpigd_sweep(slice, &found, GRADIENT, slice->d, coef, intercept, NULL, s, error);
        status = mpigd_sums_over(ranks, s, status, error);
    }
    if (status == MPIGD_OK) {
        int64_t p = (slice->d + 1) * found.outputs;
        double by = has_rows(s) ? s->out[s->count - 1] : 1.0;
        for (int64_t e = 0; e < s->count - 1; e++) {
            s->out[e] /= by;
        }
        if (value) {
            *value = mpigd_sum(s->out + p, found.outputs);
        }
        if (gradient) {
            memcpy(gradient, s->out, (size_t)p * sizeof *gradient);
        }
        if (weight) {
            *weight = s->out[s->count - 1];
        }
    }
    mpigd_sums_free(s);
    return status;
}

mpigd_status mpigd_value_gradient(const mpigd_slice *slice, const mpigd_loss *loss, const double *coef,
                                  const double *intercept, double *value, double *gradient, double *weight,
                                  mpigd_error *error) {
    return mpigd_value_gradient_over(NULL, slice, loss, coef, intercept, value, gradient, weight, error);
}

mpigd_status mpigd_hessian_product_over(const mpigd_ranks *ranks, const mpigd_slice *slice, const mpigd_loss *loss,
                                        const double *coef, const double *intercept, const double *direction,
                                        double *product, mpigd_error *error) {
    mpigd_begin(error);
    loss_of found;
    sums *s = NULL;
    double *both = NULL;
    mpigd_status status = check_all(slice, loss, coef, intercept, &found, error);
    int64_t d = status == MPIGD_OK ? slice->d : 0, k = status == MPIGD_OK ? found.outputs : 0;
    if (status == MPIGD_OK && (!direction || !product)) {
        status = mpigd_fail(error, MPIGD_USAGE, "direction or product is NULL");
    }
    if (status == MPIGD_OK) {
        status = mpigd_sums_new(mpigd_gradient_count(d, k), &s, error);
        both = mpigd_zeros((d + 1) * 2 * k, sizeof *both);
        status = status == MPIGD_OK && !both ? mpigd_no_memory(error) : status;
    }
    status = mpigd_agree(ranks, status, error);
    if (status == MPIGD_OK) {
        for (int64_t j = 0; j <= d; j++) { /* each row of the coefficients, then that of the direction */
            memcpy(both + j * 2 * k, j < d ? coef + j * k : intercept, (size_t)k * sizeof *both);
            memcpy(both + j * 2 * k + k, direction + j * k, (size_t)k * sizeof *both);
        }
        status = mpigd_sweep(slice, &found, PRODUCT_ANEW, d, both, both + d * 2 * k, NULL, s, error);
        status = mpigd_sums_over(ranks, s, status, error);
    }
    if (status == MPIGD_OK) {
        double by = has_rows(s) ? s->out[s->count - 1] : 1.0;
        for (int64_t e = 0; e < (d + 1) * k; e++) {
            product[e] = s->out[e] / by;
        }
    }
    free(both);
    mpigd_sums_free(s);
    return status;
}

mpigd_status mpigd_hessian_product(const mpigd_slice *slice, const mpigd_loss *loss, const double *coef,
                                   const double *intercept, const double *direction, double *product,
                                   mpigd_error *error) {
    return mpigd_hessian_product_over(NULL, slice, loss, coef, intercept, direction, product, error);
}

/* ---- columns ---- */

static double positive(double value) { return value > 0.0 ? value : 1.0; }

/* Means of deviations from shift and of their squares, in s->out (2 d + 1,). A collective. */
static mpigd_status means(const mpigd_problem *problem, bool of_y, const double *shift, int64_t one_in, sums *s,
                          mpigd_error *error) {
    mpigd_sums_clear(s);
    mpigd_status status = mpigd_moments(problem->slice, of_y, shift, one_in, s, error);
    status = mpigd_sums_over(&problem->ranks, s, status, error);
    if (status == MPIGD_OK && has_rows(s)) {
        double weight = s->out[s->count - 1];
        for (int64_t e = 0; e < s->count; e++) {
            s->out[e] /= weight;
        }
    }
    return status;
}

/* Mean and scale of the columns; as `scaling.measure`. */
static mpigd_status measure(mpigd_problem *problem, bool standardize, sums *s, mpigd_error *error) {
    int64_t d = problem->d, blocks = (problem->slice->total_rows + problem->slice->block - 1) / problem->slice->block;
    int64_t one_in = blocks / LEAST_BLOCKS < MOST_SHARES ? blocks / LEAST_BLOCKS : MOST_SHARES;
    double *mean = problem->mean, *scale = problem->scale, *magnitude = problem->magnitude, *spread = problem->spread;
    bool centre = problem->intercept;
    memset(mean, 0, (size_t)d * sizeof *mean);
    mpigd_status status = means(problem, false, mean, one_in > 1 ? one_in : 1, s, error);
    if (status != MPIGD_OK) {
        return status;
    }
    if (!centre && !standardize) {
        bool all = true;
        for (int64_t j = 0; j < d; j++) {
            all = all && s->out[d + j] != 0.0;
        }
        if (!all && (status = means(problem, false, mean, 1, s, error)) != MPIGD_OK) { /* rare ones may be elsewhere */
            return status;
        }
        for (int64_t j = 0; j < d; j++) {
            scale[j] = 1.0;
            magnitude[j] = sqrt(s->out[d + j]);
            spread[j] = positive(magnitude[j]);
        }
        return MPIGD_OK;
    }
    memcpy(mean, s->out, (size_t)d * sizeof *mean);
    for (int turn = 0; turn < 2; turn++) {
        bool enough = true;
        if ((status = means(problem, false, mean, 1, s, error)) != MPIGD_OK) {
            return status;
        }
        for (int64_t j = 0; j < d; j++) {
            double off = s->out[j], square = s->out[d + j], variance = square - off * off;
            variance = variance > 0.0 ? variance : 0.0;
            /* The variance of a constant column is not exactly zero where its mean was rounded. */
            double rounding = 4.0 * 0x1p-52 * fabs(mean[j]);
            bool constant = square <= rounding * rounding;
            mean[j] = constant ? mean[j] : mean[j] + off;
            enough = enough && (constant || off * off <= variance);
            scale[j] = constant ? 0.0 : sqrt(variance); /* the deviation, for now */
        }
        if (enough) {
            break;
        }
    }
    for (int64_t j = 0; j < d; j++) {
        double deviation = scale[j];
        magnitude[j] = sqrt(deviation * deviation + mean[j] * mean[j]);
        scale[j] = standardize ? positive(deviation) : 1.0;
        spread[j] = positive(centre ? deviation : magnitude[j]) / scale[j];
        mean[j] = centre ? mean[j] : 0.0;
    }
    return MPIGD_OK;
}

/* The spread of y, and of a row's weight the average, over all processes. */
static mpigd_status measure_rows(mpigd_problem *problem, mpigd_error *error) {
    const mpigd_slice *slice = problem->slice;
    mpigd_status status = mpigd_weights(slice, problem->weights, error);
    int64_t counted = 0;
    for (int64_t i = 0; i < slice->n; i++) {
        counted += !slice->weight || slice->weight[i] != 0.0;
    }
    if (problem->ranks.count > 1 && problem->ranks.sum(problem->ranks.context, &counted, 1)) {
        return mpigd_fail(error, MPIGD_MPI, "a collective over processes has failed");
    }
    status = mpigd_sums_over(&problem->ranks, problem->weights, status, error);
    if (status != MPIGD_OK) {
        return status;
    }
    if (!has_rows(problem->weights)) {
        return mpigd_fail(error, MPIGD_DATA, "there is no row of positive weight");
    }
    problem->weight = problem->weights->out[0] / (double)counted;
    for (int64_t k = 0; k < problem->outputs; k++) {
        problem->y_spread[k] = 1.0;
    }
    if (mpigd_of_classes(problem->loss.entry)) {
        return MPIGD_OK;
    }
    sums *s;
    double zero = 0.0;
    status = mpigd_agree(&problem->ranks, mpigd_sums_new(3, &s, error), error);
    status = status == MPIGD_OK ? means(problem, true, &zero, 1, s, error) : status;
    if (status == MPIGD_OK) {
        double variance = s->out[1] - s->out[0] * s->out[0];
        problem->y_spread[0] = sqrt(variance > 0.0 ? variance : 0.0);
    }
    mpigd_sums_free(s);
    return status;
}

/* Expected magnitudes of the sums of a gradient; as `Objective._shifts`. */
static mpigd_status expect_gradient(mpigd_problem *problem, mpigd_error *error) {
    int64_t d = problem->d, k = problem->outputs, e = 0;
    double *size = mpigd_zeros(problem->gradient->count, sizeof *size), *spread = problem->y_spread;
    if (!size) {
        return mpigd_no_memory(error);
    }
    for (int64_t j = 0; j < d; j++) {
        for (int64_t o = 0; o < k; o++) {
            size[e++] = problem->magnitude[j] * spread[o];
        }
    }
    for (int64_t o = 0; o < k; o++) {
        size[e + o] = spread[o];
        size[e + k + o] = spread[o] * sqrt(spread[o]);
    }
    size[e + 2 * k] = 1.0;
    double rows = (double)problem->slice->block;
    mpigd_sums_expect(problem->gradient, size, (rows > 1.0 ? rows : 1.0) * problem->weight);
    free(size);
    return MPIGD_OK;
}

/* The same of the sums with a Hessian; as `Objective._second_order_shifts`. */
static mpigd_status expect_second(mpigd_problem *problem, mpigd_error *error) {
    int64_t d = problem->d, e = 0;
    double *size = mpigd_zeros(problem->second->count, sizeof *size), *m = problem->magnitude;
    double spread = problem->y_spread[0];
    if (!size) {
        return mpigd_no_memory(error);
    }
    for (int64_t j = 0; j < d; j++) {
        for (int64_t i = j; i < d; i++) {
            size[e++] = m[j] * m[i];
        }
        size[e++] = m[j];
        size[e++] = m[j] * spread;
    }
    size[e++] = spread;
    size[e++] = spread * sqrt(spread);
    size[e++] = 1.0;
    size[e++] = 1.0;
    mpigd_sums_expect(problem->second, size, (double)problem->slice->block * problem->weight);
    free(size);
    return MPIGD_OK;
}

static double *doubles(int64_t count) { return mpigd_zeros(count, sizeof(double)); }

mpigd_status mpigd_problem_new(const mpigd_ranks *ranks, const mpigd_slice *slice, const mpigd_fit_options *options,
                               mpigd_problem **made, mpigd_error *error) {
    mpigd_begin(error);
    *made = NULL;
    loss_of loss = {0};
    sums *columns = NULL;
    mpigd_problem *problem = NULL;
    mpigd_status status =
        slice && options ? mpigd_loss_check(&options->loss, &loss, error)
                         : mpigd_fail(error, MPIGD_USAGE, "slice or options are NULL");
    status = status == MPIGD_OK ? check_target(slice, &loss, error) : status;
    if (status == MPIGD_OK && !(options->l2 >= 0.0 && options->l2 < INFINITY)) {
        status = mpigd_fail(error, MPIGD_USAGE, "l2 is %g; expected a number ≥ 0", options->l2);
    }
    if (status == MPIGD_OK) {
        problem = mpigd_zeros(1, sizeof *problem);
        status = problem ? mpigd_sums_new(2 * slice->d + 1, &columns, error) : mpigd_no_memory(error);
    }
    if (status == MPIGD_OK) {
        int64_t d = slice->d, k = loss.outputs, free_rows = options->intercept != 0;
        *problem = (mpigd_problem){.slice = slice, .loss = loss, .d = d, .p = d + free_rows, .outputs = k,
                                   .intercept = free_rows, .l2 = options->l2};
        problem->ranks = ranks ? *ranks : (mpigd_ranks){.count = 1};
        problem->mean = doubles(d);
        problem->scale = doubles(d);
        problem->magnitude = doubles(d);
        problem->spread = doubles(d);
        problem->y_spread = doubles(k);
        problem->coef = doubles(d * k);
        problem->at = doubles(k);
        problem->scratch = doubles((d + 1) * k);
        problem->kept_at = doubles((d + 1) * k);
        bool all = problem->mean && problem->scale && problem->magnitude && problem->spread && problem->y_spread &&
                   problem->coef && problem->at && problem->scratch && problem->kept_at;
        status = all ? mpigd_sums_new(mpigd_gradient_count(d, k), &problem->gradient, error) : mpigd_no_memory(error);
        status = status == MPIGD_OK ? mpigd_sums_new(1, &problem->weights, error) : status;
    }
    status = mpigd_agree(ranks, status, error);
    if (status == MPIGD_OK) {
        status = measure(problem, options->standardize, columns, error);
    }
    if (status == MPIGD_OK) {
        status = measure_rows(problem, error);
    }
    if (status == MPIGD_OK) {
        status = mpigd_agree(ranks, expect_gradient(problem, error), error);
    }
    mpigd_sums_free(columns);
    if (status != MPIGD_OK) {
        mpigd_problem_free(problem);
        return status;
    }
    *made = problem;
    return MPIGD_OK;
}

void mpigd_problem_free(mpigd_problem *problem) {
    if (problem) {
        double *own[] = {problem->mean, problem->scale, problem->magnitude, problem->spread,  problem->y_spread,
                         problem->coef, problem->at,    problem->scratch,   problem->kept_at, problem->kept};
        for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
            free(own[i]);
        }
        mpigd_sums_free(problem->gradient);
        mpigd_sums_free(problem->product);
        mpigd_sums_free(problem->second);
        mpigd_sums_free(problem->weights);
        free(problem);
    }
}

int64_t mpigd_problem_rows(const mpigd_problem *problem) { return problem->p; }

int64_t mpigd_problem_outputs(const mpigd_problem *problem) { return problem->outputs; }

/* ---- from theta to columns and back ---- */

static void to_columns(const mpigd_problem *problem, const double *theta, double *coef, double *intercept,
                       double *scratch) {
    int64_t d = problem->d, k = problem->outputs;
    for (int64_t j = 0; j < d; j++) {
        for (int64_t o = 0; o < k; o++) {
            coef[j * k + o] = theta[j * k + o] / problem->scale[j];
        }
    }
    for (int64_t o = 0; o < k; o++) {
        /* numpy adds up one column by pairs, and several row by row. */
        double shift = 0.0;
        if (k == 1) {
            shift = mpigd_dot(problem->mean, coef, d, scratch);
        } else {
            for (int64_t j = 0; j < d; j++) {
                shift += problem->mean[j] * coef[j * k + o];
            }
        }
        intercept[o] = (problem->intercept ? theta[d * k + o] : 0.0) - shift;
    }
}

void mpigd_problem_coefficients(const mpigd_problem *problem, const double *theta, double *coef, double *intercept) {
    to_columns(problem, theta, coef, intercept, problem->scratch);
}

/* From rows of sums (d + 1, K), those of the intercept last, to theta (p, K); as `Scaling.from_columns`. */
static void from_columns(const mpigd_problem *problem, const double *sums_of, int64_t k, double *out) {
    int64_t d = problem->d;
    for (int64_t j = 0; j < d; j++) {
        for (int64_t o = 0; o < k; o++) {
            out[j * k + o] = (sums_of[j * k + o] - problem->mean[j] * sums_of[d * k + o]) / problem->scale[j];
        }
    }
    if (problem->intercept) {
        memcpy(out + d * k, sums_of + d * k, (size_t)k * sizeof *out);
    }
}

static double l2_of(const mpigd_problem *problem, int64_t row) { return row < problem->d ? problem->l2 : 0.0; }

static double penalty(const mpigd_problem *problem, const double *theta) {
    int64_t k = problem->outputs;
    for (int64_t e = 0; e < problem->p * k; e++) {
        problem->scratch[e] = l2_of(problem, e / k) * theta[e] * theta[e];
    }
    return 0.5 * mpigd_sum(problem->scratch, problem->p * k);
}

static void add_slope(const mpigd_problem *problem, const double *theta, double *gradient) {
    for (int64_t e = 0; e < problem->p * problem->outputs; e++) {
        gradient[e] += l2_of(problem, e / problem->outputs) * theta[e];
    }
}

static void divide(sums *s, double weight) {
    for (int64_t e = 0; weight > 0.0 && e < s->count; e++) {
        s->out[e] /= weight;
    }
}

static mpigd_status evaluate(mpigd_problem *problem, const double *theta, double *kept, double *value,
                             double *gradient, mpigd_error *error) {
    sums *s = problem->gradient;
    int64_t d = problem->d, k = problem->outputs;
    mpigd_sums_clear(s);
    to_columns(problem, theta, problem->coef, problem->at, problem->scratch);
    mpigd_status status =
        mpigd_sweep(problem->slice, &problem->loss, GRADIENT, d, problem->coef, problem->at, kept, s, error);
    status = mpigd_sums_over(&problem->ranks, s, status, error);
    if (status != MPIGD_OK) {
        return status;
    }
    divide(s, s->out[s->count - 1]);
    if (value) {
        *value = mpigd_sum(s->out + (d + 1) * k, k) + penalty(problem, theta);
    }
    if (gradient) {
        from_columns(problem, s->out, k, gradient);
        add_slope(problem, theta, gradient);
    }
    return MPIGD_OK;
}

mpigd_status mpigd_problem_evaluate(mpigd_problem *problem, const double *theta, double *value, double *gradient,
                                    mpigd_error *error) {
    mpigd_begin(error);
    return evaluate(problem, theta, NULL, value, gradient, error);
}

mpigd_status mpigd_problem_product(mpigd_problem *problem, const double *theta, const double *direction,
                                   double *product, mpigd_error *error) {
    mpigd_begin(error);
    int64_t d = problem->d, k = problem->outputs;
    size_t bytes = (size_t)(problem->p * k) * sizeof *theta;
    mpigd_status status = MPIGD_OK;
    if (!problem->product) {
        status = mpigd_sums_new(mpigd_gradient_count(d, k), &problem->product, error);
        problem->kept = problem->kept ? problem->kept : doubles(problem->slice->tiles * k * problem->slice->rows);
        status = status == MPIGD_OK && !problem->kept ? mpigd_no_memory(error) : status;
        if ((status = mpigd_agree(&problem->ranks, status, error)) != MPIGD_OK) {
            mpigd_sums_free(problem->product);
            problem->product = NULL;
            return status;
        }
    }
    if (!problem->has_kept || memcmp(problem->kept_at, theta, bytes) != 0) {
        problem->has_kept = false;
        if ((status = evaluate(problem, theta, problem->kept, NULL, NULL, error)) != MPIGD_OK) {
            return status;
        }
        memcpy(problem->kept_at, theta, bytes);
        problem->has_kept = true;
    }
    sums *s = problem->product;
    mpigd_sums_clear(s);
    to_columns(problem, direction, problem->coef, problem->at, problem->scratch);
    status = mpigd_sweep(problem->slice, &problem->loss, PRODUCT, d, problem->coef, problem->at, problem->kept, s, error);
    for (int limb = 0; limb < 5; limb++) { /* the kernel does not see the weights of rows: they are in the curvature */
        s->total[limb * s->count + s->count - 1] = problem->weights->total[limb];
    }
    status = mpigd_sums_over(&problem->ranks, s, status, error);
    if (status == MPIGD_OK) {
        divide(s, s->out[s->count - 1]);
        from_columns(problem, s->out, k, product);
        add_slope(problem, direction, product);
    }
    return status;
}

mpigd_status mpigd_problem_second_order(mpigd_problem *problem, const double *theta, double *value, double *gradient,
                                        double *hessian, mpigd_error *error) {
    mpigd_begin(error);
    int64_t d = problem->d, p = problem->p, n = d + 1;
    if (mpigd_coupled(problem->loss.entry)) {
        return mpigd_fail(error, MPIGD_USAGE, "loss %s has several outputs, and a Hessian is formed of one",
                          problem->loss.entry->name);
    }
    mpigd_status status = MPIGD_OK;
    if (!problem->second) {
        status = mpigd_sums_new(mpigd_second_order_count(d), &problem->second, error);
        status = status == MPIGD_OK ? expect_second(problem, error) : status;
        if ((status = mpigd_agree(&problem->ranks, status, error)) != MPIGD_OK) {
            mpigd_sums_free(problem->second);
            problem->second = NULL;
            return status;
        }
    }
    sums *s = problem->second;
    double *raw = doubles(2 * n * n + n), *half = raw ? raw + n * n : NULL;
    mpigd_sums_clear(s);
    to_columns(problem, theta, problem->coef, problem->at, problem->scratch);
    status = raw ? mpigd_second_order(problem->slice, &problem->loss, d, problem->coef, problem->at[0], s, error)
                 : mpigd_no_memory(error);
    status = mpigd_sums_over(&problem->ranks, s, status, error);
    if (status != MPIGD_OK) {
        free(raw);
        return status;
    }
    divide(s, s->out[s->count - 2]);
    double *slopes = raw + 2 * n * n;
    const double *row = s->out, *ends = s->out + s->count - 4; /* residual, value, weight, curvature */
    raw[n * n - 1] = ends[3];
    slopes[d] = ends[0];
    for (int64_t j = 0; j < d; j++) {
        for (int64_t i = j; i <= d; i++) {
            raw[j * n + i] = raw[i * n + j] = row[i - j];
        }
        slopes[j] = row[d - j + 1];
        row += d - j + 2;
    }
    if (value) {
        *value = ends[1] + penalty(problem, theta);
    }
    if (gradient) {
        from_columns(problem, slopes, 1, gradient);
        add_slope(problem, theta, gradient);
    }
    if (hessian) {
        from_columns(problem, raw, n, half); /* (p, d + 1) */
        double *turned = raw;
        for (int64_t j = 0; j < n; j++) {
            for (int64_t i = 0; i < p; i++) {
                turned[j * p + i] = half[i * n + j];
            }
        }
        from_columns(problem, turned, p, hessian);
        for (int64_t j = 0; j < d; j++) {
            hessian[j * p + j] += problem->l2;
        }
    }
    free(raw);
    return MPIGD_OK;
}

/* ---- the null model ---- */

enum { MOST_TRIALS = 100 };

/* Of softmax, from shares of classes: what is left of 1 / K at an intercept of zero. */
static mpigd_status null_of_classes(mpigd_problem *problem, double *intercept, double *size, mpigd_error *error) {
    int64_t k = problem->outputs;
    sums *s;
    mpigd_status status =
        mpigd_agree(&problem->ranks, mpigd_sums_new(mpigd_gradient_count(0, k), &s, error), error);
    if (status == MPIGD_OK) {
        memset(intercept, 0, (size_t)k * sizeof *intercept);
        status = mpigd_sweep(problem->slice, &problem->loss, VALUE, 0, NULL, intercept, NULL, s, error);
        status = mpigd_sums_over(&problem->ranks, s, status, error);
    }
    if (status == MPIGD_OK) {
        double mean = 0.0;
        bool all = true;
        divide(s, s->out[s->count - 1]);
        for (int64_t o = 0; o < k; o++) {
            double share = 1.0 / (double)k - s->out[o];
            all = all && share > 1e-300 && s->out[o] < 1.0 / (double)k - 1e-12;
            intercept[o] = all ? mpigd_log(share) : 0.0;
            mean += intercept[o] / (double)k;
        }
        for (int64_t o = 0; o < k; o++) {
            intercept[o] = all ? intercept[o] - mean : 0.0;
        }
        *size = mpigd_log((double)k);
    }
    mpigd_sums_free(s);
    return status;
}

mpigd_status mpigd_null_model(mpigd_problem *problem, double *intercept, double *curvature, double *rounding,
                              double *size, mpigd_error *error) {
    *rounding = *size = 0.0;
    if (mpigd_coupled(problem->loss.entry)) {
        double k = (double)problem->outputs;
        *curvature = (k - 1.0) / (k * k);
        return null_of_classes(problem, intercept, size, error);
    }
    sums *s;
    mpigd_status status = mpigd_agree(&problem->ranks, mpigd_sums_new(mpigd_second_order_count(0), &s, error), error);
    double at = 0.0, low = -INFINITY, high = INFINITY, reach = 1.0, best = 0.0, steep = 0.0, least = INFINITY;
    *curvature = 0.0;
    for (int trial = 0; status == MPIGD_OK && trial < MOST_TRIALS; trial++) {
        mpigd_sums_clear(s);
        status = mpigd_second_order(problem->slice, &problem->loss, 0, NULL, at, s, error);
        status = mpigd_sums_over(&problem->ranks, s, status, error);
        if (status != MPIGD_OK) {
            break;
        }
        divide(s, s->out[2]);
        double slope = s->out[0], curved = s->out[3];
        if (trial == 0) {
            *size = fabs(s->out[1]);
            steep = fabs(slope);
            *curvature = curved > 0.0 ? curved : 1.0;
        }
        if (!problem->intercept || !isfinite(slope)) {
            break;
        }
        if (fabs(slope) < least) {
            least = fabs(slope);
            best = at;
            *curvature = curved > 0.0 ? curved : *curvature;
        }
        if (slope == 0.0) {
            break;
        }
        low = slope < 0.0 ? at : low;
        high = slope > 0.0 ? at : high;
        double move = curved > 0.0 ? -slope / curved : slope > 0.0 ? -reach : reach;
        if (fabs(move) <= 1e-12 * (1.0 + fabs(at)) && curved > 0.0) {
            break;
        }
        if (isinf(high - low)) {
            move = fabs(move) > reach ? copysign(reach, move) : move;
            reach *= 2.0;
        } else if (!(low < at + move && at + move < high)) {
            move = 0.5 * (low + high) - at;
        }
        if (at + move == at) {
            break;
        }
        at += move;
    }
    mpigd_sums_free(s);
    /* Where the slope never turns, no intercept is best. */
    bool turned = !isinf(low) && !isinf(high);
    *intercept = problem->intercept && (turned || least <= 1e-9 * steep) ? best : 0.0;
    *rounding = steep + *curvature * fabs(*intercept);
    return status;
}
