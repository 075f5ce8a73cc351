// What people are told after a job has failed: which rank ended how, where, and what it said.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "verdict.h"

namespace gradus::run {

/// One line of the table.
struct Row {
  int rank = 0;
  std::string host, ending, last_step, log;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Row, rank, host, ending, last_step, log)
using Rows = std::vector<Row>;

/// For another launcher. A worker's phase may hold any bytes: what is no UTF-8 is replaced.
std::string to_text(const Rows& rows);
/// The table, with a mark at the rank that failed first, and what was said.
std::string report(const Verdict& verdict, const Rows& rows, int attempts);

}  // namespace gradus::run
