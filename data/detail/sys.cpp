// System calls with a question in front: does a test want this one to fail?
#include <gradus/data/detail/sys.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>

namespace gradus::data::sys {
namespace {

namespace fs = std::filesystem;

std::atomic<bool> injected{false};
std::atomic<int64_t> count{0};
std::mutex mutex;
std::shared_ptr<const Fault> current;  // under the mutex; called outside, for it may take its time

/// What this call has to do wrong.
int fault(const char* name) {
  if (!injected.load(std::memory_order_relaxed)) return 0;
  std::shared_ptr<const Fault> asked;
  {
    const std::lock_guard lock(mutex);
    asked = current;
  }
  return asked ? (*asked)(++count, name) : 0;
}

bool refused(const char* name) {
  const int error = fault(name);
  if (error > 0) errno = error;
  return error > 0;
}

int result_of(const std::error_code& error) {
  if (error) errno = error.value();
  return error ? -1 : 0;
}

}  // namespace

void inject(Fault fault) {
  const std::lock_guard lock(mutex);
  injected = static_cast<bool>(fault);
  if (fault) count = 0;
  current = fault ? std::make_shared<const Fault>(std::move(fault)) : nullptr;
}
int64_t calls() { return count; }

int open(const char* path, int flags, mode_t mode) { return refused("open") ? -1 : ::open(path, flags, mode); }
ssize_t write(int fd, const void* bytes, size_t size) {
  const int error = fault("write");
  if (error == 0) return ::write(fd, bytes, size);
  if (error == short_write) return ::write(fd, bytes, (size + 1) / 2);
  errno = error;
  return -1;
}
int fsync(int fd) { return refused("fsync") ? -1 : ::fsync(fd); }
int close(int fd) {
  const int result = ::close(fd);  // the descriptor is gone even when close() fails
  return refused("close") ? -1 : result;
}
int rename(const char* from, const char* to) { return refused("rename") ? -1 : ::rename(from, to); }
int exchange(const char* a, const char* b) {
  return refused("exchange") ? -1 : ::renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
}
int mkdir(const char* path, mode_t mode) { return refused("mkdir") ? -1 : ::mkdir(path, mode); }
int list(const char* path, std::vector<std::string>& names) {
  if (refused("list")) return -1;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error))
    names.push_back(entry->path().filename().string());
  return result_of(error);
}
int remove_all(const char* path) {
  if (refused("remove_all")) return -1;
  std::error_code error;
  fs::remove_all(path, error);
  return result_of(error);
}

}  // namespace gradus::data::sys
