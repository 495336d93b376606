/* C++20 for libmpigd: see mpigd.h for what functions compute and for the shapes of arrays.
 *
 * - A class owns what it refers to, can be moved and not copied, and frees it at the end.
 * - What fails throws mpigd::Error with the status and the message of the library.
 * - Arrays come in as spans and go out as vectors, row by row. A length that does not fit is an Error.
 * - Fits and derivatives take `ranks`, the other processes: nullptr for none, and see mpigd_mpi.hpp.
 */
#ifndef MPIGD_HPP
#define MPIGD_HPP

#include <mpigd.h>

#include <cmath>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace mpigd {

using Span = std::span<const double>;
using Vector = std::vector<double>;
using Ranks = mpigd_ranks;

/* A loss by its name, which has to live as long: Loss("huber", 1.35). */
struct Loss : mpigd_loss {
    Loss(const char *loss, double of = 0.0, double half_width = 0.0, std::int64_t classes = 0)
        : mpigd_loss{loss, of, half_width, classes} {}
};

class Error : public std::runtime_error {
  public:
    Error(mpigd_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
    mpigd_status status() const noexcept { return status_; }

  private:
    mpigd_status status_;
};

/* IEEE binary16, as its bits. */
struct Half {
    std::uint16_t bits;
};

template <class T>
concept Number = std::same_as<T, double> || std::same_as<T, float> || std::same_as<T, Half> ||
                 std::same_as<T, std::int8_t> || std::same_as<T, std::uint8_t>;

namespace detail {

/* Call a function whose last parameter is an error, and throw what it says. */
template <class Function, class... Arguments>
void call(Function function, Arguments... arguments) {
    mpigd_error error{};
    const mpigd_status status = function(arguments..., &error);
    if (status != MPIGD_OK)
        throw Error(status, error.message);
}

inline void demand(bool right, const char *what) {
    if (!right)
        throw Error(MPIGD_USAGE, what);
}

template <auto free>
struct Free {
    void operator()(auto *pointer) const noexcept { free(pointer); }
};

template <Number T>
constexpr mpigd_type type_of() {
    if constexpr (std::same_as<T, double>)
        return MPIGD_FLOAT64;
    else if constexpr (std::same_as<T, float>)
        return MPIGD_FLOAT32;
    else if constexpr (std::same_as<T, Half>)
        return MPIGD_FLOAT16;
    else if constexpr (std::same_as<T, std::int8_t>)
        return MPIGD_INT8;
    else
        return MPIGD_UINT8;
}

inline std::size_t size(std::int64_t a, std::int64_t b = 1) { return static_cast<std::size_t>(a * b); }

} // namespace detail

/* A view of dense rows: values (rows, columns). */
struct Dense {
    mpigd_type type;
    std::int64_t rows, columns;
    const void *values;

    template <class Range>
    Dense(const Range &range, std::int64_t d) : columns(d) {
        const std::span all(range);
        using T = std::remove_const_t<typename decltype(all)::element_type>;
        static_assert(Number<T>, "X is of double, float, Half, int8_t or uint8_t");
        detail::demand(d > 0 && all.size() % detail::size(d) == 0, "values of X have to be whole rows");
        type = detail::type_of<T>();
        rows = static_cast<std::int64_t>(all.size()) / d;
        values = all.data();
    }
};

/* A view of sparse rows (CSR): starts (rows + 1,), and values in places, from 0, below columns. */
struct Sparse {
    mpigd_type type;
    std::int64_t rows, columns;
    std::span<const std::int64_t> starts;
    std::span<const std::int32_t> places;
    const void *values;

    template <class Range>
    Sparse(std::span<const std::int64_t> starts, std::span<const std::int32_t> places, const Range &range,
           std::int64_t d)
        : columns(d), starts(starts), places(places) {
        const std::span all(range);
        using T = std::remove_const_t<typename decltype(all)::element_type>;
        static_assert(Number<T>, "X is of double, float, Half, int8_t or uint8_t");
        detail::demand(!starts.empty() && starts.back() <= static_cast<std::int64_t>(all.size()) &&
                           places.size() == all.size(),
                       "starts, places and values of a sparse X do not fit each other");
        type = detail::type_of<T>();
        rows = static_cast<std::int64_t>(starts.size()) - 1;
        values = all.data();
    }
    std::int64_t stored() const { return starts.back() - starts.front(); }
};

class Model {
  public:
    explicit Model(mpigd_model *owned) : model_(owned) {}

    static Model read(const std::string &path) {
        mpigd_model *model = nullptr;
        detail::call(mpigd_model_read, path.c_str(), &model);
        return Model(model);
    }

