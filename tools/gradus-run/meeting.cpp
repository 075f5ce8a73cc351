// Keys of a round: open/R (the first launcher takes names), count/R (of names), name/R/K, plan/R, report/R/K, end/R
// (end_watch.h). gone/ID is each launcher's will.
#include "meeting.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <gradus/core/error.h>
#include <gradus/distributed/detail/deadline.h>
#include <gradus/distributed/detail/fd.h>
#include <gradus/distributed/detail/store_socket.h>

#include "console.h"

namespace gradus::run {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Node, host, id, nproc, wanted_rank)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Plan, round, max_restarts, nodes, master_addr, master_port)

namespace {

using dist::detail::Deadline;
using dist::detail::Fd;
using nlohmann::json;

std::string random_word() {
  unsigned char bytes[16];
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) throw Error("getrandom: no random bytes");
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

template <class Use>
bool any_address(const std::string& host, const Use& use) {
  addrinfo wanted{}, *first = nullptr;
  wanted.ai_socktype = SOCK_DGRAM;
  if (getaddrinfo(host.c_str(), nullptr, &wanted, &first) != 0) return false;
  bool used = false;
  for (const addrinfo* address = first; address && !used; address = address->ai_next) used = use(*address);
  freeaddrinfo(first);
  return used;
}

/// Only addresses of this machine can be bound.
bool is_this_machine(const std::string& host) {
  return any_address(host, [](const addrinfo& address) {
    const Fd fd(socket(address.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return fd && bind(fd.get(), address.ai_addr, address.ai_addrlen) == 0;
  });
}

/// For the program's own use: free now, and most likely still when it is wanted.
int free_port() {
  const Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t size = sizeof address;
  if (!fd || bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw Error("no free port on this machine");
  return ntohs(address.sin_port);
}

}  // namespace

int Plan::first_rank() const {
  return std::accumulate(nodes.begin(), nodes.begin() + static_cast<std::ptrdiff_t>(node), 0,
                         [](int sum, const Node& other) { return sum + other.nproc; });
}
int Plan::world_size() const {
  return std::accumulate(nodes.begin(), nodes.end(), 0, [](int sum, const Node& other) { return sum + other.nproc; });
}

Meeting::Meeting(const Options& options)
    : options_(options), self_{host_name(), random_word(), options.nproc, options.node_rank.value_or(-1)} {
  const char* const token = std::getenv("GRADUS_STORE_TOKEN");
  token_ = token ? token : is_alone() ? random_word() : "";
  if (options.rdzv.empty()) {
    server_ = make_box<dist::StoreServer>(host_, 0, token_);
    url_ = fmt::format("tcp://{}:{}", host_, server_->port());
  } else {
    url_ = "tcp://" + options.rdzv;
    find_store(serve());
  }
  store_ = open_store();
  store_->leave_will("gone/" + self_.id, "");
}

/// Serves the store where that is this launcher's part. Why it cannot, where another launcher of this machine may.
std::string Meeting::serve() {
  const auto endpoint = dist::detail::Endpoint::of_url(url_);
  host_ = endpoint.host;
  const bool must = options_.node_rank == 0 || is_alone();
  if (!must && (options_.node_rank || !is_this_machine(host_))) return "";
  // A name of this machine may stand for an address that the others cannot reach (127.0.1.1): any interface will do.
  const bool is_loopback = host_ == "localhost" || host_.starts_with("127.") || host_ == "::1";
  try {
    server_ = make_box<dist::StoreServer>(is_loopback ? host_ : "", endpoint.port, token_);
  } catch (const CommError& error) {
    if (must) throw;
    return error.what();
  }
  return "";
}

/// It may take long to appear, but then it has to answer. Where its port is `taken` on this machine, it is there now or
/// is something else.
void Meeting::find_store(const std::string& taken) const try {
  constexpr double patience = 30;
  open_store(taken.empty() ? options_.rdzv_timeout : std::min(options_.rdzv_timeout, patience))->close();
} catch (const CommError& error) {
  if (taken.empty()) throw;
  throw CommError(fmt::format("{}. This launcher would have served it, but {}", error.what(), taken), error.kind);
}

Box<dist::Store> Meeting::open_store(double timeout) const {
  return dist::open_store(url_, {.token = token_, .prefix = options_.job + "/", .timeout = timeout});
}

int Meeting::current_round() {
  return is_first() ? 0
                    : static_cast<int>(std::strtol(store_->get("round", options_.rdzv_timeout).c_str(), nullptr, 10));
}

void Meeting::open(int round) {
  if (!is_alone()) say("waiting for {} machines at {}", options_.max_nodes, url_);
  store_->set("round", std::to_string(round));
  store_->set(fmt::format("open/{}", round), "");
}

/// The names of those who come, until there are enough. Those who left meanwhile do not count.
std::vector<Node> Meeting::collect(int round) {
  const Deadline deadline(options_.rdzv_timeout);
  Deadline until = deadline;
  bool enough = false;
  std::vector<Node> nodes;
  for (int place = 0;; ++place) {
    try {
      nodes.push_back(json::parse(store_->get(fmt::format("name/{}/{}", round, place), until.left())));
    } catch (const CommError& error) {
      if (error.kind != CommError::Kind::timeout) throw;
      if (enough) return nodes;
      throw CommError(
          fmt::format("{} of {} machines came within {:g} s (--rdzv-timeout); the same line must run on each",
                      nodes.size(), options_.min_nodes, options_.rdzv_timeout),
          CommError::Kind::timeout);
    }
    const auto are = [&nodes](int wanted) { return static_cast<int>(nodes.size()) >= wanted; };
    if (are(options_.min_nodes))
      std::erase_if(nodes, [this](const Node& node) { return store_->find("gone/" + node.id).has_value(); });
    if (are(options_.max_nodes)) return nodes;
    if (are(options_.min_nodes) && !enough) until = std::min(deadline, Deadline(options_.last_call));
    if (!are(options_.min_nodes)) until = deadline;
    enough = are(options_.min_nodes);
  }
}

Plan Meeting::meet(int round) {
  if (is_first()) open(round);
  for (;; ++round) {
    store_->get(fmt::format("open/{}", round), options_.rdzv_timeout);
    const int64_t place = store_->add(fmt::format("count/{}", round), 1) - 1;
    store_->set(fmt::format("name/{}/{}", round, place), json(self_).dump());
    if (is_first()) {
      Plan plan{round, options_.max_restarts, collect(round), host_, free_port()};
      // The first launcher is node 0; the others as they wish, else as they came.
      std::stable_sort(plan.nodes.begin(), plan.nodes.end(), [this](const Node& a, const Node& b) {
        const auto order = [this](const Node& node) { return node.id == self_.id ? -2 : node.wanted_rank; };
        return order(a) < order(b);
      });
      store_->set(fmt::format("plan/{}", round), json(plan).dump());
    }
    Plan plan = json::parse(store_->get(fmt::format("plan/{}", round), options_.rdzv_timeout + options_.last_call));
    const auto self =
        std::find_if(plan.nodes.begin(), plan.nodes.end(), [this](const Node& node) { return node.id == self_.id; });
    plan.node = static_cast<size_t>(self - plan.nodes.begin());
    if (self != plan.nodes.end()) return plan;
    say("the job runs without this machine; waiting for its next attempt");
    if (!Verdict::parse(store_->get(fmt::format("end/{}", round), 1e6)).failed())
      throw CommError("the job ended without this machine");
  }
}

Rows Meeting::leave(const Plan& plan, const Rows& mine, double seconds) {
  Rows rows = mine;
  const Deadline deadline(seconds);
  for (size_t node = 1; is_first() && node < plan.nodes.size(); ++node) try {
      if (store_->find("gone/" + plan.nodes[node].id)) continue;
      const Rows others = json::parse(store_->get(fmt::format("report/{}/{}", plan.round, node), deadline.left()));
      rows.insert(rows.end(), others.begin(), others.end());
    } catch (const std::exception&) {  // a table without a machine's lines is better than none
    }
  try {
    if (!is_first()) store_->set(fmt::format("report/{}/{}", plan.round, plan.node), to_text(mine));
  } catch (const CommError&) {  // the first launcher is gone, nobody wants to know
  }
  store_->close();
  return rows;
}

}  // namespace gradus::run
