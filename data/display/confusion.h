// Which classes a classifier mistakes for which, and what follows from it: recall, precision, the worst classes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <gradus/core/api.h>
#include <gradus/data/display/terminal.h>

namespace gradus {

/// What a classifier does with one class. A ratio without examples is NaN.
struct ClassScore {
  std::string name;
  int64_t examples = 0;      ///< of this class
  double recall = 0;         ///< share of them that was predicted right, 0..1
  double precision = 0;      ///< share of the predictions of this class that was right, 0..1
  std::string mistaken_for;  ///< the class most often predicted instead; empty when there was no mistake
  int64_t mistakes = 0;      ///< how often
};

/// Counts of (truth, prediction) pairs.
class GRADUS_API Confusion {
 public:
  /// @throws ValueError without a class.
  explicit Confusion(std::vector<std::string> classes);

  /// @throws IndexError when truth or predicted is no class.
  void add(int64_t truth, int64_t predicted);

  const std::vector<std::string>& classes() const { return classes_; }
  int64_t count(int64_t truth, int64_t predicted) const;
  int64_t examples() const;
  double accuracy() const;                 ///< share of all examples that was predicted right, NaN without examples
  std::vector<ClassScore> scores() const;  ///< in the order of the classes

 private:
  size_t index(int64_t truth, int64_t predicted) const;

  std::vector<std::string> classes_;
  std::vector<int64_t> counts_;  // (truth, predicted)
};

/// A table of the `count` classes with the lowest recall, worst first, as lines of text.
GRADUS_API std::string draw_worst_classes(const Confusion& confusion, int64_t count = 3,
                                          const Terminal& terminal = detect_terminal());

}  // namespace gradus
