// Where Gradus says what is no error but worth knowing: on stderr, or to an spdlog logger that the program has
// registered under the name "gradus".
#pragma once

#include <spdlog/logger.h>

namespace gradus::detail {

std::shared_ptr<spdlog::logger> log();

}  // namespace gradus::detail