    /* Of coef (columns, outputs) and intercept (outputs,); labels of classes, ascending, or none. */
    static Model of(const std::string &loss, Span coef, Span intercept, Span labels = {}) {
        detail::demand(!intercept.empty() && coef.size() % intercept.size() == 0,
                       "coef has to hold as many numbers for each column as intercept");
        const auto outputs = static_cast<std::int64_t>(intercept.size());
        mpigd_model *model = nullptr;
        detail::call(mpigd_model_new, loss.c_str(), static_cast<std::int64_t>(coef.size()) / outputs, outputs,
                     coef.data(), intercept.data(), static_cast<std::int64_t>(labels.size()),
                     labels.empty() ? nullptr : labels.data(), &model);
        return Model(model);
    }

    void write(const std::string &path) const { detail::call(mpigd_model_write, get(), path.c_str()); }

    std::int64_t columns() const { return mpigd_model_columns(get()); }
    std::int64_t outputs() const { return mpigd_model_outputs(get()); }
    std::int64_t classes() const { return mpigd_model_classes(get()); }
    bool has_probabilities() const { return mpigd_model_probabilities(get()) > 0; }
    /* Views into the model. */
    Span coef() const { return {mpigd_model_coef(get()), detail::size(columns(), outputs())}; }
    Span intercept() const { return {mpigd_model_intercept(get()), detail::size(outputs())}; }
    Span labels() const { return {mpigd_model_labels(get()), detail::size(classes())}; }
    std::string loss() const { return mpigd_model_loss(get()); }
    std::string link() const { return mpigd_model_link(get()); }
    std::optional<double> threshold() const {
        const double threshold = mpigd_model_threshold(get());
        return std::isnan(threshold) ? std::nullopt : std::optional(threshold);
    }
    std::vector<std::string> features() const {
        std::vector<std::string> names;
        for (std::int64_t j = 0; j < columns(); ++j)
            names.emplace_back(mpigd_model_feature(get(), j));
        return names;
    }

    /* Linear predictors (rows, outputs); labels or expected y; probabilities (rows, classes). */
    Vector eta(const Dense &x) const { return of_rows(mpigd_eta, x, outputs()); }
    Vector eta(const Sparse &x) const { return of_rows(mpigd_eta_csr, x, outputs()); }
    Vector predict(const Dense &x) const { return of_rows(mpigd_predict, x, mpigd_model_answers(get())); }
    Vector predict(const Sparse &x) const { return of_rows(mpigd_predict_csr, x, mpigd_model_answers(get())); }
    Vector predict_proba(const Dense &x) const { return of_rows(mpigd_predict_proba, x, classes()); }
    Vector predict_proba(const Sparse &x) const { return of_rows(mpigd_predict_proba_csr, x, classes()); }

    const mpigd_model *get() const noexcept { return model_.get(); }

  private:
    std::unique_ptr<mpigd_model, detail::Free<mpigd_model_free>> model_;

    template <class Function, class Rows>
    Vector of_rows(Function function, const Rows &x, std::int64_t width) const {
        detail::demand(x.columns == columns(), "rows have another number of columns than the model");
        Vector found(detail::size(x.rows, width));
        if constexpr (std::same_as<Rows, Dense>)
            detail::call(function, get(), x.type, x.rows, x.values, found.data());
        else
            detail::call(function, get(), x.type, x.rows, x.starts.data(), x.places.data(), x.values, found.data());
        return found;
    }
};

/* What belongs to rows of this process besides X. Empty weight and offset: ones and zeros. Negative totals: these are
 * all rows there are. */
struct About {
    Span y, weight = {}, offset = {};
    std::int64_t first_row = 0, total_rows = -1, total_stored = -1;
};

/* Rows of this process, copied. */
class Slice {
  public:
    Slice(const Dense &x, const About &about) {
        check(x.rows, about);
        mpigd_slice *slice = nullptr;
        detail::call(mpigd_slice_dense, x.type, x.rows, x.columns, x.values, about.y.data(), data(about.weight),
                     data(about.offset), about.first_row, about.total_rows < 0 ? x.rows : about.total_rows, &slice);
        slice_.reset(slice);
    }

    Slice(const Sparse &x, const About &about) {
        check(x.rows, about);
        mpigd_slice *slice = nullptr;
        detail::call(mpigd_slice_csr, x.type, x.rows, x.columns, x.starts.data(), x.places.data(), x.values,
                     about.y.data(), data(about.weight), data(about.offset), about.first_row,
                     about.total_rows < 0 ? x.rows : about.total_rows,
                     about.total_stored < 0 ? x.stored() : about.total_stored, &slice);
        slice_.reset(slice);
    }

    std::int64_t rows() const { return mpigd_slice_rows(get()); }
    std::int64_t columns() const { return mpigd_slice_columns(get()); }
    const mpigd_slice *get() const noexcept { return slice_.get(); }

  private:
    std::unique_ptr<mpigd_slice, detail::Free<mpigd_slice_free>> slice_;

