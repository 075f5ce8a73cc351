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
/// Gives a whole checkpoint its name. One that has the name already changes places with it, in one step where the file
/// system can.
void publish(const std::filesystem::path& path, const std::filesystem::path& place);
/// Deletes all but the newest `keep` and `newest`, and what broken-off saves have left.
void prune(const std::filesystem::path& folder, int64_t keep, int64_t newest);

// ---- reading: IoError for what is damaged
Manifest read_manifest(const std::filesystem::path& path, int64_t step);
/// Reads the file and compares its size and CRC-32.
void verify_file(const std::filesystem::path& path, const Manifest::File& wanted);

}  // namespace gradus::data::detail
