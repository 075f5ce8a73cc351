// A folder for a test's files, and reading and writing them whole.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "catch.h"

/// A folder that is gone afterwards: in memory where that is possible, since a disk takes milliseconds for each file,
/// or on disk for what is large.
class Scratch {
 public:
  enum class Place { memory, disk };
  explicit Scratch(Place place = Place::memory) {
    const std::filesystem::path memory = "/dev/shm", disk = std::filesystem::temp_directory_path();
    const bool use_memory = place == Place::memory && access(memory.c_str(), W_OK) == 0;
    std::string pattern = ((use_memory ? memory : disk) / "gradus-test-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()));
    path_ = pattern;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string write_file(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

/// The bytes of a number as they lie in memory.
template <class T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
/// And as they lie in a big-endian file.
template <class T>
std::string big_endian(T value) {
  const std::string bytes = bytes_of(value);
  return {bytes.rbegin(), bytes.rend()};
}
