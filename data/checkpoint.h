// Training checkpoints: everything that has state, saved atomically, found again, bit for bit.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include <gradus/core/box.h>
#include <gradus/core/stateful.h>
#include <gradus/distributed/process_group.h>

namespace gradus::data {

struct CheckpointerOptions {
  int64_t every = 0;    ///< save at every so many steps; 0: only when asked
  int64_t keep = 2;     ///< newest checkpoints kept
  bool async = true;    ///< step() copies the state and a thread writes it; its failure is thrown by the next call
  bool signals = true;  ///< SIGINT, SIGTERM, SIGUSR1: the next step() saves, then stop() is true
  dist::ProcessGroup group = {};  ///< the ranks that save together
};

/// Keeps checkpoints of one training run in a folder: `step-00001234/` with `rank-00000-of-00004.safetensors` and so
/// on, a file for each rank, and `manifest.json` (sizes and checksums, and which file has which part of which tensor).
/// A checkpoint is written under another name, synced, read back, and renamed when it is whole, so a crash, a full disk
/// or `kill -9` at any moment leaves the one before valid. A damaged one is skipped with a warning that names it, and
/// deleted when a save has gone well after it.
/// Entries are named by the things' state_name(); several of one kind get ".1", ".2". The random generator is always
/// included. A folder belongs to one run: the checkpoint of the highest step counts as the newest; those of steps above
/// the one that is saved are left alone, and take no place of those that are kept.
///
/// With a group, all ranks make the Checkpointer and call resume(), step(), save() and wait() alike, for the same
/// things; the folder lies where all of them see it. What all ranks have is divided among them, what only one keeps
/// (Stateful::state_slices()) it writes itself, so each writes and copies its part only. Any number of ranks resumes
/// from what any number wrote: each has its own random generator back where the number is the same; else all go on with
/// rank 0's, 2^40 counters further for each rank unless all were at the same place. A failure on one rank is a
/// CheckpointError on all that names it; a process that dies is a CommError. While they save or resume, ranks wait for
/// an hour for one whose disk is slow, whatever the group's timeout.
class GRADUS_API Checkpointer {
 public:
  explicit Checkpointer(std::string folder, const CheckpointerOptions& options = {});
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;
  ~Checkpointer();

  /// Loads the newest valid checkpoint into the things and returns its step; 0 when there is none. Throws
  /// CheckpointError when all are damaged, or when it was saved by a program with other things: names that are missing
  /// or not expected are listed.
  template <class... Things>
  int64_t resume(Things&... things) {
    return resume_all({static_cast<Stateful*>(&things)...});
  }
  /// To be called after each step, with the number of steps done: saves when it is time or a signal came. Returns
  /// whether it saved. It is this process's heartbeat (distributed/heartbeat.h), too. With a group, a signal that came
  /// to any rank makes all ranks save at the same step, at most one step later; a failure of the writer is thrown by
  /// the next call that saves or waits.
  template <class... Things>
  bool step(int64_t steps_done, Things&... things) {
    return step_all(steps_done, {static_cast<Stateful*>(&things)...});
  }
  /// Saves now, and waits until it is on disk. Throws CheckpointError when the disk is too full (asked before anything
  /// is written) or fails, and says whether this step is saved; what was saved before is then untouched, and training
  /// may go on. One of the same step is replaced. That older ones cannot be deleted is a warning.
  template <class... Things>
  void save(int64_t steps_done, Things&... things) {
    save_all(steps_done, {static_cast<Stateful*>(&things)...});
  }
  /// True after a signal, when its checkpoint is on disk: leave the loop.
  bool stop() const;
  /// Waits for the writer; throws CheckpointError when a save failed.
  void wait();
  /// Steps of the valid checkpoints, oldest first.
  std::vector<int64_t> available() const;

 private:
  int64_t resume_all(const std::vector<Stateful*>& things);
  bool step_all(int64_t steps_done, const std::vector<Stateful*>& things);
  void save_all(int64_t steps_done, const std::vector<Stateful*>& things);
  struct State;
  Box<State> state_;
};

}  // namespace gradus::data
