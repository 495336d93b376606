!> mpigd.h as Fortran sees it; module mpigd is made of it.
module mpigd_c
  use, intrinsic :: iso_c_binding
  implicit none
  public

  enum, bind(c)
    enumerator :: mpigd_ok = 0, mpigd_internal, mpigd_usage, mpigd_data, mpigd_diverged, mpigd_output
    enumerator :: mpigd_memory = 9, mpigd_mpi_failed = 10
  end enum

  enum, bind(c)
    enumerator :: mpigd_gd = 0, mpigd_lbfgs = 1, mpigd_newton = 2
  end enum

  enum, bind(c)
    enumerator :: float64 = 0, float32 = 1
  end enum

  !> The numbers of a fit.
  type, bind(c) :: mpigd_result
    real(c_double) :: value, gradient_norm, passes
    integer(c_int64_t) :: steps
    integer(c_int) :: converged
  end type

  !> Other processes; mpigd_mpi has a function that makes one of a communicator.
  type, bind(c) :: mpigd_ranks
    integer(c_int64_t) :: count
    type(c_funptr) :: sum, max
    type(c_ptr) :: context
  end type

  !> What C says of a failure.
  type, bind(c) :: mpigd_error
    character(kind=c_char) :: message(512)
  end type

  type, bind(c) :: c_loss
    type(c_ptr) :: name
    real(c_double) :: parameter, smoothing
    integer(c_int64_t) :: outputs
  end type

  type, bind(c) :: c_options
    type(c_loss) :: loss
    integer(c_int) :: solver
    real(c_double) :: l2
    integer(c_int) :: intercept, standardize
    real(c_double) :: tol, max_passes, learning_rate
  end type

  interface
    function c_model_read(path, model, error) bind(c, name="mpigd_model_read") result(status)
      import :: c_char, c_int, c_ptr, mpigd_error
      character(kind=c_char), intent(in) :: path(*)
      type(c_ptr), intent(out) :: model
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_model_write(model, path, error) bind(c, name="mpigd_model_write") result(status)
      import :: c_char, c_int, c_ptr, mpigd_error
      type(c_ptr), value :: model
      character(kind=c_char), intent(in) :: path(*)
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_model_new(loss, columns, outputs, coef, intercept, classes, labels, model, error) &
      bind(c, name="mpigd_model_new") result(status)
      import :: c_char, c_double, c_int, c_int64_t, c_ptr, mpigd_error
      character(kind=c_char), intent(in) :: loss(*)
      integer(c_int64_t), value :: columns, outputs, classes
      real(c_double), intent(in) :: coef(*), intercept(*)
      type(c_ptr), value :: labels
      type(c_ptr), intent(out) :: model
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    subroutine c_model_free(model) bind(c, name="mpigd_model_free")
      import :: c_ptr
      type(c_ptr), value :: model
    end subroutine

    pure function c_model_columns(model) bind(c, name="mpigd_model_columns") result(found)
      import :: c_int64_t, c_ptr
      type(c_ptr), value :: model
      integer(c_int64_t) :: found
    end function

    pure function c_model_outputs(model) bind(c, name="mpigd_model_outputs") result(found)
      import :: c_int64_t, c_ptr
      type(c_ptr), value :: model
      integer(c_int64_t) :: found
    end function

    pure function c_model_classes(model) bind(c, name="mpigd_model_classes") result(found)
      import :: c_int64_t, c_ptr
      type(c_ptr), value :: model
      integer(c_int64_t) :: found
    end function

    pure function c_model_probabilities(model) bind(c, name="mpigd_model_probabilities") result(found)
      import :: c_int64_t, c_ptr
      type(c_ptr), value :: model
      integer(c_int64_t) :: found
    end function

    pure function c_model_answers(model) bind(c, name="mpigd_model_answers") result(found)
      import :: c_int64_t, c_ptr
      type(c_ptr), value :: model
      integer(c_int64_t) :: found
    end function

    function c_model_coef(model) bind(c, name="mpigd_model_coef") result(found)
      import :: c_ptr
      type(c_ptr), value :: model
      type(c_ptr) :: found
    end function

    function c_model_intercept(model) bind(c, name="mpigd_model_intercept") result(found)
      import :: c_ptr
      type(c_ptr), value :: model
      type(c_ptr) :: found
    end function

    function c_model_labels(model) bind(c, name="mpigd_model_labels") result(found)
      import :: c_ptr
      type(c_ptr), value :: model
      type(c_ptr) :: found
    end function

    function c_model_loss(model) bind(c, name="mpigd_model_loss") result(found)
      import :: c_ptr
      type(c_ptr), value :: model
      type(c_ptr) :: found
    end function

    function c_model_feature(model, column) bind(c, name="mpigd_model_feature") result(found)
      import :: c_int64_t, c_ptr
      type(c_ptr), value :: model
      integer(c_int64_t), value :: column
      type(c_ptr) :: found
    end function

    function c_eta(model, type, n, x, out, error) bind(c, name="mpigd_eta") result(status)
      import :: c_double, c_int, c_int64_t, c_ptr, mpigd_error
      type(c_ptr), value :: model, x
      integer(c_int), value :: type
      integer(c_int64_t), value :: n
      real(c_double), intent(out) :: out(*)
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_predict(model, type, n, x, out, error) bind(c, name="mpigd_predict") result(status)
      import :: c_double, c_int, c_int64_t, c_ptr, mpigd_error
      type(c_ptr), value :: model, x
      integer(c_int), value :: type
      integer(c_int64_t), value :: n
      real(c_double), intent(out) :: out(*)
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_predict_proba(model, type, n, x, out, error) bind(c, name="mpigd_predict_proba") result(status)
      import :: c_double, c_int, c_int64_t, c_ptr, mpigd_error
      type(c_ptr), value :: model, x
      integer(c_int), value :: type
      integer(c_int64_t), value :: n
      real(c_double), intent(out) :: out(*)
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_eta_csr(model, type, n, starts, places, values, out, error) &
      bind(c, name="mpigd_eta_csr") result(status)
      import :: c_double, c_int, c_int32_t, c_int64_t, c_ptr, mpigd_error
      type(c_ptr), value :: model, values
      integer(c_int), value :: type
      integer(c_int64_t), value :: n
      integer(c_int64_t), intent(in) :: starts(*)
      integer(c_int32_t), intent(in) :: places(*)
      real(c_double), intent(out) :: out(*)
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_predict_csr(model, type, n, starts, places, values, out, error) &
      bind(c, name="mpigd_predict_csr") result(status)
      import :: c_double, c_int, c_int32_t, c_int64_t, c_ptr, mpigd_error
      type(c_ptr), value :: model, values
      integer(c_int), value :: type
      integer(c_int64_t), value :: n
      integer(c_int64_t), intent(in) :: starts(*)
      integer(c_int32_t), intent(in) :: places(*)
      real(c_double), intent(out) :: out(*)
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_predict_proba_csr(model, type, n, starts, places, values, out, error) &
      bind(c, name="mpigd_predict_proba_csr") result(status)
      import :: c_double, c_int, c_int32_t, c_int64_t, c_ptr, mpigd_error
      type(c_ptr), value :: model, values
      integer(c_int), value :: type
      integer(c_int64_t), value :: n
      integer(c_int64_t), intent(in) :: starts(*)
      integer(c_int32_t), intent(in) :: places(*)
      real(c_double), intent(out) :: out(*)
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    !> Rows of a canonical block: shares of rows are whole blocks.
    pure function mpigd_block_rows(total_rows) bind(c, name="mpigd_block_rows") result(found)
      import :: c_int64_t
      integer(c_int64_t), value :: total_rows
      integer(c_int64_t) :: found
    end function

    !> The same of sparse rows. total_stored : numbers stored over all processes.
    pure function mpigd_block_rows_csr(total_rows, columns, total_stored) &
      bind(c, name="mpigd_block_rows_csr") result(found)
      import :: c_int64_t
      integer(c_int64_t), value :: total_rows, columns, total_stored
      integer(c_int64_t) :: found
    end function

    function c_slice_dense(type, rows, columns, x, y, weight, offset, first_row, total_rows, slice, error) &
      bind(c, name="mpigd_slice_dense") result(status)
      import :: c_double, c_int, c_int64_t, c_ptr, mpigd_error
      integer(c_int), value :: type
      integer(c_int64_t), value :: rows, columns, first_row, total_rows
      type(c_ptr), value :: x, weight, offset
      real(c_double), intent(in) :: y(*)
      type(c_ptr), intent(out) :: slice
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_slice_csr(type, rows, columns, starts, places, values, y, weight, offset, first_row, total_rows, &
      total_stored, slice, error) bind(c, name="mpigd_slice_csr") result(status)
      import :: c_double, c_int, c_int32_t, c_int64_t, c_ptr, mpigd_error
      integer(c_int), value :: type
      integer(c_int64_t), value :: rows, columns, first_row, total_rows, total_stored
      integer(c_int64_t), intent(in) :: starts(*)
      integer(c_int32_t), intent(in) :: places(*)
      type(c_ptr), value :: values, weight, offset
      real(c_double), intent(in) :: y(*)
      type(c_ptr), intent(out) :: slice
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    subroutine c_slice_free(slice) bind(c, name="mpigd_slice_free")
      import :: c_ptr
      type(c_ptr), value :: slice
    end subroutine

    pure function c_slice_rows(slice) bind(c, name="mpigd_slice_rows") result(found)
      import :: c_int64_t, c_ptr
      type(c_ptr), value :: slice
      integer(c_int64_t) :: found
    end function

    pure function c_slice_columns(slice) bind(c, name="mpigd_slice_columns") result(found)
      import :: c_int64_t, c_ptr
      type(c_ptr), value :: slice
      integer(c_int64_t) :: found
    end function

    function c_value_gradient(ranks, slice, loss, coef, intercept, value, gradient, weight, error) &
      bind(c, name="mpigd_value_gradient_over") result(status)
      import :: c_double, c_int, c_ptr, c_loss, mpigd_error
      type(c_ptr), value :: ranks, slice
      type(c_loss), intent(in) :: loss
      real(c_double), intent(in) :: coef(*), intercept(*)
      real(c_double), intent(out) :: value, gradient(*), weight
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_hessian_product(ranks, slice, loss, coef, intercept, direction, product, error) &
      bind(c, name="mpigd_hessian_product_over") result(status)
      import :: c_double, c_int, c_ptr, c_loss, mpigd_error
      type(c_ptr), value :: ranks, slice
      type(c_loss), intent(in) :: loss
      real(c_double), intent(in) :: coef(*), intercept(*), direction(*)
      real(c_double), intent(out) :: product(*)
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_fit(ranks, slice, options, model, result, error) bind(c, name="mpigd_fit_over") result(status)
      import :: c_int, c_ptr, c_options, mpigd_result, mpigd_error
      type(c_ptr), value :: ranks, slice
      type(c_options), intent(in) :: options
      type(c_ptr), intent(out) :: model
      type(mpigd_result), intent(out) :: result
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_problem_new(ranks, slice, options, problem, error) bind(c, name="mpigd_problem_new") result(status)
      import :: c_int, c_ptr, c_options, mpigd_error
      type(c_ptr), value :: ranks, slice
      type(c_options), intent(in) :: options
      type(c_ptr), intent(out) :: problem
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    subroutine c_problem_free(problem) bind(c, name="mpigd_problem_free")
      import :: c_ptr
      type(c_ptr), value :: problem
    end subroutine

    pure function c_problem_rows(problem) bind(c, name="mpigd_problem_rows") result(found)
      import :: c_int64_t, c_ptr
      type(c_ptr), value :: problem
      integer(c_int64_t) :: found
    end function

    pure function c_problem_outputs(problem) bind(c, name="mpigd_problem_outputs") result(found)
      import :: c_int64_t, c_ptr
      type(c_ptr), value :: problem
      integer(c_int64_t) :: found
    end function

    function c_problem_evaluate(problem, theta, value, gradient, error) &
      bind(c, name="mpigd_problem_evaluate") result(status)
      import :: c_double, c_int, c_ptr, mpigd_error
      type(c_ptr), value :: problem
      real(c_double), intent(in) :: theta(*)
      real(c_double), intent(out) :: value, gradient(*)
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_problem_product(problem, theta, direction, product, error) &
      bind(c, name="mpigd_problem_product") result(status)
      import :: c_double, c_int, c_ptr, mpigd_error
      type(c_ptr), value :: problem
      real(c_double), intent(in) :: theta(*), direction(*)
      real(c_double), intent(out) :: product(*)
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    pure function c_strlen(text) bind(c, name="strlen") result(length)
      import :: c_ptr, c_size_t
      type(c_ptr), value :: text
      integer(c_size_t) :: length
    end function
  end interface

end module
