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
constexpr const char *manifest_file = "manifest.json", *temporary_mark = ".tmp-";

std::string name_of(int64_t step) { return fmt::format("step-{:08}", step); }

/// The step whose folder has this name; nothing for all other names.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with("step-")) return {};
  int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data() + 5, name.data() + name.size(), step);
  if (error != std::errc() || step < 0 || name != name_of(step)) return {};
  return step;
}

void move(const fs::path& from, const fs::path& to) {
  GRADUS_CHECK(sys::rename(from.c_str(), to.c_str()) == 0, IoError, "cannot rename {} to {}: {}", from.string(),
               to.string(), std::strerror(errno));
}

}  // namespace

fs::path checkpoint_path(const fs::path& folder, int64_t step) { return folder / name_of(step); }
fs::path temporary_path(const fs::path& folder, int64_t step) {
  return folder / fmt::format("{}{}{}", name_of(step), temporary_mark, getpid());
}

std::vector<int64_t> steps_in(const fs::path& folder) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (const auto step = step_of(entry->path().filename().string())) steps.push_back(*step);
  GRADUS_CHECK(!error, CheckpointError, "{}: cannot read {}: {}", op, folder.string(), error.message());
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
  const bool taken = fs::exists(place);
  if (!taken || sys::exchange(path.c_str(), place.c_str()) != 0) {
    if (taken) move(place, path.string() + "-old");
    move(path, place);
  }
  sync_folder(op, place.parent_path().string());
}

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

Manifest read_manifest(const fs::path& path, int64_t step) {
  Reader file(op, (path / manifest_file).string());
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
  Reader file(op, path.string());
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
