!> What tests/test_bindings.py compares with Python: for each folder given, results of its model and rows.
program vectors
  use, intrinsic :: iso_fortran_env, only: int32, int64, real32, real64
  use, intrinsic :: ieee_arithmetic, only: ieee_quiet_nan, ieee_value
  use mpigd
  implicit none
  character(len=1024) :: folder
  integer :: i

  call refuse()
  do i = 1, command_argument_count()
    call get_command_argument(i, folder)
    call compute(trim(folder)//"/")
  end do

contains

  subroutine compute(in)
    character(len=*), intent(in) :: in
    type(mpigd_model) :: model
    type(mpigd_sparse) :: sparse, single
    integer(int64), allocatable :: starts(:)
    integer(int32), allocatable :: places(:)
    real(real64), allocatable :: numbers(:), x(:, :), out(:, :), proba(:, :), predicted(:), values(:)
    logical :: known
    character(len=512) :: message
    integer(int64) :: d, k, n
    integer :: stat, unit

    call model%read(in//"model.h5")
    d = model%columns()
    k = model%outputs()
    numbers = numbers_of(in//"X")
    n = size(numbers, kind=int64)/d
    x = reshape(numbers, [d, n])
    values = numbers_of(in//"values")
    starts = transfer(numbers_of(in//"starts"), [0_int64]) + 1 ! there, they are counted from 0
    allocate (places(size(values)))
    open (newunit=unit, file=in//"places", access="stream", form="unformatted", status="old", action="read")
    read (unit) places
    close (unit)
    places = places + 1
    call sparse%create(starts, places, values, d)
    allocate (out(k, n), predicted(n*model%answers()))

    call model%eta(x, out)
    call put(in//"fortran.eta", [out])
    call model%eta(sparse, out)
    call put(in//"fortran.eta_sparse", [out])
    inquire (file=in//"single", exist=known)
    if (known) then
      call model%eta(real(x, real32), out)
      call put(in//"fortran.eta_float32", [out])
      call single%create(starts, places, real(values, real32), d)
      call model%eta(single, out)
      call put(in//"fortran.eta_sparse_float32", [out])
    end if
    call model%predict(x, predicted)
    call put(in//"fortran.predict", predicted)
    call model%predict(sparse, predicted)
    call put(in//"fortran.predict_sparse", predicted)
    if (model%probabilities() > 0) then
      allocate (proba(model%probabilities(), n))
      call model%predict_proba(x, proba)
      call put(in//"fortran.proba", [proba])
      call model%predict_proba(sparse, proba)
      call put(in//"fortran.proba_sparse", [proba])
    end if

    inquire (file=in//"y", exist=known)
    if (known) call derive(in, model, x, sparse)

    call model%write(in//"fortran.copy.h5")

    x(1, 2) = ieee_value(0.0_real64, ieee_quiet_nan)
    call model%predict(x, predicted, stat, message)
    open (newunit=unit, file=in//"fortran.error", access="stream", form="formatted", status="replace")
    write (unit, "(i0, 2a)", advance="no") stat, " ", trim(message)
    close (unit)
  end subroutine

  subroutine derive(in, model, x, sparse)
    character(len=*), intent(in) :: in
    type(mpigd_model), intent(in) :: model
    real(real64), intent(in) :: x(:, :)
    type(mpigd_sparse), intent(in) :: sparse
    type(mpigd_model) :: copy
    type(mpigd_slice) :: slice, thin
    type(mpigd_problem) :: problem
    type(mpigd_loss) :: loss
    type(mpigd_options) :: options
    real(real64), allocatable :: numbers(:), direction(:, :), gradient(:, :), theta(:, :), out(:, :)
    real(real64) :: value, weight
    integer(int64) :: d, k

    d = model%columns()
    k = model%outputs()
    numbers = numbers_of(in//"numbers")
    allocate (gradient(k, d + 1))
    loss = mpigd_loss(model%loss(), numbers(1), numbers(2), k)
    direction = reshape(numbers_of(in//"direction"), [k, d + 1])
    call slice%create(x, numbers_of(in//"y"), numbers_of(in//"weight"), numbers_of(in//"offset"))
    call mpigd_value_gradient(slice, loss, model%coef(), model%intercept(), value, gradient, weight)
    call put(in//"fortran.value", [value, weight])
    call put(in//"fortran.gradient", [gradient])
    call mpigd_hessian_product(slice, loss, model%coef(), model%intercept(), direction, gradient)
    call put(in//"fortran.product", [gradient])
    call thin%create(sparse, numbers_of(in//"y"), numbers_of(in//"weight"), numbers_of(in//"offset"))
    call mpigd_value_gradient(thin, loss, model%coef(), model%intercept(), value, gradient, weight)
    call put(in//"fortran.gradient_sparse", [gradient])

    options%loss = loss
    options%standardize = .false.
    call problem%create(slice, options)
    theta = reshape([model%coef(), model%intercept()], [k, d + 1])
    call problem%evaluate(theta, value, gradient)
    call put(in//"fortran.problem_value", [value])
    call put(in//"fortran.problem_gradient", [gradient])
    call problem%product(theta, direction, gradient)
    call put(in//"fortran.problem_product", [gradient])

    call copy%create(model%loss(), model%coef(), model%intercept(), model%labels())
    allocate (out(k, size(x, 2)))
    call copy%eta(x, out)
    call put(in//"fortran.eta_copy", [out])
  end subroutine

  !> Sparse rows that do not fit end in one error.
  subroutine refuse()
    integer(int32), parameter :: places(3) = [2, 1, 2]
    integer(int64), parameter :: starts(3) = [1, 2, 4], none(0) = [integer(int64) ::], d = 2
    real(real64), parameter :: values(3) = [1.0_real64, 2.0_real64, 3.0_real64], y(2) = [0.0_real64, 1.0_real64]
    type(mpigd_model) :: model
    type(mpigd_slice) :: slice
    type(mpigd_sparse) :: x
    real(real64) :: out(2)
    character(len=512) :: message
    integer :: stat

    call model%create("squared", reshape([1.0_real64, 2.0_real64], [1, 2]), [0.0_real64])
    call refused([1_int64, 4_int64, 3_int64], places, values, d) ! starts that do not ascend
    call refused([1_int64, huge(d), 4_int64], places, values, d)
    call refused([0_int64, 1_int64, 3_int64], places, values, d) ! that are counted from 0
    call refused([1_int64, 2_int64, 5_int64], places, values, d) ! beyond the values
    call refused(none, places, values, d)
    call refused(starts, places(:2), values, d) ! other lengths
    call refused(starts, places, values(:2), d)
    call refused(starts, [2_int32, 0_int32, 2_int32], values, d) ! columns that are not there
    call refused(starts, [2_int32, 3_int32, 2_int32], values, d)
    call refused(starts, [2_int32, -huge(0_int32) - 1, 2_int32], values, d)
    call refused(starts, places, values, -d)

    call model%predict(x, out, stat, message) ! nothing that was created
    call demand(stat == mpigd_usage .and. index(message, "columns") > 0)
    call x%create(starts, places, values, d + 1)
    call model%predict(x, out, stat, message)
    call demand(stat == mpigd_usage .and. index(message, "columns") > 0)
    call x%create(starts, places, ieee_value(values, ieee_quiet_nan), d)
    call model%predict(x, out, stat, message)
    call demand(stat == mpigd_data .and. index(message, "row 0 ") > 0)
    call slice%create(x, y, stat=stat, errmsg=message)
    call demand(stat == mpigd_data .and. index(message, "row 0 ") > 0)
    call x%create(starts, places, values, d, stat)
    call demand(stat == mpigd_ok)
    call model%predict(x, out(:1), stat, message)
    call demand(stat == mpigd_usage .and. index(message, "out") > 0)
    call slice%create(x, y(:1), stat=stat, errmsg=message)
    call demand(stat == mpigd_usage .and. index(message, "y, weight") > 0)
    call slice%create(x, y, weight=y(:1), stat=stat, errmsg=message)
    call demand(stat == mpigd_usage .and. index(message, "y, weight") > 0)

    call model%predict(x, out)
    call demand(all(out == [2.0_real64, 8.0_real64]))
    call x%create(starts(2:), places, values, d)
    call model%predict(x, out(:1))
    call demand(out(1) == 8.0_real64) ! the second row alone
    call x%create(starts(:1), places, values, d)
    call model%predict(x, out(:0))
  end subroutine

  subroutine refused(starts, places, values, columns)
    integer(int64), intent(in) :: starts(:), columns
    integer(int32), intent(in) :: places(:)
    real(real64), intent(in) :: values(:)
    type(mpigd_sparse) :: x
    character(len=512) :: message
    integer :: stat

    call x%create(starts, places, values, columns, stat, message)
    call demand(stat == mpigd_usage .and. index(message, "starts have to ascend") > 0)
    call x%create(starts, places, real(values, real32), columns, stat, message)
    call demand(stat == mpigd_usage .and. index(message, "starts have to ascend") > 0)
  end subroutine

  subroutine demand(right)
    logical, intent(in) :: right

    if (.not. right) error stop "sparse rows are not taken, or not refused, as they should be"
  end subroutine

  function numbers_of(path) result(numbers)
    character(len=*), intent(in) :: path
    real(real64), allocatable :: numbers(:)
    integer :: unit
    integer(int64) :: bytes

    open (newunit=unit, file=path, access="stream", form="unformatted", status="old", action="read")
    inquire (unit, size=bytes)
    allocate (numbers(bytes/8))
    read (unit) numbers
    close (unit)
  end function

  subroutine put(path, numbers)
    character(len=*), intent(in) :: path
    real(real64), intent(in) :: numbers(:)
    integer :: unit

    open (newunit=unit, file=path, access="stream", form="unformatted", status="replace")
    write (unit) numbers
    close (unit)
  end subroutine

end program
