// The one door through which bytes of a file come in: bounds are checked, arithmetic cannot wrap, and memory is taken
// only for what the file can hold. Every parser of binary data reads through it.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <gradus/core/tensor.h>

namespace gradus::data::detail {

static_assert(std::endian::native == std::endian::little, "the readers swap bytes for little-endian machines only");

/// Reads a file, or bytes in memory, from front to back. What is missing or malformed is an IoError
/// "<op>: <file>: <problem>".
class Reader {
 public:
  enum class Format { plain, maybe_gzip };
  enum class Links { followed, refused };

  /// Opens a regular file. With maybe_gzip, one that begins as gzip (RFC 1952) is inflated on the way. `links`: what to
  /// do when the path's last name is a symbolic link.
  Reader(const char* op, const std::string& path, Format format = Format::plain, Links links = Links::followed);
  /// Bytes that the caller keeps; `name` stands for the file in messages.
  Reader(const char* op, std::string name, std::span<const std::byte> bytes);
  ~Reader();

  /// Most bytes that can still come: exact for a plain file, what deflate can expand to at best for gzip.
  uint64_t limit() const;
  /// Bytes read so far.
  uint64_t position() const;
  /// Goes to a place counted from the front. Not for gzip.
  void seek(uint64_t position);
  /// Up to `count` bytes; fewer at the end only.
  size_t read_some(void* to, size_t count);
  /// Exactly `count` bytes, which are what `field` is made of.
  void read(void* to, uint64_t count, std::string_view field);
  /// A text of `count` bytes.
  std::string text(uint64_t count, std::string_view field);
  template <class T>
  T little(std::string_view field) {
    T value;
    read(&value, sizeof value, field);
    return value;
  }
  template <class T>
  T big(std::string_view field) {
    std::byte bytes[sizeof(T)];
    read(bytes, sizeof bytes, field);
    T value = 0;
    for (const std::byte b : bytes) value = static_cast<T>(value << 8 | static_cast<T>(b));
    return value;
  }
  /// A tensor of that shape, filled with the bytes that come next. Its size is checked before memory is taken.
  Tensor tensor(const Shape& shape, Dtype dtype, std::string_view field);
  /// Fills a contiguous tensor with the bytes that come next; those of a boolean must be 0 or 1.
  void fill(const Tensor& x, std::string_view field);
  /// Bytes of such a tensor, when that fits 64 bits and this file can still hold them.
  uint64_t bytes_of(std::span<const int64_t> shape, Dtype dtype, std::string_view field) const;
  /// An error unless nothing is left.
  void expect_end(std::string_view last_field);

  [[noreturn]] void fail(const std::string& problem) const;

 private:
  struct Source;
  std::string context_;  // "<op>: <file>"
  std::unique_ptr<Source> source_;
};

/// Turns the bytes of each element round.
void swap_bytes(const Tensor& x);

}  // namespace gradus::data::detail
