// The safetensors format (huggingface/safetensors): a JSON header and raw little-endian data. Reading follows strict
// rules, because a file from elsewhere is hostile until checked.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <gradus/core/stateful.h>

namespace gradus::data {

using Metadata = std::vector<std::pair<std::string, std::string>>;

struct Safetensors {
  NamedTensors tensors;
  Metadata metadata;
};

/// Reads a file whole. Throws IoError that names the file and the rule it breaks: header length, duplicate keys,
/// unknown dtype, a shape that overflows or does not fit its bytes, holes, overlaps, bytes behind the end. Memory used
/// is bounded by the file's size.
GRADUS_API Safetensors load_safetensors(const std::string& path);
/// Writes atomically: a temporary file, synced and renamed.
GRADUS_API void save_safetensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata = {});

}  // namespace gradus::data
