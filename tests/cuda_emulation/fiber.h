// A stack on which code runs until it switches to another one. It knows nothing of CUDA; AddressSanitizer and
// ThreadSanitizer are told of every switch.
#pragma once

#include <cstddef>

namespace gradus::emulation {

class Fiber {
 public:
  using Entry = void (*)(void* argument);

  /// The stack that the calling OS thread runs on already.
  Fiber();
  /// A stack of its own on which entry(argument) will run at the first switch; entry must not return.
  Fiber(Entry entry, void* argument);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Leaves the running fiber, `from`, and goes on where `to` was left. Orders nothing for ThreadSanitizer.
  static void switch_to(Fiber& from, Fiber& to);

  static constexpr size_t stack_bytes = 128 * 1024;

 private:
  static void enter();
  void arrived();

  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  char* mapping_ = nullptr;  // a guard page, then the stack
  const void* bottom_ = nullptr;
  size_t bytes_ = 0;
  void* saved_ = nullptr;       // the stack pointer, or a ucontext_t, while another fiber runs
  void* fake_stack_ = nullptr;  // AddressSanitizer's
  void* race_state_ = nullptr;  // ThreadSanitizer's
};

}  // namespace gradus::emulation
