/* libmpigd: generalised linear models from C, with the kernels, and the bits, of the Python program mpigd.
 *
 * Conventions
 * -----------
 * - Every function that can fail returns a status and, unless `error` is NULL, writes a message there: one sentence that
 *   says what is wrong and what to do. Nothing is printed, and no function ends the process or throws.
 * - Arrays are C-contiguous. X is (rows, columns), row by row; coefficients are (columns, outputs), row by row. Lengths
 *   and counts are int64_t, numbers are double unless a type is given.
 * - There is no global state. Any number of threads may call any function at the same time; a model or a slice may be
 *   used by several at once, as long as none of them frees it. A problem is used by one thread at a time.
 * - What a function returns through a pointer to a pointer belongs to the caller, who frees it with the function named
 *   for it; freeing NULL does nothing. It is NULL where the function failed.
 * - Sums over rows are exact before they are rounded: results do not depend on how rows were shared out among
 *   processes, nor on the processor or its vector width.
 */
#ifndef MPIGD_H
#define MPIGD_H

#include <stddef.h>
#include <stdint.h>

/* Of this interface; that of the program is mpigd_version(). */
#define MPIGD_VERSION_MAJOR 1
#define MPIGD_VERSION_MINOR 0

#if defined(_WIN32)
#define MPIGD_API
#else
#define MPIGD_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What became of a call; 1 to 5 are the exit statuses of the program mpigd. */
typedef enum {
    MPIGD_OK = 0,
    MPIGD_INTERNAL = 1, /* a defect of the library */
    MPIGD_USAGE = 2,    /* an argument that makes no sense, or that this build of the library has no kernels for */
    MPIGD_DATA = 3,     /* a file that can't be read, or numbers that no model can use */
    MPIGD_DIVERGED = 4, /* the iterates of a fit grow without bound */
    MPIGD_OUTPUT = 5,   /* a result can't be written */
    MPIGD_MEMORY = 9,   /* there is no memory left */
    MPIGD_MPI = 10      /* a collective has failed: MPI, or the functions of `mpigd_ranks` */
} mpigd_status;

/* Why a call failed, in English, UTF-8, ended by a zero; empty where it did not. */
typedef struct {
    char message[512];
} mpigd_error;

/* How numbers of X are stored. Arithmetic is in double precision. MPIGD_FLOAT16 is IEEE binary16, two bytes each. */
typedef enum {
    MPIGD_FLOAT64 = 0,
    MPIGD_FLOAT32 = 1,
    MPIGD_FLOAT16 = 2,
    MPIGD_INT8 = 3,
    MPIGD_UINT8 = 4
} mpigd_type;

/* Version of mpigd, as "0.1.0"; static. */
MPIGD_API const char *mpigd_version(void);

/* Whose kernels this processor is given: "x86-64-v2", "x86-64-v3", "x86-64-v4" or "aarch64"; static. "none" where the
 * library has none that it can run: everything that needs kernels is then an MPIGD_USAGE. The environment variable
 * MPIGD_TARGET asks for lesser ones than the processor could have; all give the same bits. */
MPIGD_API const char *mpigd_target(void);

/* ---- Models ---------------------------------------------------------------------------------------------------- */

/* A linear model: eta = x coef + intercept, with a loss that says what follows from eta. Immutable. */
typedef struct mpigd_model mpigd_model;

/* Read a model file, model.h5 of `mpigd train` (HDF5). Its checksum (SHA-256 of all that it holds but labels and names)
 * is verified. MPIGD_DATA for a file that is something else, or damaged. */
MPIGD_API mpigd_status mpigd_model_read(const char *path, mpigd_model **model, mpigd_error *error);

/* Write a model file that this library and the Python program read, whole or not at all: under another name, renamed. */
MPIGD_API mpigd_status mpigd_model_write(const mpigd_model *model, const char *path, mpigd_error *error);

/* A model of given coefficients.
 * loss : name of a loss (see mpigd_loss).  coef (columns, outputs), intercept (outputs).
 * classes, labels : how many classes there are, ascending labels (classes); 0 and NULL for a regression. A loss of two
 * classes has one output. */
MPIGD_API mpigd_status mpigd_model_new(const char *loss, int64_t columns, int64_t outputs, const double *coef,
                                       const double *intercept, int64_t classes, const double *labels,
                                       mpigd_model **model, mpigd_error *error);

