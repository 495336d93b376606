# What tests/test_bindings.py compares with Python: for each folder given, results of its model and rows.
library(mpigd)

# Sparse matrices are those of package Matrix where that is installed, and have its slots where it is not.
if (!requireNamespace("Matrix", quietly = TRUE)) {
  slots <- c(p = "integer", Dim = "integer", Dimnames = "list", x = "numeric", factors = "list")
  setClass("dgRMatrix", slots = c(slots, j = "integer"))
  setClass("dgCMatrix", slots = c(slots, i = "integer"))
}

by_column <- function(x) {
  stored <- x != 0
  new("dgCMatrix", p = as.integer(c(0, cumsum(colSums(stored)))), i = row(x)[stored] - 1L, x = x[stored], Dim = dim(x),
      Dimnames = list(NULL, colnames(x)))
}

refused <- function(call) {
  said <- tryCatch(call, error = conditionMessage)
  stopifnot(is.character(said), length(said) == 1)
  said
}

# Labels of a fit are levels of the factor, and columns those of the data frame in any order.
fitted <- mpigd_fit(iris[1:4], iris$Species, "softmax", l2 = 0.01)
found <- predict(fitted, rev(iris))
stopifnot(identical(levels(found), levels(iris$Species)), mean(found == iris$Species) > 0.9)
stopifnot(identical(colnames(predict(fitted, iris, "prob")), levels(iris$Species)))

# A sparse matrix is fitted as a dense one, by its names and without.
dense <- as.matrix(iris[2:4])
fits <- lapply(list(dense, by_column(dense)), mpigd_fit, iris[[1]], tol = 1e-10)
stopifnot(all.equal(coef(fits[[1]]), coef(fits[[2]])), !is.null(names(coef(fits[[2]]))))
stopifnot(is.null(by_column(unname(dense))@Dimnames[[2]]))
stopifnot(identical(mpigd_fit(by_column(unname(dense)), iris[[1]])$features, c("x0", "x1", "x2")))

# What does not fit ends in one error.
model <- mpigd_model("squared", c(1, 2), 0)
stopifnot(length(predict(model, new("dgRMatrix", p = 0L, Dim = c(0L, 2L)))) == 0)
stopifnot(length(predict(model, new("dgCMatrix", p = c(0L, 0L, 0L), Dim = c(0L, 2L)))) == 0)
rows <- new("dgRMatrix", p = c(0L, 1L, 3L), j = c(1L, 0L, 1L), x = c(1, 2, 3), Dim = c(2L, 2L))
columns <- new("dgCMatrix", p = c(0L, 1L, 3L), i = c(1L, 0L, 1L), x = c(1, 2, 3), Dim = c(2L, 2L))
stopifnot(identical(predict(model, rows), c(2, 8)), identical(predict(model, columns), c(4, 7)))
for (good in list(rows, columns)) {
  places <- if (is(good, "dgRMatrix")) "j" else "i"
  wrong <- list(p = c(0L, 4L, 3L), p = c(0L, 3L), p = c(0L, 1L, 4L), p = c(-1L, 1L, 3L), p = c(0L, NA, 3L), p = NULL,
                p = c(0, 1, 3), x = c(1, 2), x = 1:3, Dim = c(2L, 1L), Dim = c(3L, 3L), Dim = 2L, Dim = c(NA, 2L))
  wrong <- c(wrong, stats::setNames(list(c(1L, 0L, 2L), c(-1L, 0L, 1L), c(NA, 0L, 1L), 1L), rep(places, 4)))
  for (k in seq_along(wrong)) {
    bad <- good
    attr(bad, names(wrong)[k]) <- wrong[[k]] # past what R checks of slots
    stopifnot(nzchar(refused(predict(model, bad))), nzchar(refused(mpigd_fit(bad, c(1, 2)))))
  }
  attr(good, "p") <- c(0L, 4L, 3L)
  stopifnot(grepl("do not fit each other", refused(predict(model, good))))
}
stopifnot(grepl("3 columns, and the model 2", refused(predict(model, by_column(dense)))))
stopifnot(grepl("length(y)", refused(mpigd_fit(rows, 1:3)), fixed = TRUE))
rows@x[2] <- NA
stopifnot(grepl("row 1 ", refused(predict(model, rows))), grepl("row 1 ", refused(mpigd_fit(rows, 1:2))))
for (none in list(NULL, NA, "x", list(), 1:2)) stopifnot(grepl("rows have to be", refused(predict(model, none))))

numbers <- function(path) readBin(path, "double", file.size(path) / 8, endian = "little")

for (folder in commandArgs(trailingOnly = TRUE)) {
  here <- function(name) file.path(folder, name)
  put <- function(name, found) {
    row_by_row <- if (is.matrix(found)) t(found) else found
    writeBin(as.double(row_by_row), here(paste0("r.", name)), endian = "little")
  }
  model <- mpigd_read(here("model.h5"))
  x <- matrix(numbers(here("X")), ncol = length(model$features), byrow = TRUE)

  starts <- readBin(here("starts"), "integer", nrow(x) + 1, size = 8, endian = "little")
  places <- readBin(here("places"), "integer", starts[nrow(x) + 1], endian = "little")
  sparse <- new("dgRMatrix", p = starts, j = places, x = numbers(here("values")), Dim = dim(x))

  put("eta", predict(model, x, "link"))
  put("eta_sparse", predict(model, sparse, "link"))
  put("predict_sparse", predict(model, by_column(x)))
  stopifnot(identical(predict(model, sparse, "link"), predict(model, by_column(x), "link")))
  put("predict", predict(model, x))
  named <- as.data.frame(x)
  names(named) <- model$features
  put("predict_named", predict(model, cbind(other = 0, rev(named))))
  if (model$probabilities > 0) {
    put("proba", predict(model, x, "prob"))
    put("proba_sparse", predict(model, sparse, "prob"))
  }

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
    found <- lapply(list(sparse, by_column(x)), mpigd_value_gradient, y, loss, model$coef, model$intercept, weight,
                    offset)
    put("gradient_sparse", found[[1]]$gradient)
    stopifnot(identical(found[[1]], found[[2]]))
    put("eta_copy", predict(mpigd_model(model$loss, model$coef, model$intercept, model$labels), x, "link"))
    put("product", mpigd_hessian_product(x, y, loss, model$coef, model$intercept, direction, weight, offset))
  }

  mpigd_write(model, here("r.copy.h5"))

  x[2, 1] <- NaN
  said <- tryCatch(predict(model, x), mpigd_error = function(error) paste(error$status, conditionMessage(error)))
  cat(said, file = here("r.error"))
}
