// Checks and scaling of grey-scale pictures, shared by the terminal and the report.
#pragma once

#include <gradus/data/display/picture.h>

namespace gradus::detail {

/// @throws ShapeError unless pixels has width x height elements and both are positive. `what` opens the message.
void check_picture(const Picture& picture, const char* what);

/// The picture with at most `most_columns` columns, each pixel the mean of the area it covers; both sides shrink alike.
Picture shrink(const Picture& picture, int64_t most_columns);

}  // namespace gradus::detail
