// Parameters as long rows of which each rank owns a run: where it is cut, and how the runs come together again.
#pragma once

#include <string>
#include <vector>

#include <gradus/core/stateful.h>
#include <gradus/distributed/process_group.h>

namespace gradus::dist::detail {

/// One parameter and this rank's slice of it: elements [begin, begin + slice.numel()), a leaf on the same memory.
struct Slice {
  std::string name;
  Tensor parameter, slice;
  int64_t begin;
};

class Slicing {
 public:
  explicit Slicing(const ProcessGroup& world) : world_(world) {}
  /// Cuts the parameters of a new group. Those of a dtype and device make up a row each.
  void add(const NamedTensors& parameters);
  const std::vector<Slice>& slices() const { return slices_; }
  /// Gives the slices their parameters' gradients. DeviceError when a parameter has moved to other memory since.
  void lend_gradients() const;
  void take_gradients_back() const;
  /// Every rank gets the other ranks' slices.
  void gather();

 private:
  // A parameter's place in its row.
  struct Member {
    Tensor values;  // flat
    int64_t offset;
  };
  struct Row {
    Dtype dtype;
    Device device;
    std::vector<Member> members;
    int64_t numel = 0, run = 0;  // in all, and a rank's
  };
  // A part of every rank's run, on its way.
  struct Round {
    int64_t first, count;  // in each run
    Tensor all;            // (ranks, count)
    Work work;
  };
  Slice sliced(const std::string& name, const Tensor& parameter, int64_t offset, int64_t run) const;
  Round send(const Row& row, int64_t first, int64_t count);
  void receive(const Row& row, const Round& round) const;

  ProcessGroup world_;
  std::vector<Slice> slices_;
  std::vector<Row> rows_;
};

}  // namespace gradus::dist::detail
