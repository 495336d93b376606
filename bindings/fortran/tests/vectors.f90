!> What tests/test_bindings.py compares with Python: for each folder given, results of its model and rows.
program vectors
  use, intrinsic :: iso_fortran_env, only: int64, real32, real64
  use, intrinsic :: ieee_arithmetic, only: ieee_quiet_nan, ieee_value
  use mpigd
  implicit none
  character(len=1024) :: folder
  integer :: i

  do i = 1, command_argument_count()
    call get_command_argument(i, folder)
    call compute(trim(folder)//"/")
  end do

contains

  subroutine compute(in)
    character(len=*), intent(in) :: in
    type(mpigd_model) :: model
    real(real64), allocatable :: numbers(:), x(:, :), out(:, :), proba(:, :), predicted(:)
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
    allocate (out(k, n), predicted(n*model%answers()))

    call model%eta(x, out)
    call put(in//"fortran.eta", [out])
    inquire (file=in//"single", exist=known)
    if (known) then
      call model%eta(real(x, real32), out)
      call put(in//"fortran.eta_float32", [out])
    end if
    call model%predict(x, predicted)
    call put(in//"fortran.predict", predicted)
    if (model%probabilities() > 0) then
      allocate (proba(model%probabilities(), n))
      call model%predict_proba(x, proba)
      call put(in//"fortran.proba", [proba])
    end if

    inquire (file=in//"y", exist=known)
    if (known) call derive(in, model, x)

    call model%write(in//"fortran.copy.h5")

    x(1, 2) = ieee_value(0.0_real64, ieee_quiet_nan)
    call model%predict(x, predicted, stat, message)
    open (newunit=unit, file=in//"fortran.error", access="stream", form="formatted", status="replace")
    write (unit, "(i0, 2a)", advance="no") stat, " ", trim(message)
    close (unit)
  end subroutine

  subroutine derive(in, model, x)
    character(len=*), intent(in) :: in
    type(mpigd_model), intent(in) :: model
    real(real64), intent(in) :: x(:, :)
    type(mpigd_model) :: copy
    type(mpigd_slice) :: slice
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
