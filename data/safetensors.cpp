// Safetensors as a whole: 8 bytes of header length, the header, the tensors' bytes. Reading in parts is in detail/.
#include <gradus/data/safetensors.h>

#include <algorithm>
#include <numeric>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/data/detail/names.h>
#include <gradus/data/detail/output.h>
#include <gradus/data/detail/safetensors_file.h>

namespace gradus::data {
namespace {

using detail::Header;
using detail::HeaderEntry;

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
  detail::SafetensorsFile file("load_safetensors", path);
  Safetensors result{{}, file.metadata()};
  for (const HeaderEntry& entry : file.entries()) {
    const Tensor x = empty(entry.shape, {.dtype = entry.dtype});
    file.read(entry, 0, x);
    result.tensors.push_back({entry.name, x});
  }
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
  GRADUS_CHECK(text.size() <= detail::longest_header, ValueError, "save_safetensors: a header of {} bytes is above {}",
               text.size(), detail::longest_header);
  const uint64_t length = text.size();
  output.write(&length, sizeof length);
  output.write(text);
  for (const size_t i : order) {
    const Tensor x = dense(tensors[i].tensor.detach().to(Device::cpu()));
    output.write(x.raw_data(), static_cast<size_t>(x.nbytes()));
  }
}

}  // namespace gradus::data
