/* libmpigd_mpi: the functions of mpigd_ranks on a communicator. */
#include <limits.h>
#include <mpigd_mpi.h>
#include <stdint.h>
#include <stdio.h>

static mpigd_status not_summed(mpigd_error *error) {
    if (error) {
        snprintf(error->message, sizeof error->message, "MPI refuses the communicator");
    }
    return MPIGD_MPI;
}

/* A communicator is a number or a pointer: the context is where it is kept. */
static int reduce(void *context, int64_t *numbers, int64_t length, MPI_Op op) {
    const int most = INT_MAX / 2;
    MPI_Comm comm = *(MPI_Comm *)context;
    int failed = 0;
    while (length > 0 && !failed) {
        int some = length > most ? most : (int)length;
        failed = MPI_Allreduce(MPI_IN_PLACE, numbers, some, MPI_INT64_T, op, comm) != MPI_SUCCESS;
        numbers += some;
        length -= some;
    }
    return failed;
}

static int sum(void *context, int64_t *numbers, int64_t length) { return reduce(context, numbers, length, MPI_SUM); }

static int max(void *context, int64_t *numbers, int64_t length) { return reduce(context, numbers, length, MPI_MAX); }

mpigd_status mpigd_ranks_mpi(MPI_Comm *comm, mpigd_ranks *ranks, mpigd_error *error) {
    int size;
    if (MPI_Comm_size(*comm, &size) != MPI_SUCCESS) {
        return not_summed(error);
    }
    *ranks = (mpigd_ranks){size, sum, max, comm};
    return MPIGD_OK;
}

mpigd_status mpigd_share_mpi(MPI_Comm comm, int64_t total_rows, int64_t block, int64_t *first_row, int64_t *rows,
                             mpigd_error *error) {
    int rank, size;
    if (MPI_Comm_rank(comm, &rank) != MPI_SUCCESS || MPI_Comm_size(comm, &size) != MPI_SUCCESS) {
        return not_summed(error);
    }
    int64_t blocks = (total_rows + block - 1) / block;
    int64_t first = blocks / size * rank + blocks % size * rank / size;
    int64_t last = blocks / size * (rank + 1) + blocks % size * (rank + 1) / size;
    int64_t end = last * block < total_rows ? last * block : total_rows;
    *first_row = first * block < total_rows ? first * block : total_rows;
    *rows = end - *first_row;
    return MPIGD_OK;
}

mpigd_status mpigd_value_gradient_mpi(MPI_Comm comm, const mpigd_slice *slice, const mpigd_loss *loss,
                                      const double *coef, const double *intercept, double *value, double *gradient,
                                      double *weight, mpigd_error *error) {
    mpigd_ranks ranks;
    mpigd_status status = mpigd_ranks_mpi(&comm, &ranks, error);
    return status != MPIGD_OK ? status
                              : mpigd_value_gradient_over(&ranks, slice, loss, coef, intercept, value, gradient, weight,
                                                          error);
}

mpigd_status mpigd_hessian_product_mpi(MPI_Comm comm, const mpigd_slice *slice, const mpigd_loss *loss,
                                       const double *coef, const double *intercept, const double *direction,
                                       double *product, mpigd_error *error) {
    mpigd_ranks ranks;
    mpigd_status status = mpigd_ranks_mpi(&comm, &ranks, error);
    return status != MPIGD_OK
               ? status
               : mpigd_hessian_product_over(&ranks, slice, loss, coef, intercept, direction, product, error);
}

mpigd_status mpigd_fit(MPI_Comm comm, const mpigd_slice *slice, const mpigd_fit_options *options, mpigd_model **model,
                       mpigd_fit_result *result, mpigd_error *error) {
    mpigd_ranks ranks;
    mpigd_status status = mpigd_ranks_mpi(&comm, &ranks, error);
    return status != MPIGD_OK ? status : mpigd_fit_over(&ranks, slice, options, model, result, error);
}

/* The context is where the integer is kept. */
static int sum_f08(void *context, int64_t *numbers, int64_t length) {
    MPI_Comm comm = MPI_Comm_f2c(*(MPI_Fint *)context);
    return sum(&comm, numbers, length);
}

static int max_f08(void *context, int64_t *numbers, int64_t length) {
    MPI_Comm comm = MPI_Comm_f2c(*(MPI_Fint *)context);
    return max(&comm, numbers, length);
}

mpigd_status mpigd_ranks_f08(MPI_Fint *comm, mpigd_ranks *ranks, mpigd_error *error) {
    MPI_Comm own = MPI_Comm_f2c(*comm);
    mpigd_status status = mpigd_ranks_mpi(&own, ranks, error);
    if (status == MPIGD_OK) {
        *ranks = (mpigd_ranks){ranks->count, sum_f08, max_f08, comm};
    }
    return status;
}

mpigd_status mpigd_share_f08(MPI_Fint comm, int64_t total_rows, int64_t block, int64_t *first_row, int64_t *rows,
                             mpigd_error *error) {
    return mpigd_share_mpi(MPI_Comm_f2c(comm), total_rows, block, first_row, rows, error);
}

mpigd_status mpigd_value_gradient_f08(MPI_Fint comm, const mpigd_slice *slice, const mpigd_loss *loss,
                                      const double *coef, const double *intercept, double *value, double *gradient,
                                      double *weight, mpigd_error *error) {
    return mpigd_value_gradient_mpi(MPI_Comm_f2c(comm), slice, loss, coef, intercept, value, gradient, weight, error);
}

mpigd_status mpigd_hessian_product_f08(MPI_Fint comm, const mpigd_slice *slice, const mpigd_loss *loss,
                                       const double *coef, const double *intercept, const double *direction,
                                       double *product, mpigd_error *error) {
    return mpigd_hessian_product_mpi(MPI_Comm_f2c(comm), slice, loss, coef, intercept, direction, product, error);
}

mpigd_status mpigd_fit_f08(MPI_Fint comm, const mpigd_slice *slice, const mpigd_fit_options *options,
                           mpigd_model **model, mpigd_fit_result *result, mpigd_error *error) {
    return mpigd_fit(MPI_Comm_f2c(comm), slice, options, model, result, error);
}
