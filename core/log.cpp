// The logger behind detail::log().
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <gradus/core/detail/log.h>

namespace gradus::detail {

std::shared_ptr<spdlog::logger> log() {
  if (auto own = spdlog::get("gradus")) return own;
  static const auto standard = [] {
    auto logger = std::make_shared<spdlog::logger>("gradus", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    logger->set_pattern("gradus: %^%l%$: %v");
    return logger;
  }();
  return standard;
}

}  // namespace gradus::detail
