// A process that outlives the launcher, however that ends, and leaves nothing of it behind: no worker, no child of one,
// no file.
#pragma once

#include <sys/types.h>

#include <string>

#include <gradus/distributed/detail/fd.h>

namespace gradus::run {

class Guardian {
 public:
  /// Makes the scratch folder that it will remove. To be called before any thread is started: it forks.
  Guardian();
  ~Guardian();
  Guardian(const Guardian&) = delete;
  Guardian& operator=(const Guardian&) = delete;

  /// A process group that ends with the launcher.
  void protect(pid_t group) const { tell(group); }
  /// It has ended by itself.
  void release(pid_t group) const { tell(-group); }
  const std::string& scratch() const { return scratch_; }

 private:
  void tell(pid_t group) const;

  std::string scratch_;
  dist::detail::Fd pipe_;
  pid_t pid_ = -1;
};

}  // namespace gradus::run
