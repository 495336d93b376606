package io.mpigd;

import java.nio.charset.StandardCharsets;

/**
 * The functions of mpigd_jni.c. Text is UTF-8, ended by a zero. Rows are x, a double[], a float[] or a direct buffer;
 * those of a {@link Sparse} its values with its starts and places, which are null for dense ones.
 */
final class Native {
    static {
        System.loadLibrary("mpigd_java");
    }

    static final int ETA = 0, PREDICT = 1, PROBA = 2;
    static final int FLOAT64 = 0, FLOAT32 = 1;

    private Native() {}

    static byte[] bytes(String text) {
        return (text + "\0").getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    static native long readModel(byte[] path);

    static native long newModel(byte[] loss, double[] coef, double[] intercept, double[] labels);

    static native void writeModel(long model, byte[] path);

    static native void freeModel(long model);

    static native long columns(long model);

    static native long outputs(long model);

    static native long probabilities(long model);

    static native long answers(long model);

    static native double[] coef(long model);

    static native double[] intercept(long model);

    static native double[] labels(long model);

    static native byte[] loss(long model);

    static native byte[] link(long model);

    static native double threshold(long model);

    static native byte[] feature(long model, long column);

    /** ETA, PREDICT or PROBA of n rows, width numbers each. */
    static native double[] ofRows(
            long model, int what, int type, Object x, long[] starts, int[] places, long n, long width);

    static native long newSlice(
            int type, Object x, long[] starts, int[] places, long n, long d, double[] y, double[] weight,
            double[] offset);

    static native void freeSlice(long slice);

    /** Gradient, then value and sum of weights. */
    static native double[] valueGradient(
            long slice, byte[] loss, double parameter, double smoothing, double[] coef, double[] intercept);

    static native double[] hessianProduct(
            long slice, byte[] loss, double parameter, double smoothing, double[] coef, double[] intercept,
            double[] direction);

    /**
     * Numbers are parameter, smoothing, outputs, solver, l2, intercept, standardize, tol, passes, learning rate; the
     * result is value, norm of the gradient, passes, steps, converged.
     */
    static native long fit(long slice, byte[] loss, double[] numbers, double[] result);
}
