// Rows, runs, and passing runs round in parts of a few megabytes.
#include <gradus/distributed/detail/slicing.h>

#include <algorithm>
#include <optional>

#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>

namespace gradus::dist::detail {
namespace {

constexpr int64_t alignment = 16;             // elements: kernels read several at once
constexpr int64_t bytes_in_flight = 8 << 20;  // of all ranks' parts in one round

int64_t rounded_up(int64_t n) { return (n + alignment - 1) / alignment * alignment; }

// Calls f(part of the member, part of `values`) where a row's elements from `first` on, as many as `values` has,
// overlap its members.
template <class Members, class F>
void for_overlaps(const Members& members, int64_t first, const Tensor& values, F f) {
  const int64_t end = first + values.numel();
  for (const auto& m : members) {
    const int64_t from = std::max(first, m.offset), to = std::min(end, m.offset + m.values.numel());
    if (from < to) f(m.values.narrow(0, from - m.offset, to - from), values.narrow(0, from - first, to - from));
  }
}

}  // namespace

void Slicing::add(const NamedTensors& parameters) {
  const NoGrad no_graph;
  std::vector<Row> rows;
  struct Place {
    size_t row;
    int64_t offset;
  };
  std::vector<Place> places;
  for (const auto& [name, p] : parameters) {
    gradus::detail::check_defined("ZeroOptimizer", name.c_str(), p);
    GRADUS_CHECK(p.is_leaf() && p.requires_grad(), GradError,
                 "ZeroOptimizer: '{}' is no leaf that requires grad; pass net.trainable_parameters()", name);
    GRADUS_CHECK(p.is_contiguous(), ValueError, "ZeroOptimizer: '{}' is a strided view; want a contiguous parameter",
                 name);
    auto row = std::find_if(rows.begin(), rows.end(),
                            [&](const Row& r) { return r.dtype == p.dtype() && r.device == p.device(); });
    if (row == rows.end()) row = rows.insert(rows.end(), {p.dtype(), p.device(), {}});
    places.push_back({static_cast<size_t>(row - rows.begin()), row->numel});
    row->members.push_back({p.detach().view({-1}), row->numel});
    row->numel = rounded_up(row->numel + p.numel());
  }
  for (Row& row : rows) row.run = rounded_up((row.numel + world_.size() - 1) / world_.size());
  for (size_t i = 0; i < parameters.size(); ++i)
    slices_.push_back(sliced(parameters[i].name, parameters[i].tensor, places[i].offset, rows[places[i].row].run));
  std::move(rows.begin(), rows.end(), std::back_inserter(rows_));
}

// The overlap of a parameter at `offset` in its row with this rank's run; an empty one begins at the nearest end.
Slice Slicing::sliced(const std::string& name, const Tensor& parameter, int64_t offset, int64_t run) const {
  const int64_t n = parameter.numel(), first = world_.rank() * run - offset;
  const int64_t begin = std::clamp<int64_t>(first, 0, n), end = std::clamp<int64_t>(first + run, 0, n);
  const Tensor slice = parameter.detach().view({-1}).narrow(0, begin, end - begin);
  return {name, parameter, slice.requires_grad_(), begin};
}

void Slicing::lend_gradients() const {
  const NoGrad no_graph;
  for (const Slice& s : slices_) {
    GRADUS_CHECK(s.slice.impl().storage.get() == s.parameter.impl().storage.get(), DeviceError,
                 "ZeroOptimizer: '{}' has moved to other memory; make the optimizer after net.to(...)", s.name);
    const Tensor gradient = s.parameter.grad();
    s.slice.set_grad(gradient.defined() ? gradient.detach().reshape({-1}).narrow(0, s.begin, s.slice.numel())
                                        : Tensor());
  }
}
void Slicing::take_gradients_back() const {
  for (const Slice& s : slices_) s.slice.set_grad({});
}

// In rounds, so that little memory is needed; one is on its way while the one before is put in its place.
void Slicing::gather() {
  if (world_.size() == 1) return;
  const NoGrad no_graph;
  for (const Row& row : rows_) {
    const int64_t part = std::max(alignment, bytes_in_flight / itemsize(row.dtype) / world_.size());
    std::optional<Round> before;
    for (int64_t first = 0; first < row.run; first += part) {
      Round round = send(row, first, std::min(part, row.run - first));
      if (before) receive(row, *before);
      before = std::move(round);
    }
    if (before) receive(row, *before);
  }
}

Slicing::Round Slicing::send(const Row& row, int64_t first, int64_t count) {
  const TensorOptions options{.dtype = row.dtype, .device = row.device};
  const Tensor mine = zeros({1, count}, options), all = empty({world_.size(), count}, options);
  for_overlaps(row.members, world_.rank() * row.run + first, mine.view({-1}),
               [](const Tensor& member, const Tensor& sent) { sent.copy_(member); });
  return {first, count, all, world_.all_gather(all, mine)};
}

void Slicing::receive(const Row& row, const Round& round) const {
  round.work.wait();
  for (int r = 0; r < world_.size(); ++r)
    if (r != world_.rank())
      for_overlaps(row.members, r * row.run + round.first, round.all[r],
                   [](const Tensor& member, const Tensor& received) { member.copy_(received); });
}

}  // namespace gradus::dist::detail
