// Sequential, and what the containers share.
#include <gradus/nn/containers.h>

#include <gradus/core/detail/check.h>
#include <gradus/nn/detail/type_name.h>

namespace gradus::nn {

// Runs only inside nn::clone(): copying the base throws elsewhere.
Sequential::Sequential(const Sequential& other) : Module(other) {
  for (const Step& step : other.steps_) steps_.push_back({step.copy(*step.module), step.call, step.copy});
}

Module& Sequential::operator[](int64_t index) {
  if (index < 0 || index >= static_cast<int64_t>(steps_.size()))
    detail::throw_no_element("Sequential", index, steps_.size());
  return *steps_[static_cast<size_t>(index)].module;
}

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (const Step& step : steps_) y = step.call(*step.module, y);
  return y;
}

void Sequential::visit_fields(Visitor& visitor) {
  for (size_t i = 0; i < steps_.size(); ++i) detail::visit_numbered(visitor, i, *steps_[i].module);
}

void Sequential::throw_wrong_type(int64_t index, const std::type_info& wanted) {
  const Module& layer = (*this)[index];
  throw Error(fmt::format("Sequential: layer {} is a {}, not a {}", index, detail::type_name(typeid(layer)),
                          detail::type_name(wanted)));
}

namespace detail {

void visit_numbered(Visitor& visitor, size_t number, Module& module) { visitor.module(std::to_string(number), module); }

void throw_no_element(const char* what, int64_t index, size_t size) {
  throw IndexError(fmt::format("{}: no layer {}; it has {}", what, index, size));
}

}  // namespace detail

}  // namespace gradus::nn
