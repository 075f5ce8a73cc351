// The layout of buckets.
#include <gradus/distributed/detail/buckets.h>

#include <algorithm>

#include <gradus/core/factories.h>

namespace gradus::dist::detail {
namespace {

constexpr int64_t alignment = 64;  // bytes, for the vector loops

int64_t rounded_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// A bucket that is being filled.
struct Draft {
  Dtype dtype;
  Device device;
  std::vector<size_t> members;
  std::vector<int64_t> offsets;
  int64_t numel = 0;
};

/// How many parameters at the front have `bytes` or less together: those that are ready last.
size_t count_at_front(const NamedTensors& parameters, int64_t bytes) {
  size_t n = 0;
  for (int64_t sum = 0; n < parameters.size(); ++n)
    if ((sum += parameters[n].tensor.nbytes()) > bytes) break;
  return n;
}

Bucket build(const Draft& draft, const NamedTensors& parameters, size_t number, int64_t multiple,
             std::vector<Place>& places) {
  const Tensor flat = zeros({rounded_up(draft.numel, multiple)}, {.dtype = draft.dtype, .device = draft.device});
  for (size_t i = 0; i < draft.members.size(); ++i) {
    const Shape& shape = parameters[draft.members[i]].tensor.shape();
    places[draft.members[i]] = {number, as_strided(flat, shape, contiguous_strides(shape), draft.offsets[i])};
  }
  return {flat, draft.members};
}

}  // namespace

Buckets make_buckets(const NamedTensors& parameters, int64_t edge_bytes, int64_t bytes, int64_t multiple) {
  std::vector<Draft> full, open;
  const auto fill_up = [&full, &open] {
    std::move(open.begin(), open.end(), std::back_inserter(full));
    open.clear();
  };
  const size_t last_ones = count_at_front(parameters, edge_bytes);
  for (size_t i = parameters.size(); i-- > 0;) {
    if (i + 1 == last_ones) fill_up();
    const Tensor& x = parameters[i].tensor;
    auto draft = std::find_if(open.begin(), open.end(),
                              [&](const Draft& d) { return d.dtype == x.dtype() && d.device == x.device(); });
    if (draft == open.end()) draft = open.insert(open.end(), {x.dtype(), x.device(), {}, {}, 0});
    draft->members.push_back(i);
    draft->offsets.push_back(draft->numel);
    draft->numel = rounded_up(draft->numel + x.numel(), alignment / itemsize(x.dtype()));
    if (draft->numel * itemsize(x.dtype()) < (full.empty() ? edge_bytes : bytes)) continue;
    full.push_back(std::move(*draft));
    open.erase(draft);
  }
  fill_up();

  Buckets result;
  result.places.resize(parameters.size());
  for (size_t b = 0; b < full.size(); ++b)
    result.buckets.push_back(build(full[b], parameters, b, multiple, result.places));
  return result;
}

}  // namespace gradus::dist::detail
