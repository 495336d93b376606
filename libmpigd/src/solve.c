/* Solvers: steps as in mpigd/solvers, on the objective of problem.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { MOST_TRIALS = 25, PAIRS = 10 };
static const double DECREASE = 1e-4, FLATTENING = 0.9, ROUNDING = 0x1p-50, SMALL = 0x1p-44;

/* A fit on its way. size : numbers of theta.  All arrays are equal on all processes. */
typedef struct {
    mpigd_problem *problem;
    const mpigd_fit_options *options;
    int64_t size;
    double *theta, *gradient, *hessian;                 /* where it is; (p, p) of Newton's method alone */
    double *tried, *found, *tried_hessian;              /* a trial */
    double *direction, *scratch, *metric;               /* metric (size,): an estimate of the Hessian's diagonal */
    double *steps, *changes, inverse[PAIRS];            /* (PAIRS, size): of L-BFGS, the latest last */
    int64_t pairs, count;
    double value, passes, rate;
    bool stalled;
} fit;

void mpigd_fit_defaults(mpigd_fit_options *options) {
    *options = (mpigd_fit_options){.loss = {.name = "squared", .outputs = 1}, .solver = MPIGD_LBFGS, .intercept = 1,
                                   .standardize = 1, .tol = 1e-6, .max_passes = 1000.0};
}

static double dot(const fit *f, const double *a, const double *b) { return mpigd_dot(a, b, f->size, f->scratch); }

static mpigd_status evaluate(fit *f, const double *theta, double *value, double *gradient, double *hessian,
                             mpigd_error *error) {
    f->passes += 1.0;
    if (f->options->solver == MPIGD_NEWTON) {
        return mpigd_problem_second_order(f->problem, theta, value, gradient, hessian, error);
    }
    return mpigd_problem_evaluate(f->problem, theta, value, gradient, error);
}

static void exchange(double **a, double **b) {
    double *other = *a;
    *a = *b;
    *b = other;
}

/* Go where a trial was. */
static void accept(fit *f, double value) {
    exchange(&f->theta, &f->tried);
    exchange(&f->gradient, &f->found);
    exchange(&f->hessian, &f->tried_hessian);
    f->value = value;
    f->count++;
}

/* Along the direction to where the weak Wolfe conditions hold, the first trial at 1; as solvers/line_search.py. Leaves the
 * trial in `tried` and `found`, *value NaN where there is none. */
static mpigd_status search(fit *f, double slope, double *value, mpigd_error *error) {
    double low = 0.0, high = INFINITY, step = 1.0;
    for (int trial = 0; trial < MOST_TRIALS; trial++) {
        for (int64_t e = 0; e < f->size; e++) {
            f->tried[e] = f->theta[e] + step * f->direction[e];
        }
        mpigd_status status = evaluate(f, f->tried, value, f->found, f->tried_hessian, error);
        if (status != MPIGD_OK) {
            return status;
        }
        double along = dot(f, f->found, f->direction);
        bool level = *value <= f->value + ROUNDING * fabs(f->value) && fabs(along) <= FLATTENING * fabs(slope);
        if (!(*value <= f->value + DECREASE * step * slope || level)) {
            high = step;
        } else if (along < FLATTENING * slope) {
            low = step;
        } else {
            return MPIGD_OK;
        }
        if (isinf(high)) {
            step = 2.0 * low;
        } else if (low == 0.0 && isfinite(*value)) {
            double excess = *value - f->value - step * slope;
            double best = excess > 0.0 ? -slope * step * step / (2.0 * excess) : 0.5 * step;
            best = best > 0.1 * step ? best : 0.1 * step;
            step = best < 0.5 * step ? best : 0.5 * step;
        } else {
            step = 0.5 * (low + high);
        }
    }
    *value = NAN;
    return MPIGD_OK;
}

