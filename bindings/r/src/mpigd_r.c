/* libmpigd for .Call. Arrays are row by row here; R/mpigd.R transposes. */
#include <stdint.h>

#include <mpigd.h>

#define R_NO_REMAP
#include <R.h>
#include <R_ext/Rdynload.h>
#include <Rinternals.h>

/* Does not return where a call has failed: R's function `fail` raises a condition. */
static void check(mpigd_status status, const mpigd_error *error) {
    if (status == MPIGD_OK)
        return;
    SEXP code = PROTECT(Rf_ScalarInteger((int)status));
    SEXP message = PROTECT(Rf_ScalarString(Rf_mkCharCE(error->message, CE_UTF8)));
    SEXP call = PROTECT(Rf_lang3(Rf_install("fail"), code, message));
    SEXP name = PROTECT(Rf_mkString("mpigd"));
    Rf_eval(call, R_FindNamespace(name));
}

static void free_model(SEXP handle) {
    mpigd_model_free(R_ExternalPtrAddr(handle));
    R_ClearExternalPtr(handle);
}

static void free_slice(SEXP handle) {
    mpigd_slice_free(R_ExternalPtrAddr(handle));
    R_ClearExternalPtr(handle);
}

/* An empty handle: what fails after it was made can't leak what it is to hold. */
static SEXP new_handle(R_CFinalizer_t finalizer) {
    SEXP handle = PROTECT(R_MakeExternalPtr(NULL, R_NilValue, R_NilValue));
    R_RegisterCFinalizerEx(handle, finalizer, TRUE);
    UNPROTECT(1);
    return handle;
}

static void *held_by(SEXP handle) {
    void *held = TYPEOF(handle) == EXTPTRSXP ? R_ExternalPtrAddr(handle) : NULL;
    if (!held)
        Rf_error("the model is of another session of R; write it to a file and read it anew");
    return held;
}

static const double *numbers_or_null(SEXP numbers) { return Rf_isNull(numbers) ? NULL : REAL(numbers); }

static SEXP numbers_of(const double *numbers, int64_t length) {
    SEXP found = Rf_allocVector(REALSXP, (R_xlen_t)length);
    for (int64_t i = 0; i < length; ++i)
        REAL(found)[i] = numbers[i];
    return found;
}

static SEXP text_of(const char *text) { return Rf_ScalarString(Rf_mkCharCE(text, CE_UTF8)); }

static SEXP read_model(SEXP path) {
    SEXP handle = PROTECT(new_handle(free_model));
    mpigd_error error;
    mpigd_model *model = NULL;
    check(mpigd_model_read(CHAR(STRING_ELT(path, 0)), &model, &error), &error);
    R_SetExternalPtrAddr(handle, model);
    UNPROTECT(1);
    return handle;
}

static SEXP new_model(SEXP loss, SEXP coef, SEXP intercept, SEXP labels) {
    SEXP handle = PROTECT(new_handle(free_model));
    const int64_t outputs = XLENGTH(intercept), classes = XLENGTH(labels);
    mpigd_error error;
    mpigd_model *model = NULL;
    check(mpigd_model_new(CHAR(STRING_ELT(loss, 0)), XLENGTH(coef) / outputs, outputs, REAL(coef), REAL(intercept),
                          classes, classes ? REAL(labels) : NULL, &model, &error),
          &error);
    R_SetExternalPtrAddr(handle, model);
    UNPROTECT(1);
    return handle;
}

static SEXP write_model(SEXP handle, SEXP path) {
    mpigd_error error;
    check(mpigd_model_write(held_by(handle), CHAR(STRING_ELT(path, 0)), &error), &error);
    return R_NilValue;
}

/* What a model holds, as a named list. */
static SEXP held(SEXP handle) {
    const mpigd_model *model = held_by(handle);
    const char *names[] = {"loss",          "link",    "features",  "coef",   "intercept", "labels", "outputs",
                           "probabilities", "answers", "threshold", ""};
    const int64_t columns = mpigd_model_columns(model), outputs = mpigd_model_outputs(model);
    SEXP found = PROTECT(Rf_mkNamed(VECSXP, names));
    SET_VECTOR_ELT(found, 0, text_of(mpigd_model_loss(model)));
    SET_VECTOR_ELT(found, 1, text_of(mpigd_model_link(model)));
    SEXP features = Rf_allocVector(STRSXP, (R_xlen_t)columns);
    SET_VECTOR_ELT(found, 2, features);
    for (int64_t j = 0; j < columns; ++j)
        SET_STRING_ELT(features, (R_xlen_t)j, Rf_mkCharCE(mpigd_model_feature(model, j), CE_UTF8));
    SET_VECTOR_ELT(found, 3, numbers_of(mpigd_model_coef(model), columns * outputs));
    SET_VECTOR_ELT(found, 4, numbers_of(mpigd_model_intercept(model), outputs));
    SET_VECTOR_ELT(found, 5, numbers_of(mpigd_model_labels(model), mpigd_model_classes(model)));
    SET_VECTOR_ELT(found, 6, Rf_ScalarReal((double)outputs));
    SET_VECTOR_ELT(found, 7, Rf_ScalarReal((double)mpigd_model_probabilities(model)));
    SET_VECTOR_ELT(found, 8, Rf_ScalarReal((double)mpigd_model_answers(model)));
    SET_VECTOR_ELT(found, 9, Rf_ScalarReal(mpigd_model_threshold(model)));
    UNPROTECT(1);
    return found;
}

/* Rows as `rows_of` in R gives them. */
typedef struct {
    int64_t n, columns;
    const double *values;
    const int64_t *starts; /* NULL for dense rows */
    const int *places;
} rows;

