# Predict the rows of a table: Rscript predict.R MODEL.h5 TABLE.csv
library(mpigd)

arguments <- commandArgs(trailingOnly = TRUE)
model <- mpigd_read(arguments[1])
table <- read.csv(arguments[2])
cat(sprintf("%.17g", predict(model, table)), sep = "\n")
