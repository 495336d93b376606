/* What goes wrong is said, with a status and a message. Argument: the directory that vectors.py has written. */
#include "vectors.h"

static mpigd_error said;

static void expect(mpigd_status found, mpigd_status status, const char *part) {
    if (found != status || !strstr(said.message, part)) {
        fprintf(stderr, "status %d, expected %d; message '%s', expected '… %s …'\n", found, status, said.message, part);
        exit(1);
    }
}

static void bad_files(const char *directory) {
    char path[512], damaged[512];
    mpigd_model *model = (mpigd_model *)1;
    expect(mpigd_model_read("/nowhere/model.h5", &model, &said), MPIGD_DATA, "No such file");
    MUST(!model);
    snprintf(path, sizeof path, "%s/vectors.bin", directory);
    expect(mpigd_model_read(path, &model, &said), MPIGD_DATA, "not an HDF5 file");
    snprintf(path, sizeof path, "%s/rows.h5", directory);
    expect(mpigd_model_read(path, &model, &said), MPIGD_DATA, "not a model of mpigd");
    snprintf(path, sizeof path, "%s/logistic.h5", directory);
    snprintf(damaged, sizeof damaged, "%s/damaged.h5", directory);
    FILE *file = fopen(path, "rb");
    static char bytes[1 << 20];
    size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    /* Any byte that counts: the file is refused, or what is read is what was written. */
    vector *coef = find("models/logistic", "coef");
    int refused = 0;
    for (size_t at = 0; at < length; at += 37) {
        bytes[at] ^= 0x10;
        file = fopen(damaged, "wb");
        MUST(fwrite(bytes, 1, length, file) == length);
        fclose(file);
        bytes[at] ^= 0x10;
        if (mpigd_model_read(damaged, &model, &said) == MPIGD_OK) {
            MUST(memcmp(mpigd_model_coef(model), coef->data, (size_t)coef->size * 8) == 0);
            mpigd_model_free(model);
        } else {
            MUST(said.message[0] && !model);
            refused++;
        }
    }
    MUST(refused > 10);
    OK(mpigd_model_read(path, &model, error));
    expect(mpigd_model_write(model, "/nowhere/model.h5", &said), MPIGD_OUTPUT, "can't be written");
    double x[18] = {0}, out[2];
    x[11] = NAN;
    expect(mpigd_eta(model, MPIGD_FLOAT64, 2, x, out, &said), MPIGD_DATA, "row 1");
    expect(mpigd_eta(model, (mpigd_type)9, 2, x, out, &said), MPIGD_USAGE, "type");
    MUST(mpigd_eta(model, MPIGD_FLOAT64, 0, NULL, NULL, &said) == MPIGD_OK && said.message[0] == 0);
    int64_t starts[] = {0, 1};
    int32_t column = 9;
    expect(mpigd_predict_csr(model, MPIGD_FLOAT64, 1, starts, &column, x, out, &said), MPIGD_DATA, "column 9");
    column = -1;
    expect(mpigd_predict_csr(model, MPIGD_FLOAT64, 1, starts, &column, x, out, &said), MPIGD_DATA, "column -1");
    expect(mpigd_predict_csr(model, MPIGD_FLOAT64, 1, starts, NULL, x, out, &said), MPIGD_USAGE, "NULL");
    int64_t falling[] = {0, 1 << 30, 1}, below[] = {-1, 1, 1};
    expect(mpigd_predict_csr(model, MPIGD_FLOAT64, 2, falling, &column, x, out, &said), MPIGD_DATA, "ascend at row 1");
    expect(mpigd_predict_csr(model, MPIGD_FLOAT64, 2, below, &column, x, out, &said), MPIGD_DATA, "below zero");
    mpigd_slice *slice = (mpigd_slice *)1;
    expect(mpigd_slice_csr(MPIGD_FLOAT64, 2, 9, falling, &column, x, x, NULL, NULL, 0, 2, 1, &slice, &said), MPIGD_DATA,
           "ascend at row 1");
    MUST(!slice);
    mpigd_model_free(model);
}

