/* What the library finds has the bits that Python finds. Argument: the directory that vectors.py has written. */
#include "vectors.h"

static void means(const char *name) {
    int64_t k = number_of(name, "outputs"), p = find(name, "gradient")->size;
    mpigd_loss loss = {data_of(name, "loss"), 0.0, 0.0, k};
    mpigd_slice *slice = slice_of(name, 0, find(name, "y")->size);
    double *coef = data_of(name, "coef"), *intercept = data_of(name, "intercept"), value, weight;
    double *gradient = calloc((size_t)p, 8), *eta = calloc((size_t)find(name, "eta")->size, 8);
    OK(mpigd_value_gradient(slice, &loss, coef, intercept, &value, gradient, &weight, error));
    same(name, "value", &value);
    same(name, "gradient", gradient);
    same(name, "weights", &weight);
    OK(mpigd_hessian_product(slice, &loss, coef, intercept, data_of(name, "direction"), gradient, error));
    same(name, "product", gradient);
    if (!data_of(name, "offset")) {
        vector *x = find(name, "x"), *values = find(name, "values"), *of_coef = find(name, "coef");
        int64_t n = find(name, "y")->size, classes = number_of(name, "classes");
        double labels[] = {0, 1, 2, 3};
        mpigd_model *model;
        OK(mpigd_model_new(loss.name, of_coef->dimensions[0], k, coef, intercept, classes, labels, &model, error));
        if (x) {
            OK(mpigd_eta(model, type_of(x), n, x->data, eta, error));
        } else {
            OK(mpigd_eta_csr(model, type_of(values), n, data_of(name, "starts"), data_of(name, "columns"), values->data,
                             eta, error));
        }
        same(name, "eta", eta);
        /* One row at a time: the same bits. */
        for (int64_t i = 0; i < n; i += n / 7) {
            double one[4];
            if (x) {
                char *row = (char *)x->data + (size_t)(i * x->dimensions[1]) * item(x->type);
                OK(mpigd_eta(model, type_of(x), 1, row, one, error));
            } else {
                OK(mpigd_eta_csr(model, type_of(values), 1, (int64_t *)data_of(name, "starts") + i,
                                 data_of(name, "columns"), values->data, one, error));
            }
            MUST(memcmp(one, eta + i * k, (size_t)k * 8) == 0);
        }
        mpigd_model_free(model);
    }
    mpigd_slice_free(slice);
    free(gradient);
    free(eta);
}

static void fits(const char *name) {
    mpigd_slice *slice = slice_of(name, 0, find(name, "y")->size);
    mpigd_fit_options options = options_of(name);
    mpigd_problem *problem;
    OK(mpigd_problem_new(NULL, slice, &options, &problem, error));
    int64_t p = mpigd_problem_rows(problem), size = p * mpigd_problem_outputs(problem);
    double *theta = data_of(name, "theta"), value, *gradient = calloc((size_t)size, 8), *hessian = calloc((size_t)(p * p), 8);
    for (int turn = 0; turn < 2; turn++) { /* once more with windows that are known */
        OK(mpigd_problem_evaluate(problem, theta, &value, gradient, error));
        same(name, "value", &value);
        same(name, "gradient", gradient);
        OK(mpigd_problem_product(problem, theta, data_of(name, "direction"), gradient, error));
        same(name, "product", gradient);
        if (find(name, "hessian")) {
            OK(mpigd_problem_second_order(problem, theta, &value, gradient, hessian, error));
            same(name, "slope", gradient);
            same(name, "hessian", hessian);
        }
    }
    const mpigd_solver solvers[] = {MPIGD_LBFGS, MPIGD_NEWTON, MPIGD_GD};
    for (int i = 0; i < 3; i++) {
        mpigd_model *model;
        mpigd_fit_result result;
        options.solver = solvers[i];
        options.tol = solvers[i] == MPIGD_GD ? 1e-4 : 1e-13;
        if (solvers[i] == MPIGD_NEWTON && !find(name, "hessian")) {
            continue;
        }
        OK(mpigd_fit_over(NULL, slice, &options, &model, &result, error));
        MUST(result.steps > 0 && result.passes > 0.0 && (result.converged || solvers[i] != MPIGD_GD));
        /* L-BFGS gets to where gradients are rounding; gradient descent is told to stop earlier. */
        double tolerance = solvers[i] == MPIGD_NEWTON ? 1e-12 : solvers[i] == MPIGD_LBFGS ? 1e-10 : 0.05;
        near(name, "fitted_coef", mpigd_model_coef(model), tolerance);
        if (options.intercept) {
            near(name, "fitted_intercept", mpigd_model_intercept(model), tolerance);
        }
        mpigd_model_free(model);
    }
    mpigd_problem_free(problem);
    mpigd_slice_free(slice);
    free(gradient);
    free(hessian);
}

