package io.mpigd;

/** A fitted model, to be closed, and the numbers of its fit: see mpigd_fit_result of mpigd.h. */
public record Fit(Model model, double value, double gradientNorm, double passes, long steps, boolean converged)
        implements AutoCloseable {

    /** How theta is updated. */
    public enum Solver {
        GD,
        LBFGS,
        NEWTON
    }

    /** What is fitted, and how: see mpigd_fit_options of mpigd.h. */
    public record Options(
            Loss loss,
            Solver solver,
            double l2,
            boolean intercept,
            boolean standardize,
            double tol,
            double maxPasses,
            double learningRate) {

        public Options(Loss loss, Solver solver, double l2) {
            this(loss, solver, l2, true, true, 1e-6, 1000.0, 0.0);
        }

        double[] numbers() {
            return new double[] {
                loss.parameter(), loss.smoothing(), loss.outputs(), solver.ordinal(), l2, intercept ? 1.0 : 0.0,
                standardize ? 1.0 : 0.0, tol, maxPasses, learningRate
            };
        }
    }

    static Fit of(Model model, double[] result) {
        return new Fit(model, result[0], result[1], result[2], (long) result[3], result[4] != 0.0);
    }

    @Override
    public void close() {
        model.close();
    }
}
