// Text for people: NumPy-like tensors, print(), operator<<. Files are in data/.
#pragma once

#include <iosfwd>
#include <string>

#include <gradus/core/tensor.h>

namespace gradus {

struct PrintOptions {
  int precision = 4;         ///< significant digits of floating values, shared per tensor
  int64_t threshold = 1000;  ///< more elements than this are summarised with ...
  int64_t edge_items = 3;    ///< shown at each end of a summarised dimension
};
GRADUS_API void set_print_options(const PrintOptions& options);

/// The values in aligned columns, then [ float32[2, 3] cpu requires_grad ].
GRADUS_API std::string to_string(const Tensor& x);
GRADUS_API std::ostream& operator<<(std::ostream& stream, const Tensor& x);

namespace detail {
GRADUS_API void print_line(std::string_view text);
/// Whatever has a to_string() beside it: tensors, shapes, devices, summaries, a user's own types.
template <class T>
requires requires(const T& x) { to_string(x); }
std::string to_text(const T& x) { return to_string(x); }
inline std::string to_text(Dtype x) { return std::string(name(x)); }
inline std::string to_text(std::string_view x) { return std::string(x); }
inline std::string to_text(const char* x) { return x; }
GRADUS_API std::string to_text(double x);
inline std::string to_text(float x) { return to_text(static_cast<double>(x)); }
template <class T>
requires std::is_integral_v<T> std::string to_text(T x) { return std::to_string(x); }
}  // namespace detail

/// Writes the values to stdout with spaces between them and a line end.
template <class... T>
void print(const T&... values) {
  std::string line;
  ((line += detail::to_text(values), line += ' '), ...);
  if (!line.empty()) line.pop_back();
  detail::print_line(line);
}

}  // namespace gradus
