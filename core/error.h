// The error types of Gradus. Every bad input ends in one of these: the message names the operation, says what came,
// what was wanted, and gives one hint.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include <gradus/core/api.h>

namespace gradus {

/// Base of every error that Gradus throws.
class GRADUS_API Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message);
  Error(const Error&);
  ~Error() override;
};

#define GRADUS_DEFINE_ERROR(Name, meaning)     \
  /** meaning */                               \
  class GRADUS_API Name : public Error {       \
   public:                                     \
    explicit Name(const std::string& message); \
    Name(const Name&);                         \
    ~Name() override;                          \
  };

GRADUS_DEFINE_ERROR(ShapeError, "Ranks or sizes do not fit together.")
GRADUS_DEFINE_ERROR(DtypeError, "An element type is not supported or two differ.")
GRADUS_DEFINE_ERROR(DeviceError, "Tensors live on different devices, or a device is not there.")
GRADUS_DEFINE_ERROR(IndexError, "An index or a dimension is out of range.")
GRADUS_DEFINE_ERROR(ValueError, "An option has a value that makes no sense.")
GRADUS_DEFINE_ERROR(GradError, "Misuse of autograd: no graph, a freed graph, a tensor modified in place.")
GRADUS_DEFINE_ERROR(IoError, "A file cannot be read or written, or its content is malformed.")
GRADUS_DEFINE_ERROR(CheckpointError, "A checkpoint is missing, damaged, or does not fit the program.")
#undef GRADUS_DEFINE_ERROR

/// Processes that work together could not: one is gone, hangs, asks for something else, or never came. A group that has
/// thrown it is closed: all it still had to do fails likewise, on every rank.
class GRADUS_API CommError : public Error {
 public:
  enum class Kind : uint8_t {
    setup,      ///< the processes did not find each other
    timeout,    ///< a rank did not answer in time
    peer_lost,  ///< a process ended, or the connection to it did
    mismatch,   ///< ranks asked for different operations, or tensors that do not fit together
    aborted,    ///< another rank had failed before, or the group was closed
  };
  explicit CommError(const std::string& message, Kind kind = Kind::setup, int rank = -1, const char* op = "",
                     int64_t seq = -1);
  CommError(const CommError&);
  ~CommError() override;
  Kind kind;
  int rank;        ///< the one to blame, in the group's numbering; -1 when nobody knows
  std::string op;  ///< such as "all_reduce"; empty outside of an operation
  int64_t seq;     ///< the operation's number in its group; -1 outside of an operation
};

/// An allocation failed even after the cache was released. Figures in bytes. The failed operation leaves its inputs and
/// the graph as they were, so a program may catch this, use less, and go on.
class GRADUS_API OutOfMemoryError : public Error {
 public:
  OutOfMemoryError(const std::string& message, int64_t requested_bytes, int64_t live_bytes, int64_t cached_bytes);
  OutOfMemoryError(const OutOfMemoryError&);
  ~OutOfMemoryError() override;
  int64_t requested, live, cached;
};

}  // namespace gradus
