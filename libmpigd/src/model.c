/* Models, and what they say of rows; as mpigd/predictor.py. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { TILE_ROWS = 64, LEAST_ROWS = 16, BATCH_BYTES = 1 << 18, MOST_TILES = 64 };

char *mpigd_copy(const char *text) {
    size_t length = strlen(text) + 1;
    char *copy = malloc(length);
    return copy ? memcpy(copy, text, length) : NULL;
}

void mpigd_model_free(mpigd_model *model) {
    if (model) {
        free(model->coef);
        free(model->intercept);
        free(model->labels);
        free(model->loss);
        free(model->link);
        free(model->names);
        free((void *)model->features);
        free(model->config);
        free(model->result);
        free(model);
    }
}

mpigd_status mpigd_model_make(int64_t columns, int64_t outputs, int64_t classes, mpigd_model **made,
                              mpigd_error *error) {
    mpigd_model *model = mpigd_zeros(1, sizeof *model);
    *made = NULL;
    if (!model) {
        return mpigd_no_memory(error);
    }
    model->d = columns;
    model->outputs = outputs;
    model->classes = classes;
    model->threshold = NAN;
    bool fits = columns < INT64_MAX / (outputs + 1);
    model->coef = fits ? mpigd_zeros(columns * outputs, sizeof(double)) : NULL;
    model->intercept = mpigd_zeros(outputs, sizeof(double));
    model->labels = mpigd_zeros(classes, sizeof(double));
    model->features = mpigd_zeros(columns, sizeof *model->features);
    if (!model->coef || !model->intercept || !model->labels || !model->features) {
        mpigd_model_free(model);
        return mpigd_no_memory(error);
    }
    *made = model;
    return MPIGD_OK;
}

mpigd_status mpigd_model_name_columns(mpigd_model *model, mpigd_error *error) {
    enum { LONGEST = 21 };
    model->names = mpigd_zeros(model->d + 1, LONGEST);
    if (!model->names) {
        return mpigd_no_memory(error);
    }
    for (int64_t j = 0; j < model->d; j++) {
        char *name = model->names + j * LONGEST;
        snprintf(name, LONGEST, "x%lld", (long long)j);
        model->features[j] = name;
    }
    return MPIGD_OK;
}

mpigd_status mpigd_model_new(const char *loss, int64_t columns, int64_t outputs, const double *coef,
                             const double *intercept, int64_t classes, const double *labels, mpigd_model **made,
                             mpigd_error *error) {
    mpigd_begin(error);
    *made = NULL;
    const mpigd_loss_entry *entry = mpigd_loss_named(loss);
    if (!entry) {
        return mpigd_fail(error, MPIGD_USAGE, "there is no loss '%.64s' in this build of libmpigd",
                          loss ? loss : "(null)");
    }
    int64_t expected = mpigd_coupled(entry) ? outputs : mpigd_of_classes(entry) ? 2 : 0;
    if (columns < 0 || outputs < 1 || classes != expected || (expected == 2 && !mpigd_coupled(entry) && outputs != 1)) {
        return mpigd_fail(error, MPIGD_USAGE, "%lld columns, %lld outputs and %lld classes do not make a model of loss %s",
                          (long long)columns, (long long)outputs, (long long)classes, entry->name);
    }
    if ((columns && !coef) || !intercept || (classes && !labels)) {
        return mpigd_fail(error, MPIGD_USAGE, "an array is NULL");
    }
    mpigd_model *model;
    mpigd_status status = mpigd_model_make(columns, outputs, classes, &model, error);
    if (status != MPIGD_OK) {
        return status;
    }
    for (int64_t e = 0; e < columns * outputs; e++) {
        model->coef[e] = coef[e];
    }
    for (int64_t k = 0; k < outputs; k++) {
        model->intercept[k] = intercept[k];
    }
    for (int64_t i = 0; i < classes; i++) {
        model->labels[i] = labels[i];
    }
    model->several = mpigd_coupled(entry) || outputs > 1;
    model->loss = mpigd_copy(entry->name);
    model->link = mpigd_copy(entry->link);
    model->config = mpigd_copy("{}");
    model->result = mpigd_copy("{}");
    bool all = model->loss && model->link && model->config && model->result;
    status = all ? mpigd_model_name_columns(model, error) : mpigd_no_memory(error);
    if (status != MPIGD_OK) {
        mpigd_model_free(model);
        return status;
    }
    *made = model;
    return MPIGD_OK;
}

int64_t mpigd_model_columns(const mpigd_model *model) { return model->d; }

int64_t mpigd_model_outputs(const mpigd_model *model) { return model->outputs; }

int64_t mpigd_model_classes(const mpigd_model *model) { return model->classes; }

const double *mpigd_model_coef(const mpigd_model *model) { return model->coef; }

const double *mpigd_model_intercept(const mpigd_model *model) { return model->intercept; }

const double *mpigd_model_labels(const mpigd_model *model) { return model->classes ? model->labels : NULL; }

const char *mpigd_model_loss(const mpigd_model *model) { return model->loss; }

const char *mpigd_model_link(const mpigd_model *model) { return model->link; }

double mpigd_model_threshold(const mpigd_model *model) { return model->threshold; }

const char *mpigd_model_feature(const mpigd_model *model, int64_t column) {
    return column >= 0 && column < model->d ? model->features[column] : NULL;
}

static bool tells_sides(const mpigd_model *model) { return strcmp(model->link, "sign") == 0; }

int64_t mpigd_model_probabilities(const mpigd_model *model) { return tells_sides(model) ? 0 : model->classes; }

int64_t mpigd_model_answers(const mpigd_model *model) { return model->classes ? 1 : model->outputs; }

/* ---- rows: where they are, in either layout ---- */

