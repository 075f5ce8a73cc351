// Strict reading of state dicts.
#include <gradus/core/detail/state_check.h>

#include <algorithm>

#include <gradus/core/detail/check.h>

namespace gradus::detail {
namespace {

// "3 missing: a, b, c"; long lists are cut.
void append(std::string& text, const char* what, const std::vector<std::string>& names) {
  constexpr size_t shown = 20;
  if (names.empty()) return;
  const auto end = names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), shown));
  text += fmt::format("\n  {} {}: {}{}", names.size(), what, fmt::join(names.begin(), end, ", "),
                      names.size() > shown ? ", ..." : "");
}

}  // namespace

StateCheck::StateCheck(std::string owner, const NamedTensors& state) : owner_(std::move(owner)) {
  for (const NamedTensor& entry : state) {
    order_.push_back(entry.name);
    if (!entry.tensor.defined())
      misfits_.push_back(fmt::format("'{}' is an undefined tensor", entry.name));
    else if (!entries_.emplace(entry.name, Entry{entry.tensor}).second)
      misfits_.push_back(fmt::format("'{}' comes twice", entry.name));
  }
}

Tensor StateCheck::take(const std::string& name, const Shape& shape, Dtype dtype, Cast cast) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    missing_.push_back(name);
    return {};
  }
  found->second.taken = true;
  const Tensor& x = found->second.tensor;
  const bool converts = cast == Cast::floating && is_floating(x.dtype()) && is_floating(dtype);
  if (x.shape() == shape && (x.dtype() == dtype || converts)) return x;
  misfits_.push_back(fmt::format("'{}' is {}{}; want {}{}", name, x.dtype(), x.shape(), dtype, shape));
  return {};
}

int64_t StateCheck::take_int(const std::string& name) {
  const Tensor x = take(name, {}, int64);
  return x.defined() ? x.item<int64_t>() : 0;
}

double StateCheck::take_double(const std::string& name) {
  const Tensor x = take(name, {}, float64);
  return x.defined() ? x.item<double>() : 0;
}

std::vector<std::string> StateCheck::unexpected() const {
  std::vector<std::string> names;
  for (const std::string& name : order_)
    if (const auto found = entries_.find(name); found != entries_.end() && !found->second.taken) names.push_back(name);
  return names;
}

void StateCheck::finish(bool strict) const {
  const std::vector<std::string> left = strict ? unexpected() : std::vector<std::string>{};
  if (misfits_.empty() && left.empty() && (!strict || missing_.empty())) return;
  std::string text = owner_ + ": the state does not fit, and nothing was changed";
  if (strict) append(text, "missing", missing_);
  append(text, "unexpected", left);
  append(text, "of another kind", misfits_);
  throw CheckpointError(text);
}

}  // namespace gradus::detail
