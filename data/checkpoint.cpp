// Checkpoints as folders: written under another name, synced, renamed, read back, and only then are old ones deleted.
#include <gradus/data/checkpoint.h>

#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>
#include <utility>

#include <gradus/autograd/grad_mode.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/detail/log.h>
#include <gradus/core/random.h>
#include <gradus/data/detail/output.h>
#include <gradus/data/detail/reader.h>
#include <gradus/data/detail/sys.h>
#include <gradus/data/display/interrupt.h>
#include <gradus/data/safetensors.h>

namespace gradus::data {
namespace {

namespace fs = std::filesystem;
constexpr const char* op = "Checkpointer";
constexpr const char *state_file = "state.safetensors", *manifest_file = "manifest.json", *temporary_mark = ".tmp-";
constexpr uint64_t slack = 1 << 20;  // bytes for header, manifest and the file system's own

std::string name_of(int64_t step) { return fmt::format("step-{:08}", step); }

/// The step whose folder has this name; nothing for all other names.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with("step-")) return {};
  int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data() + 5, name.data() + name.size(), step);
  if (error != std::errc() || step < 0 || name != name_of(step)) return {};
  return step;
}

/// Steps of the folders that are there, valid or not, oldest first.
std::vector<int64_t> steps_in(const fs::path& folder) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (const auto step = step_of(entry->path().filename().string())) steps.push_back(*step);
  GRADUS_CHECK(!error, CheckpointError, "{}: cannot read {}: {}", op, folder.string(), error.message());
  std::sort(steps.begin(), steps.end());
  return steps;
}

/// Nothing in it is free: a checkpoint is valid when this, made from what is on disk, is what its manifest says.
std::string manifest(int64_t step, uint64_t size, uint32_t crc) {
  return fmt::format(
      "{{\n  \"format\": \"gradus-checkpoint-1\",\n  \"step\": {},\n"
      "  \"files\": [{{\"name\": \"{}\", \"size\": {}, \"crc32\": \"{:08x}\"}}]\n}}\n",
      step, state_file, size, crc);
}

std::string read_manifest(const fs::path& path) {
  detail::Reader file(op, path.string());
  std::string text(4096, '\0');
  text.resize(file.read_some(text.data(), text.size()));
  return text;
}

uint32_t crc_of(detail::Reader& file) {
  std::vector<unsigned char> buffer(1 << 20);
  uint32_t crc = 0;
  while (const size_t n = file.read_some(buffer.data(), buffer.size()))
    crc = static_cast<uint32_t>(crc32_z(crc, buffer.data(), n));
  return crc;
}

/// What is wrong with a checkpoint; nothing when it is as it was saved.
std::optional<std::string> damage(const fs::path& folder, int64_t step) try {
  const std::string wanted = read_manifest(folder / manifest_file);
  detail::Reader state(op, (folder / state_file).string());
  const uint64_t size = state.limit();
  const uint32_t crc = crc_of(state);
  if (manifest(step, size, crc) == wanted) return {};
  return fmt::format("{}/{} has {} bytes and CRC-32 {:08x}, which is not what {} says", folder.string(), state_file,
                     size, crc, manifest_file);
} catch (const IoError& error) {
  return error.what();
}

void check_space(const fs::path& folder, const NamedTensors& state) {
  uint64_t needed = slack;
  for (const NamedTensor& entry : state) needed += static_cast<uint64_t>(entry.tensor.nbytes());
  struct statvfs disk {};
  GRADUS_CHECK(statvfs(folder.c_str(), &disk) == 0, IoError, "cannot ask for the space in {}: {}", folder.string(),
               std::strerror(errno));
  const uint64_t free = uint64_t{disk.f_bavail} * uint64_t{disk.f_frsize};
  GRADUS_CHECK(free >= needed, IoError, "it needs {} bytes in {}, {} are free", needed, folder.string(), free);
}

void write_folder(const fs::path& folder, int64_t step, const NamedTensors& state) {
  GRADUS_CHECK(sys::mkdir(folder.c_str(), 0777) == 0, IoError, "cannot make {}: {}", folder.string(),
               std::strerror(errno));
  detail::Output tensors(op, (folder / state_file).string());
  detail::write_safetensors(tensors, state, {{"step", std::to_string(step)}});
  tensors.finish();
  detail::Output last(op, (folder / manifest_file).string());
  last.write(manifest(step, tensors.size(), tensors.crc()));
  last.finish();
  detail::sync_folder(op, folder.string());
}