MPIGD_API void mpigd_model_free(mpigd_model *model);

/* What a model holds; pointers are into it. */
MPIGD_API int64_t mpigd_model_columns(const mpigd_model *model);          /* d: columns of X */
MPIGD_API int64_t mpigd_model_outputs(const mpigd_model *model);          /* K: columns of coef */
MPIGD_API int64_t mpigd_model_classes(const mpigd_model *model);          /* 0 for a regression */
MPIGD_API const double *mpigd_model_coef(const mpigd_model *model);       /* (d, K), on the scale of the columns */
MPIGD_API const double *mpigd_model_intercept(const mpigd_model *model);  /* (K,) */
MPIGD_API const double *mpigd_model_labels(const mpigd_model *model);     /* (classes,), ascending; NULL for none */
MPIGD_API const char *mpigd_model_loss(const mpigd_model *model);         /* its name */
MPIGD_API const char *mpigd_model_link(const mpigd_model *model);         /* identity, log, logit, probit, … */
MPIGD_API double mpigd_model_threshold(const mpigd_model *model);         /* see mpigd_predict; NaN for none */
MPIGD_API const char *mpigd_model_feature(const mpigd_model *model, int64_t column); /* its name; NULL beyond d */
/* How many columns mpigd_predict_proba writes: the classes, or 0 where the loss has no probabilities. */
MPIGD_API int64_t mpigd_model_probabilities(const mpigd_model *model);
/* How many columns mpigd_predict writes: 1, or the outputs of a regression with several. */
MPIGD_API int64_t mpigd_model_answers(const mpigd_model *model);

/* ---- Prediction: n rows at once, or one ------------------------------------------------------------------------ */

/* Of dense rows x (n, d) of a type:
 *   eta            linear predictors, (n, K); a row's bits do not depend on the other rows, and are those of Python
 *   predict        the label of the most probable class, (n,), or the expected y, (n,) or (n, K). With a threshold t
 *                  the second of two classes is taken from the probability t on.
 *   predict_proba  probabilities of classes, (n, classes), in the order of the labels; MPIGD_USAGE for a model without
 * n may be 0. MPIGD_DATA where a number is not finite, or eta is too large: the message names the row. */
MPIGD_API mpigd_status mpigd_eta(const mpigd_model *model, mpigd_type type, int64_t n, const void *x, double *out,
                                 mpigd_error *error);
MPIGD_API mpigd_status mpigd_predict(const mpigd_model *model, mpigd_type type, int64_t n, const void *x, double *out,
                                     mpigd_error *error);
MPIGD_API mpigd_status mpigd_predict_proba(const mpigd_model *model, mpigd_type type, int64_t n, const void *x,
                                           double *out, mpigd_error *error);

/* The same of sparse rows (CSR): row i has values[starts[i]] … values[starts[i + 1] - 1] in the columns of the same
 * places, from 0. starts (n + 1,) ascending; it need not begin at 0. Columns of a row may be in any order. */
MPIGD_API mpigd_status mpigd_eta_csr(const mpigd_model *model, mpigd_type type, int64_t n, const int64_t *starts,
                                     const int32_t *columns, const void *values, double *out, mpigd_error *error);
MPIGD_API mpigd_status mpigd_predict_csr(const mpigd_model *model, mpigd_type type, int64_t n, const int64_t *starts,
                                         const int32_t *columns, const void *values, double *out, mpigd_error *error);
MPIGD_API mpigd_status mpigd_predict_proba_csr(const mpigd_model *model, mpigd_type type, int64_t n,
                                               const int64_t *starts, const int32_t *columns, const void *values,
                                               double *out, mpigd_error *error);

/* ---- Losses and rows ------------------------------------------------------------------------------------------- */

/* A loss.
 * name : squared, huber, quantile, epsilon-insensitive, logistic, probit, cloglog, squared-hinge, modified-huber, focal,
 * poisson, gamma, tweedie, negative-binomial or softmax.
 * parameter : delta of huber, tau of quantile, epsilon of epsilon-insensitive, gamma of focal, power of tweedie, alpha of
 * negative-binomial; 0 for its default, or where there is none.
 * smoothing : half-width of the rounded kink of quantile and epsilon-insensitive; 0 for the default, 0.1.
 * outputs : K, the number of classes of softmax; 1 (or 0) for all others. */
