// Streams and events as one timeline: queues, the points they wait for, and who may go next.
#include "streams.h"

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "memory.h"
#include "random.h"
#include "scheduler.h"

namespace gradus::emulation {
namespace {

// A place in a stream: reached when that many of its operations have run.
struct Point {
  StreamId stream = 0;
  uint64_t count = 0;
};

struct Operation {
  Work work;
  std::vector<Point> after;
};

struct Stream {
  int device = 0;
  bool ordered_with_default = true;
  bool ended = false;  // takes no more work, and goes when it is empty
  uint64_t enqueued = 0, done = 0;
  std::deque<Operation> queue;
  std::vector<Point> awaited;  // by the next operation
};

thread_local int device = 0;
std::atomic<std::chrono::milliseconds> longest_wait{std::chrono::seconds(60)};

// All streams of all devices. Device work runs with the lock held, on whichever OS thread waits.
class Timeline {
 public:
  Timeline() {
    for (int d = 0; d < device_count; ++d) streams_[default_of(d)].device = d;
  }

  std::recursive_mutex mutex;
  std::string fault;

  StreamId add(bool ordered_with_default) {
    Stream& stream = streams_[next_id_];
    stream.device = device;
    stream.ordered_with_default = ordered_with_default;
    return next_id_++;
  }
  Stream* find(StreamId id) {
    const auto place = streams_.find(resolve(id));
    return place == streams_.end() || place->second.ended ? nullptr : &place->second;
  }
  void end(StreamId id) {
    Stream& stream = *find(id);
    stream.ended = true;
    if (stream.queue.empty()) streams_.erase(id);
  }

  EventId add_event() {
    events_[next_id_];
    return next_id_++;
  }
  Point* find_event(EventId id) {
    const auto place = events_.find(id);
    return place == events_.end() ? nullptr : &place->second;
  }
  void end_event(EventId id) { events_.erase(id); }

  Point now_in(StreamId id) { return {resolve(id), find(id)->enqueued}; }
  bool reached(Point point) {
    const auto place = streams_.find(point.stream);
    return place == streams_.end() || place->second.done >= point.count;
  }

  void enqueue(StreamId id, Work work) {
    if (!fault.empty()) return;
    id = resolve(id);
    Stream& stream = *find(id);
    Operation operation{std::move(work), std::exchange(stream.awaited, {})};
    const StreamId legacy = default_of(stream.device);
    if (id == legacy) {
      for (const auto& [other, s] : streams_)
        if (other != id && s.device == stream.device && s.ordered_with_default)
          operation.after.push_back({other, s.enqueued});
    } else if (stream.ordered_with_default) {
      operation.after.push_back(now_in(legacy));
    }
    ++changes_;
    ++stream.enqueued;
    stream.queue.push_back(std::move(operation));
  }

  // Runs one operation that is ready; false when there is none.
  bool step() {
    std::vector<StreamId> ready;
    for (const auto& [id, stream] : streams_)
      if (is_ready(stream)) ready.push_back(id);
    if (ready.empty()) return false;
    const StreamId id = ready[choose(ready.size())];
    Stream& stream = streams_[id];
    const Work work = std::move(stream.queue.front().work);
    stream.queue.pop_front();
    const int host_device = std::exchange(device, stream.device);
    try {
      work.run();
    } catch (const std::exception& error) {
      fault = error.what();
    }
    device = host_device;
    ++changes_;
    ++stream.done;
    if (!fault.empty()) drop_all();
    if (stream.ended && stream.queue.empty()) streams_.erase(id);
    return true;
  }

  template <class Done>
  void run_until(Done done) {
    using Clock = std::chrono::steady_clock;
    const DeviceAccess access;
    std::unique_lock lock(mutex);
    uint64_t last_change = changes_;
    auto since = Clock::now();
    while (fault.empty() && !done()) {
      if (step()) continue;
      if (std::exchange(last_change, changes_) != changes_) since = Clock::now();
      if (others_may_help() && Clock::now() - since < patience()) {
        lock.unlock();
        std::this_thread::yield();
        lock.lock();
      } else {
        fault = "[CUDA emulation] deadlock: " + who_waits();
        drop_all();
      }
    }
  }