static mpigd_status newton(fit *f, mpigd_error *error) {
    mpigd_status status = mpigd_solve(f->hessian, f->size, f->gradient, f->direction, error);
    if ((status = mpigd_agree(&f->problem->ranks, status, error)) != MPIGD_OK) {
        return status;
    }
    for (int64_t e = 0; e < f->size; e++) {
        f->direction[e] = -f->direction[e];
    }
    double slope = dot(f, f->gradient, f->direction), value;
    if (!(slope < 0.0)) { /* a Hessian that is not positive definite, or none at all */
        double largest = 1.0;
        for (int64_t e = 0; e < f->size; e++) {
            largest = f->hessian[e * f->size + e] > largest ? f->hessian[e * f->size + e] : largest;
        }
        for (int64_t e = 0; e < f->size; e++) {
            f->direction[e] = -f->gradient[e] / largest;
        }
        slope = dot(f, f->gradient, f->direction);
    }
    status = search(f, slope, &value, error);
    if (status == MPIGD_OK && isnan(value)) {
        f->stalled = true;
    } else if (status == MPIGD_OK) {
        accept(f, value);
    }
    return status;
}

/* J. Nocedal, S. Wright, "Numerical optimization", 2006, algorithm 7.4; the result is the direction. */
static void lbfgs_direction(fit *f) {
    double shares[PAIRS], *q = f->direction;
    int64_t n = f->size;
    memcpy(q, f->gradient, (size_t)n * sizeof *q);
    for (int64_t i = f->pairs - 1; i >= 0; i--) {
        shares[i] = f->inverse[i] * dot(f, f->steps + i * n, q);
        for (int64_t e = 0; e < n; e++) {
            q[e] -= shares[i] * f->changes[i * n + e];
        }
    }
    double factor = 1.0;
    if (f->pairs) { /* eq. 7.20, in the metric */
        const double *y = f->changes + (f->pairs - 1) * n;
        for (int64_t e = 0; e < n; e++) {
            f->scratch[e] = y[e] * (y[e] / f->metric[e]);
        }
        factor = 1.0 / (f->inverse[f->pairs - 1] * mpigd_sum(f->scratch, n));
    }
    for (int64_t e = 0; e < n; e++) {
        q[e] = q[e] / f->metric[e] * factor;
    }
    for (int64_t i = 0; i < f->pairs; i++) {
        double share = shares[i] - f->inverse[i] * dot(f, f->changes + i * n, q);
        for (int64_t e = 0; e < n; e++) {
            q[e] += share * f->steps[i * n + e];
        }
    }
    for (int64_t e = 0; e < n; e++) {
        q[e] = -q[e];
    }
}

static mpigd_status lbfgs(fit *f, mpigd_error *error) {
    int64_t n = f->size;
    size_t bytes = (size_t)n * sizeof *f->steps;
    double value;
    lbfgs_direction(f);
    double slope = dot(f, f->gradient, f->direction);
    if (!(slope < 0.0)) {
        for (int64_t e = 0; e < n; e++) {
            f->direction[e] = -f->gradient[e] / f->metric[e];
        }
        slope = dot(f, f->gradient, f->direction);
    }
    mpigd_status status = search(f, slope, &value, error);
    if (status != MPIGD_OK) {
        return status;
    }
    if (isnan(value)) { /* the approximation may be at fault: once more along the gradient, then it is rounding */
        f->stalled = f->pairs == 0;
        f->pairs = 0;
        return MPIGD_OK;
    }
    if (f->pairs == PAIRS) {
        memmove(f->steps, f->steps + n, (PAIRS - 1) * bytes);
        memmove(f->changes, f->changes + n, (PAIRS - 1) * bytes);
        memmove(f->inverse, f->inverse + 1, (PAIRS - 1) * sizeof *f->inverse);
        f->pairs--;
    }
    double *s = f->steps + f->pairs * n, *y = f->changes + f->pairs * n;
    for (int64_t e = 0; e < n; e++) {
        s[e] = f->tried[e] - f->theta[e];
        y[e] = f->found[e] - f->gradient[e];
    }
    double product = dot(f, s, y);
    if (product > 0.0) {
        f->inverse[f->pairs++] = 1.0 / product;
    }
    accept(f, value);
    return MPIGD_OK;
}

/* With a rate of its own, or one that is halved until the parabola of that curvature is above the objective, and doubled
 * after a step that was accepted at once (A. Beck, M. Teboulle, SIAM J. Imaging Sci. 2, 2009, section 4). */
