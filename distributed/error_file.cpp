// The last words of a worker.
#include <gradus/distributed/detail/error_file.h>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <exception>

#include <gradus/distributed/detail/abort_word.h>
#include <gradus/distributed/detail/fd.h>

namespace gradus::dist::detail {
namespace {

std::atomic<int> rank_of_process{0};
std::atomic<std::terminate_handler> handler_before{nullptr};

void write(const Failure& words) noexcept {
  try {
    const char* const path = std::getenv("GRADUS_ERROR_FILE");
    if (!path || !*path) return;
    const std::string text = words.text();
    const Fd fd(::open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!fd) return;
    for (size_t done = 0; done < text.size();) {
      const ssize_t n = ::write(fd.get(), text.data() + done, text.size() - done);
      if (n < 0 && errno != EINTR) return;
      if (n > 0) done += static_cast<size_t>(n);
    }
  } catch (...) {  // the failure itself matters more than its report
  }
}

[[noreturn]] void write_and_end() {
  try {
    if (const std::exception_ptr error = std::current_exception()) std::rethrow_exception(error);
  } catch (const CommError& error) {
    write({rank_of_process, error.kind, error.what()});
  } catch (const std::exception& error) {
    write({rank_of_process, {}, error.what()});
  } catch (...) {
    write({rank_of_process, {}, "an exception that is no std::exception"});
  }
  if (const std::terminate_handler before = handler_before) before();
  std::abort();
}

}  // namespace

void write_uncaught_errors(int rank) noexcept {
  rank_of_process = rank;
  const std::terminate_handler before = std::set_terminate(write_and_end);
  if (before != write_and_end) handler_before = before;
}

}  // namespace gradus::dist::detail