typedef struct {
    const char *name;
    double parameter;
    double smoothing;
    int64_t outputs;
} mpigd_loss;

/* Rows of this process, as kernels take them: a copy. Immutable. */
typedef struct mpigd_slice mpigd_slice;

/* Rows of a canonical block, the unit of exact sums: processes have whole blocks, and so the same sums however rows are
 * shared out. A function of the shape of all rows alone.
 * total_stored : numbers that a sparse X stores over all rows. */
MPIGD_API int64_t mpigd_block_rows(int64_t total_rows);
MPIGD_API int64_t mpigd_block_rows_csr(int64_t total_rows, int64_t columns, int64_t total_stored);

/* Copy dense rows.
 * x (rows, columns) of a type.  y (rows,) : the target; class numbers 0 … K - 1 for losses of classes.
 * weight (rows,) ≥ 0, offset (rows,) : NULL for ones and zeros.
 * first_row : number of the first of them among all rows, a multiple of the block.  total_rows : of all processes.
 * rows is a multiple of the block, too, unless these are the last rows; it may be 0.
 * MPIGD_DATA for a number that is not finite, or a negative weight; the message names the row. */
MPIGD_API mpigd_status mpigd_slice_dense(mpigd_type type, int64_t rows, int64_t columns, const void *x, const double *y,
                                         const double *weight, const double *offset, int64_t first_row,
                                         int64_t total_rows, mpigd_slice **slice, mpigd_error *error);

/* Copy sparse rows (CSR, as above). total_stored : numbers stored over all processes. */
MPIGD_API mpigd_status mpigd_slice_csr(mpigd_type type, int64_t rows, int64_t columns, const int64_t *starts,
                                       const int32_t *indices, const void *values, const double *y,
                                       const double *weight, const double *offset, int64_t first_row,
                                       int64_t total_rows, int64_t total_stored, mpigd_slice **slice,
                                       mpigd_error *error);

MPIGD_API void mpigd_slice_free(mpigd_slice *slice);
MPIGD_API int64_t mpigd_slice_rows(const mpigd_slice *slice);
MPIGD_API int64_t mpigd_slice_columns(const mpigd_slice *slice);

/* ---- Other processes ------------------------------------------------------------------------------------------- */

/* How processes add up what each has found. Functions replace an array of integers by its sum, or its maximum, over all
 * processes, on all of them, in whatever order; they return 0, or anything else where that failed. All processes
 * make the same calls in the same order. Where a pointer to one is NULL, this process is alone.
 * mpigd_mpi.h has functions that make one of an MPI communicator. */
typedef struct {
    int64_t count; /* of processes */
    int (*sum)(void *context, int64_t *numbers, int64_t length);
    int (*max)(void *context, int64_t *numbers, int64_t length);
    void *context;
} mpigd_ranks;

/* ---- Value, gradient, Hessian-vector product ------------------------------------------------------------------- */

/* Weighted means over rows: of the loss, and of its derivatives in the coefficients (d, K) and, last, the intercepts
 * (K,), on the scale of the columns; no penalty.
 *
 * coef (d, K), intercept (K,).  value (1), gradient (d + 1, K), weight (1) : the sum of weights; each may be NULL.
 * Zeros where no row counts. */
MPIGD_API mpigd_status mpigd_value_gradient(const mpigd_slice *slice, const mpigd_loss *loss, const double *coef,
                                            const double *intercept, double *value, double *gradient, double *weight,
                                            mpigd_error *error);
/* direction, product (d + 1, K) : the intercepts' last, as in the gradient. */
MPIGD_API mpigd_status mpigd_hessian_product(const mpigd_slice *slice, const mpigd_loss *loss, const double *coef,
                                             const double *intercept, const double *direction, double *product,
                                             mpigd_error *error);

/* The same over the rows of all processes; collectives. The same bits on any number of them. */
MPIGD_API mpigd_status mpigd_value_gradient_over(const mpigd_ranks *ranks, const mpigd_slice *slice,
                                                 const mpigd_loss *loss, const double *coef, const double *intercept,
                                                 double *value, double *gradient, double *weight, mpigd_error *error);