static mpigd_status descend(fit *f, mpigd_error *error) {
    bool searches = f->options->learning_rate == 0.0;
    for (int trial = 0; trial < (searches ? MOST_TRIALS : 1); trial++) {
        double value;
        for (int64_t e = 0; e < f->size; e++) {
            f->tried[e] = f->theta[e] - f->rate * f->gradient[e];
            f->direction[e] = f->tried[e] - f->theta[e];
        }
        mpigd_status status = evaluate(f, f->tried, &value, f->found, NULL, error);
        if (status != MPIGD_OK) {
            return status;
        }
        double square = dot(f, f->direction, f->direction);
        double most = f->value + dot(f, f->gradient, f->direction) + 0.5 / f->rate * square;
        if (!searches || value <= most + ROUNDING * fabs(f->value)) {
            f->rate = searches && trial == 0 ? 2.0 * f->rate : f->rate;
            accept(f, value);
            return MPIGD_OK;
        }
        f->rate *= 0.5;
    }
    f->stalled = true;
    return MPIGD_OK;
}

static void release(fit *f) {
    double *own[] = {f->theta, f->gradient, f->hessian, f->tried, f->found, f->tried_hessian, f->direction,
                     f->scratch, f->metric, f->steps, f->changes};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        free(own[i]);
    }
}

static mpigd_status prepare(fit *f, mpigd_error *error) {
    int64_t n = f->size;
    bool with_hessian = f->options->solver == MPIGD_NEWTON, with_pairs = f->options->solver == MPIGD_LBFGS;
    struct {
        double **array;
        int64_t count;
    } all[] = {{&f->theta, n},         {&f->gradient, n},
               {&f->tried, n},         {&f->found, n},
               {&f->direction, n},     {&f->scratch, n},
               {&f->metric, n},        {&f->hessian, with_hessian ? n * n : 0},
               {&f->tried_hessian, with_hessian ? n * n : 0},
               {&f->steps, with_pairs ? PAIRS * n : 0},
               {&f->changes, with_pairs ? PAIRS * n : 0}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!(*all[i].array = mpigd_zeros(all[i].count, sizeof(double)))) {
            return mpigd_no_memory(error);
        }
    }
    return MPIGD_OK;
}

static mpigd_status check(const mpigd_fit_options *options, mpigd_error *error) {
    if (!options) {
        return mpigd_fail(error, MPIGD_USAGE, "options are NULL");
    }
    if (options->solver != MPIGD_GD && options->solver != MPIGD_LBFGS && options->solver != MPIGD_NEWTON) {
        return mpigd_fail(error, MPIGD_USAGE, "solver %d is none of mpigd_solver", (int)options->solver);
    }
    if (!(options->tol >= 0.0) || !(options->max_passes >= 1.0) || !(options->learning_rate >= 0.0)) {
        return mpigd_fail(error, MPIGD_USAGE, "tol %g, max_passes %g, learning_rate %g; expected ≥ 0, ≥ 1, ≥ 0",
                          options->tol, options->max_passes, options->learning_rate);
    }
    const mpigd_loss_entry *loss = mpigd_loss_named(options->loss.name);
    if (options->solver == MPIGD_NEWTON && loss && mpigd_coupled(loss)) {
        return mpigd_fail(error, MPIGD_USAGE, "Newton's method forms the Hessian of one output, and loss %s has %lld; "
                          "use MPIGD_LBFGS", loss->name, (long long)options->loss.outputs);
    }
    return MPIGD_OK;
}

