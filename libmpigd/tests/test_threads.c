/* Threads that share slices and models find the same bits as one. Argument: the directory that vectors.py has written. */
#include <pthread.h>

#include "vectors.h"

enum { THREADS = 8, TURNS = 20 };

static const char *name = "means/logistic", *file;
static mpigd_slice *slice;
static mpigd_model *model;

static void *work(void *place) {
    mpigd_loss loss = {"logistic", 0.0, 0.0, 1};
    vector *x = find("models/logistic", "x");
    for (int turn = 0; turn < TURNS; turn++) {
        double value, gradient[16], eta[64];
        OK(mpigd_value_gradient(slice, &loss, data_of(name, "coef"), data_of(name, "intercept"), &value, gradient, NULL,
                                error));
        same(name, "value", &value);
        same(name, "gradient", gradient);
        OK(mpigd_eta(model, MPIGD_FLOAT64, x->dimensions[0], x->data, eta, error));
        same("models/logistic", "eta", eta);
        mpigd_model *own;
        OK(mpigd_model_read(file, &own, error));
        mpigd_model_free(own);
    }
    return place;
}

int main(int count, char **arguments) {
    char path[512];
    pthread_t threads[THREADS];
    MUST(count == 2);
    snprintf(path, sizeof path, "%s/vectors.bin", arguments[1]);
    read_vectors(path);
    snprintf(path, sizeof path, "%s/logistic.h5", arguments[1]);
    file = path;
    OK(mpigd_model_read(path, &model, error));
    slice = slice_of(name, 0, find(name, "y")->size);
    for (int i = 0; i < THREADS; i++) {
        MUST(pthread_create(threads + i, NULL, work, NULL) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        MUST(pthread_join(threads[i], NULL) == 0);
    }
    mpigd_slice_free(slice);
    mpigd_model_free(model);
    forget_vectors();
    return 0;
}
