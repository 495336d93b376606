package io.mpigd;

import java.util.Objects;

/**
 * Sparse rows (CSR): row i has values[starts[i]] … values[starts[i + 1] - 1], in columns places[starts[i]] …
 * places[starts[i + 1] - 1]. Places and values are not copied.
 */
public final class Sparse {
    final long[] starts;
    final int[] places;
    final double[] values;
    private final int columns;

    /**
     * @param starts n + 1 numbers for n rows, ascending; they need not begin at 0
     * @param places a column for each value, from 0, below columns; those of a row in any order
     * @param values numbers
     * @param columns how many columns there are
     */
    public Sparse(long[] starts, int[] places, double[] values, int columns) {
        this.starts = starts.clone(); // what is checked here stays as it is: C relies on it
        this.places = Objects.requireNonNull(places, "places");
        this.values = Objects.requireNonNull(values, "values");
        this.columns = columns;
        demand(columns >= 0, "there are less than 0 columns");
        demand(places.length == values.length, "places and values are not of the same length");
        demand(starts.length > 0 && this.starts[0] >= 0, "starts has to hold n + 1 numbers for n rows, from 0 on");
        for (int i = 0; i < rows(); ++i) {
            if (this.starts[i] > this.starts[i + 1]) {
                throw new IllegalArgumentException("starts does not ascend at row " + i);
            }
        }
        demand(this.starts[rows()] <= values.length, "starts ends beyond the values");
    }

    public int rows() {
        return starts.length - 1;
    }

    public int columns() {
        return columns;
    }

    private static void demand(boolean right, String otherwise) {
        if (!right) {
            throw new IllegalArgumentException(otherwise);
        }
    }
}