typedef struct {
    mpigd_type type;
    int64_t n;
    const void *x;          /* (n, d), or the numbers of sparse rows, where there are */
    const int64_t *starts;  /* begins, (n + 1,), and */
    const int32_t *columns; /* columns */
} rows_of;

typedef void (*fill_of)(const void *chunk, int64_t m, int64_t d, int64_t start, void *tiles, int64_t t, int64_t d1,
                        int64_t rows, double *check, int64_t one, int64_t eight);
typedef void (*dense_of)(void *tiles, int64_t t, int64_t d, int64_t rows, int64_t n, int64_t first, int64_t last,
                         double *offset, int64_t none, int64_t one, int64_t rows1, const double *coef, int64_t d1,
                         int64_t k, const double *intercept, int64_t k1, double *scratch, int64_t k2, int64_t rows2,
                         double *out, int64_t n1, int64_t k3);
typedef void (*sparse_of)(const void *values, int64_t m, const int32_t *columns, int64_t m1, const int64_t *starts,
                          int64_t n1, int64_t n, int64_t first, int64_t last, double *offset, int64_t none, int64_t one,
                          int64_t rows1, const double *coef, int64_t d1, int64_t k, const double *intercept, int64_t k1,
                          double *scratch, int64_t k2, int64_t rows2, double *out, int64_t n2, int64_t k3);

static mpigd_status not_finite(int64_t row, mpigd_error *error) {
    return mpigd_fail(error, MPIGD_DATA, "row %lld holds a number that is not finite, or too large; remove or impute it",
                      (long long)row);
}

static mpigd_status check_eta(int64_t first, int64_t n, int64_t k, const double *eta, mpigd_error *error) {
    for (int64_t e = 0; e < n * k; e++) {
        if (!isfinite(eta[e])) {
            return not_finite(first + e / k, error);
        }
    }
    return MPIGD_OK;
}

static mpigd_status dense_eta(const mpigd_model *model, const rows_of *rows, double *out, mpigd_error *error) {
    int64_t d = model->d, k = model->outputs, of_tile = rows->n > LEAST_ROWS ? TILE_ROWS : LEAST_ROWS;
    const char *type = mpigd_type_name(rows->type);
    fill_of fill = (fill_of)mpigd_find(error, "fill_tiles %s %lld", type, (long long)of_tile);
    dense_of kernel = (dense_of)mpigd_find(error, "linear_predictor %s float64 float64 %lld", type, (long long)of_tile);
    if (!fill || !kernel) {
        return MPIGD_USAGE;
    }
    size_t item = mpigd_type_size(rows->type);
    int64_t bytes = d * of_tile * (int64_t)item, tiles = BATCH_BYTES / (bytes + 1);
    tiles = tiles < 1 ? 1 : tiles > MOST_TILES ? MOST_TILES : tiles;
    int64_t most = (rows->n + of_tile - 1) / of_tile;
    tiles = most < tiles ? most : tiles;
    char *x = mpigd_zeros(tiles * of_tile * d, item);
    double *scratch = mpigd_zeros(k * of_tile, sizeof *scratch), check[8] = {0};
    mpigd_status status = x && scratch ? MPIGD_OK : mpigd_no_memory(error);
    for (int64_t first = 0; status == MPIGD_OK && first < rows->n; first += tiles * of_tile) {
        int64_t count = rows->n - first < tiles * of_tile ? rows->n - first : tiles * of_tile;
        int64_t used = (count + of_tile - 1) / of_tile;
        if (d) {
            const char *chunk = (const char *)rows->x + (size_t)(first * d) * item;
            fill(chunk, count, d, 0, x, tiles, d, of_tile, check, 1, 8);
        }
        kernel(x, tiles, d, of_tile, count, 0, used, NULL, 0, 1, of_tile, model->coef, d, k, model->intercept, k, scratch,
               k, of_tile, out + first * k, count, k);
        status = check_eta(first, count, k, out + first * k, error);
    }
    free(x);
    free(scratch);
    return status;
}

