// The thread pool behind parallel_for: workers spin for about 50 us after a job (the next op is usually near), then
// sleep.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <gradus/core/detail/check.h>
#include <gradus/core/parallel.h>

namespace gradus {
namespace {

constexpr auto spin_time = std::chrono::microseconds(50);

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Set while this thread runs a piece of a job: nested loops run inline.
thread_local bool inside_job = false;

struct Job {
  RangeFunction body;
  int64_t begin, end, piece, pieces;
  std::atomic<int64_t> next{0};
  std::once_flag failed;
  std::exception_ptr error;

  void work() {
    inside_job = true;
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) {
      const int64_t from = begin + i * piece;
      try {
        body(from, std::min(end, from + piece));
      } catch (...) {
        std::call_once(failed, [&] { error = std::current_exception(); });
        next = pieces;
      }
    }
    inside_job = false;
  }
};

class Pool {
 public:
  // Workers run detached from destruction: the pool is never destroyed, and the process may end under them.
  void run(Job& job, int threads) {
    grow(threads - 1);
    job_ = &job;
    epoch_.fetch_add(1);
    epoch_.notify_all();
    job.work();
    job_ = nullptr;
    while (inside_.load() != 0) pause();
  }

  std::mutex mutex;  // one job at a time

 private:
  void grow(int wanted) {
    for (; workers_ < wanted; ++workers_) std::thread([this, seen = epoch_.load()] { serve(seen); }).detach();
  }

  void serve(uint64_t seen) {
    for (;;) {
      seen = await_change(seen);
      inside_.fetch_add(1);
      if (Job* job = job_.load()) job->work();
      inside_.fetch_sub(1);
    }
  }

  uint64_t await_change(uint64_t seen) {
    const auto deadline = std::chrono::steady_clock::now() + spin_time;
    do {
      for (int i = 0; i < 64; ++i) {
        if (const uint64_t now = epoch_.load(std::memory_order_acquire); now != seen) return now;
        pause();
      }
    } while (std::chrono::steady_clock::now() < deadline);
    epoch_.wait(seen);
    return epoch_.load();
  }

  std::atomic<uint64_t> epoch_{0};
  std::atomic<Job*> job_{nullptr};
  std::atomic<int> inside_{0};
  int workers_ = 0;
};

Pool& pool() {
  static Pool* instance = new Pool;
  return *instance;
}

int default_threads() {
  if (const char* text = std::getenv("GRADUS_NUM_THREADS"))
    if (const int n = std::atoi(text); n > 0) return std::min(n, 1024);
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{default_threads()};
  return count;
}

}  // namespace

int num_threads() { return thread_count().load(std::memory_order_relaxed); }
void set_num_threads(int n) {
  GRADUS_CHECK(n >= 1 && n <= 1024, ValueError, "set_num_threads: n is {}; want 1 to 1024", n);
  thread_count() = n;
}

SerialScope::SerialScope() : before_(std::exchange(inside_job, true)) {}
SerialScope::~SerialScope() { inside_job = before_; }

void detail::parallel_for_pool(int64_t begin, int64_t end, int64_t grain, RangeFunction body) {
  const int threads = num_threads();
  const int64_t n = end - begin, piece = std::max(std::max<int64_t>(grain, 1), (n + threads * 4 - 1) / (threads * 4));
  if (threads == 1 || inside_job || n <= piece) return body(begin, end);
  Pool& shared = pool();
  const std::unique_lock lock(shared.mutex, std::try_to_lock);
  if (!lock.owns_lock()) return body(begin, end);  // another of the user's threads has the pool
  Job job{body, begin, end, piece, (n + piece - 1) / piece, {}, {}, {}};
  shared.run(job, static_cast<int>(std::min<int64_t>(threads, job.pieces)));
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace gradus