static void bad_rows(void) {
    double x[40] = {0}, y[40] = {0}, weight[40];
    mpigd_slice *slice;
    for (int i = 0; i < 40; i++) {
        weight[i] = 1.0;
    }
    MUST(mpigd_block_rows(40) == 16);
    expect(mpigd_slice_dense(MPIGD_FLOAT64, 10, 1, x, y, NULL, NULL, 0, 40, &slice, &said), MPIGD_USAGE, "whole blocks");
    expect(mpigd_slice_dense(MPIGD_FLOAT64, 8, 1, x, y, NULL, NULL, 30, 40, &slice, &said), MPIGD_USAGE, "whole blocks");
    expect(mpigd_slice_dense(MPIGD_FLOAT64, 50, 1, x, y, NULL, NULL, 0, 40, &slice, &said), MPIGD_USAGE, "no such rows");
    expect(mpigd_slice_dense(MPIGD_FLOAT64, 40, 1, x, NULL, NULL, NULL, 0, 40, &slice, &said), MPIGD_USAGE, "no y");
    x[21] = INFINITY;
    expect(mpigd_slice_dense(MPIGD_FLOAT64, 40, 1, x, y, NULL, NULL, 0, 40, &slice, &said), MPIGD_DATA, "row 21, column 0");
    x[21] = 0.0;
    weight[3] = -1.0;
    expect(mpigd_slice_dense(MPIGD_FLOAT64, 40, 1, x, y, weight, NULL, 0, 40, &slice, &said), MPIGD_DATA, "row 3 is negative");
    y[39] = NAN;
    expect(mpigd_slice_dense(MPIGD_FLOAT64, 40, 1, x, y, NULL, NULL, 0, 40, &slice, &said), MPIGD_DATA, "y of row 39");
    y[39] = 3.0;
    OK(mpigd_slice_dense(MPIGD_FLOAT64, 40, 1, x, y, NULL, NULL, 0, 40, &slice, error));
    double coef = 0.0, intercept = 0.0, value;
    mpigd_loss loss = {"logistic", 0.0, 0.0, 1};
    expect(mpigd_value_gradient(slice, &loss, &coef, &intercept, &value, NULL, NULL, &said), MPIGD_DATA, "y of row 39 is 3");
    loss.name = "none such";
    expect(mpigd_value_gradient(slice, &loss, &coef, &intercept, &value, NULL, NULL, &said), MPIGD_USAGE, "no loss 'none such'");
    loss = (mpigd_loss){"logistic", 2.0, 0.0, 1};
    expect(mpigd_value_gradient(slice, &loss, &coef, &intercept, &value, NULL, NULL, &said), MPIGD_USAGE, "parameter 2");
    loss = (mpigd_loss){"softmax", 0.0, 0.0, 1};
    expect(mpigd_value_gradient(slice, &loss, &coef, &intercept, &value, NULL, NULL, &said), MPIGD_USAGE, "number of classes");
    mpigd_fit_options options;
    mpigd_fit_defaults(&options);
    mpigd_model *model;
    options.loss = (mpigd_loss){"softmax", 0.0, 0.0, 4};
    options.solver = MPIGD_NEWTON;
    expect(mpigd_fit_over(NULL, slice, &options, &model, NULL, &said), MPIGD_USAGE, "MPIGD_LBFGS");
    options.solver = MPIGD_GD;
    options.learning_rate = 1e9;
    options.l2 = 1e9;
    y[0] = 0.0;
    options.loss = (mpigd_loss){"logistic", 0.0, 0.0, 1};
    expect(mpigd_fit_over(NULL, slice, &options, &model, NULL, &said), MPIGD_DATA, "y of row 39");
    mpigd_slice_free(slice);
    y[39] = 1.0;
    for (int i = 0; i < 40; i++) {
        x[i] = i;
    }
    OK(mpigd_slice_dense(MPIGD_FLOAT64, 40, 1, x, y, NULL, NULL, 0, 40, &slice, error));
    expect(mpigd_fit_over(NULL, slice, &options, &model, NULL, &said), MPIGD_DIVERGED, "diverged");
    mpigd_slice_free(slice);
    mpigd_slice_free(NULL);
    mpigd_model_free(NULL);
    mpigd_problem_free(NULL);
}

int main(int count, char **arguments) {
    char path[512];
    MUST(count == 2);
    snprintf(path, sizeof path, "%s/vectors.bin", arguments[1]);
    read_vectors(path);
    bad_files(arguments[1]);
    bad_rows();
    forget_vectors();
    return 0;
}
