// Checks of names.
#include <gradus/data/detail/names.h>

#include <algorithm>
#include <cstdint>

namespace gradus::data::detail {

std::optional<std::string_view> find_twin(std::vector<std::string_view> names) {
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  return twin == names.end() ? std::nullopt : std::optional(*twin);
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto at = [&](size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u; };
    const uint32_t first = at(0);
    const size_t length = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >> 4 == 0xe ? 3 : 4;
    if (length == 4 && (first < 0xf0 || first > 0xf4)) return false;
    for (size_t k = 1; k < length; ++k)
      if (at(k) >> 6 != 2) return false;
    const uint32_t second = at(1);  // overlong forms, surrogates, above U+10FFFF
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
        (first == 0xf4 && second > 0x8f))
      return false;
    i += length;
  }
  return true;
}

}  // namespace gradus::data::detail
