// Grey-scale pictures in the terminal. The same pictures as PNG are in report.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <gradus/core/api.h>
#include <gradus/data/display/terminal.h>

namespace gradus {

enum class Verdict { none, right, wrong };

/// A grey-scale picture: row after row from the top, 0 black, 255 white.
struct Picture {
  std::vector<uint8_t> pixels = {};  ///< width x height
  int64_t width = 0, height = 0;
  std::string caption = {};         ///< one line, say "Sandal", or "Shirt, is Coat"
  Verdict verdict = Verdict::none;  ///< right: caption in green with a tick; wrong: in red with a cross
};

struct PictureOptions {
  int columns = 0;                        ///< width of the whole; 0: the terminal's
  int picture_columns = 28;               ///< wider pictures are averaged down to this many cells
  Terminal terminal = detect_terminal();  ///< what the output can show
};

/// Pictures side by side, as many in a row as fit, each above its caption, whose lines are cut to the
/// picture's width; every line ends in a newline. A cell shows
/// two pixels, one above the other: as half blocks in 24-bit colour or the 256 colours of xterm, else as one ASCII
/// character for their mean. Pictures are cut to the width of the output, never wrapped.
/// @throws ShapeError when pixels has not width x height elements or a side is not positive; ValueError when columns <
/// 0 or picture_columns < 1.
GRADUS_API std::string draw_pictures(std::span<const Picture> pictures, const PictureOptions& options = {});

}  // namespace gradus
