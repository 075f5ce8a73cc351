// Taking a state dict apart strictly: everything that is wrong with it ends in one error, before anything is changed.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include <gradus/core/stateful.h>

namespace gradus::detail {

class StateCheck {
 public:
  /// Which dtypes may come where one is wanted: floating ones convert into each other, or none does.
  enum class Cast { floating, none };

  /// `owner` is named in the error. The state must outlive this.
  StateCheck(std::string owner, const NamedTensors& state);

  bool has(const std::string& name) const { return entries_.count(name) > 0; }
  /// The entry of that name; undefined, and noted, when it is missing or does not fit.
  Tensor take(const std::string& name, const Shape& shape, Dtype dtype, Cast cast = Cast::none);
  /// A 0-dim number: 0, and noted, when it is missing.
  int64_t take_int(const std::string& name);
  double take_double(const std::string& name);

  const std::vector<std::string>& missing() const { return missing_; }
  /// The names that nobody took.
  std::vector<std::string> unexpected() const;
  /// CheckpointError for entries that do not fit and, when strict, for missing and unexpected ones.
  void finish(bool strict = true) const;

 private:
  struct Entry {
    Tensor tensor;
    bool taken = false;
  };
  std::string owner_;
  std::vector<std::string> order_, missing_, misfits_;
  std::unordered_map<std::string, Entry> entries_;
};

}  // namespace gradus::detail
