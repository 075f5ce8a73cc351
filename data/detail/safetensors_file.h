// A safetensors file that is open: its header, checked, and the tensors' bytes, read where they are wanted.
#pragma once

#include <string>
#include <vector>

#include <gradus/data/detail/reader.h>
#include <gradus/data/detail/safetensors_header.h>

namespace gradus::data::detail {

inline constexpr uint64_t longest_header = 100'000'000;

class SafetensorsFile {
 public:
  /// Checks the rules of data/safetensors.h, but for the bytes of booleans. `op` begins the messages.
  SafetensorsFile(const char* op, const std::string& path, Reader::Links links = Reader::Links::followed);

  /// In the order of the header.
  const std::vector<HeaderEntry>& entries() const { return header_.entries; }
  const Metadata& metadata() const { return header_.metadata; }
  /// Fills x, contiguous and of the entry's dtype, with the elements from `first` on, which must be there.
  void read(const HeaderEntry& entry, int64_t first, const Tensor& x);
  [[noreturn]] void fail(const std::string& problem) const { file_.fail(problem); }

 private:
  Reader file_;
  Header header_;
  uint64_t data_;  // position of the first tensor's bytes
};

}  // namespace gradus::data::detail
