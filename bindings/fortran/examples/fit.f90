!> Fit the Boston table on all ranks, each of which keeps its own rows: mpirun -n 4 fit boston.csv model.h5
program fit
  use, intrinsic :: iso_fortran_env, only: int64, real64
  use mpi_f08, only: MPI_Init, MPI_Finalize, MPI_Comm_rank, MPI_COMM_WORLD
  use mpigd
  use mpigd_mpi
  implicit none
  integer(int64), parameter :: rows = 506, columns = 13
  type(mpigd_communicator) :: world
  type(mpigd_slice) :: slice
  type(mpigd_options) :: options
  type(mpigd_model) :: model
  type(mpigd_result) :: result
  real(real64), allocatable :: x(:, :), y(:)
  integer(int64) :: first, count, i
  character(len=1024) :: table, output
  integer :: unit, rank

  call get_command_argument(1, table)
  call get_command_argument(2, output)
  call MPI_Init()
  call world%create(MPI_COMM_WORLD%MPI_VAL)
  call world%share(rows, mpigd_block_rows(rows), first, count)

  allocate (x(columns, count), y(count))
  open (newunit=unit, file=table, status="old", action="read")
  do i = 0, first
    read (unit, *) ! names, and rows of other ranks
  end do
  do i = 1, count
    read (unit, *) x(:, i), y(i)
  end do
  close (unit)

  call slice%create(x, y, first_row=first, total_rows=rows)
  options%loss%name = "squared"
  options%solver = mpigd_newton
  call mpigd_fit(slice, options, model, result, world%ranks)

  call MPI_Comm_rank(MPI_COMM_WORLD, rank)
  if (rank == 0) then
    call model%write(output)
    print "(a, es24.16e3, a, i0, a)", "objective", result%value, " after ", result%steps, " step(s)"
    print "(es24.16e3)", model%coef(), model%intercept()
  end if
  call MPI_Finalize()
end program
