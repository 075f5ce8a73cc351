// Where gradients live when they are communicated: in few flat tensors, each parameter's at a place of its own.
#pragma once

#include <vector>

#include <gradus/core/stateful.h>

namespace gradus::dist::detail {

struct Bucket {
  Tensor flat;                  // one-dimensional; zeros between the places
  std::vector<size_t> members;  // numbers of parameters
};

/// A parameter's place: its bucket, and the view into it.
struct Place {
  size_t bucket;
  Tensor view;
};

struct Buckets {
  std::vector<Bucket> buckets;  // in the order in which backward is likely to fill them
  std::vector<Place> places;    // of each parameter
};

/// Parameters in reverse order, each dtype and device apart. A bucket is full when it has `bytes` or more, the first
/// one `edge_bytes`; and all are when the parameters that are left have `edge_bytes` or less. The elements of a bucket
/// are a multiple of `multiple`.
GRADUS_API Buckets make_buckets(const NamedTensors& parameters, int64_t edge_bytes, int64_t bytes, int64_t multiple);

}  // namespace gradus::dist::detail
