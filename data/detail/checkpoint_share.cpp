// Who writes which elements.
#include <gradus/data/detail/checkpoint_share.h>

#include <zlib.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include <gradus/autograd/grad_mode.h>
#include <gradus/core/detail/check.h>
#include <gradus/data/detail/checkpoint_things.h>

namespace gradus::data::detail {
namespace {

constexpr int64_t smallest_cut = 1 << 16;  // bytes; a smaller tensor stays in one piece

/// Elements [begin, end) in row-major order.
struct Range {
  int64_t begin, end;
};

/// Lays tensors one after the other and gives each rank the same number of bytes.
class Division {
 public:
  Division(const NamedTensors& all, int64_t rank, int64_t ranks) : is_first_(rank == 0) {
    int64_t total = 0;
    for (const NamedTensor& entry : all) total += entry.tensor.nbytes();
    const auto border = [&](int64_t r) { return total / ranks * r + total % ranks * r / ranks; };
    begin_ = border(rank);
    end_ = border(rank + 1);
  }
  /// What this rank has of the tensor that comes next; nothing when others have it. Empty tensors are the first rank's.
  std::optional<Range> next(const Tensor& x) {
    const int64_t start = std::exchange(reached_, reached_ + x.nbytes());
    const auto given = [](bool own, Range range) { return own ? std::optional(range) : std::nullopt; };
    if (x.numel() == 0) return given(is_first_, {0, 0});
    if (x.nbytes() < smallest_cut) return given(begin_ <= start && start < end_, {0, x.numel()});
    const auto element = [&](int64_t border) {
      return std::clamp<int64_t>(border - start, 0, x.nbytes()) / itemsize(x.dtype());
    };
    return given(element(begin_) < element(end_), {element(begin_), element(end_)});
  }

 private:
  int64_t begin_, end_, reached_ = 0;  // bytes
  bool is_first_;
};

/// Elements of x, one-dimensional, on the CPU.
Tensor elements(const Tensor& x, Range range, bool copy) {
  const Tensor values = x.detach().reshape({x.numel()}).slice(0, range.begin, range.end);
  if (!x.device().is_cpu()) return values.to(Device::cpu());
  return copy ? values.clone() : values;
}

}  // namespace

uint64_t Share::bytes() const {
  uint64_t sum = 0;
  for (const StateSlice& slice : slices) sum += static_cast<uint64_t>(slice.values.nbytes());
  return sum;
}

Share share_of(const std::vector<Stateful*>& things, int rank, int ranks, bool copy) {
  const NoGrad no_graph;
  Share share;
  NamedTensors common;
  for (const auto& [name, thing, is_generator] : name_things(things)) {
    for (const auto& [entry, x] : thing->state_dict()) {
      const int64_t n = x.numel();
      if (is_generator)
        share.slices.push_back({name + '/' + entry, Shape({ranks, n}), rank * n, elements(x, {0, n}, copy)});
      else
        common.push_back({name + '/' + entry, x});
    }
    for (const auto& [entry, shape, begin, values] : thing->state_slices())
      share.slices.push_back({name + '/' + entry, shape, begin, elements(values, {0, values.numel()}, copy)});
  }
  std::string description;
  Division division(common, rank, ranks);
  for (const auto& [name, x] : common) {
    description += fmt::format("{} {}{}\n", name, x.dtype(), x.shape());
    if (const auto range = division.next(x))
      share.slices.push_back({name, x.shape(), range->begin, elements(x, *range, copy)});
  }
  share.common =
      static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const unsigned char*>(description.data()), description.size()));
  return share;
}

}  // namespace gradus::data::detail
