// The system calls that put files on disk, each countable and able to fail on request: how the tests show that a full
// disk or a broken one never costs an older file.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/core/api.h>

namespace gradus::data::sys {

/// A fault that makes write() accept half of what it is given, instead of an errno.
inline constexpr int short_write = -1;

/// What a call has to do wrong: an errno, short_write, or 0. It is told the call's number (from 1) and name ("open").
using Fault = std::function<int(int64_t call, std::string_view name)>;
/// Asks `fault` before each call from now on; {} ends it. For tests only: it sees the calls of all threads.
GRADUS_API void inject(Fault fault);
/// Calls since the last inject() of a fault.
GRADUS_API int64_t calls();

// As in POSIX: -1 and errno on failure.
int open(const char* path, int flags, mode_t mode);
ssize_t write(int fd, const void* bytes, size_t count);
int fsync(int fd);
int close(int fd);
int rename(const char* from, const char* to);
/// Two names change places in one step; EINVAL or ENOSYS where the file system cannot.
int exchange(const char* a, const char* b);
int mkdir(const char* path, mode_t mode);
/// Names in a folder, in no order.
int list(const char* path, std::vector<std::string>& names);
/// Deletes what has the path, with all that is in it; what is not there is deleted.
int remove_all(const char* path);

}  // namespace gradus::data::sys
