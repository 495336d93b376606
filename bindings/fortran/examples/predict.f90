!> Predict the rows of the Boston table: predict MODEL.h5 boston.csv
program predict
  use, intrinsic :: iso_fortran_env, only: real64
  use mpigd, only: mpigd_model
  implicit none
  integer, parameter :: rows = 506
  type(mpigd_model) :: model
  real(real64), allocatable :: x(:, :), y(:)
  character(len=1024) :: path, table
  integer :: unit, i

  call get_command_argument(1, path)
  call get_command_argument(2, table)
  call model%read(path)

  ! A row of the table is a column of x. Its last number, the target, is left out.
  allocate (x(model%columns(), rows), y(rows))
  open (newunit=unit, file=table, status="old", action="read")
  read (unit, *) ! names
  do i = 1, rows
    read (unit, *) x(:, i)
  end do

  call model%predict(x, y)
  print "(es24.16e3)", y
end program
