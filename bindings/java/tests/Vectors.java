import io.mpigd.Loss;
import io.mpigd.Model;
import io.mpigd.MpigdException;
import io.mpigd.Slice;
import io.mpigd.Sparse;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/** What tests/test_bindings.py compares with Python: for each folder given, results of its model and rows. */
public class Vectors {
    public static void main(String[] folders) throws IOException {
        refuse();
        for (String folder : folders) {
            compute(Path.of(folder));
        }
    }

    /** Sparse rows that do not fit end in one exception. */
    private static void refuse() {
        int[] places = {1, 0, 1};
        double[] values = {1.0, 2.0, 3.0};
        refused(NullPointerException.class, () -> new Sparse(null, places, values, 2));
        refused(NullPointerException.class, () -> new Sparse(new long[] {0, 3}, null, values, 2));
        refused(NullPointerException.class, () -> new Sparse(new long[] {0, 3}, places, null, 2));
        refused(IllegalArgumentException.class, () -> new Sparse(new long[] {0, 3}, places, values, -1));
        refused(IllegalArgumentException.class, () -> new Sparse(new long[] {0, 3}, places, new double[2], 2));
        for (long[] starts : new long[][] {{}, {-1, 3}, {0, 4, 3}, {0, Long.MAX_VALUE, 3}, {0, 4}}) {
            refused(IllegalArgumentException.class, () -> new Sparse(starts, places, values, 2));
        }

        long[] starts = {0, 1, 3};
        Sparse x = new Sparse(starts, places, values, 2);
        double[] y = {0.0, 1.0};
        try (Model model = Model.of("squared", new double[] {1.0, 2.0}, new double[1])) {
            starts[1] = Long.MAX_VALUE; // does nothing
            require(Arrays.equals(model.predict(x), new double[] {2.0, 8.0}));
            Sparse second = new Sparse(new long[] {1, 3}, places, values, 2);
            require(Arrays.equals(model.predict(second), new double[] {8.0}));
            require(model.predict(new Sparse(new long[1], new int[0], new double[0], 2)).length == 0);
            refused(IllegalArgumentException.class, () -> model.predict(new Sparse(new long[2], places, values, 3)));
            refused(NullPointerException.class, () -> model.predict((Sparse) null));
            refused(IllegalArgumentException.class, () -> new Slice(x, new double[3]));
            refused(IllegalArgumentException.class, () -> new Slice(x, y, new double[3], null));
            refused(IllegalArgumentException.class, () -> new Slice(x, y, null, new double[1]));
            for (int column : new int[] {2, -1, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
                places[1] = column;
                require(refused(MpigdException.class, () -> model.predict(x)).contains("row 1 "));
                require(refused(MpigdException.class, () -> new Slice(x, y)).contains("row 1 "));
            }
            places[1] = 0;
            values[1] = Double.NaN;
            require(refused(MpigdException.class, () -> model.eta(x)).contains("row 1 "));
            require(refused(MpigdException.class, () -> new Slice(x, y)).contains("row 1 "));
        }
    }

    private static String refused(Class<? extends RuntimeException> expected, Runnable call) {
        try {
            call.run();
        } catch (RuntimeException found) {
            require(expected.isInstance(found));
            return String.valueOf(found.getMessage());
        }
        throw new AssertionError("rows that do not fit are taken");
    }

    private static void require(boolean right) {
        if (!right) {
            throw new AssertionError();
        }
    }

    private static void compute(Path in) throws IOException {
        double[] x = read(in, "X");
        Model closed = Model.read(in.resolve("model.h5").toString());
        closed.close();
        try {
            closed.predict(x);
            throw new AssertionError("a closed model predicts");
        } catch (IllegalStateException expected) {
            closed.close(); // does nothing
        }
        try (Model model = Model.read(in.resolve("model.h5").toString())) {
            write(in, "eta", model.eta(x));
            write(in, "predict", model.predict(x));
            long[] starts = new long[x.length / model.columns() + 1];
            bytes(in, "starts").asLongBuffer().get(starts);
            int[] places = new int[(int) starts[starts.length - 1]];
            bytes(in, "places").asIntBuffer().get(places);
            Sparse sparse = new Sparse(starts, places, read(in, "values"), model.columns());
            write(in, "eta_sparse", model.eta(sparse));
            write(in, "predict_sparse", model.predict(sparse));
            float[] single = new float[x.length];
            DoubleBuffer direct =
                    ByteBuffer.allocateDirect(8 * x.length + 8).order(ByteOrder.nativeOrder()).asDoubleBuffer();
            direct.put(Double.NaN).put(x).flip().position(1); // rows begin where the buffer stands
            for (int i = 0; i < x.length; ++i) {
                single[i] = (float) x[i];
            }
            if (Files.exists(in.resolve("single"))) {
                write(in, "eta_float32", model.eta(single));
            }
            write(in, "eta_direct", model.eta(direct));
            if (model.hasProbabilities()) {
                write(in, "proba", model.predictProba(x));
                write(in, "proba_sparse", model.predictProba(sparse));
            }

            if (Files.exists(in.resolve("y"))) {
                derive(in, model, x, sparse);
            }

            model.write(in.resolve("java.copy.h5").toString());

            double[] bad = x.clone();
            bad[model.columns()] = Double.NaN;
            try {
                model.predict(bad);
            } catch (MpigdException error) {
                Files.writeString(in.resolve("java.error"), error.status() + " " + error.getMessage());
            }
        }
    }

    private static void derive(Path in, Model model, double[] x, Sparse sparse) throws IOException {
        double[] numbers = read(in, "numbers"), y = read(in, "y");
        double[] weight = read(in, "weight"), offset = read(in, "offset");
        try (Slice slice = new Slice(x, y, weight, offset);
                Slice thin = new Slice(sparse, y, weight, offset);
                Model copy = Model.of(model.loss(), model.coef(), model.intercept(), model.labels())) {
            Loss loss = new Loss(model.loss(), numbers[0], numbers[1], model.outputs());
            Slice.ValueGradient found = slice.valueGradient(loss, model.coef(), model.intercept());
            write(in, "value", found.value(), found.weight());
            write(in, "gradient", found.gradient());
            write(in, "gradient_sparse", thin.valueGradient(loss, model.coef(), model.intercept()).gradient());
            double[] direction = read(in, "direction");
            write(in, "eta_copy", copy.eta(x));
            write(in, "product", slice.hessianProduct(loss, model.coef(), model.intercept(), direction));
        }
    }

    private static ByteBuffer bytes(Path in, String name) throws IOException {
        return ByteBuffer.wrap(Files.readAllBytes(in.resolve(name))).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static double[] read(Path in, String name) throws IOException {
        DoubleBuffer numbers = bytes(in, name).asDoubleBuffer();
        double[] found = new double[numbers.remaining()];
        numbers.get(found);
        return found;
    }

    private static void write(Path in, String name, double... numbers) throws IOException {
        ByteBuffer bytes = ByteBuffer.allocate(8 * numbers.length).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asDoubleBuffer().put(numbers);
        Files.write(in.resolve("java." + name), bytes.array());
    }
}
