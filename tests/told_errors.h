// What ranks print about the errors that they caught, for the test that started them.
#pragma once

#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "catch.h"
#include "moment.h"
#include "ranks.h"

#include <gradus/gradus.h>

inline double timeout_setting() { return std::stod(setting("TEST_TIMEOUT", "30")); }

/// What a rank that caught a CommError prints, and the test reads.
inline void tell(const gradus::CommError& error) {
  const Moment present;
  fmt::print("caught at {:.6f} without core {:.6f} kind {} rank {} op {} seq {}: {}\n", present.at,
             present.without_core, static_cast<int>(error.kind), error.rank, error.op, error.seq, error.what());
  std::fflush(stdout);
}
/// And before it begins what is to fail.
inline void tell_begin() {
  const Moment present;
  fmt::print("begun at {:.6f} without core {:.6f}\n", present.at, present.without_core);
  std::fflush(stdout);
}

struct Caught {
  Moment at{0, 0};
  gradus::CommError::Kind kind{};
  int rank = -2;
  std::string text;
};
inline std::optional<Caught> caught(const std::string& output) {
  const size_t begin = output.find("caught at ");
  if (begin == std::string::npos) return {};
  Caught result;
  int kind = 0;
  if (std::sscanf(output.c_str() + begin, "caught at %lf without core %lf kind %d rank %d", &result.at.at,
                  &result.at.without_core, &kind, &result.rank) != 4)
    return {};
  result.kind = static_cast<gradus::CommError::Kind>(kind);
  result.text = output.substr(begin, output.find('\n', begin) - begin);
  return result;
}

/// Seconds from a rank's beginning to its error; none where one of them is missing.
inline std::optional<double> seconds_to_error(const std::string& output) {
  const auto error = caught(output);
  const size_t at = output.find("begun at ");
  Moment begin{0, 0};
  if (!error || at == std::string::npos ||
      std::sscanf(output.c_str() + at, "begun at %lf without core %lf", &begin.at, &begin.without_core) != 2)
    return {};
  return seconds_between(begin, error->at);
}

/// Runs until a CommError, which it must meet, and sees that the group stays closed after it.
template <class F>
void until_error(gradus::dist::ProcessGroup& group, F&& work) {
  gradus::CommError::Kind kind{};
  try {
    work();
    FAIL("no error came");
  } catch (const gradus::CommError& error) {
    tell(error);
    kind = error.kind;
  }
  const gradus::Tensor x = gradus::ones({4});
  try {
    group.all_reduce(x).wait();
    FAIL("the group went on after a failure");
  } catch (const gradus::CommError& error) {
    CHECK(error.kind == kind);
  }
}

inline void wait_for_file(const std::string& path) {
  while (!std::filesystem::exists(path)) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

inline void figure(const char* name, double value, const std::string& target) {
  fmt::print("figure {} {:.3f} {}\n", name, value, target);
  std::fflush(stdout);
}
