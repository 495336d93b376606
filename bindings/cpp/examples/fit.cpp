// Fit the Boston table on all ranks, each of which keeps its own rows: mpirun -n 4 fit boston.csv model.h5
#include <mpigd_mpi.hpp>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

constexpr std::int64_t rows = 506, columns = 13;

void fit(const char *table, const char *output) {
    const mpigd::Communicator ranks(MPI_COMM_WORLD);
    const auto [first, count] = ranks.share(rows);

    std::vector<double> x, y;
    std::ifstream file(table);
    std::string line, cell;
    std::getline(file, line); // names
    for (std::int64_t i = 0; std::getline(file, line); ++i) {
        if (i < first || i >= first + count)
            continue;
        std::istringstream cells(line);
        for (std::int64_t j = 0; j < columns && std::getline(cells, cell, ','); ++j)
            x.push_back(std::stod(cell));
        std::getline(cells, cell, ',');
        y.push_back(std::stod(cell));
    }

    const mpigd::Slice slice(mpigd::Dense(x, columns), {.y = y, .first_row = first, .total_rows = rows});
    mpigd::FitOptions options("squared");
    options.solver = MPIGD_NEWTON;
    const auto [model, result] = mpigd::fit(slice, options, ranks);

    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank > 0)
        return;
    model.write(output);
    std::printf("objective %.17g after %lld step(s)\n", result.value, static_cast<long long>(result.steps));
    for (const double coef : model.coef())
        std::printf("%.17g\n", coef);
    std::printf("%.17g\n", model.intercept()[0]);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    try {
        fit(argv[1], argv[2]);
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Finalize();
}
