# What tests/test_bindings.py compares with Python: for each folder given, results of its model and rows.
library(mpigd)

# Labels of a fit are levels of the factor, and columns those of the data frame in any order.
fitted <- mpigd_fit(iris[1:4], iris$Species, "softmax", l2 = 0.01)
found <- predict(fitted, rev(iris))
stopifnot(identical(levels(found), levels(iris$Species)), mean(found == iris$Species) > 0.9)
stopifnot(identical(colnames(predict(fitted, iris, "prob")), levels(iris$Species)))

numbers <- function(path) readBin(path, "double", file.size(path) / 8, endian = "little")

for (folder in commandArgs(trailingOnly = TRUE)) {
  here <- function(name) file.path(folder, name)
  put <- function(name, found) {
    row_by_row <- if (is.matrix(found)) t(found) else found
    writeBin(as.double(row_by_row), here(paste0("r.", name)), endian = "little")
  }
  model <- mpigd_read(here("model.h5"))
  x <- matrix(numbers(here("X")), ncol = length(model$features), byrow = TRUE)

  put("eta", predict(model, x, "link"))
  put("predict", predict(model, x))
  named <- as.data.frame(x)
  names(named) <- model$features
  put("predict_named", predict(model, cbind(other = 0, rev(named))))
  if (model$probabilities > 0) put("proba", predict(model, x, "prob"))

  if (file.exists(here("y"))) {
    given <- numbers(here("numbers"))
    loss <- mpigd_loss(model$loss, given[1], given[2])
    y <- numbers(here("y"))
    weight <- numbers(here("weight"))
    offset <- numbers(here("offset"))
    direction <- matrix(numbers(here("direction")), ncol = model$outputs, byrow = TRUE)
    found <- mpigd_value_gradient(x, y, loss, model$coef, model$intercept, weight, offset)
    put("value", c(found$value, found$weight))
    put("gradient", found$gradient)
    put("eta_copy", predict(mpigd_model(model$loss, model$coef, model$intercept, model$labels), x, "link"))
    put("product", mpigd_hessian_product(x, y, loss, model$coef, model$intercept, direction, weight, offset))
  }

  mpigd_write(model, here("r.copy.h5"))

  x[2, 1] <- NaN
  said <- tryCatch(predict(model, x), mpigd_error = function(error) paste(error$status, conditionMessage(error)))
  cat(said, file = here("r.error"))
}
