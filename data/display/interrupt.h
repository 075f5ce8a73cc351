// Ctrl-C and a polite kill as a flag that a training loop asks for between two steps.
#pragma once

#include <gradus/core/api.h>
#include <gradus/core/box.h>

namespace gradus {

/// While an Interrupt lives, the first SIGINT, SIGTERM or SIGUSR1 (which batch systems send before a time limit) only
/// sets a flag, so that the loop can finish its step and save. A second signal ends the process at once with exit code
/// 128 + signal, without destructors. Signals within half a second of the first count as the same one: a service
/// manager that tells all processes of a job, and a launcher that passes it on, make two of it.
///
/// The destructor restores the handlers of before; guards may be nested. A signal that was ignored stays ignored, as
/// nohup and background jobs expect. The guard belongs to the main program: make it where no other thread changes
/// signal handlers.
///
///     Interrupt guard;
///     for (...) { step(); if (guard.interrupted()) { save(); break; } }
class GRADUS_API Interrupt {
 public:
  Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  ~Interrupt();

  bool interrupted() const { return signal() != 0; }
  /// The signal that came first since the outermost guard was made; 0 when none did.
  int signal() const;

 private:
  struct Handlers;
  Box<Handlers> previous_;
};

}  // namespace gradus
