// A minimal PNG writer: header, one deflated block of rows, end.
#include <gradus/data/display/detail/png.h>

#include <fmt/format.h>
#include <zlib.h>

#include <cstdint>
#include <limits>

#include <gradus/core/error.h>

namespace gradus::detail {
namespace {

std::string big_endian(uint64_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

const Bytef* bytes_of(std::string_view text) { return reinterpret_cast<const Bytef*>(text.data()); }

/// Length, type, data, checksum of type and data.
std::string chunk(std::string_view type, std::string_view data) {
  const std::string body = std::string(type).append(data);
  return big_endian(data.size()) + body + big_endian(crc32_z(0, bytes_of(body), body.size()));
}

std::string deflate_text(std::string_view data) {
  uLongf size = compressBound(data.size());
  std::string packed(size, '\0');
  if (compress2(reinterpret_cast<Bytef*>(packed.data()), &size, bytes_of(data), data.size(), Z_BEST_COMPRESSION) !=
      Z_OK) {
    throw Error("encode_png: zlib could not compress the picture");
  }
  packed.resize(size);
  return packed;
}

}  // namespace

std::string encode_png(const Picture& picture) {
  constexpr int64_t longest = std::numeric_limits<int32_t>::max();
  if (picture.width > longest || picture.height > longest) {
    throw ValueError(fmt::format("encode_png: a picture of {} x {}; want at most {} a side", picture.width,
                                 picture.height, longest));
  }
  std::string rows;
  const auto width = static_cast<size_t>(picture.width);
  for (size_t start = 0; start < picture.pixels.size(); start += width) {
    rows += '\0';  // filter type: none
    rows.append(reinterpret_cast<const char*>(picture.pixels.data() + start), width);
  }
  // Bit depth 8, colour type 0 (grey), deflate, filter method 0, not interlaced.
  const std::string header = big_endian(static_cast<uint64_t>(picture.width)) +
                             big_endian(static_cast<uint64_t>(picture.height)) + std::string("\x08\0\0\0\0", 5);
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("IDAT", deflate_text(rows)) + chunk("IEND", "");
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](size_t k) {
      return i + k < bytes.size() ? static_cast<uint32_t>(static_cast<uint8_t>(bytes[i + k])) : 0u;
    };
    const uint32_t group = byte(0) << 16 | byte(1) << 8 | byte(2);
    text += digits[group >> 18];
    text += digits[group >> 12 & 63];
    text += i + 1 < bytes.size() ? digits[group >> 6 & 63] : '=';
    text += i + 2 < bytes.size() ? digits[group & 63] : '=';
  }
  return text;
}

}  // namespace gradus::detail
