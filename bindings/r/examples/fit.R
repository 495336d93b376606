# Fit the last column of a table: Rscript fit.R TABLE.csv MODEL.h5
library(mpigd)

arguments <- commandArgs(trailingOnly = TRUE)
table <- as.matrix(read.csv(arguments[1]))
last <- ncol(table)
model <- mpigd_fit(table[, -last], table[, last], solver = "newton")
mpigd_write(model, arguments[2])
cat(sprintf("objective %.17g after %d step(s)", model$fit$value, as.integer(model$fit$steps)), sep = "\n")
cat(sprintf("%.17g", c(model$coef, model$intercept)), sep = "\n")
