// Runs the threads of a grid one at a time, and lets them meet at barriers and warp operations exactly as CUDA defines
// it. What CUDA leaves undefined is an error that names the thread and the line.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <string_view>

#include <vector_types.h>

namespace gradus::emulation {

/// A line of a kernel.
struct Site {
  const char* file = "";
  unsigned line = 0;
  static constexpr Site here(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return {file, line};
  }
  bool operator==(const Site& other) const { return line == other.line && std::string_view(file) == other.file; }
};

/// What a kernel did that CUDA does not define, or a launch that the device would refuse.
class Error : public std::exception {
 public:
  explicit Error(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

/// Which order of blocks and threads is taken of the many that CUDA allows.
struct Order {
  uint64_t seed = 0;  ///< 0: by index, each thread as far as it can go
};
void set_order(Order order);
Order current_order();

struct Counters {
  uint64_t grids = 0, blocks = 0, threads = 0, switches = 0;
};
Counters counters();

/// Limits of the device that is imitated. A kernel has the lesser amount of shared memory, static and dynamic together,
/// unless it was given more by cudaFuncSetAttribute.
inline constexpr unsigned max_threads_per_block = 1024;
inline constexpr size_t max_shared_bytes = 227 * 1024, usual_shared_bytes = 48 * 1024;

/// Throws Error for a launch that the device would refuse.
void check_launch(const char* kernel, dim3 grid, dim3 block, size_t dynamic_shared_bytes);

/// Runs `thread` once for every thread of the grid, and returns when all have ended. Throws Error.
void run_grid(const char* kernel, dim3 grid, dim3 block, size_t dynamic_shared_bytes,
              const std::function<void()>& thread, size_t shared_limit = usual_shared_bytes);

// ---- what device.h asks for, on a thread of a running grid

struct Place {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
};
extern thread_local __attribute__((tls_model("initial-exec"))) Place place;

/// Of each shared array in the source; its number is given on its first use. No thread-local variable, because a
/// library that is loaded later has room for few, and every instance of a kernel has arrays of its own.
struct SharedKey {
  std::atomic<uint32_t> number = 0;
};
/// A shared array of the running block: all its threads get the same one.
void* shared_array(SharedKey& key, size_t bytes, size_t alignment, const char* name);
void* dynamic_shared_array();

enum class Vote : uint8_t { none, any, all, count };
/// __syncthreads() and its relatives: the vote over all threads' predicates.
int block_barrier(bool predicate, Vote vote, Site site);

/// All lanes of the mask meet; each hands in a value. The values stay valid until the lane's next meeting.
const uint64_t* warp_meeting(unsigned mask, uint64_t value, const char* operation, Site site);
unsigned lane();

}  // namespace gradus::emulation