static rows rows_of(SEXP x) {
    SEXP starts = VECTOR_ELT(x, 4), places = VECTOR_ELT(x, 5);
    rows found = {Rf_asInteger(VECTOR_ELT(x, 0)), Rf_asInteger(VECTOR_ELT(x, 1)), REAL(VECTOR_ELT(x, 3)), NULL, NULL};
    if (!Rf_isNull(starts)) {
        int64_t *wide = (int64_t *)R_alloc((size_t)found.n + 1, sizeof *wide); /* until .Call returns */
        for (int64_t i = 0; i <= found.n; ++i)
            wide[i] = INTEGER(starts)[i];
        found.starts = wide;
        found.places = INTEGER(places);
    }
    return found;
}

/* what: 0 linear predictors, 1 predictions, 2 probabilities; width of them for each row of x. */
static SEXP predict(SEXP handle, SEXP what, SEXP x, SEXP width) {
    static mpigd_status (*const dense[])(const mpigd_model *, mpigd_type, int64_t, const void *, double *,
                                         mpigd_error *) = {mpigd_eta, mpigd_predict, mpigd_predict_proba};
    static mpigd_status (*const sparse[])(const mpigd_model *, mpigd_type, int64_t, const int64_t *, const int32_t *,
                                          const void *, double *,
                                          mpigd_error *) = {mpigd_eta_csr, mpigd_predict_csr, mpigd_predict_proba_csr};
    const mpigd_model *model = held_by(handle);
    const rows from = rows_of(x);
    const int of = Rf_asInteger(what);
    SEXP found = PROTECT(Rf_allocVector(REALSXP, (R_xlen_t)from.n * (R_xlen_t)Rf_asReal(width)));
    double *out = REAL(found);
    mpigd_error error;
    check(from.starts ? sparse[of](model, MPIGD_FLOAT64, from.n, from.starts, from.places, from.values, out, &error)
                      : dense[of](model, MPIGD_FLOAT64, from.n, from.values, out, &error),
          &error);
    UNPROTECT(1);
    return found;
}

static SEXP new_slice(SEXP x, SEXP y, SEXP weight, SEXP offset) {
    SEXP handle = PROTECT(new_handle(free_slice));
    const rows from = rows_of(x);
    const double *w = numbers_or_null(weight), *o = numbers_or_null(offset);
    mpigd_error error;
    mpigd_slice *slice = NULL;
    check(from.starts ? mpigd_slice_csr(MPIGD_FLOAT64, from.n, from.columns, from.starts, from.places, from.values,
                                        REAL(y), w, o, 0, from.n, from.starts[from.n], &slice, &error)
                      : mpigd_slice_dense(MPIGD_FLOAT64, from.n, from.columns, from.values, REAL(y), w, o, 0, from.n,
                                          &slice, &error),
          &error);
    R_SetExternalPtrAddr(handle, slice);
    UNPROTECT(1);
    return handle;
}

/* Gradient, value and sum of weights; or, of a direction that is not NULL, the Hessian times it. */
static SEXP derivative(SEXP handle, SEXP name, SEXP numbers, SEXP coef, SEXP intercept, SEXP direction) {
    const mpigd_slice *slice = held_by(handle);
    const mpigd_loss loss = {CHAR(STRING_ELT(name, 0)), REAL(numbers)[0], REAL(numbers)[1], XLENGTH(intercept)};
    const R_xlen_t size = XLENGTH(coef) + XLENGTH(intercept);
    const double *v = numbers_or_null(direction);
    SEXP found = PROTECT(Rf_allocVector(REALSXP, v ? size : size + 2));
    double *out = REAL(found);
    mpigd_error error;
    if (v)
        check(mpigd_hessian_product(slice, &loss, REAL(coef), REAL(intercept), v, out, &error), &error);
    else
        check(mpigd_value_gradient(slice, &loss, REAL(coef), REAL(intercept), out + size, out, out + size + 1, &error),
              &error);
    UNPROTECT(1);
    return found;
}

static SEXP fit(SEXP slice, SEXP name, SEXP numbers) {
    SEXP handle = PROTECT(new_handle(free_model));
    const double *given = REAL(numbers);
    const mpigd_fit_options options = {
        .loss = {CHAR(STRING_ELT(name, 0)), given[0], given[1], (int64_t)given[2]},
        .solver = (mpigd_solver)given[3],
        .l2 = given[4],
        .intercept = given[5] != 0.0,
        .standardize = given[6] != 0.0,
        .tol = given[7],
        .max_passes = given[8],
        .learning_rate = given[9],
    };
    mpigd_error error;
    mpigd_model *model = NULL;
    mpigd_fit_result result;
    check(mpigd_fit_over(NULL, held_by(slice), &options, &model, &result, &error), &error);
    R_SetExternalPtrAddr(handle, model);
    const double all[] = {result.value, result.gradient_norm, result.passes, (double)result.steps, result.converged};
    SEXP found = PROTECT(Rf_allocVector(VECSXP, 2));
    SET_VECTOR_ELT(found, 0, handle);
    SET_VECTOR_ELT(found, 1, numbers_of(all, 5));
    UNPROTECT(2);
    return found;
}

static const R_CallMethodDef functions[] = {
    {"read", (DL_FUNC)&read_model, 1},     {"new", (DL_FUNC)&new_model, 4},   {"write", (DL_FUNC)&write_model, 2},
    {"held", (DL_FUNC)&held, 1},           {"predict", (DL_FUNC)&predict, 4}, {"slice", (DL_FUNC)&new_slice, 4},
    {"derivative", (DL_FUNC)&derivative, 6}, {"fit", (DL_FUNC)&fit, 3},       {NULL, NULL, 0},
};

void R_init_mpigd(DllInfo *library) {
    R_registerRoutines(library, NULL, functions, NULL, NULL);
    R_useDynamicSymbols(library, FALSE);
}
