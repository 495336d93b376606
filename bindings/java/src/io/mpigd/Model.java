package io.mpigd;

import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalDouble;

/**
 * A fitted linear model. It holds memory outside the heap: close it, or use try-with-resources.
 *
 * <p>Arrays are row by row: x has n rows of as many numbers as the model has columns, or is a {@link Sparse}. Direct
 * buffers are read where they are, from their position to their limit, in the byte order of the machine; arrays may be
 * copied. Any number of threads may use a model, as long as none closes it.
 */
public final class Model implements AutoCloseable {
    private long handle;

    Model(long handle) {
        this.handle = handle;
    }

    /** Read model.h5 of {@code mpigd train}. */
    public static Model read(String path) {
        return new Model(Native.readModel(Native.bytes(path)));
    }

    /** Of coef (columns, outputs) and intercept (outputs); labels of classes, ascending, none for a regression. */
    public static Model of(String loss, double[] coef, double[] intercept, double... labels) {
        if (intercept.length == 0 || coef.length % intercept.length != 0) {
            throw new IllegalArgumentException("coef has to hold as many numbers for each column as intercept");
        }
        return new Model(Native.newModel(Native.bytes(loss), coef, intercept, labels));
    }

    /** Write a file that this library and the Python program read. */
    public void write(String path) {
        Native.writeModel(handle(), Native.bytes(path));
    }

    public int columns() {
        return Math.toIntExact(Native.columns(handle()));
    }

    public int outputs() {
        return Math.toIntExact(Native.outputs(handle()));
    }

    /** (columns, outputs), row by row. */
    public double[] coef() {
        return Native.coef(handle());
    }

    public double[] intercept() {
        return Native.intercept(handle());
    }

    /** Of classes, ascending; empty for a regression. */
    public double[] labels() {
        return Native.labels(handle());
    }

    public String loss() {
        return Native.text(Native.loss(handle()));
    }

    public String link() {
        return Native.text(Native.link(handle()));
    }

    /** The probability from which on a row is taken for the second of two classes, if there is one. */
    public OptionalDouble threshold() {
        double threshold = Native.threshold(handle());
        return Double.isNaN(threshold) ? OptionalDouble.empty() : OptionalDouble.of(threshold);
    }

    /** Names of columns. */
    public List<String> features() {
        List<String> names = new ArrayList<>();
        for (int j = 0; j < columns(); ++j) {
            names.add(Native.text(Native.feature(handle(), j)));
        }
        return names;
    }

    public boolean hasProbabilities() {
        return Native.probabilities(handle()) > 0;
    }

    /** Linear predictors (n, outputs). */
    public double[] eta(double[] x) {
        return ofRows(Native.ETA, Native.FLOAT64, x, x.length, outputs());
    }

    public double[] eta(float[] x) {
        return ofRows(Native.ETA, Native.FLOAT32, x, x.length, outputs());
    }

    public double[] eta(DoubleBuffer x) {
        return ofRows(Native.ETA, Native.FLOAT64, direct(x), x.remaining(), outputs());
    }

    public double[] eta(FloatBuffer x) {
        return ofRows(Native.ETA, Native.FLOAT32, direct(x), x.remaining(), outputs());
    }

    public double[] eta(Sparse x) {
        return ofRows(Native.ETA, x, outputs());
    }

    /** Labels of classes, or expected y: (n), or (n, outputs) of a regression with several. */
    public double[] predict(double[] x) {
        return ofRows(Native.PREDICT, Native.FLOAT64, x, x.length, answers());
    }

    public double[] predict(float[] x) {
        return ofRows(Native.PREDICT, Native.FLOAT32, x, x.length, answers());
    }

    public double[] predict(DoubleBuffer x) {
        return ofRows(Native.PREDICT, Native.FLOAT64, direct(x), x.remaining(), answers());
    }

    public double[] predict(FloatBuffer x) {
        return ofRows(Native.PREDICT, Native.FLOAT32, direct(x), x.remaining(), answers());
    }

    public double[] predict(Sparse x) {
        return ofRows(Native.PREDICT, x, answers());
    }

    /** Probabilities (n, classes), in the order of labels. */
    public double[] predictProba(double[] x) {
        return ofRows(Native.PROBA, Native.FLOAT64, x, x.length, Native.probabilities(handle()));
    }

    public double[] predictProba(float[] x) {
        return ofRows(Native.PROBA, Native.FLOAT32, x, x.length, Native.probabilities(handle()));
    }

    public double[] predictProba(DoubleBuffer x) {
        return ofRows(Native.PROBA, Native.FLOAT64, direct(x), x.remaining(), Native.probabilities(handle()));
    }

    public double[] predictProba(FloatBuffer x) {
        return ofRows(Native.PROBA, Native.FLOAT32, direct(x), x.remaining(), Native.probabilities(handle()));
    }

    public double[] predictProba(Sparse x) {
        return ofRows(Native.PROBA, x, Native.probabilities(handle()));
    }

    @Override
    public void close() {
        Native.freeModel(handle);
        handle = 0;
    }

    private long answers() {
        return Native.answers(handle());
    }

    private double[] ofRows(int what, int type, Object x, int length, long width) {
        int d = columns();
        if (length % d != 0) {
            throw new IllegalArgumentException("x has to hold whole rows of " + d + " columns");
        }
        return ofRows(what, type, x, null, null, length / d, width);
    }

    private double[] ofRows(int what, Sparse x, long width) {
        if (x.columns() != columns()) {
            throw new IllegalArgumentException("x has " + x.columns() + " columns, and the model " + columns());
        }
        return ofRows(what, Native.FLOAT64, x.values, x.starts, x.places, x.rows(), width);
    }

    private double[] ofRows(int what, int type, Object x, long[] starts, int[] places, int n, long width) {
        Math.toIntExact(n * width); // numbers that an array can hold
        return Native.ofRows(handle(), what, type, x, starts, places, n, width);
    }

    private static Object direct(DoubleBuffer x) {
        check(x.isDirect(), x.order());
        return x.slice();
    }

    private static Object direct(FloatBuffer x) {
        check(x.isDirect(), x.order());
        return x.slice();
    }

    private static void check(boolean direct, ByteOrder order) {
        if (!direct || order != ByteOrder.nativeOrder()) {
            throw new IllegalArgumentException("the buffer has to be direct and in the machine's byte order");
        }
    }

    private long handle() {
        if (handle == 0) {
            throw new IllegalStateException("the model is closed");
        }
        return handle;
    }
}
