// System calls with a fault counter in front: one relaxed increment each.
#include <gradus/data/detail/sys.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

namespace gradus::data::sys {
namespace {

std::atomic<int64_t> count{0}, failing_call{0};
std::atomic<int> failure{0};

/// What this call has to do wrong: an errno, short_write, or 0.
int fault() { return ++count == failing_call ? failure.load() : 0; }

bool refused() {
  const int error = fault();
  if (error > 0) errno = error;
  return error > 0;
}

}  // namespace

void fail_call(int64_t k, int error) {
  count = 0;
  failure = error;
  failing_call = k;
}
int64_t calls() { return count; }

int open(const char* path, int flags, mode_t mode) { return refused() ? -1 : ::open(path, flags, mode); }
ssize_t write(int fd, const void* bytes, size_t size) {
  const int error = fault();
  if (error == 0) return ::write(fd, bytes, size);
  if (error == short_write) return ::write(fd, bytes, (size + 1) / 2);
  errno = error;
  return -1;
}
int fsync(int fd) { return refused() ? -1 : ::fsync(fd); }
int close(int fd) {
  const int result = ::close(fd);  // the descriptor is gone even when close() fails
  return refused() ? -1 : result;
}
int rename(const char* from, const char* to) { return refused() ? -1 : ::rename(from, to); }
int exchange(const char* a, const char* b) {
  return refused() ? -1 : ::renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
}
int mkdir(const char* path, mode_t mode) { return refused() ? -1 : ::mkdir(path, mode); }

}  // namespace gradus::data::sys