/* Numbers of a type without sparse kernels as doubles, which changes no bit of eta; NULL where there is no memory. */
static double *widened(const rows_of *rows) {
    int64_t begin = rows->starts[0], count = rows->starts[rows->n] - begin;
    double *wide = mpigd_zeros(count, sizeof *wide);
    for (int64_t m = 0; wide && m < count; m++) {
        wide[m] = mpigd_number(rows->type, rows->x, begin + m);
    }
    return wide;
}

static mpigd_status sparse_eta(const mpigd_model *model, const rows_of *rows, double *out, mpigd_error *error) {
    int64_t k = model->outputs, n = rows->n;
    mpigd_status status = mpigd_check_starts(rows->starts, n, 0, error);
    if (status != MPIGD_OK) {
        return status;
    }
    if (rows->starts[n] > rows->starts[0] && (!rows->columns || !rows->x)) {
        return mpigd_fail(error, MPIGD_USAGE, "an array is NULL");
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t m = rows->starts[i]; m < rows->starts[i + 1]; m++) {
            if (rows->columns[m] < 0 || rows->columns[m] >= model->d) {
                return mpigd_fail(error, MPIGD_DATA, "row %lld has a number in column %lld; the model has %lld columns",
                                  (long long)i, (long long)rows->columns[m], (long long)model->d);
            }
        }
    }
    bool single = rows->type == MPIGD_FLOAT32, as_it_is = single || rows->type == MPIGD_FLOAT64;
    sparse_of kernel = (sparse_of)mpigd_find(error, "sparse_linear_predictor %s int32 float64 float64 16 %s",
                                             single ? "float32" : "float64", k == 1 ? "True" : "False");
    if (!kernel) {
        return MPIGD_USAGE;
    }
    int64_t begin = rows->starts[0], count = rows->starts[n] - begin;
    double *wide = as_it_is ? NULL : widened(rows), *scratch = mpigd_zeros(k * LEAST_ROWS, sizeof *scratch);
    int64_t *starts = mpigd_zeros(n + 1, sizeof *starts);
    status = scratch && starts && (wide || as_it_is) ? MPIGD_OK : mpigd_no_memory(error);
    if (status == MPIGD_OK) {
        for (int64_t i = 0; i <= n; i++) {
            starts[i] = rows->starts[i] - begin;
        }
        const void *values = as_it_is ? (const char *)rows->x + (size_t)begin * mpigd_type_size(rows->type) : (char *)wide;
        kernel(values, count, rows->columns + begin, count, starts, n + 1, n, 0, (n + LEAST_ROWS - 1) / LEAST_ROWS, NULL,
               0, 1, LEAST_ROWS, model->coef, model->d, k, model->intercept, k, scratch, k, LEAST_ROWS, out, n, k);
        status = check_eta(0, n, k, out, error);
    }
    free(wide);
    free(scratch);
    free(starts);
    return status;
}

static mpigd_status eta_of(const mpigd_model *model, const rows_of *rows, double *out, mpigd_error *error) {
    mpigd_begin(error);
    if (!model || !mpigd_type_name(rows->type) || rows->n < 0) {
        return mpigd_fail(error, MPIGD_USAGE, "no model, a type that is none, or %lld rows", (long long)rows->n);
    }
    if (rows->n == 0) {
        return MPIGD_OK;
    }
    if (!out || (!rows->x && model->d && !rows->starts)) {
        return mpigd_fail(error, MPIGD_USAGE, "an array is NULL");
    }
    return rows->starts ? sparse_eta(model, rows, out, error) : dense_eta(model, rows, out, error);
}

/* ---- answers ---- */

