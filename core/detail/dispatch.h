// From a Dtype to its C++ type: dispatch(x.dtype(), [&]<class T>() { ... }). Never in
// per-ISA files.
#pragma once

#include <gradus/core/element.h>

namespace gradus::detail {

template <class F>
void dispatch(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::float32: return f.template operator()<float>();
    case Dtype::float64: return f.template operator()<double>();
    case Dtype::float16: return f.template operator()<f16>();
    case Dtype::bfloat16: return f.template operator()<bf16>();
    case Dtype::int32: return f.template operator()<int32_t>();
    case Dtype::int64: return f.template operator()<int64_t>();
    case Dtype::uint8: return f.template operator()<uint8_t>();
    case Dtype::boolean: return f.template operator()<bool>();
  }
}

}  // namespace gradus::detail
