// The folder of one training run and its record, metrics.jsonl. Checkpoints are written by others into the same folder.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gradus/core/api.h>
#include <gradus/core/box.h>
#include <gradus/data/display/series.h>
#include <gradus/distributed/process_group.h>

namespace gradus {

/// One `"name": value` of a record: a number, a text or a truth value.
class GRADUS_API LogField {
 public:
  LogField(std::string_view name, std::string_view text);
  LogField(std::string_view name, const char* text) : LogField(name, std::string_view(text)) {}
  template <std::floating_point T>
  LogField(std::string_view name, T number) : LogField(name, Number{static_cast<double>(number)}) {}
  template <std::signed_integral T>
  LogField(std::string_view name, T number) : LogField(name, Integer{number}) {}
  template <std::unsigned_integral T>
  LogField(std::string_view name, T number) : LogField(name, Natural{number}) {}
  LogField(std::string_view name, bool truth);

  const std::string& json() const { return json_; }

 private:
  struct Number {
    double value;
  };
  struct Integer {
    int64_t value;
  };
  struct Natural {
    uint64_t value;
  };
  LogField(std::string_view name, Number number);
  LogField(std::string_view name, Integer number);
  LogField(std::string_view name, Natural number);

  std::string json_;  // "name":value
};

/// One line of metrics.jsonl. Truth values read as 0 and 1, null as NaN.
struct GRADUS_API MetricsRow {
  std::vector<std::pair<std::string, double>> numbers;
  std::vector<std::pair<std::string, std::string>> texts;

  std::optional<double> number(std::string_view name) const;
};

/// A metrics.jsonl as read back.
struct GRADUS_API MetricsLog {
  std::vector<MetricsRow> rows;
  int64_t torn_lines = 0;  ///< 1 when the last line was incomplete (the process died while writing it) and was skipped

  /// The curve of the rows that have both numbers. Where x goes back, a run was resumed from an earlier point: what was
  /// logged from there on is replaced by what came later.
  Series series(std::string_view x, std::string_view y) const;
};

/// Reads a metrics.jsonl: one flat JSON object a line, lines of at most 1 MiB. "NaN", "Infinity" and "-Infinity" are
/// read as numbers. A last line that is not complete is skipped and counted.
/// @throws IoError when the file cannot be read, or a line before the last is no flat JSON object: names file and line.
GRADUS_API MetricsLog read_metrics(const std::string& path);

struct RunFolderOptions {
  std::string root = "runs";      ///< where a new folder is made
  std::string resume = {};        ///< an existing folder to go on in; empty: a new one
  dist::ProcessGroup group = {};  ///< the ranks of one run, which share the folder
};

/// `root`/<YYYY-MM-DD_HH-MM-SS>/ in local time, with -2, -3, ... behind it when taken: two runs never share one.
/// With a group, rank 0 makes it and writes; for the others path() is the same and log() does nothing. When a launcher
/// has started the job again, its folder is that of the attempt before: `root`/.job-<its id> leads there.
class GRADUS_API RunFolder {
 public:
  /// Makes the folder, or opens the one to resume; an incomplete last line of its metrics.jsonl is cut off.
  /// @throws IoError when the folder cannot be made, the one to resume is not there, or its metrics.jsonl is damaged;
  /// on all ranks of a group.
  explicit RunFolder(const RunFolderOptions& options = {});
  RunFolder(RunFolder&&) noexcept;
  RunFolder& operator=(RunFolder&&) noexcept;
  ~RunFolder();

  const std::string& path() const;
  /// The path of a file in this folder.
  /// @throws ValueError for an empty name, an absolute one, or one that leaves the folder by "..".
  std::string file(std::string_view name) const;

  /// Appends one JSON object as a line to metrics.jsonl and flushes it: run.log({{"step", 12}, {"loss", 0.25}}).
  /// Numbers keep all their digits; those that are not finite, which JSON does not have, are written as the texts
  /// "NaN", "Infinity" and "-Infinity". Threads may log at the same time.
  /// @throws IoError when the line could not be written whole (disk full); the file then ends with the line before.
  void log(std::initializer_list<LogField> fields);

  /// metrics.jsonl read back, with what was logged before a resume.
  MetricsLog metrics() const;

 private:
  struct State;
  Box<State> state_;
};

}  // namespace gradus
