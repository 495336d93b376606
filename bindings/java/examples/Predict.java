import io.mpigd.Model;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Stream;

/** Predict the rows of a table: java Predict MODEL.h5 TABLE.csv */
public class Predict {
    public static void main(String[] arguments) throws IOException {
        try (Model model = Model.read(arguments[0]);
                Stream<String> lines = Files.lines(Path.of(arguments[1]))) {
            // The model's columns are the first ones of the table.
            double[] x = lines.skip(1) // names
                    .flatMap(line -> Arrays.stream(line.split(",")).limit(model.columns()))
                    .mapToDouble(Double::parseDouble)
                    .toArray();
            for (double y : model.predict(x)) {
                System.out.println(y);
            }
        }
    }
}
