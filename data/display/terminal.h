// What an output can show: width, UTF-8, colours. What is drawn on it lives in progress, chart and picture.
#pragma once

#include <gradus/core/api.h>

namespace gradus {

enum class Colors { none, palette, truecolor };  // palette: the 256 colours of xterm

/// What an output can show. The display functions take one, so that a caller can ask for less or more.
struct Terminal {
  bool interactive = false;  ///< a person watches and a line may be redrawn
  int columns = 80;          ///< width in character cells, at least 1
  bool utf8 = false;         ///< the locale can show more than ASCII
  Colors colors = Colors::none;
};

/// The terminal behind a file descriptor. Width: COLUMNS, else the kernel's, else 80. UTF-8: LC_ALL, LC_CTYPE, LANG,
/// the first that is set. Colours: none with NO_COLOR (https://no-color.org), without a terminal, or with TERM=dumb.
GRADUS_API Terminal detect_terminal(int fd = 1);

}  // namespace gradus
