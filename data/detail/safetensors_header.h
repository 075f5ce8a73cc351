// The header of a safetensors file: text to entries, by strict rules. Bytes and tensors are in safetensors.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/core/dtype.h>
#include <gradus/core/shape.h>
#include <gradus/data/detail/json_scanner.h>
#include <gradus/data/safetensors.h>

namespace gradus::data::detail {

struct HeaderEntry {
  std::string name;
  Dtype dtype;
  Shape shape;
  uint64_t begin, end;  // bytes behind the header
};
struct Header {
  std::vector<HeaderEntry> entries;  // in the order of the text
  Metadata metadata;
};

inline constexpr size_t longest_name = 4096, most_tensors = 1'000'000;

/// A dtype as the format calls it.
std::string_view dtype_text(Dtype dtype);
/// A dtype and a shape as the header has them; `tensor` is named when they make no sense.
Dtype read_dtype(JsonScanner& json, const std::string& tensor, int rule);
Shape read_shape(JsonScanner& json, const std::string& tensor, int rule);

/// Checks rules 2, 3 and 4 of data/safetensors.h, and the ranks of rule 5.
Header parse_header(std::string_view text, const BrokenRule& broken);
/// The text of a header, padded with spaces to a multiple of 8.
std::string header_text(const Header& header);

}  // namespace gradus::data::detail
