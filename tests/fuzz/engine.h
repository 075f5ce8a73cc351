// Feeds parsers with inputs that are derived from good ones by damage, and watches what each costs. What the parsers
// are is said in files.cpp and processes.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace fuzz {

struct Parser {
  std::string name;
  std::vector<std::string> seeds;
  /// Takes an input. Throws a gradus::Error for what it refuses; anything else that it throws is a finding.
  std::function<void(const std::string& bytes)> read;
  /// Bytes that the input may stand for, to which the memory that it takes is compared.
  std::function<int64_t(const std::string& bytes)> stands_for = [](const std::string& bytes) {
    return std::ssize(bytes);
  };
  /// Tried once, and not damaged: what was found before, or is large.
  std::vector<std::string> samples = {};
};

/// Files of data sets, checkpoints.
std::vector<Parser> file_parsers();
/// What processes of a job hear from each other, from their launcher and the environment.
std::vector<Parser> process_parsers();

struct Report {
  int64_t inputs = 0, accepted = 0;
  size_t answers = 0;       ///< different ones, numbers and names aside
  double slowest = 0;       ///< CPU seconds for one input, of all threads
  double largest = 0;       ///< memory for one input / what the input may stand for, beyond `buffers`
  int64_t most_memory = 0;  ///< for one input; 0 where it is not measured (without AddressSanitizer)
  std::vector<std::string> findings;
};

/// What a parser may take whatever the input: buffers of fixed size, and tensors rounded up to pages of 2 MiB.
inline constexpr int64_t buffers = 4 << 20;
inline constexpr double most_seconds = 1, most_times_the_input = 8;

/// Damages the parser's seeds, and inputs that it gave a new answer to, until `goes_on` says no. Inputs are a function
/// of `seed`. One that is a finding, or at which the program dies, is kept in a file that is named.
Report run(const Parser& parser, uint64_t seed, const std::function<bool(int64_t inputs)>& goes_on);

}  // namespace fuzz
