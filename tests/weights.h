// A thing with state, and what the tests of checkpoints ask of a folder.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "catch.h"
#include "scratch.h"

#include <gradus/data/detail/sys.h>
#include <gradus/gradus.h>

/// A thing with state: some numbers, which training would change.
struct Weights : gradus::Stateful {
  gradus::NamedTensors entries;
  const char* kind;
  explicit Weights(std::vector<std::pair<std::string, int64_t>> sizes = {{"w", 100}, {"b", 3}},
                   const char* name = "model")
      : kind(name) {
    for (const auto& [entry, size] : sizes) entries.push_back({entry, gradus::zeros({size})});
  }
  void set(float value) const {
    for (const gradus::NamedTensor& entry : entries) entry.tensor.fill_(value);
  }
  float value() const {
    const float first = entries[0].tensor.data<float>()[0];
    for (const gradus::NamedTensor& entry : entries)
      for (int64_t i = 0; i < entry.tensor.numel(); ++i)
        if (entry.tensor.data<float>()[i] != first) return -1;  // torn
    return first;
  }
  const char* state_name() const override { return kind; }
  gradus::NamedTensors state_dict() const override { return entries; }
  void load_state_dict(const gradus::NamedTensors& state) override {
    std::string problems;
    for (const gradus::NamedTensor& entry : entries)
      if (!gradus::find(state, entry.name).defined()) problems += " missing " + entry.name;
    for (const gradus::NamedTensor& entry : state)
      if (!gradus::find(entries, entry.name).defined()) problems += " unknown " + entry.name;
    if (!problems.empty()) throw gradus::CheckpointError("model:" + problems);
    for (const gradus::NamedTensor& entry : entries) entry.tensor.copy_(gradus::find(state, entry.name));
  }
};

inline const gradus::data::CheckpointerOptions quiet = {.signals = false};

/// What a block writes to stderr.
template <class Block>
std::string captured_stderr(Block block) {
  const Scratch scratch;
  const std::string path = scratch / "stderr";
  const int before = dup(2), file = open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  dup2(file, 2);
  close(file);
  block();
  dup2(before, 2);
  close(before);
  return read_file(path);
}

/// The step that a fresh program finds, after a check that the weights are those of that step.
inline int64_t resumed_step(const std::string& folder) {
  Weights weights;
  gradus::data::Checkpointer checkpoints(folder, quiet);
  const int64_t step = checkpoints.resume(weights);
  CHECK(weights.value() == static_cast<float>(step));
  return step;
}

inline void save_step(gradus::data::Checkpointer& checkpoints, Weights& weights, int64_t step) {
  weights.set(static_cast<float>(step));
  checkpoints.save(step, weights);
}

/// Lets the k-th system call from now (1: the next) fail, and those behind it succeed.
inline void fail_call(int64_t k, int error) {
  gradus::data::sys::inject([=](int64_t call, std::string_view) { return call == k ? error : 0; });
}
inline void no_faults() { gradus::data::sys::inject({}); }
/// Ends faults with its scope, also when a test throws.
struct EndFaults {
  ~EndFaults() { no_faults(); }
};