static void says(const char *name, const mpigd_model *model) {
    vector *x = find(name, "x"), *coef = find(name, "coef");
    int64_t n = x->dimensions[0], classes = mpigd_model_classes(model), wide = classes > 0 ? classes : 1;
    double *out = calloc((size_t)(n * wide), 8);
    MUST(mpigd_model_columns(model) == coef->dimensions[0] && mpigd_model_outputs(model) == coef->dimensions[1]);
    MUST(classes == find(name, "labels")->size && mpigd_model_answers(model) == 1);
    same(name, "coef", mpigd_model_coef(model));
    if (classes) {
        same(name, "labels", mpigd_model_labels(model));
    }
    OK(mpigd_eta(model, MPIGD_FLOAT64, n, x->data, out, error));
    same(name, "eta", out);
    OK(mpigd_predict(model, MPIGD_FLOAT64, n, x->data, out, error));
    classes ? same(name, "answer", out) : near(name, "answer", out, 1e-15);
    if (mpigd_model_probabilities(model)) {
        OK(mpigd_predict_proba(model, MPIGD_FLOAT64, n, x->data, out, error));
        near(name, "mean", out, 1e-15); /* exponentials are the C library's own */
    } else {
        MUST(mpigd_predict_proba(model, MPIGD_FLOAT64, n, x->data, out, NULL) == MPIGD_USAGE);
    }
    free(out);
}

static void models(const char *directory, const char *name) {
    char path[512], copy[512];
    mpigd_model *model, *again;
    snprintf(path, sizeof path, "%s/%s.h5", directory, strchr(name, '/') + 1);
    snprintf(copy, sizeof copy, "%s/%s-copy.h5", directory, strchr(name, '/') + 1);
    OK(mpigd_model_read(path, &model, error));
    says(name, model);
    double threshold = *(double *)data_of(name, "threshold"), found = mpigd_model_threshold(model);
    MUST(threshold == found || (isnan(threshold) && isnan(found)));
    MUST(strcmp(mpigd_model_loss(model), data_of(name, "loss")) == 0);
    MUST(strcmp(mpigd_model_feature(model, 3), data_of(name, "feature")) == 0);
    MUST(!mpigd_model_feature(model, mpigd_model_columns(model)) && !mpigd_model_feature(model, -1));
    OK(mpigd_model_write(model, copy, error));
    OK(mpigd_model_read(copy, &again, error));
    says(name, again);
    MUST(strcmp(mpigd_model_feature(again, 3), data_of(name, "feature")) == 0);
    mpigd_model_free(model);
    mpigd_model_free(again);
}

int main(int count, char **arguments) {
    char path[512], *name;
    MUST(count == 2);
    snprintf(path, sizeof path, "%s/vectors.bin", arguments[1]);
    read_vectors(path);
    if (getenv("MPIGD_TARGET") && strcmp(getenv("MPIGD_TARGET"), mpigd_target()) != 0) {
        printf("this processor can't run %s\n", getenv("MPIGD_TARGET"));
        return 77;
    }
    int cases = 0;
    for (int64_t at = 0; (name = next_case("means/", &at)); cases++, free(name)) {
        means(name);
    }
    for (int64_t at = 0; (name = next_case("fits/", &at)); cases++, free(name)) {
        fits(name);
    }
    for (int64_t at = 0; (name = next_case("models/", &at)); cases++, free(name)) {
        models(arguments[1], name);
    }
    forget_vectors();
    printf("%d cases with kernels for %s\n", cases, mpigd_target());
    return cases == 0;
}
