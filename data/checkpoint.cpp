// The checkpointer: when to save, in which order the ranks do it, and which checkpoint they resume from. What a
// checkpoint consists of, and how it comes to disk, is in detail/checkpoint_*.
#include <gradus/data/checkpoint.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/detail/log.h>
#include <gradus/core/factories.h>
#include <gradus/data/detail/checkpoint_folder.h>
#include <gradus/data/detail/checkpoint_restore.h>
#include <gradus/data/detail/checkpoint_save.h>
#include <gradus/data/detail/together.h>
#include <gradus/data/display/interrupt.h>
#include <gradus/distributed/heartbeat.h>

namespace gradus::data {
namespace {

namespace fs = std::filesystem;
using detail::Manifest;
using detail::together;
constexpr const char* op = "Checkpointer";
// Seconds that ranks wait for one whose disk is slow. One that dies is noticed at once, whatever this says.
constexpr double patience = 3600;

/// Signals that came to any rank, told to all of them by an all-reduce that is begun in one step and read in the next:
/// no step waits for it, and all ranks stop at the same one.
class SharedInterrupt {
 public:
  explicit SharedInterrupt(const dist::ProcessGroup& group) : group_(group) {}
  SharedInterrupt(const SharedInterrupt&) = delete;
  SharedInterrupt& operator=(const SharedInterrupt&) = delete;
  /// What was begun is ended: leaving the group in the middle of it would be a failure to the others.
  ~SharedInterrupt() {
    try {
      told_.wait();
    } catch (const CommError& error) {
      gradus::detail::log()->debug("{}: {}", op, error.what());
    }
  }

  bool came() {
    if (group_.size() == 1) return interrupt_.interrupted();
    told_.wait();
    if (flag_.item<int32_t>() != 0) return true;
    flag_.fill_(interrupt_.interrupted());
    told_ = group_.all_reduce(flag_, dist::ReduceOp::max);
    return false;
  }

 private:
  Interrupt interrupt_;
  dist::ProcessGroup group_;
  Tensor flag_ = zeros({1}, {.dtype = int32});
  dist::Work told_;
};

/// Steps of the checkpoints that rank 0 sees, newest first. One that a broken-off save has moved aside is among them.
std::vector<int64_t> candidates(const dist::ProcessGroup& group, const fs::path& folder) try {
  const std::string text = together(group, [&] {
                             if (group.rank() != 0) return std::string();
                             detail::recover(folder);
                             return fmt::format("{}", fmt::join(detail::steps_in(folder), " "));
                           }).front();
  std::vector<int64_t> steps;
  for (const char* at = text.c_str(); *at != '\0';) {
    char* end = nullptr;
    steps.push_back(std::strtoll(at, &end, 10));
    at = end;
  }
  std::reverse(steps.begin(), steps.end());
  return steps;
} catch (const IoError& error) {
  throw CheckpointError(error.what());
}

}  // namespace

struct Checkpointer::State {
  fs::path folder;
  CheckpointerOptions options;
  dist::ProcessGroup group;  // of the same ranks, but for saving alone: a writer's exchanges meet nobody else's
  std::optional<SharedInterrupt> interrupt;
  std::vector<int64_t> damaged;  // newer than the one that was resumed from
  bool stopped = false;
  std::thread writer;
  std::exception_ptr failure;
  std::atomic<bool> failed{false};

