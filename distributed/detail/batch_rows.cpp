// Rows that move between neighbours when their parts of the batch are cut elsewhere.
#include <gradus/distributed/detail/batch_rows.h>

#include <algorithm>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>

namespace gradus::dist::detail {
namespace {

constexpr int64_t fields = 2 + max_rank;  // dtype, rank, sizes

// What each rank's tensor looks like, (ranks, fields); rank -1 where it is undefined.
Tensor describe_all(const Tensor& x, const ProcessGroup& world, Device device) {
  std::vector<int64_t> own(fields, -1);
  if (x.defined()) {
    own[0] = static_cast<int64_t>(x.dtype());
    own[1] = x.rank();
    std::copy(x.shape().begin(), x.shape().end(), own.begin() + 2);
  }
  const Tensor all = empty({world.size(), fields}, {.dtype = int64, .device = device});
  world.all_gather(all, tensor(std::span<const int64_t>(own)).to(device).view({1, fields})).wait();
  return all.to(Device::cpu());
}

// Room for `rows` rows of what one of the ranks that have any has brought.
Tensor room_for(int64_t rows, const Tensor& described, Device device) {
  for (int64_t r = 0; r < described.size(0); ++r) {
    const int64_t* d = described.data<int64_t>() + r * fields;
    if (d[1] < 1) continue;
    Shape shape(std::span<const int64_t>(d + 2, static_cast<size_t>(d[1])));
    shape[0] = rows;
    return empty(shape, {.dtype = static_cast<Dtype>(d[0]), .device = device});
  }
  throw ValueError("DDP::backward: every rank's tensor is undefined or without rows");
}

}  // namespace

int64_t rows_of(std::span<const Tensor> batch) {
  GRADUS_CHECK(!batch.empty(), ValueError, "DDP::backward: the batch has no tensors");
  const auto rows = [](const Tensor& x) {
    GRADUS_CHECK(!x.defined() || x.rank() > 0, ShapeError, "DDP::backward: a 0-dim tensor has no rows");
    return x.defined() ? x.size(0) : 0;
  };
  for (const Tensor& x : batch)
    GRADUS_CHECK(rows(x) == rows(batch.front()), ShapeError, "DDP::backward: tensors of {} and {} rows in one batch",
                 rows(batch.front()), rows(x));
  return rows(batch.front());
}

// All ranks go through the moves in the same order, so nobody waits for one who waits for him.
std::vector<Tensor> pass_rows(std::span<const Tensor> batch, ProcessGroup world, const std::vector<int64_t>& have,
                              const std::vector<int64_t>& want, Device device) {
  const int me = world.rank();
  std::vector<Tensor> mine;
  for (const Tensor& x : batch) {
    const Tensor room = room_for(want[static_cast<size_t>(me) + 1] - want[static_cast<size_t>(me)],
                                 describe_all(x, world, device), device);
    for (int from = 0; from < world.size(); ++from)
      for (int to = 0; to < world.size(); ++to) {
        const auto f = static_cast<size_t>(from), t = static_cast<size_t>(to);
        const int64_t first = std::max(have[f], want[t]), count = std::min(have[f + 1], want[t + 1]) - first;
        if (count <= 0 || (from != me && to != me)) continue;
        const Tensor given = from == me ? x.detach().narrow(0, first - have[f], count) : Tensor();
        const Tensor taken = to == me ? room.narrow(0, first - want[t], count) : Tensor();
        if (from == to)
          taken.copy_(given);
        else if (from == me)
          world.send(dense(given), to).wait();
        else
          world.recv(taken, from).wait();
      }
    mine.push_back(room);
  }
  return mine;
}

}  // namespace gradus::dist::detail
