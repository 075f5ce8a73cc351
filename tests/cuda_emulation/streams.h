// Queues of device work, in the manner of CUDA streams and events: nothing runs when it is enqueued. Where the host
// waits, ready operations of any stream are taken, in an order that a seed chooses, so that a missing event shows.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace gradus::emulation {

/// Handles are numbers. Stream 0 is the legacy default stream of the calling thread's device.
using StreamId = uint64_t;
using EventId = uint64_t;

struct Work {
  std::function<void()> run;
  std::string name;
  /// What it waits for besides its stream, such as the other ranks of a collective; absent: nothing.
  std::function<bool()> ready = {};
};

// ---- devices: each OS thread has a current one
inline constexpr int device_count = 2;
int current_device();
void set_current_device(int device);

// ---- streams
/// `ordered_with_default`: it and the legacy default stream of its device wait for each other.
StreamId new_stream(bool ordered_with_default);
bool is_stream(StreamId stream);
int device_of(StreamId stream);
/// What is enqueued will still run.
void end_stream(StreamId stream);
void enqueue(StreamId stream, Work work);
bool is_idle(StreamId stream);
void wait_for_stream(StreamId stream);
void wait_for_device(int device);

// ---- events
EventId new_event();
bool is_event(EventId event);
void end_event(EventId event);
/// The event is reached when what is in the stream now has run.
void record_event(EventId event, StreamId stream);
/// What is enqueued from now on runs after the event's last record so far.
void stream_waits_for(StreamId stream, EventId event);
bool is_reached(EventId event);
void wait_for_event(EventId event);

/// How long the host waits for what another of its threads may still do. Then it is a deadlock. 60 s unless set.
std::chrono::milliseconds patience();
void set_patience(std::chrono::milliseconds patience);

/// Lets none or some of what is ready run: time may have passed on the device while the host asked.
void let_time_pass();

/// What went wrong first in device work, or empty. From then on work is dropped, as on a device whose context is lost.
std::string device_fault();
void clear_device_fault();

}  // namespace gradus::emulation
