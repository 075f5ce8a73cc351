// How the launchers of a job's machines find each other and agree who does what. The first of them serves the store;
// each attempt is a round: all join, the first one closes the round and tells the plan.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <gradus/distributed/store.h>

#include "options.h"
#include "report.h"
#include "verdict.h"

namespace gradus::run {

struct Node {
  std::string host, id;
  int nproc = 1;
  int wanted_rank = -1;  // --node-rank
};

/// Who takes part in an attempt, the same for all.
struct Plan {
  int round = 0, max_restarts = 0;
  std::vector<Node> nodes;
  std::string master_addr;  // of rank 0, for the program's own use
  int master_port = 0;

  size_t node = 0;  // this one
  int first_rank() const;
  int world_size() const;
};

class Meeting {
 public:
  explicit Meeting(const Options& options);

  /// The round that is open or will be next.
  int current_round();
  /// Waits for the others. When `round` is closed already, for the next one.
  Plan meet(int round);
  /// At the very end: tells the first launcher this one's rows; that one waits for those of all, and returns them.
  Rows leave(const Plan& plan, const Rows& mine, double seconds);

  /// A connection of one's own; `timeout` for connecting and for each call.
  Box<gradus::dist::Store> open_store(double timeout = 30) const;
  const std::string& url() const { return url_; }
  const std::string& token() const { return token_; }

 private:
  bool is_first() const { return static_cast<bool>(server_); }
  bool is_alone() const { return options_.max_nodes == 1; }
  std::string serve();
  void find_store(const std::string& taken) const;
  void open(int round);
  std::vector<Node> collect(int round);

  const Options& options_;
  std::string url_, token_, host_ = "127.0.0.1";
  Node self_;
  Box<gradus::dist::StoreServer> server_;
  Box<gradus::dist::Store> store_;
};

}  // namespace gradus::run
