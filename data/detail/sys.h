// The system calls that put files on disk, each countable and able to fail on request: how the tests show that a full
// disk or a broken one never costs an older file.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include <gradus/core/api.h>

namespace gradus::data::sys {

/// A fault that makes write() accept half of what it is given, instead of an errno.
inline constexpr int short_write = -1;

/// Lets the k-th call from now (1: the next) fail with errno `error`, or be a short_write, and the calls behind it
/// succeed again. For tests only: it counts the calls of all threads.
GRADUS_API void fail_call(int64_t k, int error);
/// Calls since the last fail_call().
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

}  // namespace gradus::data::sys
