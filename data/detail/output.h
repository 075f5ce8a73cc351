// Files that are either whole and on disk, or not there at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <gradus/data/safetensors.h>

namespace gradus::data::detail {

/// A new file, its size and CRC-32 counted on the way. Failures are IoErrors that name the file.
class Output {
 public:
  /// Replaces a file of that name; a symbolic link is refused. `op` begins the messages.
  Output(const char* op, std::string path);
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output();

  void write(const void* bytes, size_t count);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Waits until everything is on disk, and closes. Without it the file may be incomplete.
  void finish();

  uint64_t size() const { return size_; }
  uint32_t crc() const { return crc_; }

 private:
  [[noreturn]] void fail(const char* action) const;
  const char* op_;
  std::string path_;
  int fd_;
  uint64_t size_ = 0;
  uint32_t crc_ = 0;
};

/// What save_safetensors() puts into its file (defined beside it).
void write_safetensors(Output& output, const NamedTensors& tensors, const Metadata& metadata);

/// Waits until the names in a folder are on disk.
void sync_folder(const char* op, const std::string& path);
/// The folder that holds a path.
std::string parent_folder(const std::string& path);

/// Writes a file beside its place, syncs it, and renames it there: a crash leaves the old file or the new one.
void write_atomically(const char* op, const std::string& path, const std::function<void(Output&)>& write);

}  // namespace gradus::data::detail
