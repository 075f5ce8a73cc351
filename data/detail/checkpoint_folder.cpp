// Everything that a checkpoint does with the disk, but for reading tensors.
#include <gradus/data/detail/checkpoint_folder.h>

#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string>

#include <gradus/core/detail/check.h>
#include <gradus/data/detail/output.h>
#include <gradus/data/detail/reader.h>
#include <gradus/data/detail/sys.h>

namespace gradus::data::detail {
namespace {

namespace fs = std::filesystem;
constexpr const char* op = "Checkpointer";
constexpr const char* manifest_file = "manifest.json";
// Names behind "step-00001234" that no reader takes for a checkpoint: all begin with the first.
constexpr const char *temporary_mark = ".tmp-", *old_mark = ".tmp-old", *replaced_mark = ".tmp-replaced";

std::string name_of(int64_t step) { return fmt::format("step-{:08}", step); }

/// The step whose folder has this name; nothing for all other names.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with("step-")) return {};
  int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data() + 5, name.data() + name.size(), step);
  if (error != std::errc() || step < 0 || name != name_of(step)) return {};
  return step;
}

/// Whether a save has left this, and nobody needs it any more.
bool is_left_over(const fs::path& folder, const std::string& name) {
  const size_t mark = name.find(temporary_mark);
  if (mark == std::string::npos || !step_of(name.substr(0, mark))) return false;
  std::error_code ignored;
  return !name.ends_with(replaced_mark) || fs::exists(folder / name.substr(0, mark), ignored);
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  GRADUS_CHECK(sys::list(folder.c_str(), names) == 0, CheckpointError, "{}: cannot read {}: {}", op, folder.string(),
               std::strerror(errno));
  return names;
}

}  // namespace

fs::path checkpoint_path(const fs::path& folder, int64_t step) { return folder / name_of(step); }
fs::path temporary_path(const fs::path& folder, int64_t step) {
  return folder / fmt::format("{}{}{}", name_of(step), temporary_mark, getpid());
}