/* From the null model on, until the gradient is small enough. */
static mpigd_status run(fit *f, mpigd_fit_result *result, mpigd_error *error) {
    mpigd_problem *problem = f->problem;
    int64_t d = problem->d, k = problem->outputs;
    double curvature, rounding, size, first, first_norm, norm, total = 0.0;
    mpigd_status status = mpigd_null_model(problem, f->direction, &curvature, &rounding, &size, error);
    if (status != MPIGD_OK) {
        return status;
    }
    for (int64_t o = 0; problem->intercept && o < k; o++) {
        f->theta[d * k + o] = f->direction[o];
    }
    for (int64_t e = 0; e < f->size; e++) {
        int64_t row = e / k;
        double square = row < d ? problem->spread[row] * problem->spread[row] : 1.0;
        f->metric[e] = curvature * square + (row < d ? problem->l2 : 0.0);
        total += e % k == 0 ? f->metric[e] : 0.0;
    }
    f->rate = f->options->learning_rate > 0.0 ? f->options->learning_rate : 1.0 / (total > 0.0 ? total : 1.0);
    status = evaluate(f, f->theta, &f->value, f->gradient, f->hessian, error);
    if (status != MPIGD_OK) {
        return status;
    }
    first = f->value;
    norm = first_norm = mpigd_norm(f->gradient, f->size, f->scratch);
    if (!isfinite(first) || !isfinite(norm)) {
        return mpigd_fail(error, MPIGD_DIVERGED, "the objective is %g and its gradient %g at the start: numbers of X, y or "
                          "weights are too large or too small for double precision; rescale them", first, norm);
    }
    double tol = f->options->tol, least = (tol < SMALL ? tol : SMALL) * rounding;
    double enough = tol * first_norm > least ? tol * first_norm : least, before = f->passes;
    while (norm > enough && !f->stalled && f->passes < f->options->max_passes &&
           f->passes + (f->passes - before) <= f->options->max_passes) {
        before = f->passes;
        status = f->options->solver == MPIGD_NEWTON  ? newton(f, error)
                 : f->options->solver == MPIGD_LBFGS ? lbfgs(f, error)
                                                     : descend(f, error);
        if (status != MPIGD_OK) {
            return status;
        }
        norm = mpigd_norm(f->gradient, f->size, f->scratch);
        double room = fabs(first) > size ? fabs(first) : size;
        if (!isfinite(norm) || !(f->value - first <= 10.0 * room)) {
            return mpigd_fail(error, MPIGD_DIVERGED, "diverged at step %lld: the objective rose from %.6g to %.6g; use "
                              "learning_rate 0, or a smaller one", (long long)f->count, first, f->value);
        }
    }
    *result = (mpigd_fit_result){f->value, norm, f->passes, f->count, norm <= enough};
    return MPIGD_OK;
}

static mpigd_status model_of(const fit *f, mpigd_model **model, mpigd_error *error) {
    const mpigd_problem *problem = f->problem;
    const loss_of *loss = &problem->loss;
    int64_t d = problem->d, k = problem->outputs, classes = mpigd_of_classes(loss->entry) ? (k > 1 ? k : 2) : 0;
    double *coef = mpigd_zeros((d + 1) * k + classes, sizeof *coef);
    if (!coef) {
        return mpigd_no_memory(error);
    }
    double *intercept = coef + d * k, *labels = intercept + k;
    mpigd_problem_coefficients(problem, f->theta, coef, intercept);
    for (int64_t i = 0; i < classes; i++) {
        labels[i] = (double)i;
    }
    mpigd_status status =
        mpigd_model_new(loss->entry->name, d, k, coef, intercept, classes, classes ? labels : NULL, model, error);
    free(coef);
    if (status == MPIGD_OK && loss->entry->parameter[0]) {
        char config[64], number[32];
        for (int digits = 1; digits <= 17; digits++) { /* as Python writes it: the fewest that say which double it is */
            snprintf(number, sizeof number, "%.*g", digits, loss->parameter);
            if (strtod(number, NULL) == loss->parameter) {
                break;
            }
        }
        snprintf(config, sizeof config, "{\"loss_parameter\": %s}", number);
        free((*model)->config);
        if (!((*model)->config = mpigd_copy(config))) {
            mpigd_model_free(*model);
            *model = NULL;
            return mpigd_no_memory(error);
        }
    }
    return status;
}

mpigd_status mpigd_fit_over(const mpigd_ranks *ranks, const mpigd_slice *slice, const mpigd_fit_options *options,
                            mpigd_model **model, mpigd_fit_result *result, mpigd_error *error) {
    mpigd_begin(error);
    *model = NULL;
    fit f = {.options = options};
    mpigd_status status = mpigd_agree(ranks, check(options, error), error);
    if (status == MPIGD_OK) {
        status = mpigd_problem_new(ranks, slice, options, &f.problem, error);
    }
    if (status != MPIGD_OK) {
        return status;
    }
    mpigd_fit_result found;
    f.size = f.problem->p * f.problem->outputs;
    status = mpigd_agree(ranks, prepare(&f, error), error);
    status = status == MPIGD_OK ? run(&f, &found, error) : status;
    if (status == MPIGD_OK) {
        status = mpigd_agree(ranks, model_of(&f, model, error), error);
        if (status != MPIGD_OK) {
            mpigd_model_free(*model);
            *model = NULL;
        } else if (result) {
            *result = found;
        }
    }
    release(&f);
    mpigd_problem_free(f.problem);
    return status;
}
