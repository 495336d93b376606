package io.mpigd;

/**
 * A loss.
 *
 * @param name as in mpigd.h: squared, huber, logistic, poisson, softmax, …
 * @param parameter its parameter; 0 for the default
 * @param smoothing half-width of the rounded kink of quantile and epsilon-insensitive; 0 for the default
 * @param outputs the number of classes of softmax, 1 of all others
 */
public record Loss(String name, double parameter, double smoothing, int outputs) {
    public Loss(String name) {
        this(name, 0.0, 0.0, 1);
    }
}