std::vector<int64_t> steps_in(const fs::path& folder) {
  std::vector<int64_t> steps;
  for (const std::string& name : names_in(folder))
    if (const auto step = step_of(name)) steps.push_back(*step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

void check_space(const fs::path& folder, uint64_t bytes) {
  struct statvfs disk {};
  GRADUS_CHECK(statvfs(folder.c_str(), &disk) == 0, IoError, "cannot ask for the space in {}: {}", folder.string(),
               std::strerror(errno));
  const uint64_t free = uint64_t{disk.f_bavail} * uint64_t{disk.f_frsize};
  GRADUS_CHECK(free >= bytes, IoError, "it needs {} bytes in {}, {} are free", bytes, folder.string(), free);
}

void make_folder(const fs::path& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
  GRADUS_CHECK(sys::mkdir(path.c_str(), 0777) == 0, IoError, "cannot make {}: {}", path.string(), std::strerror(errno));
}

Manifest write_share(const fs::path& path, int64_t step, int rank, int ranks, const Share& share) {
  Manifest own;
  own.step = step;
  NamedTensors pieces;
  for (const StateSlice& slice : share.slices) {
    const int64_t count = slice.values.numel(), end = slice.begin + count;
    const std::string name = piece_name(slice.name, slice.shape, slice.begin, end);
    if (count > 0) pieces.push_back({name, name == slice.name ? slice.values.reshape(slice.shape) : slice.values});
    own.tensors.push_back({slice.name, slice.values.dtype(), slice.shape, {}});
    if (count > 0) own.tensors.back().pieces.push_back({0, slice.begin, count});
  }
  Output file(op, (path / rank_file(rank, ranks)).string());
  write_safetensors(file, pieces, {{"step", std::to_string(step)}});
  file.finish();
  own.files.push_back({file.size(), file.crc()});
  verify_file(path / rank_file(rank, ranks), own.files[0]);
  return own;
}

void write_manifest(const fs::path& path, const Manifest& manifest) {
  Output file(op, (path / manifest_file).string());
  file.write(to_text(manifest));
  file.finish();
  sync_folder(op, path.string());
  read_manifest(path, manifest.step);
}

void publish(const fs::path& path, const fs::path& place) {
  if (sys::exchange(path.c_str(), place.c_str()) == 0) return;
  const fs::path aside = place.string() + replaced_mark;
  const bool taken = sys::rename(place.c_str(), aside.c_str()) == 0;
  if ((taken || errno == ENOENT) && sys::rename(path.c_str(), place.c_str()) == 0) return;
  const int error = errno;
  if (taken) sys::rename(aside.c_str(), place.c_str());
  throw IoError(fmt::format("cannot rename {} to {}: {}", path.string(), place.string(), std::strerror(error)));
}

void recover(const fs::path& folder) {
  for (const std::string& name : names_in(folder)) {
    if (!name.ends_with(replaced_mark)) continue;
    const fs::path aside = folder / name, place = folder / name.substr(0, name.find(temporary_mark));
    if (sys::rename(aside.c_str(), place.c_str()) != 0 && (errno == ENOTEMPTY || errno == EEXIST))
      sys::remove_all(aside.c_str());  // the one that replaced it is there
  }
}

void sync_names(const fs::path& folder) { sync_folder(op, folder.string()); }

void prune(const fs::path& folder, int64_t keep, int64_t newest, const std::vector<int64_t>& damaged) {
  std::string problem;
  const auto expect = [&](bool done, const fs::path& path) {
    if (!done && problem.empty()) problem = fmt::format("cannot delete {}: {}", path.string(), std::strerror(errno));
    return done;
  };
  const auto remove = [&](const fs::path& path) { expect(sys::remove_all(path.c_str()) == 0, path); };
  std::vector<int64_t> going, sound;
  for (const std::string& name : names_in(folder)) {
    const std::optional<int64_t> step = step_of(name);
    if (step && *step != newest && std::find(damaged.begin(), damaged.end(), *step) != damaged.end())
      going.push_back(*step);
    else if (step && *step < newest)
      sound.push_back(*step);
    else if (is_left_over(folder, name))
      remove(folder / name);
  }
  std::sort(sound.begin(), sound.end());
  const int64_t surplus = std::max<int64_t>(0, std::ssize(sound) - (keep - 1));
  going.insert(going.end(), sound.begin(), sound.begin() + surplus);
  for (const int64_t step : going) {  // half deleted, none is to be taken for a checkpoint
    const fs::path place = folder / name_of(step), old = place.string() + old_mark;
    if (expect(sys::rename(place.c_str(), old.c_str()) == 0, place)) remove(old);
  }
  GRADUS_CHECK(problem.empty(), IoError, "{}", problem);
}

Manifest read_manifest(const fs::path& path, int64_t step) {
  Reader file(op, (path / manifest_file).string(), Reader::Format::plain, Reader::Links::refused);
  const std::string text = file.text(file.limit(), "the manifest");
  try {
    Manifest manifest = parse_manifest(text);
    check_whole(manifest);
    GRADUS_CHECK(manifest.step == step, IoError, "it is of step {}", manifest.step);
    return manifest;
  } catch (const IoError& error) {
    file.fail(error.what());
  }
}

void verify_file(const fs::path& path, const Manifest::File& wanted) {
  Reader file(op, path.string(), Reader::Format::plain, Reader::Links::refused);
  const uint64_t size = file.limit();
  std::vector<unsigned char> buffer(1 << 20);
  uint32_t crc = 0;
  while (const size_t n = file.read_some(buffer.data(), buffer.size()))
    crc = static_cast<uint32_t>(crc32_z(crc, buffer.data(), n));
  if (size != wanted.size || crc != wanted.crc)
    file.fail(fmt::format("has {} bytes and CRC-32 {:08x}; the manifest says {} and {:08x}", size, crc, wanted.size,
                          wanted.crc));
}

}  // namespace gradus::data::detail
