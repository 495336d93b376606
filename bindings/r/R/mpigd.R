# R matrices are column by column, arrays of C row by row: what crosses is transposed here, and nowhere else.
# A model is a list with what it holds, and the handle of C, which R's garbage collector frees.

model_of <- function(handle) {
  held <- .Call(C_held, handle)
  held$coef <- matrix(held$coef, nrow = length(held$features), byrow = TRUE, dimnames = list(held$features, NULL))
  structure(c(list(handle = handle), held), class = "mpigd_model")
}

mpigd_read <- function(path) model_of(.Call(C_read, enc2utf8(path.expand(path))))

mpigd_write <- function(model, path) {
  .Call(C_write, model$handle, enc2utf8(path.expand(path)))
  invisible(model)
}

mpigd_model <- function(loss, coef, intercept, labels = numeric()) {
  coef <- as.matrix(coef)
  stopifnot(is.character(loss), is.numeric(coef), ncol(coef) == length(intercept), is.numeric(labels))
  model_of(.Call(C_new, loss, as.double(t(coef)), as.double(intercept), as.double(labels)))
}

# newdata: a matrix, dense or sparse, or a data frame, of which the model's columns are taken by their names.
predict.mpigd_model <- function(object, newdata, type = c("response", "link", "prob"), ...) {
  type <- match.arg(type)
  x <- rows_of(if (is.data.frame(newdata)) columns_of(newdata, object$features) else newdata)
  if (x$columns != length(object$features)) {
    stop("newdata has ", x$columns, " columns, and the model ", length(object$features))
  }
  width <- c(response = object$answers, link = object$outputs, prob = object$probabilities)[[type]]
  found <- .Call(C_predict, object$handle, match(type, c("link", "response", "prob")) - 1L, x, width)
  known <- object$levels # of the factor that a fit of this session was for
  if (type == "response" && !is.null(known)) return(factor(known[found + 1], levels = known))
  names <- if (type == "prob") list(NULL, if (is.null(known)) format(object$labels) else known)
  if (width == 1) found else matrix(found, ncol = width, byrow = TRUE, dimnames = names)
}

# A vector named as the columns, or a matrix of several outputs; the intercept first, as of R's own models.
coef.mpigd_model <- function(object, ...) {
  all <- rbind(`(Intercept)` = object$intercept, object$coef)
  if (object$outputs == 1) all[, 1] else all
}

print.mpigd_model <- function(x, ...) {
  cat("mpigd model: ", x$loss, " loss, ", x$link, " link, ", length(x$features), " columns\n", sep = "")
  if (!is.null(x$fit)) {
    end <- if (x$fit$converged) "" else ", not converged"
    cat("objective ", format(x$fit$value), " after ", x$fit$steps, " steps", end, "\n", sep = "")
  }
  print(coef(x), ...)
  invisible(x)
}

# Zeros stand for the defaults of the loss.
mpigd_loss <- function(name, parameter = 0, smoothing = 0) {
  structure(list(name = name, parameter = as.double(parameter), smoothing = as.double(smoothing)), class = "mpigd_loss")
}

# x: a matrix, dense or sparse, or a data frame. y: numbers, or a factor, or class numbers from 0 for losses of classes.
# All rows are in this process.
mpigd_fit <- function(x, y, loss = "squared", l2 = 0, solver = c("lbfgs", "newton", "gd"), weights = NULL,
                      offset = NULL, intercept = TRUE, standardize = TRUE, tol = 1e-6, max_passes = 1000,
                      learning_rate = 0) {
  solver <- c(gd = 0, lbfgs = 1, newton = 2)[[match.arg(solver)]]
  loss <- as_loss(loss)
  outputs <- if (is.factor(y) && loss$name == "softmax") nlevels(y) else if (loss$name == "softmax") max(y) + 1 else 1
  numbers <- c(loss$parameter, loss$smoothing, outputs, solver, l2, intercept, standardize, tol, max_passes,
               learning_rate)
  x <- rows_of(x)
  fitted <- .Call(C_fit, slice_of(x, y, weights, offset), loss$name, as.double(numbers))
  model <- model_of(fitted[[1]])
  # Names and levels are those of this object; C, and a file, have x0, x1, … and 0, 1, …
  if (length(model$labels)) model$levels <- levels(y)
  if (!is.null(x$names)) rownames(model$coef) <- model$features <- x$names
  model$fit <- as.list(stats::setNames(fitted[[2]], c("value", "gradient_norm", "passes", "steps", "converged")))
  model$fit$converged <- model$fit$converged != 0
  model
}

