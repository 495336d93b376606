/* Arrays that vectors.py has written, and what the tests check with. */
#ifndef VECTORS_H
#define VECTORS_H

#include <math.h>
#include <mpigd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                  \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

#define OK(call)                                                                                      \
    do {                                                                                              \
        mpigd_error error_ = {""};                                                                    \
        mpigd_error *error = &error_;                                                                 \
        mpigd_status status_ = call;                                                                  \
        if (status_ != MPIGD_OK) {                                                                    \
            fprintf(stderr, "%s:%d: status %d: %s\n", __FILE__, __LINE__, status_, error_.message);   \
            exit(1);                                                                                  \
        }                                                                                             \
    } while (0)

typedef struct {
    char name[96];
    char type;
    int64_t size, dimensions[4];
    void *data;
} vector;

static vector *vectors;
static int64_t vectors_count;

static inline size_t item(char type) { return type == 'd' || type == 'q' ? 8 : type == 'f' || type == 'i' ? 4 : type == 'e' ? 2 : 1; }

static void read_vectors(const char *path) {
    FILE *file = fopen(path, "rb");
    int32_t length, dimensions;
    MUST(file);
    while (fread(&length, 4, 1, file) == 1) {
        vectors = realloc(vectors, (size_t)(vectors_count + 1) * sizeof *vectors);
        vector *v = vectors + vectors_count++;
        memset(v, 0, sizeof *v);
        MUST(length < (int32_t)sizeof v->name && fread(v->name, (size_t)length, 1, file) == 1);
        MUST(fread(&v->type, 1, 1, file) == 1 && fread(&dimensions, 4, 1, file) == 1 && dimensions <= 4);
        v->size = 1;
        for (int i = 0; i < dimensions; i++) {
            MUST(fread(v->dimensions + i, 8, 1, file) == 1);
            v->size *= v->dimensions[i];
        }
        size_t bytes = (size_t)v->size * item(v->type);
        v->data = calloc(bytes + 1, 1); /* text ends with a zero */
        MUST(v->data && fread(v->data, 1, bytes, file) == bytes);
    }
    fclose(file);
    MUST(vectors_count);
}

static void forget_vectors(void) {
    for (int64_t i = 0; i < vectors_count; i++) {
        free(vectors[i].data);
    }
    free(vectors);
}

/* An array of a case, NULL where there is none. */
static inline vector *find(const char *of, const char *name) {
    char whole[192];
    snprintf(whole, sizeof whole, "%s/%s", of, name);
    for (int64_t i = 0; i < vectors_count; i++) {
        if (strcmp(vectors[i].name, whole) == 0) {
            return vectors + i;
        }
    }
    return NULL;
}

static void *data_of(const char *of, const char *name) {
    vector *found = find(of, name);
    return found ? found->data : NULL;
}

static inline int64_t number_of(const char *of, const char *name) {
    int64_t *found = data_of(of, name);
    MUST(found);
    return *found;
}

/* Options of the fit of a case. */
static inline mpigd_fit_options options_of(const char *name) {
    mpigd_fit_options options;
    mpigd_fit_defaults(&options);
    options.loss = (mpigd_loss){data_of(name, "loss"), 0.0, 0.0, number_of(name, "outputs")};
    options.l2 = 0.01;
    options.standardize = (int)number_of(name, "standardize");
    options.intercept = (int)number_of(name, "intercept");
    return options;
}

/* The next case of a kind after place *at: its name, for free; NULL at the end. */
static inline char *next_case(const char *kind, int64_t *at) {
    while (*at < vectors_count) {
        char *name = vectors[(*at)++].name, *end = strrchr(name, '/');
        if (strncmp(name, kind, strlen(kind)) == 0 && strcmp(end, "/loss") == 0) {
            char *found = calloc((size_t)(end - name) + 1, 1);
            return memcpy(found, name, (size_t)(end - name));
        }
    }
    return NULL;
}

static inline mpigd_type type_of(const vector *v) {
    return (mpigd_type)(strchr("dfebB", v->type) - "dfebB");
}

/* The same bits as an array of a case. */
static inline void same(const char *of, const char *name, const double *found) {
    vector *expected = find(of, name);
    MUST(expected && expected->type == 'd');
    if (memcmp(expected->data, found, (size_t)expected->size * 8) != 0) {
        for (int64_t i = 0; i < expected->size; i++) {
            double e = ((double *)expected->data)[i];
            if (memcmp(&e, found + i, 8) != 0) {
                fprintf(stderr, "%s/%s: element %lld is %.17g, in Python %.17g\n", of, name, (long long)i, found[i], e);
                exit(1);
            }
        }
    }
}

static inline void near(const char *of, const char *name, const double *found, double tolerance) {
    vector *expected = find(of, name);
    MUST(expected && expected->type == 'd');
    double largest = 0.0;
    for (int64_t i = 0; i < expected->size; i++) {
        largest = fmax(largest, fabs(((double *)expected->data)[i]));
    }
    for (int64_t i = 0; i < expected->size; i++) {
        double e = ((double *)expected->data)[i];
        if (!(fabs(found[i] - e) <= tolerance * largest)) {
            fprintf(stderr, "%s/%s: element %lld is %.17g, in Python %.17g\n", of, name, (long long)i, found[i], e);
            exit(1);
        }
    }
}

/* A slice of some rows of a case. */
static inline mpigd_slice *slice_of(const char *of, int64_t first, int64_t rows) {
    vector *x = find(of, "x"), *y = find(of, "y"), *values = find(of, "values"), *coef = find(of, "coef");
    double *weight = data_of(of, "weight"), *offset = data_of(of, "offset");
    int64_t total = y->size;
    mpigd_slice *slice = NULL;
    weight = weight ? weight + first : NULL;
    offset = offset ? offset + first : NULL;
    if (x) {
        int64_t d = x->dimensions[1];
        const char *begin = (char *)x->data + (size_t)(first * d) * item(x->type);
        OK(mpigd_slice_dense(type_of(x), rows, d, begin, (double *)y->data + first, weight, offset, first, total, &slice,
                             error));
    } else {
        OK(mpigd_slice_csr(type_of(values), rows, coef->dimensions[0], (int64_t *)data_of(of, "starts") + first,
                           data_of(of, "columns"), values->data, (double *)y->data + first, weight, offset, first, total,
                           values->size, &slice, error));
    }
    return slice;
}

#endif
