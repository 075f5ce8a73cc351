// Switching stacks: a dozen instructions on x86-64, ucontext elsewhere. This file and the scheduler are compiled
// without -fsanitize=thread even where kernels have it: they are not what is being tested.
#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#include "sanitizers.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace gradus::emulation {

namespace {

thread_local Fiber* left = nullptr;    // the fiber that was switched away from last
thread_local Fiber* target = nullptr;  // and the one switched to

size_t page() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

#if defined(__x86_64__)

// Saves what a callee must keep, exchanges the stack pointers, restores.
extern "C" void gradus_emulation_switch(void** save, void* load);
asm(R"(
.text
.globl gradus_emulation_switch
.hidden gradus_emulation_switch
.type gradus_emulation_switch, @function
gradus_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size gradus_emulation_switch, . - gradus_emulation_switch
)");

namespace {
// A stack as if `entry` had been called and had switched away at its first instruction.
void* prepared(char* top, void (*entry)()) {
  void** p = reinterpret_cast<void**>(top);
  *--p = nullptr;  // where entry would return to; keeps the stack pointer as a call leaves it
  *--p = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--p = nullptr;
  return p;
}
}  // namespace

#endif

Fiber::Fiber() {
#if !defined(__x86_64__)
  saved_ = new ucontext_t;
#endif
  race_state_ = sanitizers::current_thread();
}

Fiber::Fiber(Entry entry, void* argument) : entry_(entry), argument_(argument) {
  void* p =
      mmap(nullptr, page() + stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<char*>(p);
  mprotect(mapping_, page(), PROT_NONE);
  bottom_ = mapping_ + page();
  bytes_ = stack_bytes;
#if defined(__x86_64__)
  saved_ = prepared(mapping_ + page() + stack_bytes, &Fiber::enter);
#else
  auto* context = new ucontext_t;
  getcontext(context);
  context->uc_stack = {.ss_sp = mapping_ + page(), .ss_flags = 0, .ss_size = stack_bytes};
  context->uc_link = nullptr;
  makecontext(context, &Fiber::enter, 0);
  saved_ = context;
#endif
  race_state_ = sanitizers::new_thread();
}

Fiber::~Fiber() {
#if !defined(__x86_64__)
  delete static_cast<ucontext_t*>(saved_);
#endif
  if (!mapping_) return;
  sanitizers::forget_thread(race_state_);
  sanitizers::unpoison(mapping_, page() + stack_bytes);  // what was in the middle of its work left marks
  munmap(mapping_, page() + stack_bytes);
}

void Fiber::switch_to(Fiber& from, Fiber& to) {
  left = &from;
  target = &to;
  sanitizers::leave(&from.fake_stack_, to.bottom_, to.bytes_);
  sanitizers::become(to.race_state_);
#if defined(__x86_64__)
  gradus_emulation_switch(&from.saved_, to.saved_);
#else
  swapcontext(static_cast<ucontext_t*>(from.saved_), static_cast<ucontext_t*>(to.saved_));
#endif
  from.arrived();
}

void Fiber::enter() {
  Fiber* self = target;
  self->arrived();
  self->entry_(self->argument_);
  __builtin_trap();
}

// AddressSanitizer says here which stack was left: that is how the bounds of a thread's own stack become known.
void Fiber::arrived() { sanitizers::arrive(fake_stack_, &left->bottom_, &left->bytes_); }

}  // namespace gradus::emulation
