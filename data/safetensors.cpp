// Safetensors: 8 bytes of header length, the header, the tensors' bytes. The header's grammar is in detail/.
#include <gradus/data/safetensors.h>

#include <algorithm>
#include <numeric>

#include <gradus/core/detail/check.h>
#include <gradus/data/detail/names.h>
#include <gradus/data/detail/output.h>
#include <gradus/data/detail/reader.h>
#include <gradus/data/detail/safetensors_header.h>

namespace gradus::data {
namespace {

using detail::Header;
using detail::HeaderEntry;
using detail::Reader;

constexpr uint64_t longest_header = 100'000'000;

std::optional<std::string_view> name_twin(const Header& header) {
  std::vector<std::string_view> names;
  for (const HeaderEntry& entry : header.entries) names.push_back(entry.name);
  return detail::find_twin(std::move(names));
}

/// The entries in the order of their bytes, which must follow each other without hole or overlap to the file's end.
std::vector<size_t> layout(const Header& header, const Reader& file, const detail::BrokenRule& broken) {
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
  return order;
}

std::string read_header(Reader& file, const detail::BrokenRule& broken) {
  if (file.limit() < 8) broken(1, fmt::format("the file has {} bytes; want 8 and a header", file.limit()));
  const auto length = file.little<uint64_t>("the header's length");
  if (length < 2 || length > longest_header || length > file.limit())
    broken(1, fmt::format("the header has {} bytes; want 2 to {}, and no more than the {} that are left", length,
                          longest_header, file.limit()));
  return file.text(length, "the header");
}

/// Where each tensor's bytes go: those of the largest elements first, so that all are aligned.
std::vector<size_t> place(Header& header, const NamedTensors& tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return itemsize(tensors[a].tensor.dtype()) > itemsize(tensors[b].tensor.dtype());
  });
  header.entries.resize(tensors.size());
  uint64_t reached = 0;
  for (const size_t i : order) {
    const Tensor& x = tensors[i].tensor;
    const uint64_t end = reached + static_cast<uint64_t>(x.nbytes());
    header.entries[i] = {tensors[i].name, x.dtype(), x.shape(), reached, end};
    reached = end;
  }
  return order;
}

void check_writable(const NamedTensors& tensors, const Metadata& metadata) {
  std::vector<std::string_view> names, keys;
  const auto check_text = [](std::string_view text) {
    GRADUS_CHECK(detail::is_utf8(text) && text.find('\0') == std::string::npos, ValueError,
                 "save_safetensors: a name or metadata text is not UTF-8, or has a NUL");
  };
  for (const auto& [name, tensor] : tensors) {
    check_text(names.emplace_back(name));
    GRADUS_CHECK(name.size() <= 4096 && name != "__metadata__", ValueError,
                 "save_safetensors: the name '{}' is too long or reserved", name);
    gradus::detail::check_defined("save_safetensors", name.c_str(), tensor);
  }
  for (const auto& [key, value] : metadata) {
    check_text(keys.emplace_back(key));
    check_text(value);
  }
  for (const auto& twin : {detail::find_twin(std::move(names)), detail::find_twin(std::move(keys))})
    GRADUS_CHECK(!twin, ValueError, "save_safetensors: the name '{}' comes twice", *twin);
}

}  // namespace

Safetensors load_safetensors(const std::string& path) {
  Reader file("load_safetensors", path);
  const detail::BrokenRule broken = [&](int rule, const std::string& problem) {
    file.fail(fmt::format("breaks rule {}: {}", rule, problem));
  };
  Header header = detail::parse_header(read_header(file, broken), broken);
  if (const auto twin = name_twin(header)) broken(3, fmt::format("tensor '{}' comes twice", *twin));
  const std::vector<size_t> order = layout(header, file, broken);
  Safetensors result{NamedTensors(header.entries.size()), std::move(header.metadata)};
  for (const size_t i : order) {
    HeaderEntry& entry = header.entries[i];
    result.tensors[i].tensor = file.tensor(entry.shape, entry.dtype, entry.name);
    result.tensors[i].name = std::move(entry.name);
  }
  file.expect_end("the tensors");
  return result;
}

void save_safetensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata) {
  detail::write_atomically("save_safetensors", path,
                           [&](detail::Output& output) { detail::write_safetensors(output, tensors, metadata); });
}

void detail::write_safetensors(Output& output, const NamedTensors& tensors, const Metadata& metadata) {
  check_writable(tensors, metadata);
  Header header{{}, metadata};
  const std::vector<size_t> order = place(header, tensors);
  const std::string text = header_text(header);
  GRADUS_CHECK(text.size() <= longest_header, ValueError, "save_safetensors: a header of {} bytes is above {}",
               text.size(), longest_header);
  const uint64_t length = text.size();
  output.write(&length, sizeof length);
  output.write(text);
  for (const size_t i : order) {
    const Tensor x = dense(tensors[i].tensor.detach().to(Device::cpu()));
    output.write(x.raw_data(), static_cast<size_t>(x.nbytes()));
  }
}

}  // namespace gradus::data
