!> Fortran 2008 for libmpigd_mpi: the ranks of a communicator, for the procedures of module mpigd.
!>
!> Communicators are integers: comm%MPI_VAL with mpi_f08, comm itself with mpi. They have to live as long as what is
!> made of them is used.
module mpigd_mpi
  use, intrinsic :: iso_c_binding
  use mpigd, only: mpigd_error, mpigd_finish, mpigd_ranks
  implicit none
  private
  public :: mpigd_communicator, mpigd_share

  interface
    function c_ranks(comm, ranks, error) bind(c, name="mpigd_ranks_f08") result(status)
      import :: c_int, mpigd_error, mpigd_ranks
      integer(c_int), value :: comm
      type(mpigd_ranks), intent(out) :: ranks
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function

    function c_share(comm, total_rows, block, first_row, rows, error) bind(c, name="mpigd_share_f08") result(status)
      import :: c_int, c_int64_t, mpigd_error
      integer(c_int), value :: comm
      integer(c_int64_t), value :: total_rows, block
      integer(c_int64_t), intent(out) :: first_row, rows
      type(mpigd_error), intent(out) :: error
      integer(c_int) :: status
    end function
  end interface

contains

  subroutine mpigd_communicator(comm, ranks, stat, message)
    integer, intent(in) :: comm
    type(mpigd_ranks), intent(out) :: ranks
    integer, intent(out), optional :: stat
    character(len=:), allocatable, intent(out), optional :: message
    type(mpigd_error) :: error
    integer(c_int) :: status

    status = c_ranks(comm, ranks, error)
    call mpigd_finish(status, error, stat, message)
  end subroutine

  !> Which rows this rank is to have, in even shares of whole blocks: first_row, from 0, and how many.
  subroutine mpigd_share(comm, total_rows, block, first_row, rows, stat, message)
    integer, intent(in) :: comm
    integer(c_int64_t), intent(in) :: total_rows, block
    integer(c_int64_t), intent(out) :: first_row, rows
    integer, intent(out), optional :: stat
    character(len=:), allocatable, intent(out), optional :: message
    type(mpigd_error) :: error
    integer(c_int) :: status

    status = c_share(comm, total_rows, block, first_row, rows, error)
    call mpigd_finish(status, error, stat, message)
  end subroutine

end module
