// Predict the rows of a table: predict MODEL.h5 TABLE.csv
#include <mpigd.hpp>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

int main(int, char **argv) {
    try {
        const mpigd::Model model = mpigd::Model::read(argv[1]);

        // The model's columns are the first ones of the table.
        std::vector<double> x;
        std::ifstream table(argv[2]);
        std::string line, cell;
        std::getline(table, line); // names
        while (std::getline(table, line)) {
            std::istringstream cells(line);
            for (std::int64_t j = 0; j < model.columns() && std::getline(cells, cell, ','); ++j)
                x.push_back(std::stod(cell));
        }

        for (const double y : model.predict(mpigd::Dense(x, model.columns())))
            std::printf("%.17g\n", y);
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