  detail::Share share(const std::vector<Stateful*>& things, bool copy) const {
    return detail::share_of(things, group.rank(), group.size(), copy);
  }
  /// Waits for the writer and throws what it threw.
  void collect() {
    if (writer.joinable()) writer.join();
    failed = false;
    if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
  }
  void write(int64_t step, const std::function<detail::Share()>& share) {
    std::erase(damaged, step);  // replaced
    save_together(group, {folder, step, options.keep, damaged}, share);
    damaged.clear();
  }
  /// `copied`: this rank's share, or why there is none, which the others have to learn, too.
  void write_behind(int64_t step, std::future<detail::Share> copied) {
    writer = std::thread([this, step, copy = std::move(copied)]() mutable {
      try {
        write(step, [&] { return copy.get(); });
      } catch (...) {
        failure = std::current_exception();
        failed = true;
      }
    });
  }
  /// All files of a checkpoint as its manifest says; those of this rank's share only.
  Manifest verify(int64_t step, int rank, int ranks) const {
    const fs::path place = detail::checkpoint_path(folder, step);
    Manifest manifest = detail::read_manifest(place, step);
    const int64_t files = std::ssize(manifest.files);
    for (int64_t i = rank; i < files; i += ranks)
      detail::verify_file(place / detail::rank_file(i, files), manifest.files[static_cast<size_t>(i)]);
    return manifest;
  }
};

Checkpointer::Checkpointer(std::string folder, const CheckpointerOptions& options) : state_(make_box<State>()) {
  GRADUS_CHECK(options.every >= 0, ValueError, "{}: every is {}; want 0 (when asked) or more", op, options.every);
  GRADUS_CHECK(options.keep >= 1, ValueError, "{}: keep is {}; want 1 or more", op, options.keep);
  State& s = *state_;
  s.folder = std::move(folder);
  s.options = options;
  if (options.group.size() > 1) s.group = s.options.group.split(0, {.timeout = patience});
  try {
    together(s.group, [&] {
      std::error_code error;
      fs::create_directories(s.folder, error);
      GRADUS_CHECK(!error && fs::is_directory(s.folder, error), IoError, "cannot make the folder {}: {}",
                   s.folder.string(), error ? error.message() : "a file has this name");
      return std::string();
    });
  } catch (const IoError& error) {
    throw CheckpointError(fmt::format("{}: {}", op, error.what()));
  }
  if (options.signals) s.interrupt.emplace(options.group);
}

Checkpointer::~Checkpointer() {
  try {
    state_->collect();
  } catch (const std::exception& error) {
    gradus::detail::log()->error("{}", error.what());
  }
}

bool Checkpointer::stop() const { return state_->stopped; }
void Checkpointer::wait() { state_->collect(); }

std::vector<int64_t> Checkpointer::available() const {
  std::vector<int64_t> steps = detail::steps_in(state_->folder);
  std::erase_if(steps, [&](int64_t step) {
    try {
      state_->verify(step, 0, 1);
      return false;
    } catch (const IoError&) {
      return true;
    }
  });
  return steps;
}

int64_t Checkpointer::resume_all(const std::vector<Stateful*>& things) {
  State& s = *state_;
  s.collect();
  const int rank = s.group.rank(), ranks = s.group.size();
  const std::vector<int64_t> steps = candidates(s.group, s.folder);
  std::vector<int64_t> damaged;
  for (const int64_t step : steps) {
    const fs::path place = detail::checkpoint_path(s.folder, step);
    Manifest manifest;
    try {
      together(s.group, [&] {
        manifest = s.verify(step, rank, ranks);
        return std::string();
      });
    } catch (const IoError& error) {
      if (rank == 0) gradus::detail::log()->warn("{}: {} is damaged and skipped: {}", op, place.string(), error.what());
      damaged.push_back(step);
      continue;
    }
    try {
      together(s.group, [&] {
        detail::restore(things, rank, ranks, place, manifest);
        return std::string();
      });
    } catch (const IoError& error) {
      throw CheckpointError(fmt::format("{}: {} does not fit this program: {}", op, place.string(), error.what()));
    }
    s.damaged = std::move(damaged);
    return step;
  }
  GRADUS_CHECK(steps.empty(), CheckpointError, "{}: all {} checkpoints in {} are damaged; remove them to begin anew",
               op, steps.size(), s.folder.string());
  return 0;
}

bool Checkpointer::step_all(int64_t steps_done, const std::vector<Stateful*>& things) {
  State& s = *state_;
  dist::heartbeat(steps_done, "step");
  if (s.failed && s.group.size() == 1) s.collect();  // ranks learn of a failure at different times
  if (!s.stopped && s.interrupt && s.interrupt->came()) {
    save_all(steps_done, things);
    s.stopped = true;
    return true;
  }
  if (s.options.every == 0 || steps_done % s.options.every != 0) return false;
  if (!s.options.async) {
    save_all(steps_done, things);
  } else {
    s.collect();
    std::packaged_task<detail::Share()> copy([&] { return s.share(things, true); });
    copy();
    s.write_behind(steps_done, copy.get_future());
  }
  return true;
}

void Checkpointer::save_all(int64_t steps_done, const std::vector<Stateful*>& things) {
  GRADUS_CHECK(steps_done >= 0, ValueError, "{}: steps_done is {}; want 0 or more", op, steps_done);
  State& s = *state_;
  dist::heartbeat(steps_done, "save");
  s.collect();
  s.write(steps_done, [&] { return s.share(things, false); });
}

}  // namespace gradus::data
