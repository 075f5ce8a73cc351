// Records and their text.
#include <gradus/distributed/detail/flight_recorder.h>

#include <algorithm>

#include <gradus/core/detail/check.h>

namespace gradus::dist::detail {

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

}  // namespace gradus::dist::detail
