!> Fortran 2008 for libmpigd: see mpigd.h for what procedures compute.
!>
!> - Shapes are those of C in reverse, so that nothing is copied or transposed: rows x(d, n), one row of the table being
!>   one column of x; coef(K, d), intercept(K), eta(K, n), gradient(K, d + 1), the intercepts' last.
!> - x is of real(real64) or real(real32), or an mpigd_sparse of these.
!> - Every procedure that can fail takes `stat` and `errmsg`, as allocate does. Where stat is left out, what fails ends
!>   the program with the message on the error unit. Messages have 512 characters at the most.
!> - Models, slices and problems free what they own when they go out of scope. They can't be copied by assignment.
!> - Fits and derivatives take `ranks`, the other processes: none where it is left out, and see mpigd_mpi.f90.
module mpigd
  use, intrinsic :: iso_c_binding
  use mpigd_c
  use, intrinsic :: iso_fortran_env, only: error_unit, int32, int64, real32, real64
  implicit none
  private
  public :: mpigd_model, mpigd_sparse, mpigd_slice, mpigd_problem, mpigd_loss, mpigd_options, mpigd_result
  public :: mpigd_ranks, mpigd_error
  public :: mpigd_value_gradient, mpigd_hessian_product, mpigd_fit, mpigd_block_rows, mpigd_block_rows_csr, mpigd_finish
  public :: mpigd_ok, mpigd_internal, mpigd_usage, mpigd_data, mpigd_diverged, mpigd_output, mpigd_memory
  public :: mpigd_mpi_failed
  public :: mpigd_gd, mpigd_lbfgs, mpigd_newton

  !> A loss by its name. Zeros stand for defaults.
  type :: mpigd_loss
    character(len=:), allocatable :: name
    real(real64) :: parameter = 0.0_real64, smoothing = 0.0_real64
    integer(int64) :: outputs = 0_int64
  end type

  !> Options of a fit.
  type :: mpigd_options
    type(mpigd_loss) :: loss
    integer(c_int) :: solver = mpigd_lbfgs
    real(real64) :: l2 = 0.0_real64
    logical :: intercept = .true., standardize = .true.
    real(real64) :: tol = 1e-6_real64, max_passes = 1000.0_real64, learning_rate = 0.0_real64
  end type

  !> Rows as C takes them, of the shape (d, n). Dense ones are where the caller has them; sparse ones have starts and
  !> places, from 0, and numbers of their own.
  type :: c_rows
    private
    integer(c_int) :: kind = float64
    integer(int64) :: shape(2) = 0_int64
    type(c_ptr) :: dense = c_null_ptr
    integer(int64), allocatable :: starts(:)
    integer(int32), allocatable :: places(:)
    real(real64), allocatable :: doubles(:)
    real(real32), allocatable :: singles(:)
  end type

  !> Sparse rows (CSR), copied.
  type, extends(c_rows) :: mpigd_sparse
  contains
    procedure, private :: sparse_real64, sparse_real32
    generic :: create => sparse_real64, sparse_real32
  end type

  !> A fitted model.
  type :: mpigd_model
    private
    type(c_ptr) :: handle = c_null_ptr
  contains
    procedure :: read => model_read
    procedure :: create => model_create
    procedure :: write => model_write
    procedure :: columns => model_columns
    procedure :: outputs => model_outputs
    procedure :: classes => model_classes
    procedure :: probabilities => model_probabilities
    procedure :: answers => model_answers
    procedure :: coef => model_coef
    procedure :: intercept => model_intercept
    procedure :: labels => model_labels
    procedure :: loss => model_loss
    procedure :: feature => model_feature
    procedure, private :: eta_real64, eta_real32, eta_sparse
    procedure, private :: predict_real64, predict_real32, predict_sparse
    procedure, private :: proba_real64, proba_real32, proba_sparse
    generic :: eta => eta_real64, eta_real32, eta_sparse
    generic :: predict => predict_real64, predict_real32, predict_sparse
    generic :: predict_proba => proba_real64, proba_real32, proba_sparse
    procedure, private :: model_assign
    generic :: assignment(=) => model_assign
    final :: model_free
  end type

  !> Rows of this process, copied.
  type :: mpigd_slice
    private
    type(c_ptr) :: handle = c_null_ptr
  contains
    procedure, private :: create_real64, create_real32, create_sparse
    generic :: create => create_real64, create_real32, create_sparse
    procedure :: rows => slice_rows
    procedure :: columns => slice_columns
    procedure, private :: slice_assign
    generic :: assignment(=) => slice_assign
    final :: slice_free
  end type

  !> The objective of a fit, a function of theta(outputs, rows), for solvers of your own.
  type :: mpigd_problem
    private
    type(c_ptr) :: handle = c_null_ptr
    type(mpigd_ranks), pointer :: ranks => null()
  contains
    procedure :: create => problem_create
    procedure :: rows => problem_rows
    procedure :: outputs => problem_outputs
    procedure :: evaluate => problem_evaluate
    procedure :: product => problem_product
    procedure, private :: problem_assign
    generic :: assignment(=) => problem_assign
    final :: problem_free
  end type