# Of coef (columns, outputs) and intercept (outputs): value, gradient (columns + 1, outputs), sum of weights.
mpigd_value_gradient <- function(x, y, loss, coef, intercept, weights = NULL, offset = NULL) {
  coef <- as.matrix(coef)
  found <- derivative_of(x, y, loss, coef, intercept, weights, offset, NULL)
  size <- length(found) - 2
  list(value = found[size + 1], gradient = matrix(found[seq_len(size)], ncol = ncol(coef), byrow = TRUE),
       weight = found[size + 2])
}

mpigd_hessian_product <- function(x, y, loss, coef, intercept, direction, weights = NULL, offset = NULL) {
  coef <- as.matrix(coef)
  direction <- as.matrix(direction)
  stopifnot(nrow(direction) == nrow(coef) + 1, ncol(direction) == ncol(coef))
  found <- derivative_of(x, y, loss, coef, intercept, weights, offset, as.double(t(direction)))
  matrix(found, ncol = ncol(coef), byrow = TRUE)
}

derivative_of <- function(x, y, loss, coef, intercept, weights, offset, direction) {
  x <- rows_of(x)
  stopifnot(x$columns == nrow(coef), ncol(coef) == length(intercept))
  loss <- as_loss(loss)
  .Call(C_derivative, slice_of(x, y, weights, offset), loss$name, c(loss$parameter, loss$smoothing),
        as.double(t(coef)), as.double(intercept), direction)
}

as_loss <- function(loss) if (inherits(loss, "mpigd_loss")) loss else mpigd_loss(loss)

slice_of <- function(x, y, weights, offset) {
  y <- if (is.factor(y)) as.integer(y) - 1 else y
  fits <- function(numbers) is.null(numbers) || length(numbers) == x$n
  stopifnot(length(y) == x$n, fits(weights), fits(offset))
  double <- function(numbers) if (!is.null(numbers)) as.double(numbers)
  .Call(C_slice, x, as.double(y), double(weights), double(offset))
}

columns_of <- function(frame, features) {
  missing <- setdiff(features, names(frame))
  if (length(missing)) stop("newdata has no column ", paste(missing, collapse = ", "))
  frame[features]
}

# Rows as C takes them: values row by row; of sparse rows (CSR) those that are stored, where each row starts among them,
# and the columns, from 0, that they are in.
rows_of <- function(x) {
  if (inherits(x, c("dgRMatrix", "dgCMatrix"))) return(sparse_rows_of(x))
  if (is.data.frame(x)) x <- data.matrix(x)
  if (!is.matrix(x) || !is.numeric(x)) {
    stop("rows have to be a numeric matrix, a data frame, a dgRMatrix or a dgCMatrix")
  }
  list(n = nrow(x), columns = ncol(x), names = colnames(x), values = as.double(t(x)), starts = NULL, places = NULL)
}

# Of package Matrix: reads slots alone, for which it need not be loaded.
sparse_rows_of <- function(x) {
  by_row <- inherits(x, "dgRMatrix")
  starts <- x@p
  places <- if (by_row) x@j else x@i
  size <- if (by_row) x@Dim else rev(x@Dim) # rows that are stored, and places in each; of a dgCMatrix its columns
  # C relies on this, and anything may have been assigned to slots.
  valid <- is.integer(starts) && is.integer(places) && is.integer(size) && is.double(x@x) && length(size) == 2 &&
    length(starts) == size[1] + 1 && starts[1] == 0 && !is.unsorted(starts) &&
    all(starts[size[1] + 1] == c(length(places), length(x@x))) && min(places, 0L) == 0 && max(places, -1L) < size[2]
  if (!isTRUE(valid)) {
    stop("slots of the sparse matrix do not fit each other: p has to ascend from 0 to the length of x, and ",
         if (by_row) "j" else "i", " to have a number from 0 to ", size[2] - 1, " for each of x")
  }
  found <- list(n = x@Dim[1], columns = x@Dim[2], names = unlist(x@Dimnames[2]), values = x@x, starts = starts,
                places = places)
  if (!by_row) {
    by_rows <- order(places) # stable: columns of a row ascend
    found$values <- x@x[by_rows]
    found$starts <- c(0L, cumsum(tabulate(places + 1L, found$n)))
    found$places <- rep.int(seq_len(found$columns) - 1L, diff(starts))[by_rows]
  }
  found
}

# Called from C: a condition that tryCatch(mpigd_error = ) catches, with the status of mpigd.h.
fail <- function(status, message) {
  stop(structure(class = c("mpigd_error", "error", "condition"), list(message = message, call = NULL, status = status)))
}
