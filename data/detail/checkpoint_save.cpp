// In which order ranks and disk do what a save needs.
#include <gradus/data/detail/checkpoint_save.h>

#include <exception>
#include <string>
#include <system_error>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/detail/log.h>
#include <gradus/data/detail/checkpoint_folder.h>
#include <gradus/data/detail/together.h>

namespace gradus::data::detail {
namespace {

namespace fs = std::filesystem;
constexpr const char* op = "Checkpointer";
constexpr uint64_t slack = 1 << 20;  // bytes of a rank for header, manifest and the file system's own

class Saving {
 public:
  Saving(const dist::ProcessGroup& group, const SaveOptions& options)
      : group_(group), options_(options), temporary_(temporary_path(options.folder, options.step)) {}

  /// Behind it the checkpoint has its name and is valid.
  void write(const std::function<Share()>& share) {
    Share own;
    const auto needs = together(group_, [&] {
      own = share();
      return fmt::format("{} {:08x}", own.bytes() + slack, own.common);
    });
    const std::string name = by_first([&] { return begin(needs); });
    temporary_ = options_.folder / name;  // rank 0's
    const auto files = together(
        group_, [&] { return to_text(write_share(temporary_, options_.step, group_.rank(), group_.size(), own)); });
    by_first([&] {
      std::vector<Manifest> manifests;
      for (const std::string& text : files) manifests.push_back(parse_manifest(text));
      write_manifest(temporary_, merge(std::move(manifests)));
      publish(temporary_, checkpoint_path(options_.folder, options_.step));
      return std::string();
    });
  }

  /// After a write() that failed.
  void undo() const {
    std::error_code ignored;
    if (group_.rank() == 0) fs::remove_all(temporary_, ignored);
  }

  /// Behind it a power cut cannot take the checkpoint away, so older ones may go.
  void settle() {
    by_first([&] {
      sync_names(options_.folder);
      try {
        prune(options_.folder, options_.keep, options_.step, options_.damaged);
      } catch (const std::exception& error) {
        gradus::detail::log()->warn("{}: step {} is saved; older ones should have been deleted, but: {}", op,
                                    options_.step, error.what());
      }
      return std::string();
    });
  }

 private:
  /// Rank 0's work, of which all learn how it went.
  std::string by_first(const std::function<std::string()>& work) const {
    return together(group_, [&] { return group_.rank() == 0 ? work() : std::string(); }).front();
  }

  /// The name of a new folder for the ranks' files, when they are parts of one checkpoint and there is space for it.
  std::string begin(const std::vector<std::string>& needs) const {
    uint64_t needed = 0;
    for (const std::string& text : needs) {
      needed += std::stoull(text);
      GRADUS_CHECK(text.substr(text.find(' ')) == needs[0].substr(needs[0].find(' ')), IoError,
                   "ranks have other things to save than this one, or tensors of other shapes");
    }
    recover(options_.folder);
    check_space(options_.folder, needed);
    make_folder(temporary_);
    return temporary_.filename().string();
  }

  const dist::ProcessGroup& group_;
  const SaveOptions& options_;
  fs::path temporary_;
};

}  // namespace

void save_together(const dist::ProcessGroup& group, const SaveOptions& options, const std::function<Share()>& share) {
  Saving saving(group, options);
  try {
    saving.write(share);
  } catch (const IoError& error) {
    saving.undo();
    throw CheckpointError(fmt::format("{}: step {} was not saved: {}; what was saved before is untouched", op,
                                      options.step, error.what()));
  }
  try {
    saving.settle();
  } catch (const IoError& error) {
    throw CheckpointError(
        fmt::format("{}: step {} is saved, but a power cut may take it away: {}; what was saved "
                    "before is untouched",
                    op, options.step, error.what()));
  }
}

}  // namespace gradus::data::detail
