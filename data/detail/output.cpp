// Writing through the sys layer: every call that can fail is checked, fsync is never tried twice on a descriptor.
#include <gradus/data/detail/output.h>

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/data/detail/sys.h>

namespace gradus::data::detail {

Output::Output(const char* op, std::string path) : op_(op), path_(std::move(path)) {
  do {
    fd_ = sys::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) fail("create");
}

Output::~Output() {
  if (fd_ >= 0) ::close(fd_);
}

void Output::fail(const char* action) const {
  throw IoError(fmt::format("{}: cannot {} {}: {}", op_, action, path_, std::strerror(errno)));
}

void Output::write(const void* bytes, size_t count) {
  const auto* from = static_cast<const unsigned char*>(bytes);
  crc_ = static_cast<uint32_t>(crc32_z(crc_, from, count));
  size_ += count;
  while (count > 0) {
    const ssize_t written = sys::write(fd_, from, std::min(count, size_t{1} << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write");
    from += written;
    count -= static_cast<size_t>(written);
  }
}

void Output::finish() {
  if (sys::fsync(fd_) != 0) fail("sync");
  if (sys::close(std::exchange(fd_, -1)) != 0) fail("close");
}

void sync_folder(const char* op, const std::string& path) {
  const int fd = sys::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  const bool synced = fd >= 0 && sys::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  GRADUS_CHECK(synced, IoError, "{}: cannot sync the folder {}: {}", op, path, std::strerror(error));
}

std::string parent_folder(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

void write_atomically(const char* op, const std::string& path, const std::function<void(Output&)>& write) {
  const std::string temporary = fmt::format("{}.tmp-{}", path, getpid());
  try {
    Output output(op, temporary);
    write(output);
    output.finish();
    GRADUS_CHECK(sys::rename(temporary.c_str(), path.c_str()) == 0, IoError, "{}: cannot rename {} to {}: {}", op,
                 temporary, path, std::strerror(errno));
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_folder(op, parent_folder(path));
}

}  // namespace gradus::data::detail
