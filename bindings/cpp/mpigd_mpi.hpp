/* C++20 for libmpigd_mpi: the ranks of a communicator, for the functions of mpigd.hpp.
 *
 *     mpigd::Communicator ranks(MPI_COMM_WORLD);
 *     auto [first, rows] = ranks.share(total_rows);
 *     mpigd::Fitted fitted = mpigd::fit(slice, options, ranks);
 */
#ifndef MPIGD_MPI_HPP
#define MPIGD_MPI_HPP

#include <mpigd_mpi.h>

#include "mpigd.hpp"

namespace mpigd {

/* Does not own the communicator, which has to live as long, as MPI has to be initialised. It stays where it is: its
 * ranks refer to it. */
class Communicator {
  public:
    explicit Communicator(MPI_Comm comm) : comm_(comm) { detail::call(mpigd_ranks_mpi, &comm_, &ranks_); }
    Communicator(const Communicator &) = delete;
    Communicator &operator=(const Communicator &) = delete;

    operator const Ranks *() const noexcept { return &ranks_; }

    /* First row and number of rows of this rank: even shares of whole blocks, of dense rows unless a block is given. */
    std::pair<std::int64_t, std::int64_t> share(std::int64_t total_rows, std::int64_t block = 0) const {
        std::pair<std::int64_t, std::int64_t> found;
        detail::call(mpigd_share_mpi, comm_, total_rows, block > 0 ? block : mpigd_block_rows(total_rows),
                     &found.first, &found.second);
        return found;
    }

  private:
    MPI_Comm comm_;
    Ranks ranks_{};
};

} // namespace mpigd

#endif
