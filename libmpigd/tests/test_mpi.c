/* Ranks that share rows find the bits that Python finds with all of them. Argument: as for the other tests. */
#include <mpigd_mpi.h>

#include "vectors.h"

static mpigd_slice *own_rows(const char *name) {
    vector *values = find(name, "values");
    int64_t n = find(name, "y")->size, first, rows;
    int64_t block = values ? mpigd_block_rows_csr(n, find(name, "coef")->dimensions[0], values->size) : mpigd_block_rows(n);
    OK(mpigd_share_mpi(MPI_COMM_WORLD, n, block, &first, &rows, error));
    return slice_of(name, first, rows);
}

static void means(const char *name) {
    mpigd_loss loss = {data_of(name, "loss"), 0.0, 0.0, number_of(name, "outputs")};
    mpigd_slice *slice = own_rows(name);
    double *coef = data_of(name, "coef"), *intercept = data_of(name, "intercept"), value, weight;
    double *gradient = calloc((size_t)find(name, "gradient")->size, 8);
    OK(mpigd_value_gradient_mpi(MPI_COMM_WORLD, slice, &loss, coef, intercept, &value, gradient, &weight, error));
    same(name, "value", &value);
    same(name, "gradient", gradient);
    same(name, "weights", &weight);
    OK(mpigd_hessian_product_f08(MPI_Comm_c2f(MPI_COMM_WORLD), slice, &loss, coef, intercept,
                                 data_of(name, "direction"), gradient, error));
    same(name, "product", gradient);
    mpigd_slice_free(slice);
    free(gradient);
}

/* The same bits on all ranks, and, written to a file by one rank alone, for other numbers of ranks to compare with. */
static void same_everywhere(const char *directory, const char *name, const mpigd_model *model) {
    int rank, size;
    int64_t d = mpigd_model_columns(model), k = mpigd_model_outputs(model);
    double *least = malloc((size_t)(d * k) * 8), *most = malloc((size_t)(d * k) * 8);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(mpigd_model_coef(model), least, (int)(d * k), MPI_DOUBLE, MPI_MIN, MPI_COMM_WORLD);
    MPI_Allreduce(mpigd_model_coef(model), most, (int)(d * k), MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    MUST(memcmp(least, most, (size_t)(d * k) * 8) == 0);
    if (rank == 0) {
        char path[512];
        snprintf(path, sizeof path, "%s/ranks-%s.bin", directory, strchr(name, '/') + 1);
        FILE *file = fopen(path, size == 1 ? "wb" : "rb");
        MUST(file);
        if (size == 1) {
            MUST(fwrite(least, 8, (size_t)(d * k), file) == (size_t)(d * k));
        } else {
            MUST(fread(most, 8, (size_t)(d * k), file) == (size_t)(d * k));
            MUST(memcmp(least, most, (size_t)(d * k) * 8) == 0);
        }
        fclose(file);
    }
    free(least);
    free(most);
}

static void fits(const char *directory, const char *name) {
    mpigd_slice *slice = own_rows(name);
    mpigd_fit_options options = options_of(name);
    options.solver = find(name, "hessian") ? MPIGD_NEWTON : MPIGD_LBFGS;
    options.tol = 1e-13;
    mpigd_ranks ranks;
    mpigd_problem *problem;
    MPI_Comm comm = MPI_COMM_WORLD;
    OK(mpigd_ranks_mpi(&comm, &ranks, error));
    OK(mpigd_problem_new(&ranks, slice, &options, &problem, error));
    double value, *gradient = calloc((size_t)find(name, "gradient")->size, 8);
    OK(mpigd_problem_evaluate(problem, data_of(name, "theta"), &value, gradient, error));
    same(name, "value", &value);
    same(name, "gradient", gradient);
    mpigd_problem_free(problem);
    free(gradient);
    mpigd_model *model;
    mpigd_fit_result result;
    OK(mpigd_fit(MPI_COMM_WORLD, slice, &options, &model, &result, error));
    near(name, "fitted_coef", mpigd_model_coef(model), options.solver == MPIGD_NEWTON ? 1e-12 : 1e-10);
    same_everywhere(directory, name, model);
    mpigd_model_free(model);
    mpigd_slice_free(slice);
}

/* One rank's error is everybody's. */
static void disagree(const char *name) {
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    mpigd_loss loss = {rank == size - 1 ? "none such" : data_of(name, "loss"), 0.0, 0.0, number_of(name, "outputs")};
    mpigd_slice *slice = own_rows(name);
    mpigd_error error;
    double value;
    mpigd_status status = mpigd_value_gradient_mpi(MPI_COMM_WORLD, slice, &loss, data_of(name, "coef"),
                                                   data_of(name, "intercept"), &value, NULL, NULL, &error);
    MUST(status == MPIGD_USAGE);
    MUST(strstr(error.message, rank == size - 1 ? "none such" : "another process"));
    mpigd_slice_free(slice);
}

int main(int count, char **arguments) {
    char path[512], *name;
    MPI_Init(&count, &arguments);
    MUST(count == 2);
    snprintf(path, sizeof path, "%s/vectors.bin", arguments[1]);
    read_vectors(path);
    for (int64_t at = 0; (name = next_case("means/", &at)); free(name)) {
        means(name);
    }
    for (int64_t at = 0; (name = next_case("fits/", &at)); free(name)) {
        fits(arguments[1], name);
    }
    disagree("means/logistic");
    forget_vectors();
    MPI_Finalize();
    return 0;
}