    static const double *data(Span values) { return values.empty() ? nullptr : values.data(); }
    static void check(std::int64_t rows, const About &about) {
        const auto fits = [rows](Span values) { return values.empty() || values.size() == detail::size(rows); };
        detail::demand(about.y.size() == detail::size(rows) && fits(about.weight) && fits(about.offset),
                       "y, weight and offset need a number for each row of X");
    }
};

struct ValueGradient {
    double value = 0.0, weight = 0.0;
    Vector gradient; /* (columns + 1, outputs), the intercepts' last */
};

namespace detail {

inline std::size_t outputs(const Slice &slice, Span coef, Span intercept) {
    demand(coef.size() == size(slice.columns()) * intercept.size(),
           "coef has to hold as many numbers for each column of X as intercept");
    return intercept.size();
}

} // namespace detail

inline ValueGradient value_gradient(const Slice &slice, const Loss &loss, Span coef, Span intercept,
                                    const Ranks *ranks = nullptr) {
    ValueGradient found;
    found.gradient.resize(coef.size() + detail::outputs(slice, coef, intercept));
    detail::call(mpigd_value_gradient_over, ranks, slice.get(), &loss, coef.data(), intercept.data(), &found.value,
                 found.gradient.data(), &found.weight);
    return found;
}

/* The Hessian times a direction (columns + 1, outputs), of the same shape. */
inline Vector hessian_product(const Slice &slice, const Loss &loss, Span coef, Span intercept, Span direction,
                              const Ranks *ranks = nullptr) {
    Vector product(coef.size() + detail::outputs(slice, coef, intercept));
    detail::demand(direction.size() == product.size(), "direction needs a number for each coefficient and intercept");
    detail::call(mpigd_hessian_product_over, ranks, slice.get(), &loss, coef.data(), intercept.data(),
                 direction.data(), product.data());
    return product;
}

/* Options of a fit, of which the loss has no default: FitOptions options("logistic"); options.l2 = 0.1; */
struct FitOptions : mpigd_fit_options {
    explicit FitOptions(const Loss &of) {
        mpigd_fit_defaults(this);
        loss = of;
    }
};

struct Fitted {
    Model model;
    mpigd_fit_result result;
};

inline Fitted fit(const Slice &slice, const FitOptions &options, const Ranks *ranks = nullptr) {
    mpigd_model *model = nullptr;
    mpigd_fit_result result{};
    detail::call(mpigd_fit_over, ranks, slice.get(), &options, &model, &result);
    return {Model(model), result};
}

/* The objective of a fit, a function of theta (rows, outputs), for solvers of your own. Slice and ranks have to live as
 * long. */
class Problem {
  public:
    Problem(const Slice &slice, const FitOptions &options, const Ranks *ranks = nullptr) : columns_(slice.columns()) {
        mpigd_problem *problem = nullptr;
        detail::call(mpigd_problem_new, ranks, slice.get(), &options, &problem);
        problem_.reset(problem);
    }

    std::int64_t rows() const { return mpigd_problem_rows(problem_.get()); }
    std::int64_t outputs() const { return mpigd_problem_outputs(problem_.get()); }

    /* The gradient, in place; returns the value. */
    double evaluate(Span theta, std::span<double> gradient) {
        check(theta, gradient);
        double value = 0.0;
        detail::call(mpigd_problem_evaluate, problem_.get(), theta.data(), &value, gradient.data());
        return value;
    }

    void product(Span theta, Span direction, std::span<double> product) {
        check(theta, product);
        check(direction, product);
        detail::call(mpigd_problem_product, problem_.get(), theta.data(), direction.data(), product.data());
    }

    /* Gradient (rows,) and Hessian (rows, rows), in place; returns the value. Of one output. */
    double second_order(Span theta, std::span<double> gradient, std::span<double> hessian) {
        check(theta, gradient);
        detail::demand(hessian.size() == theta.size() * theta.size(), "the Hessian is of (rows, rows)");
        double value = 0.0;
        detail::call(mpigd_problem_second_order, problem_.get(), theta.data(), &value, gradient.data(),
                     hessian.data());
        return value;
    }

    /* Coefficients (columns, outputs) and intercept (outputs,) on the scale of the columns. */
    std::pair<Vector, Vector> coefficients(Span theta) const {
        check(theta, theta);
        std::pair<Vector, Vector> found{Vector(detail::size(columns_, outputs())), Vector(detail::size(outputs()))};
        mpigd_problem_coefficients(problem_.get(), theta.data(), found.first.data(), found.second.data());
        return found;
    }

  private:
    std::unique_ptr<mpigd_problem, detail::Free<mpigd_problem_free>> problem_;
    std::int64_t columns_;

    void check(Span theta, Span result) const {
        const std::size_t expected = detail::size(rows(), outputs());
        detail::demand(theta.size() == expected && result.size() == expected, "theta is of (rows, outputs)");
    }
};

} // namespace mpigd

#endif