/* Of one row, from its eta (K,), which is overwritten by means: the place of its class. */
static int64_t class_of(const mpigd_model *model, double *eta) {
    if (!model->several) {
        mpigd_mean(model->link, 1, eta);
        double second = eta[0];
        return isnan(model->threshold) ? second > 1.0 - second : second >= model->threshold;
    }
    if (!tells_sides(model)) {
        mpigd_mean(model->link, model->outputs, eta);
    }
    int64_t best = 0;
    for (int64_t k = 1; k < model->outputs; k++) {
        best = eta[k] > eta[best] ? k : best;
    }
    return best;
}

static mpigd_status predict(const mpigd_model *model, const rows_of *rows, double *out, mpigd_error *error) {
    int64_t k = model ? model->outputs : 0;
    bool several = model && model->classes && k > 1;
    double *eta = several && rows->n > 0 ? mpigd_zeros(rows->n * k, sizeof *eta) : out;
    if (several && !eta && rows->n > 0) {
        return mpigd_no_memory(error);
    }
    mpigd_status status = eta_of(model, rows, eta, error);
    for (int64_t i = 0; status == MPIGD_OK && i < rows->n; i++) {
        if (model->classes) {
            out[i] = model->labels[class_of(model, eta + i * k)];
        } else {
            mpigd_mean(model->link, k, out + i * k);
        }
    }
    if (several && eta != out) {
        free(eta);
    }
    return status;
}

static mpigd_status predict_proba(const mpigd_model *model, const rows_of *rows, double *out, mpigd_error *error) {
    if (model && !mpigd_model_probabilities(model)) {
        return mpigd_fail(error, MPIGD_USAGE, "the model has no probabilities of classes: loss %s gives %s", model->loss,
                          model->classes ? "the side alone" : "numbers");
    }
    mpigd_status status = eta_of(model, rows, out, error);
    if (status == MPIGD_OK && model->several) {
        for (int64_t i = 0; i < rows->n; i++) {
            mpigd_mean(model->link, model->outputs, out + i * model->outputs);
        }
    } else if (status == MPIGD_OK) {
        for (int64_t i = rows->n - 1; i >= 0; i--) { /* from the last on: each becomes two */
            double mean = out[i];
            mpigd_mean(model->link, 1, &mean);
            out[2 * i] = 1.0 - mean;
            out[2 * i + 1] = mean;
        }
    }
    return status;
}

mpigd_status mpigd_eta(const mpigd_model *model, mpigd_type type, int64_t n, const void *x, double *out,
                       mpigd_error *error) {
    return eta_of(model, &(rows_of){type, n, x, NULL, NULL}, out, error);
}

mpigd_status mpigd_predict(const mpigd_model *model, mpigd_type type, int64_t n, const void *x, double *out,
                           mpigd_error *error) {
    return predict(model, &(rows_of){type, n, x, NULL, NULL}, out, error);
}

mpigd_status mpigd_predict_proba(const mpigd_model *model, mpigd_type type, int64_t n, const void *x, double *out,
                                 mpigd_error *error) {
    return predict_proba(model, &(rows_of){type, n, x, NULL, NULL}, out, error);
}

static const int64_t no_starts[1] = {0};

/* No rows may come without starts. */
static rows_of sparse_rows(mpigd_type type, int64_t n, const int64_t *starts, const int32_t *columns,
                           const void *values) {
    return (rows_of){type, starts ? n : n ? -1 : 0, values, starts ? starts : no_starts, columns};
}

mpigd_status mpigd_eta_csr(const mpigd_model *model, mpigd_type type, int64_t n, const int64_t *starts,
                           const int32_t *columns, const void *values, double *out, mpigd_error *error) {
    rows_of rows = sparse_rows(type, n, starts, columns, values);
    return eta_of(model, &rows, out, error);
}

mpigd_status mpigd_predict_csr(const mpigd_model *model, mpigd_type type, int64_t n, const int64_t *starts,
                               const int32_t *columns, const void *values, double *out, mpigd_error *error) {
    rows_of rows = sparse_rows(type, n, starts, columns, values);
    return predict(model, &rows, out, error);
}

mpigd_status mpigd_predict_proba_csr(const mpigd_model *model, mpigd_type type, int64_t n, const int64_t *starts,
                                     const int32_t *columns, const void *values, double *out, mpigd_error *error) {
    rows_of rows = sparse_rows(type, n, starts, columns, values);
    return predict_proba(model, &rows, out, error);
}
