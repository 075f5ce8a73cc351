// The folder of a run: its checkpoints by step, how one is written under another name and published, what damage is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include <gradus/data/detail/checkpoint_manifest.h>
#include <gradus/data/detail/checkpoint_share.h>

namespace gradus::data::detail {

/// "step-00001234" in the run's folder.
std::filesystem::path checkpoint_path(const std::filesystem::path& folder, int64_t step);
/// Where a checkpoint is written until it is whole; no reader takes it for one.
std::filesystem::path temporary_path(const std::filesystem::path& folder, int64_t step);
/// Steps of the checkpoints that are there, valid or not, oldest first.
std::vector<int64_t> steps_in(const std::filesystem::path& folder);

// ---- writing: IoError when the disk is full or broken
void check_space(const std::filesystem::path& folder, uint64_t bytes);
/// A new folder in place of one of that name.
void make_folder(const std::filesystem::path& path);
/// A rank's file, on disk and read back. The manifest of this file alone.
Manifest write_share(const std::filesystem::path& path, int64_t step, int rank, int ranks, const Share& share);
/// Puts the manifest behind the files, on disk and read back; from now on `path` is a whole checkpoint.
void write_manifest(const std::filesystem::path& path, const Manifest& manifest);
/// Gives a whole checkpoint its name. One that has the name already goes, in one step where the file system can; else
/// it is moved aside, and back when that fails.
void publish(const std::filesystem::path& path, const std::filesystem::path& place);
/// Waits until the names in the folder are on disk: what was published survives a power cut.
void sync_names(const std::filesystem::path& folder);
/// Deletes the `damaged` ones, those below `newest` but for the `keep` - 1 newest, and what broken-off saves have left.
/// Steps above `newest` are left alone: training went back behind them, and they stand for none that is to be kept.
/// Deletes what it can before it throws what it could not.
void prune(const std::filesystem::path& folder, int64_t keep, int64_t newest, const std::vector<int64_t>& damaged);
/// Puts a checkpoint back that a process moved aside and was killed before another came to its place.
void recover(const std::filesystem::path& folder);

// ---- reading: IoError for what is damaged
Manifest read_manifest(const std::filesystem::path& path, int64_t step);
/// Reads the file and compares its size and CRC-32.
void verify_file(const std::filesystem::path& path, const Manifest::File& wanted);

}  // namespace gradus::data::detail