/// Gives a finished folder its name. One that has the name already changes places with it, in one step where the file
/// system can.
void publish(const fs::path& finished, const fs::path& place) {
  const bool taken = fs::exists(place);
  if (taken && sys::exchange(finished.c_str(), place.c_str()) == 0) return;
  if (taken) {
    const fs::path aside = finished.string() + "-old";
    GRADUS_CHECK(sys::rename(place.c_str(), aside.c_str()) == 0, IoError, "cannot rename {}: {}", place.string(),
                 std::strerror(errno));
  }
  GRADUS_CHECK(sys::rename(finished.c_str(), place.c_str()) == 0, IoError, "cannot rename {} to {}: {}",
               finished.string(), place.string(), std::strerror(errno));
}

/// Deletes all but the newest `keep` and `newest`, and what broken-off saves have left.
void prune(const fs::path& folder, int64_t keep, int64_t newest) {
  std::vector<int64_t> old = steps_in(folder);
  std::erase(old, newest);
  std::error_code ignored;
  for (size_t i = 0; i + static_cast<size_t>(keep) <= old.size(); ++i)  // under a name that no reader looks at
    fs::rename(folder / name_of(old[i]), folder / (name_of(old[i]) + temporary_mark + "old"), ignored);
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step-") && name.find(temporary_mark) != std::string::npos)
      fs::remove_all(entry.path(), ignored);
  }
}

/// Saves atomically. Throws CheckpointError, and leaves what was there.
void write_checkpoint(const fs::path& folder, int64_t step, const NamedTensors& state, int64_t keep) {
  const fs::path place = folder / name_of(step),
                 temporary = fmt::format("{}{}{}", place.string(), temporary_mark, getpid());
  std::error_code ignored;
  try {
    check_space(folder, state);
    fs::remove_all(temporary, ignored);
    write_folder(temporary, step, state);
    publish(temporary, place);
    detail::sync_folder(op, folder.string());
    const auto problem = damage(place, step);
    GRADUS_CHECK(!problem, IoError, "read back, {}", *problem);
  } catch (const Error& error) {
    fs::remove_all(temporary, ignored);
    throw CheckpointError(
        fmt::format("{}: step {} was not saved: {}; what was saved before is untouched", op, step, error.what()));
  }
  prune(folder, keep, step);
}

/// The things with the names of their entries; the random generator is one of them.
struct NamedThing {
  std::string name;
  Stateful* thing;
};
std::vector<NamedThing> name_things(std::vector<Stateful*> things) {
  Generator& generator = default_generator();
  if (std::find(things.begin(), things.end(), &generator) == things.end()) things.push_back(&generator);
  std::vector<NamedThing> named;
  for (Stateful* thing : things) {
    const std::string kind = thing->state_name();
    const auto twins = std::count_if(named.begin(), named.end(),
                                     [&](const NamedThing& other) { return kind == other.thing->state_name(); });
    named.push_back({twins ? fmt::format("{}.{}", kind, twins) : kind, thing});
  }
  return named;
}

/// Everything's state under "<thing>/<entry>". `copy`: nothing in it changes when training goes on.
NamedTensors gather(const std::vector<Stateful*>& things, bool copy) {
  const NoGrad no_graph;
  NamedTensors all;
  for (const auto& [name, thing] : name_things(things)) {
    for (const auto& [entry, tensor] : thing->state_dict()) {
      const Tensor x = tensor.detach();
      all.push_back({name + '/' + entry, !x.device().is_cpu() ? x.to(Device::cpu()) : copy ? x.clone() : x});
    }
  }
  return all;
}

