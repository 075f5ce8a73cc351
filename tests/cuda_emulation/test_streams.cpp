// Streams and events of the emulation: what must be ordered is, in every order that a seed draws; what need not be is
// not.
#include <string>
#include <thread>
#include <vector>

#include "catch.h"
#include "seed.h"
#include "streams.h"

using namespace gradus::emulation;
using Catch::Matchers::ContainsSubstring;

namespace {

// Appends a letter when it runs.
Work says(std::string& text, char letter) {
  return {[&text, letter] { text += letter; }, std::string(1, letter)};
}

constexpr uint64_t seeds = 20;

}  // namespace

TEST_CASE("nothing runs before somebody waits, and a stream keeps its order") {
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    const StreamId stream = new_stream(false);
    std::string text;
    for (const char c : std::string("abcdef")) enqueue(stream, says(text, c));
    CHECK(text.empty());
    CHECK_FALSE(is_idle(stream));
    wait_for_stream(stream);
    CHECK(text == "abcdef");
    CHECK(is_idle(stream));
    end_stream(stream);
    CHECK_FALSE(is_stream(stream));
  }
}

TEST_CASE("an event orders two streams; without one some seed shows the other order") {
  int wrong = 0;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    for (const bool waits : {true, false}) {
      const StreamId one = new_stream(false), other = new_stream(false);
      const EventId event = new_event();
      std::string text;
      enqueue(one, says(text, 'a'));
      record_event(event, one);
      if (waits) stream_waits_for(other, event);
      enqueue(other, says(text, 'b'));
      CHECK_FALSE(is_reached(event));
      wait_for_device(current_device());
      CHECK(is_reached(event));
      if (waits) CHECK(text == "ab");
      wrong += text == "ba";
      end_event(event);
      end_stream(one);
      end_stream(other);
    }
  }
  CHECK(wrong > 0);
}

TEST_CASE("an event stands for its last record at the time of the call") {
  int ahead = 0;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    const StreamId one = new_stream(false), other = new_stream(false);
    const EventId event = new_event();
    CHECK(is_reached(event));  // never recorded: nothing to wait for
    std::string text;
    record_event(event, one);
    stream_waits_for(other, event);
    enqueue(one, says(text, 'a'));
    record_event(event, one);  // too late for the wait above
    enqueue(other, says(text, 'b'));
    wait_for_event(event);
    wait_for_stream(other);
    ahead += text == "ba";
    end_event(event);
    end_stream(one);
    end_stream(other);
  }
  CHECK(ahead > 0);
}

TEST_CASE("the default stream and those ordered with it wait for each other") {
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    const StreamId ordered = new_stream(true);
    std::string text;
    enqueue(ordered, says(text, 'a'));
    enqueue(0, says(text, 'b'));
    enqueue(ordered, says(text, 'c'));
    enqueue(0, says(text, 'd'));
    wait_for_device(current_device());
    CHECK(text == "abcd");
    end_stream(ordered);
  }
}

TEST_CASE("devices have their own default streams") {
  std::string text;
  set_current_device(1);
  enqueue(0, says(text, 'b'));
  set_current_device(0);
  enqueue(0, says(text, 'a'));
  wait_for_device(0);
  CHECK(text == "a");
  wait_for_device(1);
  CHECK(text == "ab");
}

TEST_CASE("a stream that has ended still does its work") {
  std::string text;
  const StreamId stream = new_stream(false);
  enqueue(stream, says(text, 'a'));
  end_stream(stream);
  CHECK_FALSE(is_stream(stream));
  wait_for_device(current_device());
  CHECK(text == "a");
}

TEST_CASE("work that waits for another thread's work does so") {
  const StreamId stream = new_stream(false);
  bool come = false, ran = false;
  enqueue(stream, {[&] { ran = true; }, "meets", [&] { return come; }});
  std::thread other([&] {
    set_current_device(1);
    enqueue(0, {[&] { come = true; }, "comes"});
    wait_for_device(1);
  });
  wait_for_stream(stream);
  other.join();
  CHECK(ran);
  end_stream(stream);
}

TEST_CASE("what nobody makes ready is a deadlock when patience ends, and is named") {
  const StreamId stream = new_stream(false);
  set_patience(std::chrono::milliseconds(20));
  enqueue(stream, {[] {}, "an absent rank", [] { return false; }});
  wait_for_stream(stream);
  set_patience(std::chrono::seconds(60));
  CHECK_THAT(device_fault(), ContainsSubstring("deadlock") && ContainsSubstring("an absent rank"));
  clear_device_fault();
  end_stream(stream);
}

TEST_CASE("a fault in device work drops the rest, and is kept") {
  const StreamId stream = new_stream(false);
  std::string text;
  enqueue(stream, says(text, 'a'));
  enqueue(stream, {[] { throw Error("kernel: it broke"); }, "breaks"});
  enqueue(stream, says(text, 'b'));
  wait_for_stream(stream);
  CHECK(text == "a");
  CHECK_THAT(device_fault(), ContainsSubstring("it broke"));
  enqueue(stream, says(text, 'c'));
  wait_for_stream(stream);
  CHECK(text == "a");
  clear_device_fault();
  enqueue(stream, says(text, 'd'));
  wait_for_stream(stream);
  CHECK(text == "ad");
  end_stream(stream);
}

TEST_CASE("time passes while the host asks") {
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    const StreamId stream = new_stream(false);
    std::string text;
    enqueue(stream, says(text, 'a'));
    for (int tries = 0; tries < 1000 && text.empty(); ++tries) let_time_pass();
    CHECK(text == "a");
    end_stream(stream);
  }
}
