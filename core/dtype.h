// Element types (core/element.h) and their names.
#pragma once

#include <string_view>

#include <gradus/core/element.h>

namespace gradus {

constexpr std::string_view name(Dtype dtype) {
  constexpr std::string_view names[] = {"float32", "float64", "float16", "bfloat16",
                                        "int32",   "int64",   "uint8",   "boolean"};
  return names[static_cast<int>(dtype)];
}

}  // namespace gradus
