// Records, their text, and where it goes.
#include <gradus/distributed/detail/flight_recorder.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gradus/core/detail/check.h>
#include <gradus/core/detail/log.h>

namespace gradus::dist::detail {
namespace {

constexpr size_t operations_logged = 5;

}  // namespace

size_t FlightRecorder::add(const Collective& collective) {
  records_[size_ % capacity] = {fingerprint(collective), Clock::now(), {}, {}, State::queued};
  return size_++;
}

void FlightRecorder::set(size_t record, State state) {
  Record& entry = records_[record % capacity];
  if (record + capacity < size_ || entry.state >= State::done) return;  // overwritten, or over
  entry.state = state;
  (state == State::running ? entry.begun : entry.ended) = Clock::now();
}

std::string FlightRecorder::text(size_t count) const {
  constexpr const char* states[] = {"queued", "running", "done", "failed"};
  const Clock::time_point now = Clock::now();
  const auto ms = [](Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); };
  std::string text;
  for (size_t i = size_ - std::min({size_, capacity, count}); i < size_; ++i) {
    const Record& r = records_[i % capacity];
    text += fmt::format("{:<8} {:<48} begun {:.1f} ms ago", states[static_cast<int>(r.state)], describe(r.what),
                        ms(now - r.queued));
    const bool ran = r.begun != Clock::time_point{}, over = r.ended != Clock::time_point{};
    if (ran)
      text += fmt::format(", waited {:.2f} ms, ran {:.2f} ms", ms(r.begun - r.queued),
                          ms((over ? r.ended : now) - r.begun));
    text += '\n';
  }
  return text;
}

void LastRecord::write() const {
  std::string end;
  if (const char* folder = std::getenv("GRADUS_FLIGHT_RECORDER")) {
    std::string name = fmt::format("flight-{}-rank{}.txt", group, rank);
    std::replace(name.begin(), name.end(), '/', '-');
    const std::string path = std::filesystem::path(folder) / name;
    if (std::ofstream(path) << why << '\n' << operations.text() << std::flush) end = "; its operations: " + path;
  }
  if (end.empty()) {
    end = "; its last operations:\n" + operations.text(operations_logged);
    end.pop_back();  // the log ends its lines itself
  }
  gradus::detail::log()->error("rank {}, group {} is closed: {}{}", rank, group, why, end);
}

}  // namespace gradus::dist::detail
