package io.mpigd;

import java.util.Arrays;

/**
 * Rows with what is known of them, copied: what derivatives and fits are of. Close it, as a model.
 */
public final class Slice implements AutoCloseable {
    private final int columns;
    private long handle;

    /** Value and gradient; the gradient is (columns + 1, outputs), row by row, the intercepts' last. */
    public record ValueGradient(double value, double[] gradient, double weight) {}

    /**
     * @param x n rows of d numbers, row by row
     * @param y n numbers; class numbers from 0 for losses of classes
     * @param weight n numbers, or null for ones
     * @param offset n numbers, or null for zeros
     */
    public Slice(double[] x, double[] y, double[] weight, double[] offset) {
        this(Native.FLOAT64, x, null, null, y.length, columns(x.length, y), y, weight, offset);
    }

    public Slice(double[] x, double[] y) {
        this(x, y, null, null);
    }

    public Slice(float[] x, double[] y, double[] weight, double[] offset) {
        this(Native.FLOAT32, x, null, null, y.length, columns(x.length, y), y, weight, offset);
    }

    public Slice(Sparse x, double[] y, double[] weight, double[] offset) {
        this(Native.FLOAT64, x.values, x.starts, x.places, x.rows(), x.columns(), y, weight, offset);
    }

    public Slice(Sparse x, double[] y) {
        this(x, y, null, null);
    }

    private Slice(
            int type, Object x, long[] starts, int[] places, int n, int columns, double[] y, double[] weight,
            double[] offset) {
        demand(n > 0 && y.length == n && fits(weight, n) && fits(offset, n));
        this.columns = columns;
        handle = Native.newSlice(type, x, starts, places, n, columns, y, weight, offset);
    }

    /** Weighted means over rows of the loss and its derivatives at coef (columns, outputs) and intercept (outputs). */
    public ValueGradient valueGradient(Loss loss, double[] coef, double[] intercept) {
        check(coef, intercept);
        double[] found = Native.valueGradient(
                handle(), Native.bytes(loss.name()), loss.parameter(), loss.smoothing(), coef, intercept);
        int size = found.length - 2;
        return new ValueGradient(found[size], Arrays.copyOf(found, size), found[size + 1]);
    }

    /** The Hessian times a direction (columns + 1, outputs), of the same shape. */
    public double[] hessianProduct(Loss loss, double[] coef, double[] intercept, double[] direction) {
        check(coef, intercept);
        if (direction.length != coef.length + intercept.length) {
            throw new IllegalArgumentException("direction needs a number for each coefficient and intercept");
        }
        return Native.hessianProduct(
                handle(), Native.bytes(loss.name()), loss.parameter(), loss.smoothing(), coef, intercept, direction);
    }

    /** Fit a model to these rows, in this process. */
    public Fit fit(Fit.Options options) {
        double[] result = new double[5];
        long model = Native.fit(handle(), Native.bytes(options.loss().name()), options.numbers(), result);
        return Fit.of(new Model(model), result);
    }

    @Override
    public void close() {
        Native.freeSlice(handle);
        handle = 0;
    }

    /** Of dense rows, of which y tells how many there are. */
    private static int columns(int length, double[] y) {
        demand(y.length > 0 && length % y.length == 0);
        return length / y.length;
    }

    private static boolean fits(double[] numbers, int n) {
        return numbers == null || numbers.length == n;
    }

    private static void demand(boolean right) {
        if (!right) {
            throw new IllegalArgumentException("y, weight and offset need a number for each row of x");
        }
    }

    private void check(double[] coef, double[] intercept) {
        if (coef.length != columns * intercept.length) {
            throw new IllegalArgumentException("coef has to hold as many numbers for each column of x as intercept");
        }
    }

    private long handle() {
        if (handle == 0) {
            throw new IllegalStateException("the slice is closed");
        }
        return handle;
    }
}
