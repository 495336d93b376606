!> Fortran 2008 for libmpigd_mpi: the ranks of a communicator, for the procedures of module mpigd.
module mpigd_mpi
  use, intrinsic :: iso_c_binding
  use mpigd, only: mpigd_error, mpigd_finish, mpigd_ranks
  implicit none
  private
  public :: mpigd_communicator

  !> A communicator, which has to live as long; `ranks` is what fits and derivatives take.
  type :: mpigd_communicator
    type(mpigd_ranks) :: ranks
    integer(c_int), pointer, private :: comm => null() ! where ranks refer to
  contains
    procedure :: create
    procedure :: share
    procedure, private :: assign
    generic :: assignment(=) => assign
    final :: free
  end type

  interface
    function c_ranks(comm, ranks, error) bind(c, name="mpigd_ranks_f08") result(status)
      import :: c_int, mpigd_error, mpigd_ranks
      integer(c_int), intent(in) :: comm
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

  !> comm : as an integer, comm%MPI_VAL of mpi_f08 or comm of mpi.
  subroutine create(self, comm, stat, errmsg)
    class(mpigd_communicator), intent(in out) :: self
    integer, intent(in) :: comm
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    type(mpigd_error) :: error
    integer(c_int) :: status

    if (.not. associated(self%comm)) allocate (self%comm)
    self%comm = comm
    status = c_ranks(self%comm, self%ranks, error)
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  !> Which rows this rank is to have, in even shares of whole blocks: first_row, from 0, and how many.
  subroutine share(self, total_rows, block, first_row, rows, stat, errmsg)
    class(mpigd_communicator), intent(in) :: self
    integer(c_int64_t), intent(in) :: total_rows, block
    integer(c_int64_t), intent(out) :: first_row, rows
    integer, intent(out), optional :: stat
    character(len=*), intent(in out), optional :: errmsg
    type(mpigd_error) :: error
    integer(c_int) :: status

    status = c_share(self%comm, total_rows, block, first_row, rows, error)
    call mpigd_finish(status, error, stat, errmsg)
  end subroutine

  subroutine assign(self, other)
    class(mpigd_communicator), intent(in out) :: self
    class(mpigd_communicator), intent(in) :: other

    if (.not. associated(self%comm, other%comm)) error stop "mpigd: communicators can't be copied; pass them on"
  end subroutine

  impure elemental subroutine free(self)
    type(mpigd_communicator), intent(in out) :: self

    if (associated(self%comm)) deallocate (self%comm)
  end subroutine

end module
