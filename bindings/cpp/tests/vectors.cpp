// What tests/test_bindings.py compares with Python: for each folder given, results of its model and rows.
#include <mpigd.hpp>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <type_traits>

// Ownership moves and is never copied.
static_assert(!std::is_copy_constructible_v<mpigd::Model> && std::is_nothrow_move_constructible_v<mpigd::Model>);
static_assert(!std::is_copy_constructible_v<mpigd::Slice> && !std::is_copy_constructible_v<mpigd::Problem>);

template <class T = double>
std::vector<T> read(const std::string &path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    std::vector<T> found(static_cast<std::size_t>(file.tellg()) / sizeof(T));
    file.seekg(0).read(reinterpret_cast<char *>(found.data()), static_cast<std::streamsize>(found.size() * sizeof(T)));
    return found;
}

void write(const std::string &path, mpigd::Span found) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char *>(found.data()), static_cast<std::streamsize>(found.size_bytes()));
}

void derive(const std::string &in, const mpigd::Model &model, const mpigd::Dense &rows, const mpigd::Sparse &sparse) {
    const std::vector<double> y = read(in + "y"), weight = read(in + "weight"), offset = read(in + "offset");
    const std::vector<double> numbers = read(in + "numbers");
    const std::string name = model.loss();
    const mpigd::Loss loss(name.c_str(), numbers[0], numbers[1], model.outputs());
    const mpigd::About about{.y = y, .weight = weight, .offset = offset};
    const std::vector<double> direction = read(in + "direction");
    const mpigd::Slice slice(rows, about);
    const auto [value, total, gradient] = mpigd::value_gradient(slice, loss, model.coef(), model.intercept());
    write(in + "cpp.value", std::vector{value, total});
    write(in + "cpp.gradient", gradient);
    write(in + "cpp.product", mpigd::hessian_product(slice, loss, model.coef(), model.intercept(), direction));
    const mpigd::Slice thin(sparse, about);
    write(in + "cpp.gradient_sparse", mpigd::value_gradient(thin, loss, model.coef(), model.intercept()).gradient);

    // The objective of a fit whose columns are not scaled is the same function of the coefficients and intercepts.
    mpigd::FitOptions options(loss);
    options.standardize = 0;
    mpigd::Problem problem(slice, options);
    std::vector<double> theta(model.coef().begin(), model.coef().end()), at(gradient.size());
    theta.insert(theta.end(), model.intercept().begin(), model.intercept().end());
    write(in + "cpp.problem_value", std::vector{problem.evaluate(theta, at)});
    write(in + "cpp.problem_gradient", at);
    problem.product(theta, direction, at);
    write(in + "cpp.problem_product", at);

    const mpigd::Model copy = mpigd::Model::of(name, model.coef(), model.intercept(), model.labels());
    write(in + "cpp.eta_copy", copy.eta(rows));
}

void compute(const std::string &in) {
    mpigd::Model read_model = mpigd::Model::read(in + "model.h5");
    const mpigd::Model model = std::move(read_model);
    const std::vector<double> x = read(in + "X");
    const auto starts = read<std::int64_t>(in + "starts");
    const auto places = read<std::int32_t>(in + "places");
    const std::vector<double> values = read(in + "values");
    const std::int64_t d = model.columns();
    const mpigd::Dense rows(x, d);
    const mpigd::Sparse sparse(starts, places, values, d);

    write(in + "cpp.eta", model.eta(rows));
    write(in + "cpp.predict", model.predict(rows));
    write(in + "cpp.eta_sparse", model.eta(sparse));
    write(in + "cpp.predict_sparse", model.predict(sparse));
    if (std::filesystem::exists(in + "single"))
        write(in + "cpp.eta_float32", model.eta(mpigd::Dense(read<float>(in + "single"), d)));
    if (model.has_probabilities()) {
        write(in + "cpp.proba", model.predict_proba(rows));
        write(in + "cpp.proba_sparse", model.predict_proba(sparse));
    }

    if (std::filesystem::exists(in + "y"))
        derive(in, model, rows, sparse);

    model.write(in + "cpp.copy.h5");

    std::vector<double> bad(x);
    bad[static_cast<std::size_t>(d)] = std::nan("");
    try {
        model.predict(mpigd::Dense(bad, d));
    } catch (const mpigd::Error &error) {
        std::ofstream(in + "cpp.error") << error.status() << ' ' << error.what();
    }
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; ++i)
        compute(std::string(argv[i]) + "/");
}
