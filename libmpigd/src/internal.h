/* What the files of libmpigd share. Names begin with mpigd_ for the sake of the static library; none is exported. */
#ifndef MPIGD_INTERNAL_H
#define MPIGD_INTERNAL_H

#include <mpigd.h>
#include <stdbool.h>

#include "kernels.h"

/* ---- error.c: statuses and messages, and memory ---- */

/* Write a message and return the status. */
mpigd_status mpigd_fail(mpigd_error *error, mpigd_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
mpigd_status mpigd_no_memory(mpigd_error *error);
/* An empty message, at the begin of every function. */
void mpigd_begin(mpigd_error *error);
/* An array of so many elements (a multiple of size bytes) that begins a cache line, zeros; NULL where there is no memory
 * for it. Freed by free. */
void *mpigd_zeros(int64_t count, size_t size);

/* ---- target.c: the kernels of this processor ---- */

/* A kernel by the name of its function and what varies, or NULL with a message. */
void (*mpigd_find(mpigd_error *error, const char *format, ...))(void) __attribute__((format(printf, 2, 3)));
const char *mpigd_type_name(mpigd_type type); /* as numpy has it; NULL for what is none */
size_t mpigd_type_size(mpigd_type type);
double mpigd_number(mpigd_type type, const void *x, int64_t index);

/* ---- loss.c ---- */

/* A loss, checked; parameter and smoothing are what kernels are called with. */
typedef struct {
    const mpigd_loss_entry *entry;
    double parameter, smoothing;
    int64_t outputs;
} loss_of;

const mpigd_loss_entry *mpigd_loss_named(const char *name);
mpigd_status mpigd_loss_check(const mpigd_loss *loss, loss_of *found, mpigd_error *error);
bool mpigd_of_classes(const mpigd_loss_entry *loss);
bool mpigd_coupled(const mpigd_loss_entry *loss); /* softmax: K predictors share one loss */
/* The mean of y from eta (K,), in place; as `Loss.mean`. */
void mpigd_mean(const char *link, int64_t outputs, double *eta);
double mpigd_log(double x); /* of a positive normal number; the same bits everywhere */

/* ---- slice.c: rows and what is summed over them; see kernels/slices.py ---- */

/* Tiles of y, weight and offset have shape (tiles, 1, rows); those that are absent have no tiles. */
struct mpigd_slice {
    mpigd_type type;
    int64_t n, d, first_row, total_rows;
    int64_t block, rows, tiles; /* rows of a block, of a tile; number of tiles */
    bool sparse;
    double *y, *weight, *offset;
    double least, most; /* of y */
    bool whole;         /* whether all of y are whole numbers */
    void *x;          /* tiles (tiles, d, rows); or the numbers of sparse rows, with their */
    int32_t *columns; /* columns and */
    int64_t *starts;  /* begins, (n + 1,) */
};

/* Whether the begins of n sparse rows, which are numbered from first, are not below zero and ascend. */
mpigd_status mpigd_check_starts(const int64_t *starts, int64_t n, int64_t first, mpigd_error *error);

/* Sums, and what it takes to add them up over processes; to_message and from_message are kernels. */
typedef struct {
    void (*to_message)(void);
    void (*from_message)(void);
    int64_t count;
    int64_t *total;   /* accumulators (5, count) */
    int64_t *shifts;  /* (count,) */
    int64_t *window;  /* (count,), as of the last time */
    int64_t *message; /* (3 count + 2,) */
    double *out;      /* (count,) */
    bool known;       /* whether there is a window */
} sums;

mpigd_status mpigd_sums_new(int64_t count, sums **made, mpigd_error *error);
void mpigd_sums_free(sums *s);
void mpigd_sums_clear(sums *s);
/* Expected magnitudes (count,) set the shifts, as `exact.shifts_for`. */
void mpigd_sums_expect(sums *s, const double *magnitude, double times);

/* The sums over processes, as doubles in s->out; a collective. status, error : of this process so far. Where it has failed
 * all of them fail. ranks may be NULL. */
mpigd_status mpigd_sums_over(const mpigd_ranks *ranks, sums *s, mpigd_status status, mpigd_error *error);
/* All fail if one has. A collective. */
mpigd_status mpigd_agree(const mpigd_ranks *ranks, mpigd_status status, mpigd_error *error);

typedef enum { GRADIENT, VALUE, PRODUCT, PRODUCT_ANEW } operation;

int64_t mpigd_gradient_count(int64_t d, int64_t outputs);
int64_t mpigd_second_order_count(int64_t d);

/* Add to s what a sweep over the rows gives: sums of products of X with residuals (d, K), of residuals (K), values (K),
 * weights (1).
 * d : the columns of the slice, or 0 for none.  coef (d, P), intercept (P,) : P = K, or 2 K of PRODUCT_ANEW, whose second
 * half is the direction.
 * kept (tiles, K, rows) : receives curvature, or gives it to PRODUCT; NULL for none. */
mpigd_status mpigd_sweep(const mpigd_slice *slice, const loss_of *loss, operation what, int64_t d, const double *coef,
                         const double *intercept, double *kept, sums *s, mpigd_error *error);
mpigd_status mpigd_second_order(const mpigd_slice *slice, const loss_of *loss, int64_t d, const double *coef,
                                double intercept, sums *s, mpigd_error *error);
/* Weighted sums of x - shift (d,), of its square, and of weights; of y instead of X where of_y is true.
 * one_in : of how many blocks one is taken, see `sampling.pick` with seed 0. */
mpigd_status mpigd_moments(const mpigd_slice *slice, bool of_y, const double *shift, int64_t one_in, sums *s,
                           mpigd_error *error);
/* Sums of weights (1). */
mpigd_status mpigd_weights(const mpigd_slice *slice, sums *s, mpigd_error *error);

/* ---- replicated.c: arithmetic that every process does for itself, in numpy's order ---- */

double mpigd_sum(const double *a, int64_t n);
double mpigd_dot(const double *a, const double *b, int64_t n, double *scratch); /* scratch (n,) */
double mpigd_norm(const double *a, int64_t n, double *scratch);
/* Solve A x = right, A (d, d) symmetric and positive semidefinite; x (d,). */
mpigd_status mpigd_solve(const double *a, int64_t d, const double *right, double *x, mpigd_error *error);

/* ---- problem.c ---- */

struct mpigd_problem {
    mpigd_ranks ranks;
    const mpigd_slice *slice;
    loss_of loss;
    int64_t d, p, outputs, intercept;
    double l2;
    double *mean, *scale, *magnitude, *spread; /* (d,) */
    double *y_spread;                          /* (K,) */
    double weight;                             /* of a row, on average */
    double *coef, *at;                         /* (d, 2 K), (2 K,): on the scale of the columns */
    double *scratch;                           /* (p K,) */
    sums *gradient, *product, *second;         /* the last two where they were wanted */
    double *kept, *kept_at;                    /* curvature (tiles, K, rows) and the theta (p, K) where it was found */
    bool has_kept;
    sums *weights; /* of all rows here */
};

/* Best intercepts (K,) with coefficients zero, zeros where none are; the mean curvature there, and what rounding of the
 * gradient is relative to; the size of the loss. Reads y, weights and offsets alone. */
mpigd_status mpigd_null_model(mpigd_problem *problem, double *intercept, double *curvature, double *rounding,
                              double *size, mpigd_error *error);
double mpigd_curvature_at(const mpigd_problem *problem);

/* ---- model.c ---- */

struct mpigd_model {
    int64_t d, outputs, classes;
    double *coef, *intercept, *labels;
    bool several; /* whether the answer has an axis for outputs */
    char *loss, *link;
    char *names; /* d names, one after the other, each ended by a zero */
    const char **features;
    double threshold;
    char *config, *result; /* JSON */
};

mpigd_status mpigd_model_make(int64_t columns, int64_t outputs, int64_t classes, mpigd_model **model,
                              mpigd_error *error);
mpigd_status mpigd_model_name_columns(mpigd_model *model, mpigd_error *error); /* x0, x1, … */
char *mpigd_copy(const char *text);

/* ---- json.c, sha256.c ---- */

/* JSON as Python's json.dumps(…, sort_keys=True) writes it, of a text that json.dumps wrote; NULL where it is none. */
char *mpigd_json_sorted(const char *text);
/* The number under a key of the outermost object; NaN where there is none. */
double mpigd_json_number(const char *text, const char *key);

typedef struct {
    uint32_t state[8];
    uint64_t length;
    unsigned char block[64];
} sha256;

void mpigd_sha256_begin(sha256 *hash);
void mpigd_sha256_add(sha256 *hash, const void *data, size_t length);
void mpigd_sha256_hex(sha256 *hash, char hex[65]);

#endif
