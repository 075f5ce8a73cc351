// Formatters for those who print with fmt: fmt::print("{} {}", tensor, tensor.shape()).
#pragma once

#include <fmt/format.h>

#include <gradus/core/io.h>

#define GRADUS_FORMATTER(Type)                                                    \
  template <>                                                                     \
  struct fmt::formatter<Type> : fmt::formatter<std::string_view> {                \
    template <class Context>                                                      \
    auto format(const Type& value, Context& context) const {                      \
      using gradus::to_string;                                                    \
      return fmt::formatter<std::string_view>::format(to_string(value), context); \
    }                                                                             \
  };
GRADUS_FORMATTER(gradus::Shape)
GRADUS_FORMATTER(gradus::Device)
GRADUS_FORMATTER(gradus::Tensor)
#undef GRADUS_FORMATTER

template <>
struct fmt::formatter<gradus::Dtype> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(gradus::Dtype dtype, Context& context) const {
    return fmt::formatter<std::string_view>::format(gradus::name(dtype), context);
  }
};
