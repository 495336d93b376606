import io.mpigd.Fit;
import io.mpigd.Loss;
import io.mpigd.Slice;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;

/** Fit the last column of a table, in one process: java FitTable TABLE.csv MODEL.h5 */
public class FitTable {
    public static void main(String[] arguments) throws IOException {
        List<String> lines = Files.readAllLines(Path.of(arguments[0]));
        double[][] rows = lines.stream()
                .skip(1) // names
                .map(line -> Arrays.stream(line.split(",")).mapToDouble(Double::parseDouble).toArray())
                .toArray(double[][]::new);
        int columns = rows[0].length - 1;
        double[] x = Arrays.stream(rows).flatMapToDouble(row -> Arrays.stream(row, 0, columns)).toArray();
        double[] y = Arrays.stream(rows).mapToDouble(row -> row[columns]).toArray();

        Fit.Options options = new Fit.Options(new Loss("squared"), Fit.Solver.NEWTON, 0.0);
        try (Slice slice = new Slice(x, y);
                Fit fit = slice.fit(options)) {
            fit.model().write(arguments[1]);
            System.out.println("objective " + fit.value() + " after " + fit.steps() + " step(s)");
            Arrays.stream(fit.model().coef()).forEach(System.out::println);
            System.out.println(fit.model().intercept()[0]);
        }
    }
}
