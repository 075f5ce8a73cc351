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

/// Reads a file whole. Memory taken is bounded by the file's size. What is malformed is an IoError that names the file
/// and the number of the rule it breaks:
///   1. 8 bytes of header length N, 2 <= N <= 100,000,000, and N bytes behind them
///   2. the header is JSON in UTF-8, begins with {, and ends with } and spaces
///   3. no key comes twice, __metadata__ maps strings to strings, names have at most 4096 bytes and no NUL, at most
///      1,000,000 tensors
///   4. each tensor has exactly dtype (F64 F32 F16 BF16 I64 I32 U8 BOOL), shape and data_offsets; integers are plain
///   5. the shape's bytes, computed without overflow, are end - begin, inside the data; at most 8 dims
///   6. the ranges follow each other from 0 to the end of the file, without hole or overlap
/// Bytes of a BOOL other than 0 and 1 are refused too.
GRADUS_API Safetensors load_safetensors(const std::string& path);
/// Writes atomically: a temporary file, synced and renamed. Throws ValueError for names that no reader would take, and
/// IoError when the disk is full or broken; what was at `path` is then still there.
GRADUS_API void save_safetensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata = {});

}  // namespace gradus::data
