// Out-of-line members of the error types, so that their type information lives in libgradus alone.
#include <gradus/core/error.h>

namespace gradus {

Error::Error(const std::string& message) : std::runtime_error(message) {}
Error::Error(const Error&) = default;
Error::~Error() = default;

#define GRADUS_ERROR_MEMBERS(Name)                           \
  Name::Name(const std::string& message) : Error(message) {} \
  Name::Name(const Name&) = default;                         \
  Name::~Name() = default;

GRADUS_ERROR_MEMBERS(ShapeError)
GRADUS_ERROR_MEMBERS(DtypeError)
GRADUS_ERROR_MEMBERS(DeviceError)
GRADUS_ERROR_MEMBERS(IndexError)
GRADUS_ERROR_MEMBERS(ValueError)
GRADUS_ERROR_MEMBERS(GradError)
GRADUS_ERROR_MEMBERS(IoError)
GRADUS_ERROR_MEMBERS(CheckpointError)

CommError::CommError(const std::string& message, Kind kind_, int rank_, const char* op_, int64_t seq_)
    : Error(message), kind(kind_), rank(rank_), op(op_), seq(seq_) {}
CommError::CommError(const CommError&) = default;
CommError::~CommError() = default;

OutOfMemoryError::OutOfMemoryError(const std::string& message, int64_t requested_bytes, int64_t live_bytes,
                                   int64_t cached_bytes)
    : Error(message), requested(requested_bytes), live(live_bytes), cached(cached_bytes) {}
OutOfMemoryError::OutOfMemoryError(const OutOfMemoryError&) = default;
OutOfMemoryError::~OutOfMemoryError() = default;

}  // namespace gradus
