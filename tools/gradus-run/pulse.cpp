// Shared memory by a file in the launcher's scratch folder.
#include "pulse.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include <gradus/core/error.h>
#include <gradus/distributed/detail/fd.h>

namespace gradus::run {

using dist::detail::HeartbeatPage;

Pulse::Pulse(const std::string& path) {
  const dist::detail::Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  // Allocated, not only made longer: writing to a hole of a full disk would end the launcher by SIGBUS.
  const int error = fd ? posix_fallocate(fd.get(), 0, sizeof(HeartbeatPage)) : errno;
  if (error != 0) throw IoError(fmt::format("{}: {}; set TMPDIR to another folder", path, std::strerror(error)));
  void* const page = mmap(nullptr, sizeof(HeartbeatPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (page == MAP_FAILED) throw IoError(fmt::format("{}: mmap: {}", path, std::strerror(errno)));
  page_ = static_cast<HeartbeatPage*>(page);
  page_->step = HeartbeatPage::no_step;
}
Pulse::Pulse(Pulse&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
Pulse::~Pulse() {
  if (page_) munmap(page_, sizeof(HeartbeatPage));
}

double Pulse::silence() const {
  const std::chrono::nanoseconds now = std::chrono::steady_clock::now().time_since_epoch();
  const std::chrono::nanoseconds heard(std::clamp<int64_t>(last(), 0, now.count()));  // a worker may write anything
  return std::chrono::duration<double>(now - heard).count();
}

std::string Pulse::text() const {
  if (!has_begun()) return "";
  const std::string phase = page_->phase_text();
  if (step() == HeartbeatPage::no_step) return phase;
  return phase.empty() ? fmt::format("step {}", step()) : fmt::format("step {}, {}", step(), phase);
}

bool Pulse::is_behind(const Pulse& other) const {
  return step() != other.step() ? step() < other.step() : last() < other.last();
}

}  // namespace gradus::run
