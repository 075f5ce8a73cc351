// What a tcp:// store and its clients say to each other. A message is its length (four bytes, little-endian), a byte
// that says what it is, and fields, each a length and its bytes. Every request has one answer; a client asks one thing
// at a time.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace gradus::dist::detail {

enum class Ask : uint8_t {
  hello = 1,  ///< magic, token: the first message of a connection
  set,        ///< key, value
  get,        ///< key, milliseconds to wait as text
  find,       ///< key
  add,        ///< key, number as text
  set_once,   ///< key, value
  will,       ///< key, value
  close,
};

enum class Answer : uint8_t {
  done = 1,  ///< value, where there is one to tell
  none,      ///< there is no such key (yet)
  refused,   ///< why
};

inline constexpr std::string_view magic = "Gradus store 1";
inline constexpr size_t max_token = 256, max_key = 1024, max_value = 16 << 20;
inline constexpr size_t header_size = sizeof(uint32_t);
/// The longest message of one who has not introduced himself, and of one who has.
inline constexpr size_t max_hello = 1 + 2 * header_size + magic.size() + max_token;
inline constexpr size_t max_message = 1 + 2 * header_size + max_key + max_value;

inline void put_length(std::string& bytes, size_t length) {
  const auto n = static_cast<uint32_t>(length);
  for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(n >> shift));
}
inline size_t read_length(std::string_view bytes) {
  uint32_t n = 0;
  for (size_t i = 0; i < header_size; ++i) n |= uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  return n;
}

template <class Kind>
std::string message(Kind kind, std::initializer_list<std::string_view> fields) {
  size_t length = 1;
  for (const std::string_view field : fields) length += header_size + field.size();
  std::string bytes;
  bytes.reserve(header_size + length);
  put_length(bytes, length);
  bytes.push_back(static_cast<char>(kind));
  for (const std::string_view field : fields) {
    put_length(bytes, field.size());
    bytes.append(field);
  }
  return bytes;
}

/// Takes the next field off the front; nothing when the bytes do not hold one.
inline std::optional<std::string_view> take_field(std::string_view& bytes) {
  if (bytes.size() < header_size) return {};
  const size_t length = read_length(bytes);
  if (bytes.size() - header_size < length) return {};
  const std::string_view field = bytes.substr(header_size, length);
  bytes.remove_prefix(header_size + length);
  return field;
}

}  // namespace gradus::dist::detail
