// Names that come out of files, or go into them.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace gradus::data::detail {

/// Whether the text is UTF-8 without overlong forms and surrogates (RFC 3629).
bool is_utf8(std::string_view text);
/// A name that is there twice, if any is.
std::optional<std::string_view> find_twin(std::vector<std::string_view> names);

}  // namespace gradus::data::detail