MPIGD_API mpigd_status mpigd_hessian_product_over(const mpigd_ranks *ranks, const mpigd_slice *slice,
                                                  const mpigd_loss *loss, const double *coef, const double *intercept,
                                                  const double *direction, double *product, mpigd_error *error);

/* ---- Fits ------------------------------------------------------------------------------------------------------ */

typedef enum {
    MPIGD_GD = 0,    /* gradient descent at a constant learning rate, or with a search where that is 0 */
    MPIGD_LBFGS = 1, /* limited-memory BFGS */
    MPIGD_NEWTON = 2 /* Newton's method; losses of one output */
} mpigd_solver;

/* What is fitted, and how: the mean of the loss + l2 / 2 times the sum of squared coefficients of scaled columns.
 * Begin with mpigd_fit_defaults. */
typedef struct {
    mpigd_loss loss;
    mpigd_solver solver;  /* MPIGD_LBFGS */
    double l2;            /* 0 */
    int intercept;        /* 1; it is not penalised */
    int standardize;      /* 1: columns are divided by their standard deviation, implicitly */
    double tol;           /* 1e-6: of the gradient's norm in that of the null model (coefficients zero) */
    double max_passes;    /* 1000 reads of all rows */
    double learning_rate; /* 0: of MPIGD_GD */
} mpigd_fit_options;

MPIGD_API void mpigd_fit_defaults(mpigd_fit_options *options);

typedef struct {
    double value;         /* of the objective */
    double gradient_norm; /* Euclidean, in the coefficients of scaled columns */
    double passes;        /* reads of all rows */
    int64_t steps;
    int converged; /* 1 where the tolerance was met, 0 where passes or rounding ended the fit */
} mpigd_fit_result;

/* Fit a model to the rows of all processes; a collective. Columns without names are called x0, x1, …
 * result may be NULL. The model is the same, to the bit, on every process and on any number of them. */
MPIGD_API mpigd_status mpigd_fit_over(const mpigd_ranks *ranks, const mpigd_slice *slice,
                                      const mpigd_fit_options *options, mpigd_model **model, mpigd_fit_result *result,
                                      mpigd_error *error);

/* ---- The objective of a fit, for solvers of your own ----------------------------------------------------------- */

/* The objective as solvers see it: a function of theta (p, K), the coefficients of columns that are scaled as options
 * say, the intercepts last where there are some. Bits are those of `mpigd.objective.Objective` in Python. It refers to
 * the slice and the functions of ranks, which have to live as long. One thread at a time. */
typedef struct mpigd_problem mpigd_problem;

/* Measure the columns; a collective. Of options, loss, l2, intercept and standardize count. */
MPIGD_API mpigd_status mpigd_problem_new(const mpigd_ranks *ranks, const mpigd_slice *slice,
                                         const mpigd_fit_options *options, mpigd_problem **problem,
                                         mpigd_error *error);
MPIGD_API void mpigd_problem_free(mpigd_problem *problem);
MPIGD_API int64_t mpigd_problem_rows(const mpigd_problem *problem);    /* p */
MPIGD_API int64_t mpigd_problem_outputs(const mpigd_problem *problem); /* K */

/* Value (1) and gradient (p, K) at theta; a collective. */
MPIGD_API mpigd_status mpigd_problem_evaluate(mpigd_problem *problem, const double *theta, double *value,
                                              double *gradient, mpigd_error *error);
/* The Hessian at theta times a direction, (p, K); a collective. */
MPIGD_API mpigd_status mpigd_problem_product(mpigd_problem *problem, const double *theta, const double *direction,
                                             double *product, mpigd_error *error);
/* Value (1), gradient (p,) and Hessian (p, p) at theta, of one output; a collective. */
MPIGD_API mpigd_status mpigd_problem_second_order(mpigd_problem *problem, const double *theta, double *value,
                                                  double *gradient, double *hessian, mpigd_error *error);
/* Coefficients (d, K) and intercept (K,) on the scale of the columns. */
MPIGD_API void mpigd_problem_coefficients(const mpigd_problem *problem, const double *theta, double *coef,
                                          double *intercept);

#ifdef __cplusplus
}
#endif

#endif
