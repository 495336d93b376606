import io.mpigd.Loss;
import io.mpigd.Model;
import io.mpigd.MpigdException;
import io.mpigd.Slice;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.file.Files;
import java.nio.file.Path;

/** What tests/test_bindings.py compares with Python: for each folder given, results of its model and rows. */
public class Vectors {
    public static void main(String[] folders) throws IOException {
        for (String folder : folders) {
            compute(Path.of(folder));
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
            }

            if (Files.exists(in.resolve("y"))) {
                derive(in, model, x);
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

    private static void derive(Path in, Model model, double[] x) throws IOException {
        double[] numbers = read(in, "numbers");
        try (Slice slice = new Slice(x, read(in, "y"), read(in, "weight"), read(in, "offset"));
                Model copy = Model.of(model.loss(), model.coef(), model.intercept(), model.labels())) {
            Loss loss = new Loss(model.loss(), numbers[0], numbers[1], model.outputs());
            Slice.ValueGradient found = slice.valueGradient(loss, model.coef(), model.intercept());
            write(in, "value", found.value(), found.weight());
            write(in, "gradient", found.gradient());
            double[] direction = read(in, "direction");
            write(in, "eta_copy", copy.eta(x));
            write(in, "product", slice.hessianProduct(loss, model.coef(), model.intercept(), direction));
        }
    }

    private static double[] read(Path in, String name) throws IOException {
        DoubleBuffer numbers =
                ByteBuffer.wrap(Files.readAllBytes(in.resolve(name))).order(ByteOrder.LITTLE_ENDIAN).asDoubleBuffer();
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