void restore(const std::vector<Stateful*>& things, NamedTensors all) {
  const std::vector<NamedThing> named = name_things(things);
  std::vector<NamedTensors> states(named.size());
  std::vector<std::string> unclaimed;
  for (auto& [name, tensor] : all) {
    const size_t slash = std::min(name.find('/'), name.size());
    const std::string_view owner = std::string_view(name).substr(0, slash);
    const auto thing =
        std::find_if(named.begin(), named.end(), [&](const NamedThing& candidate) { return candidate.name == owner; });
    if (thing != named.end())
      states[static_cast<size_t>(thing - named.begin())].push_back(
          {name.substr(std::min(slash + 1, name.size())), tensor});
    else
      unclaimed.push_back(name);
  }
  GRADUS_CHECK(unclaimed.empty(), CheckpointError, "it holds what resume() was not given: {}",
               fmt::join(unclaimed, ", "));
  const NoGrad no_graph;
  for (size_t i = 0; i < named.size(); ++i) named[i].thing->load_state_dict(states[i]);
}

}  // namespace

struct Checkpointer::State {
  fs::path folder;
  CheckpointerOptions options;
  std::optional<Interrupt> interrupt;
  bool stopped = false;
  std::thread writer;
  std::exception_ptr failure;
  std::atomic<bool> failed{false};

  /// Waits for the writer and throws what it threw.
  void collect() {
    if (writer.joinable()) writer.join();
    failed = false;
    if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
  }
  void write_behind(int64_t step, NamedTensors state) {
    writer = std::thread([this, step, tensors = std::move(state)] {
      try {
        write_checkpoint(folder, step, tensors, options.keep);
      } catch (...) {
        failure = std::current_exception();
        failed = true;
      }
    });
  }
};

Checkpointer::Checkpointer(std::string folder, const CheckpointerOptions& options) : state_(make_box<State>()) {
  GRADUS_CHECK(options.every >= 0, ValueError, "{}: every is {}; want 0 (when asked) or more", op, options.every);
  GRADUS_CHECK(options.keep >= 1, ValueError, "{}: keep is {}; want 1 or more", op, options.keep);
  state_->folder = std::move(folder);
  state_->options = options;
  std::error_code error;
  fs::create_directories(state_->folder, error);
  GRADUS_CHECK(!error && fs::is_directory(state_->folder, error), CheckpointError, "{}: cannot make the folder {}: {}",
               op, state_->folder.string(), error ? error.message() : "a file has this name");
  if (options.signals) state_->interrupt.emplace();
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
  std::vector<int64_t> steps = steps_in(state_->folder);
  std::erase_if(steps, [&](int64_t step) { return damage(state_->folder / name_of(step), step).has_value(); });
  return steps;
}

int64_t Checkpointer::resume_all(const std::vector<Stateful*>& things) {
  state_->collect();
  const std::vector<int64_t> steps = steps_in(state_->folder);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const fs::path place = state_->folder / name_of(*step);
    if (const auto problem = damage(place, *step)) {
      gradus::detail::log()->warn("{}: {} is damaged and skipped: {}", op, place.string(), *problem);
      continue;
    }
    try {
      restore(things, load_safetensors((place / state_file).string()).tensors);
    } catch (const Error& error) {
      throw CheckpointError(fmt::format("{}: {} does not fit this program: {}", op, place.string(), error.what()));
    }
    return *step;
  }
  GRADUS_CHECK(steps.empty(), CheckpointError, "{}: all {} checkpoints in {} are damaged; remove them to begin anew",
               op, steps.size(), state_->folder.string());
  return 0;
}

bool Checkpointer::step_all(int64_t steps_done, const std::vector<Stateful*>& things) {
  State& s = *state_;
  if (s.failed) s.collect();
  if (!s.stopped && s.interrupt && s.interrupt->interrupted()) {
    save_all(steps_done, things);
    s.stopped = true;
    return true;
  }
  if (s.options.every == 0 || steps_done % s.options.every != 0) return false;
  if (!s.options.async) {
    save_all(steps_done, things);
  } else {
    s.collect();
    s.write_behind(steps_done, gather(things, true));
  }
  return true;
}

void Checkpointer::save_all(int64_t steps_done, const std::vector<Stateful*>& things) {
  GRADUS_CHECK(steps_done >= 0, ValueError, "{}: steps_done is {}; want 0 or more", op, steps_done);
  state_->collect();
  write_checkpoint(state_->folder, steps_done, gather(things, false), state_->options.keep);
}

}  // namespace gradus::data
