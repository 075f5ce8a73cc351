// Grey-scale PNG files in memory (PNG specification, third edition), and base64 to put them into a page.
#pragma once

#include <string>
#include <string_view>

#include <gradus/data/display/picture.h>

namespace gradus::detail {

/// The bytes of an 8-bit grey-scale PNG file of a checked picture.
/// @throws ValueError for a picture of more than 2^31-1 pixels a side, which the format cannot hold.
std::string encode_png(const Picture& picture);

std::string base64(std::string_view bytes);

}  // namespace gradus::detail
