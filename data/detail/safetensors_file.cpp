// Opening a safetensors file: what the header says of the bytes behind it must be true.
#include <gradus/data/detail/safetensors_file.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/data/detail/names.h>

namespace gradus::data::detail {
namespace {

std::optional<std::string_view> name_twin(const Header& header) {
  std::vector<std::string_view> names;
  for (const HeaderEntry& entry : header.entries) names.push_back(entry.name);
  return find_twin(std::move(names));
}

/// The entries' bytes must follow each other without hole or overlap to the file's end.
void check_layout(const Header& header, const Reader& file, const BrokenRule& broken) {
  const std::vector<HeaderEntry>& entries = header.entries;
  const uint64_t data = file.limit();
  for (const HeaderEntry& e : entries) {
    if (e.begin > e.end || e.end > data)
      broken(5, fmt::format("tensor '{}' has data_offsets [{}, {}] in {} bytes of data", e.name, e.begin, e.end, data));
    uint64_t bytes = 0;
    try {
      bytes = file.bytes_of(std::span(e.shape.begin(), e.shape.size()), e.dtype, e.name);
    } catch (const IoError& error) {
      broken(5, error.what());
    }
    if (bytes != e.end - e.begin)
      broken(5, fmt::format("tensor '{}', {}{}, has {} bytes; data_offsets say {}", e.name, e.dtype, e.shape, bytes,
                            e.end - e.begin));
  }
  std::vector<size_t> order(entries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(entries[a].begin, entries[a].end) < std::pair(entries[b].begin, entries[b].end);
  });
  uint64_t reached = 0;
  for (const size_t i : order) {
    if (entries[i].begin != reached)
      broken(6, fmt::format("tensor '{}' begins at byte {}; the one before ends at {}", entries[i].name,
                            entries[i].begin, reached));
    reached = entries[i].end;
  }
  if (reached != data) broken(6, fmt::format("the tensors end at byte {} of {} bytes of data", reached, data));
}

std::string read_header(Reader& file, const BrokenRule& broken) {
  if (file.limit() < 8) broken(1, fmt::format("the file has {} bytes; want 8 and a header", file.limit()));
  const auto length = file.little<uint64_t>("the header's length");
  if (length < 2 || length > longest_header || length > file.limit())
    broken(1, fmt::format("the header has {} bytes; want 2 to {}, and no more than the {} that are left", length,
                          longest_header, file.limit()));
  return file.text(length, "the header");
}

}  // namespace

SafetensorsFile::SafetensorsFile(const char* op, const std::string& path, Reader::Links links)
    : file_(op, path, Reader::Format::plain, links) {
  const BrokenRule broken = [&](int rule, const std::string& problem) {
    file_.fail(fmt::format("breaks rule {}: {}", rule, problem));
  };
  header_ = parse_header(read_header(file_, broken), broken);
  if (const auto twin = name_twin(header_)) broken(3, fmt::format("tensor '{}' comes twice", *twin));
  check_layout(header_, file_, broken);
  data_ = file_.position();
}

void SafetensorsFile::read(const HeaderEntry& entry, int64_t first, const Tensor& x) {
  file_.seek(data_ + entry.begin + static_cast<uint64_t>(first * itemsize(entry.dtype)));
  file_.fill(x, entry.name);
}

}  // namespace gradus::data::detail
