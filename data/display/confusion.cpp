// Counts of truth against prediction, the scores of the classes, and their table for the terminal.
#include <gradus/data/display/confusion.h>

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include <gradus/core/error.h>
#include <gradus/data/display/detail/text.h>

namespace gradus {
namespace {

double ratio(int64_t part, int64_t whole) {
  return whole == 0 ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(part) / static_cast<double>(whole);
}

std::string padded(std::string text, int width) {
  return text + std::string(static_cast<size_t>(std::max(0, width - detail::display_width(text))), ' ');
}

}  // namespace

Confusion::Confusion(std::vector<std::string> classes)
    : classes_(std::move(classes)), counts_(classes_.size() * classes_.size()) {
  if (classes_.empty()) throw ValueError("Confusion: no classes; want at least one name");
}

size_t Confusion::index(int64_t truth, int64_t predicted) const {
  const auto size = static_cast<int64_t>(classes_.size());
  for (const auto& [what, value] : {std::pair("truth", truth), std::pair("predicted", predicted)}) {
    if (value < 0 || value >= size)
      throw IndexError(fmt::format("Confusion: {} is {}; want 0 to {}", what, value, size - 1));
  }
  return static_cast<size_t>(truth * size + predicted);
}

void Confusion::add(int64_t truth, int64_t predicted) { ++counts_[index(truth, predicted)]; }

int64_t Confusion::count(int64_t truth, int64_t predicted) const { return counts_[index(truth, predicted)]; }

int64_t Confusion::examples() const { return std::accumulate(counts_.begin(), counts_.end(), int64_t{0}); }

double Confusion::accuracy() const {
  int64_t right = 0;
  for (size_t c = 0; c < classes_.size(); ++c) right += counts_[c * classes_.size() + c];
  return ratio(right, examples());
}

std::vector<ClassScore> Confusion::scores() const {
  const size_t size = classes_.size();
  std::vector<ClassScore> scores;
  for (size_t c = 0; c < size; ++c) {
    ClassScore score;
    score.name = classes_[c];
    int64_t predicted = 0;
    for (size_t other = 0; other < size; ++other) {
      const int64_t taken_for = counts_[c * size + other];
      score.examples += taken_for;
      predicted += counts_[other * size + c];
      if (other != c && taken_for > score.mistakes) {
        score.mistakes = taken_for;
        score.mistaken_for = classes_[other];
      }
    }
    const int64_t right = counts_[c * size + c];
    score.recall = ratio(right, score.examples);
    score.precision = ratio(right, predicted);
    scores.push_back(std::move(score));
  }
  return scores;
}

std::string draw_worst_classes(const Confusion& confusion, int64_t count, const Terminal& terminal) {
  std::vector<ClassScore> scores = confusion.scores();
  std::erase_if(scores, [](const ClassScore& score) { return score.examples == 0; });
  std::stable_sort(scores.begin(), scores.end(), [](const auto& a, const auto& b) { return a.recall < b.recall; });
  scores.resize(std::min(scores.size(), static_cast<size_t>(std::max<int64_t>(0, count))));

  constexpr int widest_name = 24;
  int width = 5;  // "class"
  for (ClassScore& score : scores) {
    score.name = detail::clip(detail::printable(score.name, terminal.utf8), widest_name, terminal.utf8);
    width = std::max(width, detail::display_width(score.name));
  }
  std::string text =
      detail::paint(padded("class", width) + "   recall  precision  most often taken for", "1", terminal.colors) + "\n";
  for (const ClassScore& score : scores) {
    text += fmt::format("{}  {:>5.1f} %    {:>5.1f} %", padded(score.name, width), 100 * score.recall,
                        100 * score.precision);
    if (score.mistakes > 0) {
      text += fmt::format("  {} ({:.1f} %)", detail::printable(score.mistaken_for, terminal.utf8),
                          100 * ratio(score.mistakes, score.examples));
    }
    text += "\n";
  }
  return text;
}

}  // namespace gradus
