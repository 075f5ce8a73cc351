// Text and figures as HTML.
#pragma once

#include <string>
#include <string_view>

#include <gradus/data/display/report.h>

namespace gradus::detail {

/// Text that means nothing but itself in an element or a quoted attribute; control characters and invalid UTF-8 become
/// U+FFFD.
std::string escape_html(std::string_view text);

/// A figure as <figure> with legend and inline SVG; its style is in report_style.h.
/// @throws ShapeError, ValueError as write_report.
std::string draw_figure(const Figure& figure);

}  // namespace gradus::detail
