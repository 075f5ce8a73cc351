// Ranks as threads of the test, each with a process group of its own: for what depends on the number of ranks alone,
// and not on processes.
#pragma once

#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "catch.h"
#include "scratch.h"

#include <gradus/distributed/detail/engine.h>
#include <gradus/gradus.h>

/// Whether there can be groups of several ranks; says why not.
inline bool can_have_ranks() {
  std::string reason;
  const bool can = gradus::dist::detail::find_gloo(&reason) != nullptr;
  if (!can) std::printf("SKIPPED several ranks: %s\n", reason.c_str());
  return can;
}

class ThreadRanks {
 public:
  using Body = std::function<void(gradus::dist::ProcessGroup& group)>;

  explicit ThreadRanks(int n, double timeout = 60) : groups_(static_cast<size_t>(n)) {
    const std::string store = "file://" + (scratch_ / "store");
    in_threads([&](int rank) {
      const gradus::dist::Env env{
          .rank = rank, .size = n, .local_rank = rank, .local_size = n, .store = store, .job = "test"};
      groups_[static_cast<size_t>(rank)] = gradus::dist::init({.env = env, .timeout = timeout});
    });
  }
  int size() const { return static_cast<int>(groups_.size()); }
  /// Runs the body once on each rank, with a random generator of its own, and waits. Rethrows what the first rank
  /// threw.
  void run(const Body& body) {
    in_threads([&](int rank) {
      gradus::Generator generator(1000 + static_cast<uint64_t>(rank));
      const gradus::UseGenerator use(generator);
      body(groups_[static_cast<size_t>(rank)]);
    });
  }

 private:
  void in_threads(const std::function<void(int)>& body) {
    std::vector<std::exception_ptr> errors(groups_.size());
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size(); ++rank)
      threads.emplace_back([&, rank] {
        try {
          const gradus::SerialScope serial;
          body(rank);
        } catch (...) {
          errors[static_cast<size_t>(rank)] = std::current_exception();
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& error : errors)
      if (error) std::rethrow_exception(error);
  }

  const Scratch scratch_;
  std::vector<gradus::dist::ProcessGroup> groups_;
};
