// What moves the bytes of a group: one class per library, with one function that runs an operation. Gloo's is in a
// plug-in.
#pragma once

#include <string>
#include <vector>

#include <gradus/core/box.h>
#include <gradus/distributed/detail/collective.h>
#include <gradus/distributed/store.h>

namespace gradus::dist::detail {

/// One rank's view of the group that an engine connects.
struct Member {
  int rank, size;
  std::string address;  ///< of this machine, for the others
  double timeout;
};

class Engine {
 public:
  virtual ~Engine() = default;
  /// Does the operation and returns when it is done. Any exception means that it failed.
  virtual void run(const Collective& collective) = 0;
  /// Sends what this rank is about to do to all others. While the operation runs theirs come in, so that comparing
  /// costs no time.
  virtual void post(const Fingerprint& mine) = 0;
  /// Waits for all ranks' fingerprints, in their order.
  virtual std::vector<Fingerprint> collect(double timeout) = 0;
  /// From another thread: what has come since post(). A fingerprint that is not there yet, or not whole, does not have
  /// the tag of the rest of it.
  virtual std::vector<Fingerprint> peek() const = 0;
  /// Ranks whose connection has ended, as far as this one has seen; at once, and from any one thread at a time.
  virtual std::vector<int> lost_ranks() noexcept = 0;
  /// From another thread: ends all connections, so that run() throws as soon as it can. When this returns, no tensor is
  /// written to any more, even where run() hangs.
  virtual void abort() noexcept = 0;
};

/// Makes engines; immortal.
class EngineMaker {
 public:
  virtual ~EngineMaker() = default;
  /// Meets the other members through `store`, whose keys are this group's alone. May throw anything.
  virtual Box<Engine> make(const Member& member, Store& store) = 0;
  /// For people.
  virtual std::string version() const = 0;
};

/// libgradus_gloo.so, loaded on the first call; GRADUS_GLOO_PLUGIN names another file. Throws CommError (setup) that
/// says what is missing.
EngineMaker& gloo();
/// The same, or null; `reason`, if given, is set to what is missing and, behind a semicolon, what helps.
GRADUS_API EngineMaker* find_gloo(std::string* reason = nullptr);

/// The plug-in's one entry point, of this name. Returns null and writes why to `reason` when it does not fit `version`.
inline constexpr const char* gloo_entry = "gradus_gloo_v1";
using GlooEntry = EngineMaker* (*)(const char* version, std::string* reason);

}  // namespace gradus::dist::detail