  bool is_idle(int of_device) {
    for (const auto& [id, stream] : streams_)
      if (stream.device == of_device && !stream.queue.empty()) return false;
    return true;
  }

  // Without a seed the oldest stream goes first.
  size_t choose(size_t n) {
    const uint64_t seed = current_order().seed;
    if (seed != seed_) random_ = Random(seed_ = seed);
    return seed ? random_.below(n) : 0;
  }

 private:
  // The default stream of device d is number d + 1; others are numbered from 1024.
  static StreamId default_of(int d) { return static_cast<StreamId>(d) + 1; }
  static StreamId resolve(StreamId id) { return id ? id : default_of(device); }

  bool is_ready(const Stream& stream) {
    if (stream.queue.empty()) return false;
    const Operation& next = stream.queue.front();
    for (const Point& point : next.after)
      if (!reached(point)) return false;
    return !next.work.ready || next.work.ready();
  }
  // Work of its own readiness waits for what another OS thread may still enqueue.
  bool others_may_help() const {
    for (const auto& [id, stream] : streams_)
      if (!stream.queue.empty() && stream.queue.front().work.ready) return true;
    return false;
  }
  std::string who_waits() const {
    std::string text;
    for (const auto& [id, stream] : streams_)
      if (!stream.queue.empty())
        text += (text.empty() ? "stream " : "; stream ") + std::to_string(id) + " waits at " +
                stream.queue.front().work.name;
    return text.empty() ? "the host waits for what no stream will do" : text;
  }
  void drop_all() {
    for (auto& [id, stream] : streams_) {
      stream.done = stream.enqueued;
      stream.queue.clear();
      stream.awaited.clear();
    }
  }

  std::map<StreamId, Stream> streams_;
  std::map<EventId, Point> events_;
  uint64_t next_id_ = 1024, seed_ = 0, changes_ = 0;
  Random random_{0};
};

Timeline& timeline() {
  static Timeline* instance = new Timeline;  // never destroyed: tensors may outlive main()
  return *instance;
}

// The timeline, held for the length of an expression.
class Locked {
 public:
  Timeline* operator->() const { return &timeline(); }

 private:
  std::lock_guard<std::recursive_mutex> lock_{timeline().mutex};
};

}  // namespace

int current_device() { return device; }
void set_current_device(int value) { device = value; }

StreamId new_stream(bool ordered_with_default) { return Locked()->add(ordered_with_default); }
bool is_stream(StreamId stream) { return Locked()->find(stream) != nullptr; }
int device_of(StreamId stream) { return Locked()->find(stream)->device; }
void end_stream(StreamId stream) { Locked()->end(stream); }
void enqueue(StreamId stream, Work work) { Locked()->enqueue(stream, std::move(work)); }
bool is_idle(StreamId stream) { return Locked()->find(stream)->queue.empty(); }
void wait_for_stream(StreamId stream) {
  const Point end = Locked()->now_in(stream);  // let go of before waiting
  timeline().run_until([end] { return timeline().reached(end); });
}
void wait_for_device(int of_device) {
  timeline().run_until([of_device] { return timeline().is_idle(of_device); });
}

EventId new_event() { return Locked()->add_event(); }
bool is_event(EventId event) { return Locked()->find_event(event) != nullptr; }
void end_event(EventId event) { Locked()->end_event(event); }
void record_event(EventId event, StreamId stream) {
  const Locked hold;
  *hold->find_event(event) = hold->now_in(stream);
}
void stream_waits_for(StreamId stream, EventId event) {
  const Locked hold;
  hold->find(stream)->awaited.push_back(*hold->find_event(event));
}
bool is_reached(EventId event) {
  const Locked hold;
  return hold->reached(*hold->find_event(event));
}
void wait_for_event(EventId event) {
  timeline().run_until([event] { return is_reached(event); });
}

std::chrono::milliseconds patience() { return longest_wait; }
void set_patience(std::chrono::milliseconds value) { longest_wait = value; }

void let_time_pass() {
  const DeviceAccess access;
  const Locked hold;
  for (size_t n = current_order().seed ? hold->choose(4) : 1; n > 0 && hold->fault.empty() && hold->step(); --n) {
  }
}

std::string device_fault() { return Locked()->fault; }
void clear_device_fault() { Locked()->fault.clear(); }

}  // namespace gradus::emulation
