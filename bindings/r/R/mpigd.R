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

# newdata: a matrix, or a data frame, of which the model's columns are taken by their names.
predict.mpigd_model <- function(object, newdata, type = c("response", "link", "prob"), ...) {
  type <- match.arg(type)
  x <- rows_of(newdata, object$features)
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

# y: numbers, or a factor, or class numbers from 0 for losses of classes. All rows are in this process.
mpigd_fit <- function(x, y, loss = "squared", l2 = 0, solver = c("lbfgs", "newton", "gd"), weights = NULL,
                      offset = NULL, intercept = TRUE, standardize = TRUE, tol = 1e-6, max_passes = 1000,
                      learning_rate = 0) {
  solver <- c(gd = 0, lbfgs = 1, newton = 2)[[match.arg(solver)]]
  loss <- as_loss(loss)
  outputs <- if (is.factor(y) && loss$name == "softmax") nlevels(y) else if (loss$name == "softmax") max(y) + 1 else 1
  numbers <- c(loss$parameter, loss$smoothing, outputs, solver, l2, intercept, standardize, tol, max_passes,
               learning_rate)
  fitted <- .Call(C_fit, slice_of(x, y, weights, offset), loss$name, as.double(numbers))
  model <- model_of(fitted[[1]])
  # Names and levels are those of this object; C, and a file, have x0, x1, … and 0, 1, …
  if (length(model$labels)) model$levels <- levels(y)
  if (!is.null(colnames(x))) rownames(model$coef) <- model$features <- colnames(x)
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
  stopifnot(ncol(x) == nrow(coef), ncol(coef) == length(intercept))
  loss <- as_loss(loss)
  .Call(C_derivative, slice_of(x, y, weights, offset), loss$name, c(loss$parameter, loss$smoothing),
        as.double(t(coef)), as.double(intercept), direction)
}

as_loss <- function(loss) if (inherits(loss, "mpigd_loss")) loss else mpigd_loss(loss)

slice_of <- function(x, y, weights, offset) {
  x <- if (is.data.frame(x)) data.matrix(x) else x
  y <- if (is.factor(y)) as.integer(y) - 1 else y
  fits <- function(numbers) is.null(numbers) || length(numbers) == nrow(x)
  stopifnot(is.matrix(x), is.numeric(x), length(y) == nrow(x), fits(weights), fits(offset))
  double <- function(numbers) if (!is.null(numbers)) as.double(numbers)
  .Call(C_slice, as.double(t(x)), ncol(x), as.double(y), double(weights), double(offset))
}

# Rows as C takes them, (columns, n) in R's order.
rows_of <- function(newdata, features) {
  if (is.data.frame(newdata)) {
    missing <- setdiff(features, names(newdata))
    if (length(missing)) stop("newdata has no column ", paste(missing, collapse = ", "))
    newdata <- data.matrix(newdata[features])
  }
  if (!is.matrix(newdata) || !is.numeric(newdata) || ncol(newdata) != length(features)) {
    stop("newdata has to be a numeric matrix of ", length(features), " columns, or a data frame")
  }
  as.double(t(newdata))
}

# Called from C: a condition that tryCatch(mpigd_error = ) catches, with the status of mpigd.h.
fail <- function(status, message) {
  stop(structure(class = c("mpigd_error", "error", "condition"), list(message = message, call = NULL, status = status)))
}