contains

  !---- Failures and text -----------------------------------------------------------------------------------------

  !> Hand a failure to the caller, or end the program.
  subroutine mpigd_finish(status, error, stat, errmsg)
    integer(c_int), intent(in) :: status
    type(mpigd_error), intent(in) :: error
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    character(len=:), allocatable :: said
    integer :: i, length

    length = 0
    if (status /= mpigd_ok) length = findloc(error%message, c_null_char, dim=1) - 1
    allocate (character(len=length) :: said)
    do i = 1, length
      said(i:i) = error%message(i)
    end do
    if (.not. present(stat) .and. status /= mpigd_ok) then
      write (error_unit, "(2a)") "mpigd: ", said
      error stop 1
    end if
    if (present(stat)) stat = status
    if (present(errmsg) .and. status /= mpigd_ok) errmsg = said
  end subroutine

  !> The same for a mistake that is found before C is called.
  subroutine refuse(what, stat, errmsg)
    character(len=*), intent(in) :: what
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    type(mpigd_error) :: error
    integer :: i

    error%message = c_null_char
    do i = 1, len(what)
      error%message(i) = what(i:i)
    end do
    call mpigd_finish(mpigd_usage, error, stat, errmsg)
  end subroutine

  !> A copy of text of C; empty for NULL.
  function text_of(pointer) result(text)
    type(c_ptr), intent(in) :: pointer
    character(len=:), allocatable :: text
    character(kind=c_char), pointer :: letters(:)
    integer :: i

    if (.not. c_associated(pointer)) then
      text = ""
      return
    end if
    call c_f_pointer(pointer, letters, [c_strlen(pointer)])
    allocate (character(len=size(letters)) :: text)
    do i = 1, size(letters)
      text(i:i) = letters(i)
    end do
  end function

  !> A loss as C takes it; name is where its name is to be kept.
  function loss_of(loss, name) result(found)
    type(mpigd_loss), intent(in) :: loss
    character(kind=c_char), intent(out), target :: name(:)
    type(c_loss) :: found
    integer :: i

    name = c_null_char
    if (allocated(loss%name)) then
      do i = 1, min(len_trim(loss%name), size(name) - 1)
        name(i) = loss%name(i:i)
      end do
    end if
    found = c_loss(c_loc(name), loss%parameter, loss%smoothing, loss%outputs)
  end function

  function options_of(options, name) result(found)
    type(mpigd_options), intent(in) :: options
    character(kind=c_char), intent(out), target :: name(:)
    type(c_options) :: found

    found = c_options(loss_of(options%loss, name), options%solver, options%l2, merge(1, 0, options%intercept), &
      merge(1, 0, options%standardize), options%tol, options%max_passes, options%learning_rate)
  end function

  function address_of_ranks(ranks) result(address)
    type(mpigd_ranks), intent(in), target, optional :: ranks
    type(c_ptr) :: address

    address = c_null_ptr
    if (present(ranks)) address = c_loc(ranks)
  end function

  function address_of(numbers) result(address)
    real(real64), intent(in), target, contiguous, optional :: numbers(:)
    type(c_ptr) :: address

    address = c_null_ptr
    if (present(numbers)) then
      if (size(numbers) > 0) address = c_loc(numbers)
    end if
  end function

  !---- Models ----------------------------------------------------------------------------------------------------

  subroutine model_read(self, path, stat, errmsg)
    class(mpigd_model), intent(in out) :: self
    character(len=*), intent(in) :: path
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    type(mpigd_error) :: error
    integer(c_int) :: status

    call c_model_free(self%handle)
    status = c_model_read(trim(path)//c_null_char, self%handle, error)
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  !> A model of coef(K, d) and intercept(K); labels of classes, ascending, or none.
  subroutine model_create(self, loss, coef, intercept, labels, stat, errmsg)
    class(mpigd_model), intent(in out) :: self
    character(len=*), intent(in) :: loss
    real(real64), intent(in), contiguous :: coef(:, :), intercept(:)
    real(real64), intent(in), target, contiguous, optional :: labels(:)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    type(mpigd_error) :: error
    integer(c_int) :: status
    integer(int64) :: classes

    if (size(coef, 1) /= size(intercept)) then
      call refuse("coef needs as many rows as intercept has numbers", stat, errmsg)
      return
    end if
    classes = 0
    if (present(labels)) classes = size(labels, kind=int64)
    call c_model_free(self%handle)
    status = c_model_new(trim(loss)//c_null_char, size(coef, 2, int64), size(coef, 1, int64), coef, &
      intercept, classes, address_of(labels), self%handle, error)
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  subroutine model_write(self, path, stat, errmsg)
    class(mpigd_model), intent(in) :: self
    character(len=*), intent(in) :: path
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    type(mpigd_error) :: error
    integer(c_int) :: status

    status = c_model_write(self%handle, trim(path)//c_null_char, error)
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  impure elemental subroutine model_free(self)
    type(mpigd_model), intent(in out) :: self

    call c_model_free(self%handle)
    self%handle = c_null_ptr
  end subroutine

  subroutine model_assign(self, other)
    class(mpigd_model), intent(in out) :: self
    class(mpigd_model), intent(in) :: other

    if (.not. c_associated(self%handle, other%handle)) error stop "mpigd: models can't be copied; pass them on"
  end subroutine

  pure integer(int64) function model_columns(self)
    class(mpigd_model), intent(in) :: self
    model_columns = c_model_columns(self%handle)
  end function

  pure integer(int64) function model_outputs(self)
    class(mpigd_model), intent(in) :: self
    model_outputs = c_model_outputs(self%handle)
  end function

  !> How many classes; 0 for a regression.
  pure integer(int64) function model_classes(self)
    class(mpigd_model), intent(in) :: self
    model_classes = c_model_classes(self%handle)
  end function

  !> How many probabilities predict_proba gives of a row; 0 for a model without.
  pure integer(int64) function model_probabilities(self)
    class(mpigd_model), intent(in) :: self
    model_probabilities = c_model_probabilities(self%handle)
  end function

  !> How many numbers predict gives of a row.
  pure integer(int64) function model_answers(self)
    class(mpigd_model), intent(in) :: self
    model_answers = c_model_answers(self%handle)
  end function

  !> Coefficients (K, d).
  function model_coef(self) result(coef)
    class(mpigd_model), intent(in) :: self
    real(real64), allocatable :: coef(:, :)
    real(real64), pointer :: inside(:, :)

    call c_f_pointer(c_model_coef(self%handle), inside, [self%outputs(), self%columns()])
    coef = inside
  end function

  !> Intercepts (K).
  function model_intercept(self) result(intercept)
    class(mpigd_model), intent(in) :: self
    real(real64), allocatable :: intercept(:)
    real(real64), pointer :: inside(:)

    call c_f_pointer(c_model_intercept(self%handle), inside, [self%outputs()])
    intercept = inside
  end function

  !> Labels of classes, ascending; of size 0 for a regression.
  function model_labels(self) result(labels)
    class(mpigd_model), intent(in) :: self
    real(real64), allocatable :: labels(:)
    real(real64), pointer :: inside(:)

    allocate (labels(0))
    if (self%classes() == 0) return
    call c_f_pointer(c_model_labels(self%handle), inside, [self%classes()])
    labels = inside
  end function

  function model_loss(self) result(name)
    class(mpigd_model), intent(in) :: self
    character(len=:), allocatable :: name

    name = text_of(c_model_loss(self%handle))
  end function

  !> Name of a column, from 1.
  function model_feature(self, column) result(name)
    class(mpigd_model), intent(in) :: self
    integer, intent(in) :: column
    character(len=:), allocatable :: name

    name = text_of(c_model_feature(self%handle, int(column - 1, int64)))
  end function

  !---- Sparse rows -----------------------------------------------------------------------------------------------

  !> Counted from 1: row i has values(starts(i)) to values(starts(i + 1) - 1), in the columns of the same places, from 1
  !> to `columns`. starts(n + 1) ascend, and need not begin at 1.
  subroutine sparse_real64(self, starts, places, values, columns, stat, errmsg)
    class(mpigd_sparse), intent(out) :: self
    integer(int64), intent(in) :: starts(:)
    integer(int32), intent(in) :: places(:)
    real(real64), intent(in) :: values(:)
    integer(int64), intent(in) :: columns
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call arrange(self, starts, places, size(values, kind=int64), columns, stat, errmsg)
    self%doubles = values
  end subroutine

  subroutine sparse_real32(self, starts, places, values, columns, stat, errmsg)
    class(mpigd_sparse), intent(out) :: self
    integer(int64), intent(in) :: starts(:)
    integer(int32), intent(in) :: places(:)
    real(real32), intent(in) :: values(:)
    integer(int64), intent(in) :: columns
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call arrange(self, starts, places, size(values, kind=int64), columns, stat, errmsg)
    self%singles = values
    self%kind = float32
  end subroutine

  !> All but the values. C has no lengths to check: starts and places beyond them are refused here.
  subroutine arrange(self, starts, places, values, columns, stat, errmsg)
    class(mpigd_sparse), intent(in out) :: self
    integer(int64), intent(in) :: starts(:), values, columns
    integer(int32), intent(in) :: places(:)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    integer(int64) :: n
    logical :: right

    n = size(starts, kind=int64) - 1
    right = n >= 0 .and. size(places, kind=int64) == values
    if (right) right = starts(1) >= 1 .and. starts(n + 1) <= values + 1 .and. all(starts(:n) <= starts(2:)) &
      .and. all(places >= 1 .and. places <= columns)
    if (.not. right) then
      call refuse("starts have to ascend, from 1 or more to size(values) + 1 or less, and each value needs a place, " &
        //"from 1 to columns", stat, errmsg)
      return
    end if
    self%shape = [columns, n]
    self%starts = starts - 1
    self%places = places - 1
    if (present(stat)) stat = mpigd_ok
  end subroutine

  function address_of_rows(x) result(address)
    type(c_rows), intent(in), target :: x
    type(c_ptr) :: address

    address = x%dense
    if (allocated(x%doubles)) address = c_loc(x%doubles)
    if (allocated(x%singles)) address = c_loc(x%singles)
  end function

  !---- Prediction ------------------------------------------------------------------------------------------------

  !> Linear predictors out(K, n) of x(d, n).
  subroutine eta_real64(self, x, out, stat, errmsg)
    class(mpigd_model), intent(in) :: self
    real(real64), intent(in), target, contiguous :: x(:, :)
    real(real64), intent(out), contiguous :: out(:, :)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call of_rows(c_eta, c_eta_csr, self, c_rows(float64, shape(x, int64), c_loc(x)), self%outputs(), &
      size(out, kind=int64), out, stat, errmsg)
  end subroutine

  subroutine eta_real32(self, x, out, stat, errmsg)
    class(mpigd_model), intent(in) :: self
    real(real32), intent(in), target, contiguous :: x(:, :)
    real(real64), intent(out), contiguous :: out(:, :)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call of_rows(c_eta, c_eta_csr, self, c_rows(float32, shape(x, int64), c_loc(x)), self%outputs(), &
      size(out, kind=int64), out, stat, errmsg)
  end subroutine

  subroutine eta_sparse(self, x, out, stat, errmsg)
    class(mpigd_model), intent(in) :: self
    type(mpigd_sparse), intent(in) :: x
    real(real64), intent(out), contiguous :: out(:, :)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call of_rows(c_eta, c_eta_csr, self, x%c_rows, self%outputs(), size(out, kind=int64), out, stat, errmsg)
  end subroutine

  !> Labels of classes, or expected y, out(n) of x(d, n); of several outputs those of a row one after the other.
  subroutine predict_real64(self, x, out, stat, errmsg)
    class(mpigd_model), intent(in) :: self
    real(real64), intent(in), target, contiguous :: x(:, :)
    real(real64), intent(out), contiguous :: out(:)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call of_rows(c_predict, c_predict_csr, self, c_rows(float64, shape(x, int64), c_loc(x)), self%answers(), &
      size(out, kind=int64), out, stat, errmsg)
  end subroutine

  subroutine predict_real32(self, x, out, stat, errmsg)
    class(mpigd_model), intent(in) :: self
    real(real32), intent(in), target, contiguous :: x(:, :)
    real(real64), intent(out), contiguous :: out(:)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call of_rows(c_predict, c_predict_csr, self, c_rows(float32, shape(x, int64), c_loc(x)), self%answers(), &
      size(out, kind=int64), out, stat, errmsg)
  end subroutine

  subroutine predict_sparse(self, x, out, stat, errmsg)
    class(mpigd_model), intent(in) :: self
    type(mpigd_sparse), intent(in) :: x
    real(real64), intent(out), contiguous :: out(:)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call of_rows(c_predict, c_predict_csr, self, x%c_rows, self%answers(), size(out, kind=int64), out, stat, errmsg)
  end subroutine

  !> Probabilities of classes, out(classes, n) of x(d, n), in the order of labels.
  subroutine proba_real64(self, x, out, stat, errmsg)
    class(mpigd_model), intent(in) :: self
    real(real64), intent(in), target, contiguous :: x(:, :)
    real(real64), intent(out), contiguous :: out(:, :)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call of_rows(c_predict_proba, c_predict_proba_csr, self, c_rows(float64, shape(x, int64), c_loc(x)), &
      self%probabilities(), size(out, kind=int64), out, stat, errmsg)
  end subroutine

  subroutine proba_real32(self, x, out, stat, errmsg)
    class(mpigd_model), intent(in) :: self
    real(real32), intent(in), target, contiguous :: x(:, :)
    real(real64), intent(out), contiguous :: out(:, :)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call of_rows(c_predict_proba, c_predict_proba_csr, self, c_rows(float32, shape(x, int64), c_loc(x)), &
      self%probabilities(), size(out, kind=int64), out, stat, errmsg)
  end subroutine

  subroutine proba_sparse(self, x, out, stat, errmsg)
    class(mpigd_model), intent(in) :: self
    type(mpigd_sparse), intent(in) :: x
    real(real64), intent(out), contiguous :: out(:, :)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call of_rows(c_predict_proba, c_predict_proba_csr, self, x%c_rows, self%probabilities(), &
      size(out, kind=int64), out, stat, errmsg)
  end subroutine

  !> width : numbers of each row.  room : those that out has a place for.
  subroutine of_rows(dense, sparse, self, x, width, room, out, stat, errmsg)
    procedure(c_eta) :: dense
    procedure(c_eta_csr) :: sparse
    class(mpigd_model), intent(in) :: self
    type(c_rows), intent(in) :: x
    integer(int64), intent(in) :: width, room
    real(real64), intent(out) :: out(*)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    type(mpigd_error) :: error
    integer(c_int) :: status

    if (x%shape(1) /= self%columns() .or. room /= x%shape(2)*max(width, 1_int64)) then
      call refuse("x needs the model's columns, as its first dimension where it is dense, and out a place for each " &
        //"number of each row", stat, errmsg)
      return
    end if
    if (allocated(x%starts)) then
      status = sparse(self%handle, x%kind, x%shape(2), x%starts, x%places, address_of_rows(x), out, error)
    else
      status = dense(self%handle, x%kind, x%shape(2), address_of_rows(x), out, error)
    end if
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  !---- Rows and derivatives --------------------------------------------------------------------------------------

  !> Copy rows x(d, n), y(n). first_row : number of the first one among all, from 0.  total_rows : of all processes;
  !> without them these are all rows.
  subroutine create_real64(self, x, y, weight, offset, first_row, total_rows, stat, errmsg)
    class(mpigd_slice), intent(in out) :: self
    real(real64), intent(in), target, contiguous :: x(:, :)
    real(real64), intent(in), contiguous :: y(:)
    real(real64), intent(in), target, contiguous, optional :: weight(:), offset(:)
    integer(int64), intent(in), optional :: first_row, total_rows
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call create(self, c_rows(float64, shape(x, int64), c_loc(x)), y, weight, offset, first_row, total_rows, &
      stat=stat, errmsg=errmsg)
  end subroutine

  subroutine create_real32(self, x, y, weight, offset, first_row, total_rows, stat, errmsg)
    class(mpigd_slice), intent(in out) :: self
    real(real32), intent(in), target, contiguous :: x(:, :)
    real(real64), intent(in), contiguous :: y(:)
    real(real64), intent(in), target, contiguous, optional :: weight(:), offset(:)
    integer(int64), intent(in), optional :: first_row, total_rows
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call create(self, c_rows(float32, shape(x, int64), c_loc(x)), y, weight, offset, first_row, total_rows, &
      stat=stat, errmsg=errmsg)
  end subroutine

  !> total_stored : numbers stored over all processes; without it, those of x.
  subroutine create_sparse(self, x, y, weight, offset, first_row, total_rows, total_stored, stat, errmsg)
    class(mpigd_slice), intent(in out) :: self
    type(mpigd_sparse), intent(in) :: x
    real(real64), intent(in), contiguous :: y(:)
    real(real64), intent(in), target, contiguous, optional :: weight(:), offset(:)
    integer(int64), intent(in), optional :: first_row, total_rows, total_stored
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    call create(self, x%c_rows, y, weight, offset, first_row, total_rows, total_stored, stat, errmsg)
  end subroutine

  subroutine create(self, x, y, weight, offset, first_row, total_rows, total_stored, stat, errmsg)
    class(mpigd_slice), intent(in out) :: self
    type(c_rows), intent(in) :: x
    real(real64), intent(in), contiguous :: y(:)
    real(real64), intent(in), target, contiguous, optional :: weight(:), offset(:)
    integer(int64), intent(in), optional :: first_row, total_rows, total_stored
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    type(mpigd_error) :: error
    integer(c_int) :: status
    integer(int64) :: n, first, total, numbers
    logical :: right

    n = x%shape(2)
    right = size(y, kind=int64) == n
    if (present(weight)) right = right .and. size(weight, kind=int64) == n
    if (present(offset)) right = right .and. size(offset, kind=int64) == n
    if (.not. right) then
      call refuse("y, weight and offset need a number for each row, which is a column of dense x", stat, errmsg)
      return
    end if
    first = 0
    if (present(first_row)) first = first_row
    total = n
    if (present(total_rows)) total = total_rows
    call c_slice_free(self%handle)
    if (allocated(x%starts)) then
      numbers = x%starts(n + 1) - x%starts(1)
      if (present(total_stored)) numbers = total_stored
      status = c_slice_csr(x%kind, n, x%shape(1), x%starts, x%places, address_of_rows(x), y, &
        address_of(weight), address_of(offset), first, total, numbers, self%handle, error)
    else
      status = c_slice_dense(x%kind, n, x%shape(1), address_of_rows(x), y, address_of(weight), address_of(offset), &
        first, total, self%handle, error)
    end if
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  impure elemental subroutine slice_free(self)
    type(mpigd_slice), intent(in out) :: self

    call c_slice_free(self%handle)
    self%handle = c_null_ptr
  end subroutine

  subroutine slice_assign(self, other)
    class(mpigd_slice), intent(in out) :: self
    class(mpigd_slice), intent(in) :: other

    if (.not. c_associated(self%handle, other%handle)) error stop "mpigd: slices can't be copied; pass them on"
  end subroutine

  pure integer(int64) function slice_rows(self)
    class(mpigd_slice), intent(in) :: self
    slice_rows = c_slice_rows(self%handle)
  end function

  pure integer(int64) function slice_columns(self)
    class(mpigd_slice), intent(in) :: self
    slice_columns = c_slice_columns(self%handle)
  end function

  !> Weighted means over rows of the loss and of its derivatives, gradient(K, d + 1), and the sum of weights.
  subroutine mpigd_value_gradient(slice, loss, coef, intercept, value, gradient, weight, ranks, stat, errmsg)
    type(mpigd_slice), intent(in) :: slice
    type(mpigd_loss), intent(in) :: loss
    real(real64), intent(in), contiguous :: coef(:, :), intercept(:)
    real(real64), intent(out) :: value
    real(real64), intent(out), contiguous :: gradient(:, :)
    real(real64), intent(out) :: weight
    type(mpigd_ranks), intent(in), target, optional :: ranks
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    character(kind=c_char), target :: name(64)
    type(mpigd_error) :: error
    integer(c_int) :: status

    if (.not. matches(slice, coef, intercept, shape(gradient), stat, errmsg)) return
    status = c_value_gradient(address_of_ranks(ranks), slice%handle, loss_of(loss, name), coef, intercept, &
      value, gradient, weight, error)
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  !> The Hessian times direction(K, d + 1), of the same shape.
  subroutine mpigd_hessian_product(slice, loss, coef, intercept, direction, product, ranks, stat, errmsg)
    type(mpigd_slice), intent(in) :: slice
    type(mpigd_loss), intent(in) :: loss
    real(real64), intent(in), contiguous :: coef(:, :), intercept(:), direction(:, :)
    real(real64), intent(out), contiguous :: product(:, :)
    type(mpigd_ranks), intent(in), target, optional :: ranks
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    character(kind=c_char), target :: name(64)
    type(mpigd_error) :: error
    integer(c_int) :: status

    if (.not. matches(slice, coef, intercept, shape(direction), stat, errmsg)) return
    if (.not. matches(slice, coef, intercept, shape(product), stat, errmsg)) return
    status = c_hessian_product(address_of_ranks(ranks), slice%handle, loss_of(loss, name), coef, intercept, &
      direction, product, error)
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  logical function matches(slice, coef, intercept, found, stat, errmsg)
    type(mpigd_slice), intent(in) :: slice
    real(real64), intent(in) :: coef(:, :), intercept(:)
    integer, intent(in) :: found(2)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    matches = size(coef, 1) == size(intercept) .and. size(coef, 2) == slice%columns() &
      .and. all(found == shape(coef) + [0, 1])
    if (.not. matches) call refuse("of K outputs and d columns, coef is of (K, d), intercept of (K), gradient, " &
      //"direction and product of (K, d + 1)", stat, errmsg)
  end function

  !---- Fits ------------------------------------------------------------------------------------------------------

  subroutine mpigd_fit(slice, options, model, result, ranks, stat, errmsg)
    type(mpigd_slice), intent(in) :: slice
    type(mpigd_options), intent(in) :: options
    type(mpigd_model), intent(in out) :: model
    type(mpigd_result), intent(out), optional :: result
    type(mpigd_ranks), intent(in), target, optional :: ranks
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    character(kind=c_char), target :: name(64)
    type(mpigd_result) :: numbers
    type(mpigd_error) :: error
    integer(c_int) :: status

    call c_model_free(model%handle)
    status = c_fit(address_of_ranks(ranks), slice%handle, options_of(options, name), model%handle, numbers, error)
    if (present(result)) result = numbers
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  !> The slice has to live as long as the problem.
  subroutine problem_create(self, slice, options, ranks, stat, errmsg)
    class(mpigd_problem), intent(in out) :: self
    type(mpigd_slice), intent(in) :: slice
    type(mpigd_options), intent(in) :: options
    type(mpigd_ranks), intent(in), target, optional :: ranks
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    character(kind=c_char), target :: name(64)
    type(c_ptr) :: others
    type(mpigd_error) :: error
    integer(c_int) :: status

    call free_problem(self%handle, self%ranks)
    others = c_null_ptr
    if (present(ranks)) then
      allocate (self%ranks, source=ranks)
      others = c_loc(self%ranks)
    end if
    status = c_problem_new(others, slice%handle, options_of(options, name), self%handle, error)
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  subroutine free_problem(handle, ranks)
    type(c_ptr), intent(in out) :: handle
    type(mpigd_ranks), pointer, intent(in out) :: ranks

    call c_problem_free(handle)
    handle = c_null_ptr
    if (associated(ranks)) deallocate (ranks)
  end subroutine

  impure elemental subroutine problem_free(self)
    type(mpigd_problem), intent(in out) :: self

    call free_problem(self%handle, self%ranks)
  end subroutine

  subroutine problem_assign(self, other)
    class(mpigd_problem), intent(in out) :: self
    class(mpigd_problem), intent(in) :: other

    if (.not. c_associated(self%handle, other%handle)) error stop "mpigd: problems can't be copied; pass them on"
  end subroutine

  pure integer(int64) function problem_rows(self)
    class(mpigd_problem), intent(in) :: self
    problem_rows = c_problem_rows(self%handle)
  end function

  pure integer(int64) function problem_outputs(self)
    class(mpigd_problem), intent(in) :: self
    problem_outputs = c_problem_outputs(self%handle)
  end function

  !> Value and gradient(outputs, rows) at theta(outputs, rows).
  subroutine problem_evaluate(self, theta, value, gradient, stat, errmsg)
    class(mpigd_problem), intent(in) :: self
    real(real64), intent(in), contiguous :: theta(:, :)
    real(real64), intent(out) :: value
    real(real64), intent(out), contiguous :: gradient(:, :)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    type(mpigd_error) :: error
    integer(c_int) :: status

    if (.not. suits(self, shape(theta), shape(gradient), stat, errmsg)) return
    status = c_problem_evaluate(self%handle, theta, value, gradient, error)
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  !> The Hessian at theta times a direction, all of (outputs, rows).
  subroutine problem_product(self, theta, direction, product, stat, errmsg)
    class(mpigd_problem), intent(in) :: self
    real(real64), intent(in), contiguous :: theta(:, :), direction(:, :)
    real(real64), intent(out), contiguous :: product(:, :)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    type(mpigd_error) :: error
    integer(c_int) :: status

    if (.not. suits(self, shape(theta), shape(direction), stat, errmsg)) return
    if (.not. suits(self, shape(theta), shape(product), stat, errmsg)) return
    status = c_problem_product(self%handle, theta, direction, product, error)
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  logical function suits(self, theta, other, stat, errmsg)
    class(mpigd_problem), intent(in) :: self
    integer, intent(in) :: theta(2), other(2)
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg

    suits = all(theta == [self%outputs(), self%rows()]) .and. all(theta == other)
    if (.not. suits) call refuse("theta is of (outputs, rows), and so is all else", stat, errmsg)
  end function

end module
