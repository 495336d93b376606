/* libmpigd_mpi: the collectives of libmpigd on an MPI communicator; see mpigd.h.
 *
 * All ranks of the communicator call the same functions in the same order, each with the slice of its own rows. The
 * communicator is used while a function runs; messages do not mix with the caller's other collectives as long as no two
 * threads use one communicator at once, which MPI does not allow either. MPI is initialised, and ended, by the caller.
 * An error that one rank alone finds (in its arguments, say) is returned by all of them: by that rank as it is, by the
 * others with a message that another one has failed.
 */
#ifndef MPIGD_MPI_H
#define MPIGD_MPI_H

#include <mpi.h>
#include <mpigd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `mpigd_ranks` of a communicator; *comm has to stay where it is as long as the result is used. */
MPIGD_API mpigd_status mpigd_ranks_mpi(MPI_Comm *comm, mpigd_ranks *ranks, mpigd_error *error);

/* Which rows this rank is to have, in even shares of whole blocks: first_row, and how many.
 * block : as mpigd_block_rows has it. */
MPIGD_API mpigd_status mpigd_share_mpi(MPI_Comm comm, int64_t total_rows, int64_t block, int64_t *first_row,
                                       int64_t *rows, mpigd_error *error);

/* As the functions without _mpi, over the rows of all ranks. */
MPIGD_API mpigd_status mpigd_value_gradient_mpi(MPI_Comm comm, const mpigd_slice *slice, const mpigd_loss *loss,
                                                const double *coef, const double *intercept, double *value,
                                                double *gradient, double *weight, mpigd_error *error);
MPIGD_API mpigd_status mpigd_hessian_product_mpi(MPI_Comm comm, const mpigd_slice *slice, const mpigd_loss *loss,
                                                 const double *coef, const double *intercept, const double *direction,
                                                 double *product, mpigd_error *error);
MPIGD_API mpigd_status mpigd_fit(MPI_Comm comm, const mpigd_slice *slice, const mpigd_fit_options *options,
                                 mpigd_model **model, mpigd_fit_result *result, mpigd_error *error);

/* The same for Fortran, whose communicators are integers (MPI_Comm's MPI_VAL in mpi_f08); that of mpigd_ranks_f08 has to
 * stay where it is. */
MPIGD_API mpigd_status mpigd_ranks_f08(MPI_Fint *comm, mpigd_ranks *ranks, mpigd_error *error);
MPIGD_API mpigd_status mpigd_share_f08(MPI_Fint comm, int64_t total_rows, int64_t block, int64_t *first_row,
                                       int64_t *rows, mpigd_error *error);
MPIGD_API mpigd_status mpigd_value_gradient_f08(MPI_Fint comm, const mpigd_slice *slice, const mpigd_loss *loss,
                                                const double *coef, const double *intercept, double *value,
                                                double *gradient, double *weight, mpigd_error *error);
MPIGD_API mpigd_status mpigd_hessian_product_f08(MPI_Fint comm, const mpigd_slice *slice, const mpigd_loss *loss,
                                                 const double *coef, const double *intercept, const double *direction,
                                                 double *product, mpigd_error *error);
MPIGD_API mpigd_status mpigd_fit_f08(MPI_Fint comm, const mpigd_slice *slice, const mpigd_fit_options *options,
                                     mpigd_model **model, mpigd_fit_result *result, mpigd_error *error);

#ifdef __cplusplus
}
#endif

#endif
